"""The writer of one session. Its callers never wait: they append to a list, and a thread writes.

A line has its number before it is known whether there is room for it. So whatever is lost leaves a gap, and a
record `lost` tells of it as soon as there is room. A full disk ends nothing: lines wait in memory, up to a
bound, and are counted beyond it. Knows files and records; no events, no filter and no reader."""

from __future__ import annotations

import atexit
import json
import os
import threading
import time
import weakref
from collections import deque
from pathlib import Path
from typing import NamedTuple

from .. import records
from .._checks import checked_int
from ..constants import ERROR_ALREADY_EXISTS, ERROR_NOT_READY
from ..errors import CBProcessError
from .bound import SEGMENT_BYTES_MIN, Removed, hold_bound
from .layout import (
    ACKED,
    BINARY,
    END,
    FULL,
    HEAD,
    LOCK,
    NO_LINK,
    NOT_INHERITED,
    TEMPORARY,
    UNKNOWN_BOOT,
    host_of,
    lock,
    make_number_file,
    make_root,
    read_number,
    segment_name,
    session_folder,
    write_number,
)
from .sealing import line_of
from .tales import Tales

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from typing_extensions import Self

    Line = tuple[int, bytes]

LIMIT_BYTES = 256 << 20
LIMIT_BYTES_MIN = 1 << 20
LIMIT_BYTES_MAX = 1 << 50
MEMORY_BYTES = 16 << 20
MEMORY_BYTES_MIN = 64 << 10
MEMORY_BYTES_MAX = 1 << 30
# Lines are written so often, or when there are so many.
FLUSH_S = 0.05
FLUSH_LINES = 256
CHUNK_BYTES = 256 << 10
# A failed write is tried again after this time, and at the end for so long.
RETRY_S = 0.2
CLOSE_LIMIT_S = 2.0
# At the end, what is told may take the room of what was told, which has to be told again then. After so many
# rounds it is written whatever the bound says.
CLOSE_ROUNDS = 8
# What a file's name has room for.
BOOT_SIZE_MAX = 100
# The part of the bound that one line may have.
LINE_SHARE = 8


class SpoolCounts(NamedTuple):
    """The counts of a writer."""

    number: int
    """The last number that was given."""
    lost: int
    """Lines of this session that never reached the disk, and those of the driver's that were told."""
    removed: int
    """Numbers that went for want of room, of any session, before a shipper had them."""
    failed_writes: int
    """Attempts to write that failed."""
    failure: OSError | None
    """The last failure; None once a write has succeeded."""


# The number of forks between the process that imported this and this one.
_generation = 0


_writers: weakref.WeakSet[SpoolWriter] = weakref.WeakSet()


def _forked() -> None:
    global _generation
    _generation += 1
    # A fork that outlives its parent must not keep the parent's sessions alive.
    for writer in list(_writers):
        writer._unlock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


