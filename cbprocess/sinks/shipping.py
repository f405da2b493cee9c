"""The shipper: from a spool to a sink, at least once, several batches in flight.

A batch is acknowledged when it and all before it are safe, so that a shipper that is killed loses nothing: it
sends again what was in flight. Consumers compare numbers. Knows spools and sinks; nothing of events, of
networks and of the command line."""

from __future__ import annotations

import contextlib
import queue
import random
import threading
import time
from pathlib import Path
from typing import NamedTuple

from .._checks import checked_int
from ..errors import CBProcessError
from ..spool import Batch, SessionReader, lock_shipper, sessions
from . import Later, Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from . import Sink

WINDOW = 16
MAX_EVENTS = 256
MAX_BYTES = 400_000
# It looks for more so often where there is nothing to do.
LOOK_S = 0.05
# After a failure it waits for a time that doubles, from the first to the last of these. All hosts do this at
# once after an outage, so that none may do it at the same moment.
BACKOFF_S = (0.2, 30.0)
# A batch without an answer for so long has failed. Sinks have shorter limits of their own.
ANSWER_LIMIT_S = 120.0
# What is in flight at the end is awaited for so long.
END_LIMIT_S = 5.0


class ShipperCounts(NamedTuple):
    """The counts of a shipper since it was made."""

    events: int
    """Events that are safe."""
    batches: int
    retries: int
    refused: int
    """Events that the sink will never take. They are gone."""
    damaged: int
    """Lines of the spool that could not be read."""
    in_flight: int
    sessions: int
    failure: BaseException | None
    """The last failure; None once a batch was taken after it."""


class _Session:
    """A session that is being shipped: its reader, and what is on its way."""

    def __init__(self, reader: SessionReader) -> None:
        self.reader = reader
        self.pending: dict[int, int] = {}
        """The first and the last number of each batch that is not safe yet."""
        self.safe: dict[int, int] = {}

    def is_safe(self, batch: Batch) -> None:
        """Acknowledges as far as everything is safe."""
        self.safe[batch.first] = self.pending.pop(batch.first)
        lowest = min(self.pending, default=None)
        ready = [first for first in self.safe if lowest is None or first < lowest]
        if ready:
            self.reader.ack(max(self.safe.pop(first) for first in ready))


