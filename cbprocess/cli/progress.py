"""One line on the terminal that says how far a long command is. It appears where it disturbs nothing: on a
terminal that nothing else is printed to.

Knows numbers and the terminal; nothing of files and of events."""

from __future__ import annotations

import contextlib
import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

ERROR_OUTPUT = 2
# No descriptor: nothing is printed, or not to a terminal.
NOWHERE = -1
# A command that has ended by then needs no line.
FIRST_S = 0.7
INTERVAL_S = 0.2
CLEAR = "\r\x1b[K"


class Progress:
    """The line. fd: the terminal. output_fd: where the command prints, which must be no terminal. clock: the
    time in seconds. One thread at a time."""

    def __init__(
        self, output_fd: int, fd: int = ERROR_OUTPUT, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._fd = fd
        self._clock = clock
        self._started_s = clock()
        self._next_s = self._started_s + FIRST_S
        self._is_shown = False
        self.is_possible = _is_terminal(fd) and not _is_terminal(output_fd)

    def tell(self, done: int, total: int, events: int) -> None:
        """Says that `done` of `total` is done (total 0: nobody knows how much there is), and that so many
        events were taken. Costs nothing until the next line is due."""
        if not self.is_possible:
            return
        now_s = self._clock()
        if now_s < self._next_s:
            return
        self._next_s = now_s + INTERVAL_S
        self._write(f"{CLEAR}cbprocess: {progress_text(done, total, events, now_s - self._started_s)}")
        self._is_shown = True

    def finish(self) -> None:
        """Takes the line away."""
        if self._is_shown:
            self._write(CLEAR)
        self.is_possible = self._is_shown = False

    def _write(self, text: str) -> None:
        # Nobody needs the line: a terminal that has gone is no failure.
        with contextlib.suppress(OSError):
            os.write(self._fd, text.encode())


def progress_text(done: int, total: int, events: int, elapsed_s: float) -> str:
    """The progress in words: its percentage, events and the time that is left, as far as they are known."""
    parts = [f"{events:,} events"]
    if total > 0:
        # A total may be an estimate, and who still counts is not done.
        share = min(done / total, 0.99)
        parts.insert(0, f"{share:4.0%}")
        if share > 0:
            parts.append(f"{duration_text(elapsed_s / share - elapsed_s)} left")
    return "  ".join(parts)


def duration_text(seconds: float) -> str:
    whole = max(round(seconds), 1)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _is_terminal(fd: int) -> bool:
    return os.isatty(fd) and os.environ.get("TERM") != "dumb"
