"""What the command prints while the live view has the terminal: a file that has no name, of which the view
shows the end. When the view ends, the terminal gets all of it, and what is printed from then on.

It is a file and no pipe, so that no write of the command waits for us, and none fails when we have ended.
Knows nothing of the view."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import threading

from ..._checks import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CHUNK = 65536
LOOK_S = 0.05


class Printed:
    """The output of a command whose standard streams are our terminal. Streams that are none stay as they
    are. OSError where no temporary file can be made."""

    def __init__(self) -> None:
        self._streams = [name for number, name in ((1, "stdout"), (2, "stderr")) if os.isatty(number)]
        self._target = 1 if "stdout" in self._streams else 2
        self._file = None
        if self._streams:
            self._file = tempfile.TemporaryFile(mode="ab+", buffering=0)  # noqa: SIM115, until finish()
        self._shown = 0  # so many bytes the terminal has
        self._thread: threading.Thread | None = None
        self._is_over = threading.Event()

    def keywords(self) -> dict[str, Any]:
        """Keywords for Popen. The command cannot read what is typed, because the view does."""
        streams: dict[str, Any] = dict.fromkeys(self._streams, self._file)
        if os.isatty(0):
            streams["stdin"] = subprocess.DEVNULL
        return streams

    def tail(self, count: int) -> list[str]:
        """The last lines, as far as they have been printed. Any thread."""
        if self._file is None:
            return []
        size = os.fstat(self._file.fileno()).st_size
        text = _read(self._file.fileno(), max(size - CHUNK, 0), CHUNK).decode("utf-8", "replace")
        lines = text.replace("\r\n", "\n").rstrip("\n").split("\n") if text else []
        # A progress bar writes over its line again and again.
        return [printable(line.rstrip("\r").rpartition("\r")[2].expandtabs()) for line in lines[-count:]]

    def show(self) -> None:
        """Gives the terminal what has been printed, and from now on what is printed, until `finish()`."""
        if self._file is None or self._thread is not None:
            return

        def follow() -> None:
            self._copy()
            while not self._is_over.wait(LOOK_S):
                self._copy()

        self._thread = threading.Thread(target=follow, name="cbprocess-printed", daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Gives the terminal the rest. What others print to the file later is lost."""
        self.show()
        if self._thread is not None:
            self._is_over.set()
            self._thread.join()
            self._copy()
        if self._file is not None:
            self._file.close()
            self._file = None

    def _copy(self) -> None:
        assert self._file is not None
        # The terminal may have gone; the command goes on.
        with contextlib.suppress(OSError):
            data = _read(self._file.fileno(), self._shown, CHUNK)
            while data:
                self._shown += os.write(self._target, data)
                data = _read(self._file.fileno(), self._shown, CHUNK)


def _read(fd: int, offset: int, size: int) -> bytes:
    if sys.platform != "win32":
        return os.pread(fd, size, offset)
    # Only this process moves the position of its own descriptor; others append.
    os.lseek(fd, offset, os.SEEK_SET)
    return os.read(fd, size)
