"""The destinations of outputs: `-` is standard output, and no two of them go to one file.

Knows nothing of what is written."""

from __future__ import annotations

import os
import stat
import sys

from .._lean import suppress
from .words import PRIVATE_MODE, STANDARD_OUTPUT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator
    from typing import TextIO

CHUNK = 65536


def open_text(path: str) -> TextIO:
    """A file to be written, or standard output, which closing it leaves open."""
    if path == STANDARD_OUTPUT:
        return open(1, "w", encoding="utf-8", closefd=False)
    return open(path, "w", encoding="utf-8", opener=private)


def private(path: str, flags: int) -> int:
    """Opens a file for open(); one that is made belongs to its owner alone, because command lines can hold
    secrets. One that was there keeps its mode."""
    return os.open(path, flags, PRIVATE_MODE)


def name_of(path: str) -> str:
    return "standard output" if path == STANDARD_OUTPUT else path


def clash(files: list[tuple[str, str | None]]) -> str | None:
    """The trouble where two of these files, each with its option, are one, by any names."""
    seen: dict[Hashable, tuple[str, str]] = {}
    for option, path in files:
        for key in [] if path is None else _identities(path):
            other = seen.setdefault(key, (option, str(path)))
            if other[0] != option:
                return f"{other[0]} and {option} would both go to {name_of(str(path))}"
    return None


def _identities(path: str) -> Iterator[Hashable]:
    found = None
    # The path has to do where nothing is yet, or where no look is permitted.
    with suppress(OSError, ValueError):
        found = os.fstat(1) if path == STANDARD_OUTPUT else os.stat(path)
    if path == STANDARD_OUTPUT:
        yield STANDARD_OUTPUT
    elif found is None or not stat.S_ISCHR(found.st_mode):
        yield os.path.normcase(os.path.realpath(path))
    # A device is no file: /dev/null takes everything.
    if found is not None and not stat.S_ISCHR(found.st_mode):
        yield found.st_dev, found.st_ino


class Pump:
    """Passes on to standard output what is written to `path`, for a writer that opens its file by a name."""

    def __init__(self) -> None:
        if sys.platform == "win32":
            raise OSError(0, "a recording cannot go to standard output on Windows")
        import threading

        self._source, self._sink = os.pipe()
        self.path = f"/proc/self/fd/{self._sink}"
        self._thread = threading.Thread(target=self._pass_on, name="cbprocess-recording", daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Ends the pump, when the writer has closed its file."""
        os.close(self._sink)
        self._thread.join()
        os.close(self._source)

    def _pass_on(self) -> None:
        is_read = True
        data = os.read(self._source, CHUNK)
        while data:
            # The writer goes on when the reader has gone.
            while data and is_read:
                try:
                    data = data[os.write(1, data) :]
                except OSError:
                    is_read = False
            data = os.read(self._source, CHUNK)