class SpoolWriter:
    """A session in the spool `root`, a folder that is made where there is none (mode 0700).

    origin: host, boot and session of the lines; by default this machine's, with the name that host_of()
    gives, and a new session. A boot that is not known becomes "unknown-" and the session. limit_bytes
    (268435456; from 1048576): what all sessions of the spool may take of the disk. memory_bytes (16777216;
    from 65536): the lines that wait while the disk does not take them.

    A thread of its own writes every 50 milliseconds. What it has not written yet is lost when the process is
    killed; what it has written survives that, but not a power cut. close() writes the rest. A fork has no
    part in it (error 21). OSError if the folder cannot be made (a full disk is no reason for that), belongs
    to another user but root, or can be written by others. Errors: 183 for a session that the spool has
    already, 87 for an argument of the wrong type or value."""

    def __init__(
        self,
        root: os.PathLike[str] | str,
        origin: records.Origin | None = None,
        *,
        limit_bytes: int = LIMIT_BYTES,
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        self._limit = checked_int(limit_bytes, "limit_bytes", LIMIT_BYTES_MIN, LIMIT_BYTES_MAX)
        self._memory = checked_int(memory_bytes, "memory_bytes", MEMORY_BYTES_MIN, MEMORY_BYTES_MAX)
        self._line_max = min(self._limit // LINE_SHARE, self._memory // 2)
        self._root = Path(os.path.abspath(root))
        # A process may write several sessions.
        self.origin = origin or records.Origin.here(host_of(root), os.urandom(16).hex())
        self.folder = session_folder(self._root, self.origin)
        if self.origin.boot is None:
            # The identity of an event needs four texts; and without the session, a process of another boot
            # could have the name of one of this.
            self.origin = self.origin._replace(boot=f"{UNKNOWN_BOOT}-{self.origin.session}"[:BOOT_SIZE_MAX])
        self._generation = _generation
        # What callers share with the thread, under the lock.
        self._lock = threading.Lock()
        self._lines: list[Line] = []
        self._size = 0  # of the lines that have not been written, wherever they are
        self._last = 0
        self._losses: list[list[Any]] = []  # first number, last number, reason, count
        self._untold: list[dict[str, Any]] = []  # losses whose lines were lost, too
        self._tales = Tales(SEGMENT_BYTES_MIN)
        self._is_blocked = False  # by what may not be removed
        self._lost = self._removed = self._failed_writes = 0
        self._failure: OSError | None = None
        self._is_closed = False
        self._ready, self._full, self._closing = (threading.Event() for _ in range(3))
        # The thread's own.
        self._backlog: deque[Line] = deque()
        self._is_made = False
        self._is_bounded = True
        self._rest = b""  # of a write that the disk has cut off
        self._fd: int | None = None
        self._lock_fd: int | None = None
        self._segment_first = self._segment_size = self._written = 0
        self._share = SEGMENT_BYTES_MIN
        self._unseen = self._share  # bytes written since the last look at the bound
        try:
            self._open_session()
        except OSError as error:
            if error.errno not in FULL:
                raise
            self._failure = error
        self._thread = threading.Thread(target=self._run, name="cbprocess-spool", daemon=True)
        self._thread.start()
        atexit.register(self.close)
        _writers.add(self)

    # ---- Any thread ----

    def add(self, record: dict[str, Any]) -> int:
        """Appends a record, with its number behind the identity of the session; gives the number. Never
        waits for the disk. Error 21 after close()."""
        return self.append(lambda number: line_of(record, number))

    def append(self, make: Callable[[int], bytes]) -> int:
        """Appends the line that make(number) gives, with its end; gives the number. make is called here and
        now, under a lock; what it raises comes out, and the number is given to the next line. It is not
        called where there is no room: then the number is lost. Error 21 after close()."""
        self._check_process()
        with self._lock:
            if self._is_closed:
                raise CBProcessError(ERROR_NOT_READY, "the spool's writer is closed")
            if self._losses and not self._is_blocked:
                if self._size > self._memory // 2:
                    return self._lose_next("memory")
                self._tell_losses()
            line = make(self._last + 1)
            if self._size + len(line) > self._memory:
                return self._lose_next("memory")
            if len(line) > self._line_max:
                return self._lose_next("size")
            self._queue(line)
            return self._last

    def tell_lost(self, count: int, reason: str = "driver") -> None:
        """Tells of events that were lost before they came here: a record `lost` without numbers."""
        self._check_process()
        with self._lock:
            if not self._is_closed:
                self._lost += count
                self._tell(reason=reason, count=count, first_number=None, last_number=None)

    def counts(self) -> SpoolCounts:
        """The counts, now."""
        with self._lock:
            return SpoolCounts(self._last, self._lost, self._removed, self._failed_writes, self._failure)

    def close(self) -> None:
        """Writes everything, ends the session with a record `session_end`, and ends the thread. Waits for
        the disk, on a full one for two seconds at most; then counts() tells what was lost. Does nothing when
        closed, and in a fork."""
        if self._generation != _generation:
            return
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                self._tell_losses()
                self._queue_record("session_end", last_number=self._last + 1)
        self._closing.set()
        self._full.set()
        self._ready.set()
        self._thread.join()
        atexit.unregister(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _check_process(self) -> None:
        if self._generation != _generation:
            raise CBProcessError(
                ERROR_NOT_READY, "the spool's writer belongs to the process this one was forked from"
            )

    # ---- Under the lock ----

    def _queue(self, line: bytes) -> None:
        self._last += 1
        self._lines.append((self._last, line))
        self._size += len(line)
        if len(self._lines) == 1:
            self._ready.set()
        elif len(self._lines) == FLUSH_LINES:
            self._full.set()

    def _queue_record(self, name: str, **fields: Any) -> None:
        self._queue(line_of(records.made(name, self.origin, **fields), self._last + 1))

    def _lose_next(self, reason: str) -> int:
        self._last += 1
        self._lose(self._last, reason)
        return self._last

    def _lose(self, number: int, reason: str) -> None:
        self._lost += 1
        if self._losses and self._losses[-1][1:3] == [number - 1, reason]:
            self._losses[-1][1] = number
            self._losses[-1][3] += 1
        else:
            self._losses.append([number, number, reason, 1])

    def _tell_losses(self) -> None:
        """Tells of everything that has not been told, where that has a chance to be written."""
        losses, self._losses = self._losses, []
        for first, last, reason, count in losses:
            self._tell(reason=reason, count=count, first_number=first, last_number=last)
        untold, self._untold = self._untold, []
        for fields in self._tales.together(untold):
            self._tell(**fields)

    def _tell(self, **fields: Any) -> None:
        self._tales.told(self._last + 1, fields)
        self._queue_record("lost", **fields)

    def _tell_removed(self, gone: Removed) -> None:
        """Tells of segments that went."""
        fields: dict[str, Any] = {"reason": "bound", "count": gone.last - gone.first + 1}
        fields.update(first_number=gone.first, last_number=gone.last)
        if gone.origin != self.origin:
            self._tell(**fields, lost_boot=gone.origin.boot, lost_session=gone.origin.session)
            return
        again = [told for each in gone.lines for told in self._tales.again(*each, is_covered=True)]
        # Other lines up to the last one were removed by other writers, who tell what these said.
        self._tales.forget(gone.last)
        self._tell(**fields)
        for told in self._tales.together(again):
            self._tell(**told)

    # ---- The thread ----

    def _run(self) -> None:
        end_s = None
        rounds = 0
        while True:
            self._ready.wait()
            # Lines are written together.
            self._full.wait(FLUSH_S)
            with self._lock:
                if not self._is_closed:
                    self._full.clear()
                    self._ready.clear()
                self._backlog.extend(self._lines)
                self._lines = []
                is_last = self._is_closed
            try:
                self._write_backlog()
            except OSError as error:
                with self._lock:
                    self._failure = error
                    self._failed_writes += 1
                if end_s is None and is_last:
                    end_s = time.monotonic() + CLOSE_LIMIT_S
                if end_s is not None and time.monotonic() > end_s:
                    break
                self._ready.set()
                # The end of the session is no reason to try at once.
                time.sleep(RETRY_S) if is_last else self._closing.wait(RETRY_S)
                continue
            with self._lock:
                self._failure = None
                if not self._is_blocked and self._size <= self._memory // 2:
                    self._tell_losses()
                if not is_last:
                    continue
                rounds += 1
                if not self._lines and not self._is_blocked:
                    break
                if not self._lines or rounds == CLOSE_ROUNDS:
                    self._queue_last_words()
        self._finish()

    def _queue_last_words(self) -> None:
        """Has a spool without room take the tales of what was lost, of this session and of those that it has
        removed: they are short, and nobody else knows of them. With them it ends: they remove nothing."""
        self._is_blocked = False
        self._is_bounded = False
        self._tell_losses()
        self._queue_record("session_end", last_number=self._last + 1)

    def _finish(self) -> None:
        """Ends the session as far as the disk allows: the number of its end takes no room."""
        with self._lock:
            self._lost += len(self._backlog) + self._rest.count(b"\n")
        try:
            if self._lock_fd is not None:
                write_number(self.folder / END, self._last)
        except OSError as error:
            self._failure = error
        if self._fd is not None:
            os.close(self._fd)
        self._fd = None
        self._unlock()

    def _unlock(self) -> None:
        """Closes the session's lock; in a fork only the fork's part of it."""
        fd, self._lock_fd = self._lock_fd, None
        if fd is not None:
            os.close(fd)

    def _write_backlog(self) -> None:
        """Writes what there is. OSError where the disk does not take it; then nothing is forgotten."""
        self._check_files()
        self._write_rest()
        while self._backlog:
            if self._lock_fd is None:
                self._open_session()
            chunk: list[Line] = []
            size = 0
            for number, line in self._backlog:
                if chunk and size + len(line) > min(CHUNK_BYTES, self._share):
                    break
                chunk.append((number, line))
                size += len(line)
            if self._is_room_for(size):
                if self._fd is None or self._segment_size + size > self._share:
                    self._open_segment(chunk[0][0])
                self._rest = b"".join(line for _, line in chunk)
                self._written = chunk[-1][0]
                for _ in chunk:
                    self._backlog.popleft()
                self._write_rest()
            else:
                for _ in chunk:
                    self._backlog.popleft()
                with self._lock:
                    self._is_blocked = True
                    self._size -= size
                    self._untold += self._tales.again(chunk[0][0], chunk[-1][0], is_covered=False)
                    for number, _ in chunk:
                        self._lose(number, "bound")

    def _write_rest(self) -> None:
        while self._rest:
            assert self._fd is not None
            count = os.write(self._fd, self._rest)
            self._rest = self._rest[count:]
            self._segment_size += count
            self._unseen += count
            with self._lock:
                self._size -= count

    def _is_room_for(self, size: int) -> bool:
        """Keeps the bound, now and then. False if this spool is full of what may not be removed."""
        if not self._is_bounded or self._unseen + size <= self._share // 2:
            return True
        held = hold_bound(self._root, self._limit, self.folder, size)
        acked = read_number(self.folder / ACKED) or 0
        with self._lock:
            self._tales.forget(acked)
            self._tales.share = held.share
            for gone in held.removed:
                self._removed += gone.total
                self._tell_removed(gone)
            for told in self._tales.together(told for gone in held.removed for told in gone.tales):
                self._tell(**told)
        self._share = held.share
        if held.total + size > self._limit:
            return False
        self._unseen = 0
        self._is_blocked = False
        return True

    def _check_files(self) -> None:
        """Begins again where somebody has removed the files that are being written."""
        if self._fd is None or os.fstat(self._fd).st_nlink:
            return
        with self._lock:
            self._untold += self._tales.again(self._segment_first, self._written, is_covered=True)
            for number in range(self._segment_first, self._written + 1):
                self._lose(number, "removed")
            self._size -= len(self._rest)
        self._rest = b""
        os.close(self._fd)
        self._fd = None
        if not (self.folder / HEAD).exists():
            self._unlock()

    def _open_segment(self, number: int) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | NOT_INHERITED | BINARY
        path = self.folder / segment_name(number)
        try:
            fd = os.open(path, flags, 0o600)
        except FileNotFoundError:
            # Somebody has removed the folder.
            self._unlock()
            self._open_session()
            fd = os.open(path, flags, 0o600)
        if self._fd is not None:
            os.close(self._fd)
        self._fd = fd
        self._segment_first, self._segment_size = number, 0

    def _open_session(self) -> None:
        """Makes the folder of the session. Its head comes last, so that a reader finds all or nothing."""
        make_root(self._root)
        try:
            self.folder.mkdir(exist_ok=self._is_made, mode=0o700)
        except FileExistsError:
            raise CBProcessError(
                ERROR_ALREADY_EXISTS, f"the session is there already: {self.folder}"
            ) from None
        self._is_made = True
        try:
            lock_fd = lock(self.folder / LOCK, wait=True)
        except FileNotFoundError:
            # Another process took it for something that was left behind: the clock has jumped in between.
            self.folder.mkdir(exist_ok=True, mode=0o700)
            lock_fd = lock(self.folder / LOCK, wait=True)
        try:
            for name in (ACKED, END):
                make_number_file(self.folder / name)
            head = {"schema": records.SCHEMA, **self.origin._asdict(), "process_id": os.getpid()}
            temporary = self.folder / f"{HEAD}{TEMPORARY}"
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | NO_LINK | NOT_INHERITED | BINARY
            fd = os.open(temporary, flags, 0o600)
            try:
                os.write(fd, json.dumps(head).encode() + b"\n")
            finally:
                os.close(fd)
            os.replace(temporary, self.folder / HEAD)
        except BaseException:
            os.close(lock_fd)
            raise
        self._lock_fd = lock_fd
