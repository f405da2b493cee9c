"""Signals while a command runs, on Windows: those of the console reach it anyway, so they are only
outlived."""

from __future__ import annotations

import signal

from .signals import Caught

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from typing import Any


class Signals(Caught):
    """Signals of the console; none goes to a single process there. After the command's end they are kept in
    `late`."""

    def __init__(self) -> None:
        super().__init__((signal.SIGINT, signal.SIGBREAK))  # type: ignore[attr-defined]
        self._has_ended = False
        self.late: list[int] = []
        self.on_hangup: Callable[[], None] | None = None

    def early(self) -> int:
        """A signal that keeps the command from being started; 0: none."""
        return 0

    def keywords(self) -> dict[str, Any]:
        """Keywords for Popen: there are none."""
        return {}

    def forward_to(self, child: subprocess.Popen[Any]) -> None:
        """Notes that the command runs now."""

    def command_has_ended(self) -> None:
        self._has_ended = True

    def _handle(self, number: int, frame: object) -> None:
        if self._has_ended:
            self.late.append(number)
