"""A folder, a server, and the command line of a fleet in it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fleet.servers import PROGRAM, Server, running

COMMAND = [sys.executable, "-m", "cbprocess"]


class Shop:
    """A folder, a server, and commands in it."""

    def __init__(self, folder: Path, server: Server) -> None:
        self.folder, self.server = folder, server
        self.environment = {**os.environ, "XDG_STATE_HOME": str(folder / "state")}
        self.agents: list[subprocess.Popen[bytes]] = []

    def run(self, *words: str, status: int | None = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*COMMAND, *words],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert status is None or done.returncode == status, (words, done.stdout, done.stderr)
        return done

    def fleet(self, *words: str, status: int | None = 0) -> subprocess.CompletedProcess[str]:
        return self.run("fleet", *words, "--server", self.server.url, status=status)

    def agent(self, host: str, *words: str) -> subprocess.Popen[bytes]:
        line = [
            *COMMAND,
            "fleet",
            "agent",
            "--server",
            self.server.url,
            "--host",
            host,
            "--spool",
            host,
            *words,
        ]
        self.agents.append(subprocess.Popen(line, cwd=self.folder, env=self.environment))
        return self.agents[-1]

    def until(self, text: str, *words: str) -> str:
        """Runs this again until it says that."""
        end = time.monotonic() + 30
        while True:
            said = self.fleet(*words, status=None).stdout
            if text in said:
                return said
            assert time.monotonic() < end, said
            time.sleep(0.2)


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[Shop]:
    """A shop with a running server that is set up. Its agents are ended with it."""
    if PROGRAM is None:
        pytest.skip("nats-server is not installed")
    with running(Server(folder)) as server:
        made = Shop(folder, server)
        made.fleet("setup")
        try:
            yield made
        finally:
            for each in made.agents:
                if each.poll() is None:
                    each.send_signal(signal.SIGCONT)
                    each.terminate()
                    each.wait(20)