class Shipper:
    """Ships the spool `root` to a sink, which stays the caller's.

    window (16; from 1 to 1024): batches in flight. max_events (256; from 1 to 100000), max_bytes (400000;
    from 1024 to 100000000): the size of a batch; a sink with a limit of its own gets smaller ones. host:
    ships this host's sessions only; those of others are told and stay. is_locked: whether the caller has
    the lock of the spool's shipper. on_trouble: is called with the failure when the sink stops taking
    batches, and with None when it takes them again; and once for a session that cannot be shipped. In the
    thread of run()."""

    def __init__(
        self,
        root: os.PathLike[str] | str,
        sink: Sink,
        *,
        window: int = WINDOW,
        max_events: int = MAX_EVENTS,
        max_bytes: int = MAX_BYTES,
        host: str | None = None,
        is_locked: bool = False,
        on_trouble: Callable[[BaseException | None], object] | None = None,
    ) -> None:
        self._root = Path(root)
        self._sink = sink
        self._window = checked_int(window, "window", 1, 1024)
        self._max_events = checked_int(max_events, "max_events", 1, 100_000)
        self._max_bytes = checked_int(max_bytes, "max_bytes", 1024, 100_000_000)
        self._host = host
        self._is_locked = is_locked
        self._on_trouble = on_trouble
        self._sessions: dict[Path, _Session] = {}
        self._unreadable: set[Path] = set()
        self._foreign: set[Path] = set()
        # Each attempt has a number, by which it is answered once.
        self._attempts = 0
        self._flying: dict[int, tuple[_Session, Batch, float]] = {}
        self._answers: queue.SimpleQueue[tuple[int, BaseException | None]] = queue.SimpleQueue()
        self._again: list[tuple[_Session, Batch]] = []
        self._resume_s = self._looked_s = 0.0
        # Whether more may be there than there was room for.
        self._is_full = False
        self._failures = 0
        self._stopping = threading.Event()
        self._end_limit_s = END_LIMIT_S
        self._events = self._batches = self._retries = self._refused = self._damaged = 0
        self._failure: BaseException | None = None

    def run(
        self, *, once: bool = False, seconds: float | None = None, until: Callable[[], bool] | None = None
    ) -> ShipperCounts:
        """Ships until stop(); with `once` until every session that there is has ended and is shipped; with
        `until` until that is true while there is nothing to do. With seconds it ends by then in any case:
        what is in flight comes again next time. A session that cannot be read is told and stays; others go
        on. BlockingIOError if another shipper has this spool."""
        end_s = None if seconds is None else time.monotonic() + seconds
        with contextlib.nullcontext() if self._is_locked else lock_shipper(self._root):
            try:
                while not self._stopping.is_set() and (end_s is None or time.monotonic() < end_s):
                    is_busy = self._turn()
                    if once and not is_busy and self._is_done():
                        break
                    if until is not None and not is_busy and not self._flying and until():
                        break
                    self._sink.poll(self._pause(end_s))
                self._end(end_s)
            finally:
                for session in self._sessions.values():
                    session.reader.close()
        return self.counts()

    def stop(self, seconds: float = END_LIMIT_S) -> None:
        """Has run() end, once what is in flight is safe, or after so many seconds, five at most. Any thread;
        any number of times, also before run()."""
        self._end_limit_s = min(seconds, self._end_limit_s)
        self._stopping.set()

    def counts(self) -> ShipperCounts:
        """The counts, now. Any thread."""
        damaged = self._damaged + sum(each.reader.damaged for each in list(self._sessions.values()))
        return ShipperCounts(
            self._events,
            self._batches,
            self._retries,
            self._refused,
            damaged,
            len(self._flying),
            len(self._sessions),
            self._failure,
        )

    def _turn(self) -> bool:
        """Gives whether there was anything to do, or may be."""
        is_busy = self._hear()
        now = time.monotonic()
        if now < self._resume_s:
            return is_busy
        while self._again and len(self._flying) < self._window:
            self._send(*self._again.pop(0))
            is_busy = True
        if not self._is_full and now < self._looked_s + LOOK_S:
            # Only an answer has come. To look for lines costs more than to ship a few.
            return True
        self._looked_s = now
        self._find()
        while self._round():
            is_busy = True
        self._is_full = len(self._flying) + len(self._again) >= self._window
        return is_busy

    def _round(self) -> bool:
        """Sends a batch of each session that has one, as far as there is room, so that a busy session does
        not hold the others. Gives whether there was anything."""
        is_any = False
        for folder, session in list(self._sessions.items()):
            try:
                is_any = self._read(folder, session) or is_any
                self._unreadable.discard(folder)
            # A folder that was removed by hand, a segment that nobody can read, nonsense in it: others go on.
            except Exception as error:
                self._cannot_ship(folder, error)
        return is_any

    def _read(self, folder: Path, session: _Session) -> bool:
        """Sends a batch of a session, if there is one and room for it, and forgets the session at its end.
        Gives whether there was anything."""
        if len(self._flying) + len(self._again) >= self._window:
            return False
        batch = session.reader.batch(self._max_events, min(self._max_bytes, self._sink_max_bytes()))
        if batch is not None:
            session.pending[batch.first] = batch.last
            self._send(session, batch)
            # It goes behind the others: the room may be over before all have had their turn.
            self._sessions[folder] = self._sessions.pop(folder)
            return True
        if not session.pending and session.reader.is_finished:
            self._damaged += session.reader.damaged
            del self._sessions[folder]
            session.reader.remove()
        return False

    def _sink_max_bytes(self) -> int:
        found: int | None = getattr(self._sink, "max_bytes", None)
        return self._max_bytes if found is None else found

    def _cannot_ship(self, folder: Path, error: Exception) -> None:
        """Tells it once. A trouble of a moment passes by itself."""
        if folder not in self._unreadable:
            self._unreadable.add(folder)
            if self._on_trouble is not None:
                self._on_trouble(error)

    def _is_done(self) -> bool:
        """Whether there is no session left but those that cannot be shipped."""
        left = {*self._sessions, *sessions(self._root)}
        return not self._flying and not self._again and left <= self._unreadable

    def _pause(self, end_s: float | None) -> float:
        now = time.monotonic()
        wake_s = max(self._looked_s + LOOK_S, self._resume_s)
        left_s = min(LOOK_S, (wake_s if end_s is None else min(wake_s, end_s)) - now)
        return max(0.0, left_s)

    def _find(self) -> None:
        for folder in sessions(self._root):
            if folder in self._sessions or folder in self._foreign:
                continue
            # The bound may have taken it meanwhile.
            try:
                reader = SessionReader(folder)
            except CBProcessError:
                continue
            except OSError as error:
                self._cannot_ship(folder, error)
                continue
            if self._host is None or reader.origin.host == self._host:
                self._sessions[folder] = _Session(reader)
            else:
                self._foreign.add(folder)
                whose = f"a session of {reader.origin.host}, not of {self._host}; it stays there"
                self._cannot_ship(folder, OSError(f"{folder}: {whose}"))

    def _send(self, session: _Session, batch: Batch) -> None:
        self._attempts += 1
        attempt = self._attempts
        self._flying[attempt] = session, batch, time.monotonic()
        self._sink.send(batch, lambda error: self._answers.put((attempt, error)))

    def _hear(self) -> bool:
        """Takes the answers that have come. Gives whether there were any."""
        is_any = False
        late_s = time.monotonic() - ANSWER_LIMIT_S
        for attempt in [number for number, flying in self._flying.items() if flying[2] < late_s]:
            self._answers.put((attempt, TimeoutError("the sink does not answer")))
        while True:
            try:
                attempt, error = self._answers.get_nowait()
            except queue.Empty:
                return is_any
            if attempt not in self._flying:
                continue  # It was answered before.
            is_any = True
            session, batch, _ = self._flying.pop(attempt)
            if error is not None and not isinstance(error, Refused):
                self._failed(session, batch, error)
                continue
            refused = 0
            if isinstance(error, Refused):
                refused = batch.count if error.count is None else error.count
            self._refused += refused
            self._events += batch.count - refused
            self._batches += 1
            self._works()
            # What cannot be noted on the disk is noted with the next one.
            with contextlib.suppress(OSError):
                session.is_safe(batch)

    def _failed(self, session: _Session, batch: Batch, error: BaseException) -> None:
        self._retries += 1
        self._again.append((session, batch))
        self._again.sort(key=lambda each: each[1].first)
        now = time.monotonic()
        if isinstance(error, Later):
            self._resume_s = max(self._resume_s, now + min(error.seconds, BACKOFF_S[1]))
        elif now >= self._resume_s:
            delay = min(BACKOFF_S[0] * 2 ** min(self._failures, 20), BACKOFF_S[1])
            self._resume_s = now + delay * random.uniform(0.5, 1.5)
            self._failures += 1
        if self._failure is None and self._on_trouble is not None:
            self._on_trouble(error)
        self._failure = error

    def _works(self) -> None:
        self._failures = 0
        if self._failure is not None:
            self._failure = None
            if self._on_trouble is not None:
                self._on_trouble(None)

    def _end(self, end_s: float | None) -> None:
        """Awaits what is in flight."""
        began = time.monotonic()
        self._hear()
        # A later stop() may say that there is less time.
        while self._flying and (left_s := self._left(began, end_s)) > 0:
            self._sink.poll(min(LOOK_S, left_s))
            self._hear()

    def _left(self, began: float, end_s: float | None) -> float:
        limit = began + self._end_limit_s
        return (limit if end_s is None else min(limit, end_s)) - time.monotonic()
