"""Readers of a spool: one session in batches, for a shipper, and the lines of all sessions as they come.

A reader begins behind what is acknowledged, and sees whole lines only. Segments that are acknowledged are
removed, but for the last one. Knows files and the numbers of lines; nothing of events and networks."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import NamedTuple

from .. import records
from ..errors import CBProcessError
from .layout import (
    ACKED,
    END,
    HEAD,
    Batch,
    is_live,
    last_number,
    line_number,
    read_number,
    read_origin,
    remove_folder,
    segments,
    session_folders,
    write_number,
)
from .sealing import line_of, seal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

    from ..records import Origin

MAX_EVENTS = 256
MAX_BYTES = 400_000
NUMBER_KEY = b'"number":'


class SessionState(NamedTuple):
    """A session of a spool, as its files tell."""

    folder: Path
    origin: Origin
    is_live: bool
    """Whether its writer lives."""
    is_ended: bool
    """Whether its last number is known."""
    first: int | None
    """The first number that is there; None without segments."""
    last: int | None
    """The last number of which there is a line."""
    acked: int
    """The number up to which a shipper has everything."""
    bytes: int
    """The size of its segments."""


class SessionReader:
    """One session, in batches. For one thread.

    begin: the number to begin behind; by default the acknowledged one. Error 1168 if the folder is no
    session's."""

    def __init__(self, folder: os.PathLike[str] | str, *, begin: int | None = None) -> None:
        self.folder = Path(folder)
        self.origin: Origin = read_origin(self.folder)
        self.acked = read_number(self.folder / ACKED) or 0
        self.read_to = self.acked if begin is None else begin
        self.damaged = 0
        """Lines that could not be read. They are left out, so their numbers are missing."""
        self._file: BinaryIO | None = None
        self._first = 0  # of the segment that is open
        self._offset = 0  # behind the last whole line that was read
        self._prefix = b""

    def batch(self, max_events: int = MAX_EVENTS, max_bytes: int = MAX_BYTES) -> Batch | None:
        """The next lines, at most so many; one line at least, however long. None if there is nothing now.

        Where a session has ended without its last lines, the last batch is a record `lost` that this call
        makes, with the session's last number and the reason "missing"."""
        while True:
            batch = self._read(max_events, max_bytes)
            if batch is not None:
                return batch
            if not self._open_next():
                return self._missing()

    def ack(self, number: int) -> None:
        """Notes that everything up to this number is safe elsewhere, and removes the segments of that.
        OSError if that cannot be noted; then a later call may succeed."""
        if number <= self.acked:
            return
        self.acked = number
        found = segments(self.folder)
        for (first, path), (following, _) in zip(found, found[1:]):
            if following > number + 1:
                break
            # Its lines may be read again after a rewind, but not those of before.
            if first == self._first:
                self._close()
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
        with contextlib.suppress(FileNotFoundError):
            write_number(self.folder / ACKED, number)

    def rewind(self) -> None:
        """Has the next batch begin behind what is acknowledged."""
        self.read_to = self.acked
        self.close()

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to be read or acknowledged, and nothing will come. A session whose writer
        has died is ended here."""
        if not (self.folder / HEAD).exists():
            return True
        if read_number(self.folder / END) is None:
            if is_live(self.folder):
                return False
            with contextlib.suppress(OSError):
                seal(self.folder)
            return False
        end = read_number(self.folder / END)
        return end is not None and self.acked >= self.read_to >= end

    def remove(self) -> None:
        """Removes the session. To be called when it is finished."""
        self.close()
        remove_folder(self.folder)

    def close(self) -> None:
        """Closes the file that is open. The reader can go on after that."""
        self._close()
        self._first = 0

    def _read(self, max_events: int, max_bytes: int) -> Batch | None:
        """A batch of the segment that is open."""
        size = least = max(1, max_bytes)
        while self._file is not None:
            self._file.seek(self._offset)
            data = self._file.read(size)
            end = data.rfind(b"\n") + 1
            if not end:
                if len(data) < size:
                    return None
                size *= 2  # a long line
                continue
            lines = data[:end].split(b"\n")[:-1]
            batch = self._take(lines[:max_events] if size == least else lines[:1])
            if batch is not None:
                return batch
        return None

    def _take(self, lines: list[bytes]) -> Batch | None:
        """Takes lines, but for those that were read before."""
        taken: list[bytes] = []
        first = 0
        for line in lines:
            self._offset += len(line) + 1
            number = self._number(line)
            if number is None:
                self.damaged += 1
            elif number > self.read_to:
                first = first or number
                self.read_to = number
                taken.append(line)
        if not taken:
            return None
        return Batch(self.origin, first, self.read_to, len(taken), b"\n".join(taken) + b"\n")

    def _number(self, line: bytes) -> int | None:
        """The number of a line. All lines of a session begin alike, so that few have to be decoded."""
        if self._prefix and line.startswith(self._prefix):
            text = line[len(self._prefix) : len(self._prefix) + 20].partition(b",")[0].strip()
            if text.isdigit() and line.endswith(b"}"):
                return int(text)
        number = line_number(line)
        at = line.find(NUMBER_KEY)
        if number is not None and at >= 0:
            self._prefix = line[: at + len(NUMBER_KEY)]
        return number

    def _open_next(self) -> bool:
        """Opens the segment that follows, or the first one that is needed. False if there is none."""
        while True:
            found = segments(self.folder)
            if self._first:
                later = [part for part in found if part[0] > self._first]
                # It may have grown between the last read and the look at what follows.
                if later and self._file is not None and self._has_more():
                    return True
            else:
                begun = [part for part in found if part[0] <= self.read_to + 1]
                later = found[max(0, len(begun) - 1) :]
            if not later:
                return False
            number, path = later[0]
            try:
                file = open(path, "rb", buffering=0)  # noqa: SIM115
            except FileNotFoundError:
                # The bound has taken it. The next look finds what is left.
                if not (self.folder / HEAD).exists():
                    return False
                continue
            self._close()
            self._file, self._first, self._offset = file, number, 0
            return True

    def _has_more(self) -> bool:
        assert self._file is not None
        self._file.seek(self._offset)
        size = os.fstat(self._file.fileno()).st_size - self._offset
        return size > 0 and b"\n" in self._file.read(size)

    def _missing(self) -> Batch | None:
        """The record for lines that a session that has ended should have and has not."""
        end = read_number(self.folder / END)
        if end is None or end <= self.read_to or (self._file is not None and self._has_more()):
            return None
        if any(first > max(self._first, self.read_to) for first, _ in segments(self.folder)):
            return None
        first, count = self.read_to + 1, end - self.read_to
        fields = {"reason": "missing", "count": count, "first_number": first, "last_number": end}
        line = line_of(records.made("lost", self.origin, **fields), end)
        self.read_to = end
        return Batch(self.origin, end, end, 1, line)

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def states(root: os.PathLike[str] | str) -> list[SessionState]:
    """All sessions of a spool, as their files tell now. Reads the end of each last segment."""
    found = []
    for folder in sessions(root):
        parts = segments(folder)
        size = 0
        last = None
        for _, path in reversed(parts):
            with contextlib.suppress(OSError):
                size += path.stat().st_size
            last = last_number(path) if last is None else last
        with contextlib.suppress(Exception):
            found.append(
                SessionState(
                    folder,
                    read_origin(folder),
                    is_live(folder),
                    read_number(folder / END) is not None,
                    parts[0][0] if parts else None,
                    last,
                    read_number(folder / ACKED) or 0,
                    size,
                )
            )
    return found


def sessions(root: os.PathLike[str] | str) -> list[Path]:
    """The folders of all sessions, those that began first in front. None where there is no spool (yet)."""
    aged = []
    for folder in session_folders(Path(root)):
        with contextlib.suppress(FileNotFoundError):
            aged.append(((folder / HEAD).stat().st_mtime_ns, folder))
    return [folder for _, folder in sorted(aged)]


def follow(
    root: os.PathLike[str] | str,
    *,
    poll_s: float = 0.1,
    stop: Callable[[], bool] | None = None,
) -> Iterator[bytes]:
    """The lines of all sessions, from the oldest that are there, and then as they come; of each session in
    order. Acknowledges and removes nothing, so that it can run beside a shipper.

    poll_s: how often it looks for more, in seconds. stop: once it returns True, the iteration ends after what
    is there; without it never ends."""
    readers: dict[Path, SessionReader] = {}
    gone: set[Path] = set()
    while True:
        is_last = stop is not None and stop()
        is_busy = False
        present = sessions(root)
        gone.intersection_update(present)
        for folder in present:
            if folder not in readers and folder not in gone:
                with contextlib.suppress(CBProcessError):
                    readers[folder] = SessionReader(folder, begin=0)
        for folder, reader in list(readers.items()):
            batch = reader.batch()
            while batch is not None:
                is_busy = True
                yield from batch.data.splitlines(keepends=True)
                batch = reader.batch()
            end = read_number(folder / END)
            if not (folder / HEAD).exists() or (end is not None and reader.read_to >= end):
                reader.close()
                del readers[folder]
                gone.add(folder)
        if is_last:
            return
        if not is_busy:
            time.sleep(poll_s)
