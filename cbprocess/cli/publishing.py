"""`cbprocess run --publish URL`: a shipper beside a single command, which ends within a stated time.

The shipper is a process of its own: the credentials are not where the command's events are handled, and a
crash of either side loses nothing. Knows options and processes; nothing of events and filters."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

from ..fleet.link import SERVER_VARIABLE, Access
from ..fleet.names import checked_tenant, token
from ..fleet.needs import need

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

# So long after its own limit the shipper is ended by force.
GRACE_S = 1.0


def tenant_of(options: argparse.Namespace) -> str:
    return checked_tenant(options.tenant or "default")


class Publication:
    """The shipping of one command's session. Made before the command starts, so that wrong options and a
    missing extra (error 50) are told before anything runs."""

    def __init__(self, options: argparse.Namespace) -> None:
        need("nats")
        access = Access(options.publish, options.creds, options.ca, options.cert, options.cert_key)
        # Files that cannot be read are told here, too.
        access.keywords()
        if options.host is not None:
            token(options.host)
        self.root = Path(os.path.abspath(options.spool))
        self._wait: float = options.publish_wait
        self._servers = ",".join(access.servers)
        self._arguments = ["--tenant", tenant_of(options)]
        for name in ("creds", "ca", "cert", "cert_key"):
            path = getattr(options, name)
            if path is not None:
                self._arguments += [f"--{name.replace('_', '-')}", os.path.abspath(path)]
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = self.root

    def start(self, folder: Path, host: str) -> None:
        """Starts the shipper for the session in this folder. OSError if there can be no process."""
        self._folder = folder
        line = [sys.executable, "-m", "cbprocess.fleet.ship", "--once", "--spool", str(self.root)]
        line += ["--session", folder.name, "--host", host, "--wait", str(self._wait), *self._arguments]
        # In its own session a Ctrl-C of the terminal is not for it. Modules are looked for in the working
        # folder, which must not be one that the command's programs fill.
        self._process = subprocess.Popen(
            line,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=self.root,
            # Everybody can read a command line, and a URL may have a password.
            env={**os.environ, SERVER_VARIABLE: self._servers},
            start_new_session=True,
        )

    def finish(self) -> str | None:
        """Waits for the shipper, which knows by the end of its input that the session has ended. Gives a
        sentence where not everything is shipped."""
        process, self._process = self._process, None
        if process is None:
            return None
        told = b""
        try:
            told, _ = process.communicate(timeout=self._wait + GRACE_S)
        except subprocess.TimeoutExpired:
            process.terminate()
            try:
                told, _ = process.communicate(timeout=GRACE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
        if not self._folder.exists():
            return None
        why = f"the shipper ended with {process.returncode}"
        with contextlib.suppress(ValueError, AttributeError):
            why = json.loads(told).get("trouble") or "the time was too short"
        return f"not everything is shipped ({why}): the rest is in {self.root}, for the next time"
