"""`cbprocess fleet watch`: the events of all hosts, on a terminal, as JSON Lines, or in a SQLite file.

Knows options and outputs; doubles, order and gaps are the feed's."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import sqlite3
import sys

from ..errors import CBProcessError
from ..fleet import names
from ..fleet.hub import Hub
from .destinations import private
from .fleet_access import access_of, tenant_of
from .output import complain

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncIterator, Callable
    from typing import Any

    from ..fleet.feed import Feed

MISSING = 1
MERGE_S = 0.2
INTERRUPTED = 130
# A pipe that is ready takes so much without waiting.
PIECE_SIZE = 4096 if sys.platform == "linux" else 512
READY_LOOK_S = 0.05
TEXT_MAX = 2000


class OutputFailed(Exception):
    """The output takes nothing more. It is no OSError, which would be told as one of the server."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.error = error


def watch(options: argparse.Namespace) -> int:
    """The exit status for the options of `cbprocess fleet watch`: 1 where events are missing, of which
    nothing says that they are lost, and where the stream let messages go before they were read."""
    if options.sqlite is not None and options.output is not None:
        options.parser.error("--sqlite has a file of its own: not with --output")
    if options.sqlite is not None and (options.format is not None or options.merge is not None):
        options.parser.error("--sqlite stores records as they come: not with --format or --merge")
    fd = 1
    if options.output is not None and options.output != "-":
        fd = private(options.output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        return asyncio.run(_watch(options, fd))
    except OutputFailed as failed:
        if isinstance(failed.error, BrokenPipeError):
            # The reader has seen enough.
            return 0
        return complain(f"{options.output or 'standard output'}: {failed.error.strerror}")
    except asyncio.CancelledError:
        # A signal before there was a server, or another one at the end.
        return INTERRUPTED
    except sqlite3.Error as error:
        return complain(f"{options.sqlite}: {error}")
    finally:
        if fd != 1:
            os.close(fd)


async def _watch(options: argparse.Namespace, fd: int) -> int:
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, task.cancel)
    async with Hub(access_of(options), tenant=tenant_of(options)) as hub:
        if options.sqlite is not None:
            feed = await _into_sqlite(hub, options)
        else:
            feed = hub.feed(host=options.host, since=options.since)
            encode = guarded(encoder(options.format or "text"))
            merge = MERGE_S if options.merge is None else options.merge
            async with interrupted(hub):
                async for record in feed.events(merge, follow=not options.once):
                    await _write(fd, encode(record))
    return _closing_line(feed)


@contextlib.asynccontextmanager
async def interrupted(hub: Hub) -> AsyncIterator[None]:
    """A block that a signal ends without an error."""
    with contextlib.suppress(asyncio.CancelledError):
        async with hub.told_errors():
            yield


async def _into_sqlite(hub: Hub, options: argparse.Namespace) -> Feed:
    from ..fleet.table import Table

    with contextlib.closing(Table(options.sqlite)) as table:
        # A place of its own for each host that is asked for: those of others were not read up to there. No
        # name of a tenant has a "/".
        host = options.host
        reader = hub.tenant if host is None else f"{hub.tenant}/{names.token(host)}"
        created, after = table.position(reader)
        # Sessions go on where an earlier run has ended: holes between two runs count, too.
        begins = table.begin_of if after else None
        feed = hub.feed(host=host, since=options.since, after=after, created=created, begins=begins)
        async with interrupted(hub):
            async for batch in feed.batches(follow=not options.once):
                if batch:
                    # Rows and place in one transaction: a kill between the two is not possible.
                    table.add(reader, batch, feed.position)
        return feed


def encoder(name: str) -> Callable[[dict[str, Any]], bytes]:
    """What makes a line of a record."""
    if name == "text":
        return text_line
    from ..formats import encoder as of_format

    return of_format(name)


def guarded(encode: Callable[[dict[str, Any]], bytes]) -> Callable[[dict[str, Any]], bytes]:
    """The encoder, but a record that it cannot say is told and left out. A host may have written anything."""

    def line_of(record: dict[str, Any]) -> bytes:
        try:
            return encode(record)
        except (
            TypeError,
            ValueError,
            KeyError,
            AttributeError,
            ArithmeticError,
            RecursionError,
            CBProcessError,
        ) as error:
            place = "/".join(f"{record.get(key)!s:.100}" for key in ("host", "boot", "session", "number"))
            why = f"{type(error).__name__}: {error!s:.200}"
            complain(f"event {place} is not as it should be, and left out: {why}")
            return b""

    return line_of


def text_line(record: dict[str, Any]) -> bytes:
    """A line for people: time, host, event, process, and what it is about."""
    from .._checks import printable

    what = record.get("command_line") or record.get("process_name") or record.get("reason") or ""
    status = record.get("exit_status")
    parts = [str(record.get("time", ""))[:26], str(record.get("host", "")), str(record.get("event", ""))]
    parts.append(str(record.get("process_id") or ""))
    if record.get("result_code"):
        what = f"refused ({record['result_code']})  {what}"
    elif isinstance(status, int):
        what = f"exit {status}  {what}" if status >= 0 else f"killed by signal {-status}  {what}"
    elif record.get("event") == "lost":
        count = record.get("count")
        what = f"{'an unknown number of' if count is None else count} events are lost: {what}"
    elif isinstance(record.get("process_ids"), list):
        what = f"processes {', '.join(map(str, record['process_ids']))}"
    # A host may have written anything, of any length.
    time, host, event, process_id = (printable(part[:TEXT_MAX]) for part in parts)
    return f"{time}  {host:<12}  {event:<19} {process_id:>8}  {printable(str(what)[:TEXT_MAX])}\n".encode(
        "utf-8", "backslashreplace"
    )


async def _write(fd: int, data: bytes) -> None:
    """Writes to a file or a pipe. A reader that does not read keeps nobody from ending this by a signal:
    a write that waits cannot be ended."""
    try:
        while data:
            while not _is_ready(fd):
                await asyncio.sleep(READY_LOOK_S)
            data = data[os.write(fd, data[:PIECE_SIZE]) :]
    except OSError as error:
        raise OutputFailed(error) from None


def _is_ready(fd: int) -> bool:
    if not hasattr(select, "poll"):
        return True
    look = select.poll()
    look.register(fd, select.POLLOUT)
    # A pipe without a reader is ready, too: to say so.
    return bool(look.poll(0))


def _closing_line(feed: Feed) -> int:
    counts = feed.counts()
    text = f"{counts.events} events, {counts.doubles} doubles left out, {counts.missing} missing"
    if counts.told or counts.unknown:
        text += f", {counts.told} told to be lost"
        text += f" and an unknown number of {counts.unknown} killed sessions" if counts.unknown else ""
    for count, what in (
        (counts.forged, "lines that named another host"),
        (counts.strange, "lines that are no record"),
        (counts.replaced, "times another stream"),
        (counts.dropped, "messages gone from the stream before they were read"),
        (counts.forgotten, "sessions forgotten, because there were too many"),
    ):
        text += f", {count} {what}" if count else ""
    complain(text)
    sys.stderr.flush()
    return MISSING if counts.missing or counts.dropped else 0
