"""The sink `file:`: one file that lines are appended to, and that the disk has before they are safe.

For a share, an archive, or a program that follows one file. Knows batches and a file."""

from __future__ import annotations

import errno
import os
import sys
import time
from urllib.parse import unquote, urlsplit

from .._checks import wrong
from . import shown

if sys.platform != "win32":
    import fcntl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..spool import Batch
    from . import Done

NOT_INHERITED: int = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOINHERIT", 0)
TAIL_SIZE = 1 << 16


def open_file(url: str) -> FileSink:
    """The sink for `file:PATH` or `file:///PATH`, which appends to that file. Error 87 for another host, or
    without a path."""
    try:
        _, host, text, *_ = urlsplit(url)
    except ValueError:
        host, text = "?", ""
    if host not in ("", "localhost") or not text:
        raise wrong(f"file:PATH or file:///PATH, not {shown(url)!r:.100}")
    return FileSink(unquote(text))


class FileSink:
    """Appends to a file, which is made with mode 0600. A last line without its end, as a power cut leaves it,
    is cut off. OSError if the file cannot be opened, BlockingIOError while another sink has it: each knows a
    place of its own in the file, so that two would write over each other's lines (Windows has no such look).
    """

    def __init__(self, path: str) -> None:
        flags = os.O_RDWR | os.O_CREAT | NOT_INHERITED | getattr(os, "O_BINARY", 0)
        self._fd = os.open(path, flags, 0o600)
        self._waiting: list[Done] = []
        try:
            _lock(self._fd)
            self._size = self._whole_size()
            os.ftruncate(self._fd, self._size)
        except BaseException:
            os.close(self._fd)
            raise

    def send(self, batch: Batch, done: Done) -> None:
        """Writes the batch; poll() makes it safe."""
        try:
            os.lseek(self._fd, self._size, os.SEEK_SET)
            data = batch.data
            while data:
                data = data[os.write(self._fd, data) :]
        except OSError as error:
            done(error)
            return
        self._size += len(batch.data)
        self._waiting.append(done)

    def poll(self, seconds: float) -> None:
        """Has the system write everything to the disk: many batches at once."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            time.sleep(seconds)
            return
        failure: OSError | None = None
        try:
            # A failed write may have left a part of a line.
            os.ftruncate(self._fd, self._size)
            os.fsync(self._fd)
        except OSError as error:
            failure = error
        for done in waiting:
            done(failure)

    def close(self, seconds: float) -> None:
        """Makes safe what is not, and closes the file."""
        self.poll(0)
        os.close(self._fd)

    def _whole_size(self) -> int:
        """The size of the file up to its last line end."""
        size = os.lseek(self._fd, 0, os.SEEK_END)
        while size:
            begin = max(0, size - TAIL_SIZE)
            os.lseek(self._fd, begin, os.SEEK_SET)
            data = os.read(self._fd, size - begin)
            at = data.rfind(b"\n")
            if at >= 0:
                return begin + at + 1
            size = begin
        return 0


def _lock(fd: int) -> None:
    """Locks the file until it is closed. Some shares know no locks."""
    if sys.platform == "win32":
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise BlockingIOError(errno.EAGAIN, "another shipper writes to this file") from None
    except OSError:
        pass
