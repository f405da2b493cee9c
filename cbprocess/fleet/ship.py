"""A shipper as a process of its own: `python -m cbprocess.fleet.ship`. `cbprocess run --publish` starts it.

It needs no right but to the spool. Where its standard input is a pipe, the pipe's end tells it that the
command has ended, whatever became of the process that started it: then it has `--wait` seconds."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import stat
import sys
import threading
import time
from pathlib import Path

from .. import records, spool
from ..sinks.shipping import Shipper
from .link import DEFAULT_SERVER, SERVER_VARIABLE, Access
from .shipping import message_key
from .url_sink import JetStreamSink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

LOCK_LOOK_S = 0.1
CLOSE_LIMIT_S = 1.0
SHIPPED, NOT_SHIPPED = 0, 1


def ship(options: argparse.Namespace) -> int:
    """Ships until there is nothing to do, or the time is over. 0 if everything is shipped."""
    deadline = Deadline(options.wait)
    root = Path(options.spool)
    access = Access(options.servers, options.creds, options.ca, options.cert, options.cert_key)
    with contextlib.ExitStack() as stack:
        if not _lock(root, deadline, options, stack):
            return SHIPPED if _is_done(root, options) else NOT_SHIPPED
        sink = JetStreamSink(access, options.tenant, lambda: message_key(root))
        stack.callback(sink.close, CLOSE_LIMIT_S)
        shipper = Shipper(root, sink, host=options.host, is_locked=True, on_trouble=sink.note)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: shipper.stop())
        deadline.at_end(lambda: shipper.stop(0))
        shipper.run(until=lambda: options.once and _is_done(root, options))
        _tell(sink)
    return SHIPPED if _is_done(root, options) else NOT_SHIPPED


def _tell(sink: JetStreamSink) -> None:
    """Says to who started this what became of it, if anybody listens."""
    told = {"events": sink.counts.events, "batches": sink.counts.batches, "trouble": sink.trouble.text}
    with contextlib.suppress(OSError):
        if stat.S_ISFIFO(os.fstat(1).st_mode):
            os.write(1, json.dumps(told).encode() + b"\n")


class Deadline:
    """So many seconds from the end of the pipe on standard input; none where that is no pipe."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._at_end: Callable[[], None] | None = None
        with contextlib.suppress(OSError):
            if stat.S_ISFIFO(os.fstat(0).st_mode):
                threading.Thread(target=self._listen, name="cbprocess-parent", daemon=True).start()

    def is_over(self) -> bool:
        """Whether the time is over."""
        return self._over.is_set()

    def at_end(self, function: Callable[[], None]) -> None:
        """Has the function called when the time is over, in another thread, or now if it is."""
        with self._lock:
            self._at_end = function
            if self._over.is_set():
                function()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 64):
                pass
        time.sleep(self._seconds)
        with self._lock:
            self._over.set()
            if self._at_end is not None:
                self._at_end()


def _lock(root: Path, deadline: Deadline, options: argparse.Namespace, stack: contextlib.ExitStack) -> bool:
    """Becomes the spool's shipper. Another one, an agent or that of another command, ships our session too,
    but may end before it has."""
    while True:
        with contextlib.suppress(BlockingIOError):
            stack.enter_context(spool.lock_shipper(root))
            return True
        if (options.once and _is_done(root, options)) or deadline.is_over():
            return False
        time.sleep(LOCK_LOOK_S)


def _is_done(root: Path, options: argparse.Namespace) -> bool:
    """Whether the session that this is about is shipped and gone; without one, all of them."""
    if options.session:
        return not (root / options.session).exists()
    return not spool.sessions(root)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="cbprocess.fleet.ship", description="Ship a spool to a stream.")
    add = parser.add_argument
    add("--servers", default=os.environ.get(SERVER_VARIABLE) or DEFAULT_SERVER)
    add("--tenant", default="default")
    add("--host", default=records.Origin.here().host)
    add("--spool", required=True)
    add("--creds")
    add("--ca")
    add("--cert")
    add("--cert-key")
    add("--session", help="the folder's name of the one session that --once is about")
    add("--once", action="store_true", help="end when everything that has ended is shipped")
    add("--wait", type=float, default=5.0, help="seconds from the end of standard input, if that is a pipe")
    return ship(parser.parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())
