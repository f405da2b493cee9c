"""Signals that a command handles for a while. Knows nothing of their purpose."""

from __future__ import annotations

from .._lean import signal
from .words import SIGNAL_BASE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from typing_extensions import Self

# Windows has none.
HANGUP: int | None = getattr(signal, "SIGHUP", None)


class Caught:
    """Handles the signals with these numbers while it is entered. Ignored signals stay ignored, for programs
    that are started as well."""

    def __init__(self, numbers: tuple[signal.Signals, ...]) -> None:
        self._numbers = numbers
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for number in self._numbers:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: object) -> None:
        raise NotImplementedError


class FirstSignal(Caught):
    """Remembers the first of the signals as its number; the next one ends this process at once."""

    def __init__(self, numbers: tuple[signal.Signals, ...]) -> None:
        super().__init__(numbers)
        self.number: int | None = None
        self.on_hangup: Callable[[], bool] | None = None
        """Called at SIGHUP; returns whether that is dealt with, and no wish to end."""

    @property
    def status(self) -> int:
        """The exit status of that signal; 0 without one."""
        return 0 if self.number is None else SIGNAL_BASE + self.number

    def _handle(self, number: int, frame: object) -> None:
        if number == HANGUP and self.on_hangup is not None and self.on_hangup():
            return
        self.number = number
        for other in self._previous:
            signal.signal(other, signal.SIG_DFL)
