"""The sheet that lines about programs are written on: a time, what has happened, a process, and a text that
is no longer than the terminal is wide.

Knows texts; nothing of events, and not where the lines go."""

from __future__ import annotations

from .output import format_line, prefix_columns
from .shortening import fitted, short_command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# Milliseconds are enough for lines that tell durations.
DIGITS = 3


class Sheet:
    """Lines whose times count from started_ns. `write` gets each of them; `columns` gives the width of the
    terminal, or 0 where there is none. `is_wide`: command lines are whole, with the folder of the program.
    Any thread, one at a time."""

    def __init__(
        self,
        write: Callable[[str], None],
        started_ns: int,
        color: bool,
        columns: Callable[[], int] = lambda: 0,
        is_wide: bool = False,
    ) -> None:
        self._write = write
        self._started_ns = started_ns
        self._color = color
        self._columns = columns
        self._is_wide = is_wide

    def line(self, time_ns: int, label: str, process_id: int, text: str, kind: str) -> None:
        offset = (time_ns - self._started_ns) / 1e9
        columns = 0 if self._is_wide else self._columns()
        if columns:
            text = fitted(text, columns - prefix_columns(label, process_id))
        self._write(format_line(offset, label, process_id, text, self._color, kind, DIGITS))

    def command(self, command_line: str, arguments: Sequence[str]) -> str:
        """The command line as it is shown."""
        return command_line if self._is_wide else short_command(command_line, arguments)
