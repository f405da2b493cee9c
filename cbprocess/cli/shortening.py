"""Short texts for people at a terminal: durations, command lines without the folders of their programs, lines
that end where the terminal does.

Knows neither events nor outputs."""

from __future__ import annotations

import os
import sys

from .. import _checks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

CUT = "..."
# A text is cut no shorter than to so many columns, however narrow the terminal is.
COLUMNS_MIN = 20

MINUTE_S = 60
HOUR_S = 60 * MINUTE_S


def duration_text(seconds: float) -> str:
    """A duration as people say it, of three figures: 0.4 ms, 120 ms, 3.21 s, 4 min 05 s, 2 h 03 min. A
    negative one, which a clock that was set back makes, is 0."""
    seconds = max(seconds, 0.0)
    if seconds < 0.00995:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.995:
        return f"{seconds:.2f} s"
    whole = round(seconds)
    if whole < HOUR_S:
        return f"{whole // MINUTE_S} min {whole % MINUTE_S:02} s"
    minutes = whole // MINUTE_S
    return f"{minutes // 60} h {minutes % 60:02} min"


def base_name(program: str) -> str:
    """The name of a program, by the path of its file. A kernel thread (`kworker/0:1-events`) has no file, and
    its name no folder."""
    is_path = sys.platform == "win32" or os.path.isabs(program)
    return os.path.basename(program) if is_path else program


def short_command(command_line: str, arguments: Sequence[str]) -> str:
    """The command line with the name alone of its program: `cc -c a.c` of `/usr/bin/cc -c a.c`. One that does
    not begin with its first argument stays as it is."""
    if sys.platform == "win32":
        return short_windows_command(command_line)
    first = arguments[0] if arguments else ""
    name = os.path.basename(first)
    if not name or name == first:
        return command_line
    for written in (quoted(first), first):
        if command_line.startswith(written):
            return quoted(name) + command_line[len(written) :]
    return command_line


def short_windows_command(command_line: str) -> str:
    """A command line of Windows, where the program is what stands before the first space or in the first
    quotation marks: there are no arguments that are known, and options begin with a slash."""
    if command_line.startswith('"'):
        end = command_line.find('"', 1) + 1
    else:
        end = min((place for place in map(command_line.find, " \t") if place >= 0), default=len(command_line))
    written = command_line[:end]
    path = written.strip('"')
    name = path.replace("\\", "/").rpartition("/")[2]
    if not name or name == path:
        return command_line
    return (f'"{name}"' if " " in name else name) + command_line[end:]


def quoted(argument: str) -> str:
    """The argument as it stands in a command line of this system."""
    if sys.platform == "win32":
        return f'"{argument}"' if " " in argument else argument
    return _checks.quoted([argument])


def columns_of(text: str) -> int:
    """The columns that a printable text takes in a terminal."""
    if text.isascii():
        return len(text)
    return sum(map(_columns, text))


def fitted(text: str, columns: int) -> str:
    """The text, cut where it takes more columns than there are. `...` stands for what was cut."""
    columns = max(columns, COLUMNS_MIN)
    # No character takes less than a column but a few, so a long text need not be measured whole.
    if len(text) <= columns and columns_of(text) <= columns:
        return text
    left, size = columns - len(CUT), 0
    for character in text:
        left -= _columns(character)
        if left < 0:
            break
        size += 1
    return text if size == len(text) else text[:size] + CUT


def _columns(character: str) -> int:
    if character.isascii():
        return 1
    # Most texts have no character that needs its tables.
    import unicodedata

    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
