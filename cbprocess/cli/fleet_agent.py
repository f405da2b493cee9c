"""`cbprocess fleet agent`: the agent of this host, until a signal ends it.

Knows options, their file and signals; what an agent does is in the fleet's own modules."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
import time

from .._checks import wrong
from .fleet_access import access_of, tenant_of
from .output import complain

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any

TEXTS = ("server", "tenant", "creds", "ca", "cert", "cert_key", "host", "spool", "state")
LISTS = ("trust", "group")
LINES_MAX = 20
LINES_S = 60.0


def agent(options: argparse.Namespace) -> int:
    """The exit status for the options of `cbprocess fleet agent`: 0 after SIGTERM or SIGINT."""
    if options.config is not None:
        fill_in(options, options.config)
    if options.spool is None and options.state is None:
        options.parser.error("--spool is missing (or --state, for an agent that ships nothing)")
    try:
        return asyncio.run(_run(options))
    except BlockingIOError:
        return complain(f"{options.spool}: another agent or shipper has this spool")
    except OSError as error:
        return complain(f"{error.filename or options.spool}: {error.strerror or error}")


def fill_in(options: argparse.Namespace, path: str) -> None:
    """Takes what the command line does not say from a file. Error 87 for what is no option, 13 for a text
    that is no TOML and no JSON."""
    data = _read(path)
    for key, value in data.items():
        name = key.replace("-", "_")
        if name in TEXTS and isinstance(value, str):
            pass
        elif name == "server" and _is_texts(value):
            value = ",".join(value)
        elif name in LISTS and (isinstance(value, str) or _is_texts(value)):
            value = [value] if isinstance(value, str) else list(value)
        else:
            raise wrong(f"{path}: {key} is no option of an agent, or has a wrong value")
        if getattr(options, name) is None:
            setattr(options, name, value)


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _read(path: str) -> dict[str, Any]:
    from ..errors import CBProcessError

    with open(path, "rb") as file:
        raw = file.read(1 << 20)
    try:
        text = raw.decode("utf-8")
        if path.lower().endswith(".toml"):
            from ..rule_files import parse_toml

            data = parse_toml(text)
        else:
            data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CBProcessError(13, f"{path}: {error}") from None
    if not isinstance(data, dict):
        raise CBProcessError(13, f"{path}: it has no options")
    return data


async def _run(options: argparse.Namespace) -> int:
    from ..fleet.agent import Agent

    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, ended.set)
    async with Agent(
        access_of(options),
        tenant=tenant_of(options),
        host=options.host,
        spool=options.spool,
        state=options.state,
        trust=options.trust or (),
        groups=options.group or (),
    ) as running:
        if not options.quiet:
            _write(f"agent of {running.host}, tenant {running.tenant}, begins")
        reporter = loop.create_task(_report(running, options.quiet))
        try:
            await running.run(ended.is_set)
        finally:
            reporter.cancel()
    return 0


async def _report(running: Any, is_quiet: bool) -> None:
    """Says what changes: the connection, rules, and what is wrong."""
    was_up: bool | None = None
    before: object = None
    trouble = ""
    teller = Teller()
    while True:
        await asyncio.sleep(0.5)
        teller.look()
        status = await asyncio.to_thread(running.status)
        rules = {
            scope: (report.get("state"), report.get("count"), report.get("refused"), report.get("why"))
            for scope, report in status["rules"].items()
        }
        is_up = running.link.is_up
        if is_up != was_up and not is_quiet:
            teller.say("connected" if is_up else f"no server: {running.link.trouble.text}")
        if rules != before and not is_quiet:
            for scope, (state, count, refused, why) in rules.items():
                if refused:
                    teller.say(f"rules for {scope} refused, {refused}: {why}")
                elif state != "none":
                    teller.say(f"rules for {scope}: {count} {state}")
        was_up, before = is_up, rules
        text = str(status.get("trouble", {}).get("text", ""))
        if text and text != trouble and running.link.is_up:
            teller.say(f"trouble: {text}")
        trouble = text


class Teller:
    """Says lines on standard error, at most 20 in a minute, and how many were left out: a server that comes
    and goes all the time must not fill a journal."""

    def __init__(self) -> None:
        self._began = -LINES_S
        self._said = self._left_out = 0

    def say(self, text: str) -> None:
        """Says a line, or counts it."""
        self.look()
        if self._said < LINES_MAX:
            self._said += 1
            _write(text)
        else:
            self._left_out += 1

    def look(self) -> None:
        """Begins a new minute where the one before is over. To be called now and then."""
        now = time.monotonic()
        if now - self._began < LINES_S:
            return
        if self._left_out:
            _write(f"{self._left_out} lines were left out")
        self._began, self._said, self._left_out = now, 0, 0


def _write(text: str) -> None:
    from .._checks import printable

    with contextlib.suppress(OSError):
        sys.stderr.write(f"cbprocess: {printable(text)}\n")
        sys.stderr.flush()
