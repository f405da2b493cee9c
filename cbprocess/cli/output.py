"""Lines and their look: a closed pipe does no harm, and text is safe for terminals."""

from __future__ import annotations

import errno
import os
import sys

from .. import events
from .._checks import printable
from .._lean import suppress
from .shortening import duration_text
from .words import OWN_FAILURE, PRIVATE_MODE, STANDARD_OUTPUT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Union

    from .._api.statistics import Statistics
    from .._binding import structures

    ProgramOf = Callable[[int], str]
    # The counts of a filter, as a program gets them or as the library gives them.
    Counts = Union[Statistics, structures.Statistics]

COLORS = {
    **{kind.name: kind.color for kind in events.OPERATIONS},
    "error": "1;31",
    "success": "32",
    "failure": "31",
    "refused": "1;31",
    "running": "36",
}
NOT_INHERITED: int = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOINHERIT", 0)
DIM = "2"
# Statuses of Windows from here on are its own codes of failure, which are known in hexadecimal.
FAILURE_STATUS = 0x80000000
EVENT_WIDTH = max(map(len, COLORS))
# A refused system call fails with these errors on Linux, by code (docs/linux.md); with EPERM for any other.
ERRNO_NAMES = {
    2: "ENOENT",
    3: "ENOENT",
    4: "EMFILE",
    5: "EACCES",
    8: "ENOMEM",
    11: "ENOEXEC",
    87: "EINVAL",
    170: "EBUSY",
    1450: "EAGAIN",
}


class Output:
    """Lines to a descriptor, each written whole. After a failed write nothing more is written: its reader has
    gone (or the disk is full), and the command goes on."""

    def __init__(self, path: str | None) -> None:
        self._fd = 2
        if path == STANDARD_OUTPUT:
            self._fd = 1
        elif path is not None:
            # Command lines may have passwords, so a new file is its owner's alone.
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | NOT_INHERITED, PRIVATE_MODE)
        self.is_terminal = os.isatty(self._fd)
        self.failure: OSError | None = None
        self.is_hidden = False  # while a view has the terminal: lines are not written then
        self._end = "\n"

    def raw(self, is_raw: bool) -> None:
        """Ends lines with a return as well, while a terminal passes everything through as it is."""
        self._end = "\r\n" if is_raw and self.is_terminal else "\n"

    def line(self, text: str) -> None:
        if self.failure is not None or self.is_hidden:
            return
        data = (text + self._end).encode("utf-8", "backslashreplace")
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except OSError as error:
            self.failure = error

    def columns(self) -> int:
        """The columns of the terminal that the lines go to, as it is now; 0 where they go elsewhere."""
        if not self.is_terminal:
            return 0
        try:
            return os.get_terminal_size(self._fd).columns
        except OSError:
            return 0

    def wants_color(self, choice: str, environment: Mapping[str, str]) -> bool:
        if choice == "never":
            return False
        if choice == "auto" and (environment.get("NO_COLOR") or environment.get("TERM") == "dumb"):
            return False
        return _shows_colors(self._fd) or choice == "always"


def _shows_colors(descriptor: int) -> bool:
    """Whether a terminal is there that shows colours."""
    if not os.isatty(descriptor):
        return False
    if sys.platform != "win32":
        return True
    from .console_windows import carries_out_escapes

    return carries_out_escapes(descriptor)


def complain(text: str) -> int:
    """Says on standard error, in one line, what is wrong, if there is a reader. Names in it are harmless."""
    # The exit status has to say it alone where standard error is closed.
    with suppress(OSError):
        os.write(2, f"cbprocess: {printable(text)}\n".encode("utf-8", "backslashreplace"))
    return OWN_FAILURE


def print_lines(lines: Iterable[str], path: str | None, mode: int = PRIVATE_MODE) -> int:
    """Prints lines to this file, or to standard output, while there is a reader. Returns the exit status: it
    is not 0 where standard output could not be written. mode: that of a new file, which is its owner's alone
    unless the lines have nothing of what programs did."""
    data = "".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace")
    if path is not None and path != STANDARD_OUTPUT:
        with open(path, "wb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            file.write(data)
        return 0
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return 0
    except OSError as error:
        # The interpreter must not try again as it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        # A reader that has seen enough is no failure.
        return 0 if isinstance(error, BrokenPipeError) else complain(f"standard output: {error.strerror}")


def status_text(status: int) -> str:
    """An exit status as people say it."""
    if status >= FAILURE_STATUS:
        return f"exit {status:#x}"
    if status >= 0:
        return f"exit {status}"
    import signal

    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"


def end_text(status: int | None, has_ended: bool) -> str:
    """The end of a process, as far as it was shown."""
    if status is not None:
        return status_text(status)
    return "executed another" if has_ended else "still running"


def describe(event: events.EventParams, program_of: ProgramOf) -> str:
    """The text of a line about an event. program_of gives the name of a living process's program, or ""."""
    if isinstance(event, events.CBProcessProcessCreationEventParams):
        return _refusal(event) + command_text(event)
    if isinstance(event, events.CBProcessProcessTerminationEventParams):
        return f"{status_text(event.exit_status)}  {program_names(event)}"
    if isinstance(event, events.CBProcessThreadCreationEventParams):
        return f"thread {event.thread_id} made by {event.creating_process_id}"
    if isinstance(event, events.CBProcessThreadTerminationEventParams):
        return f"thread {event.thread_id} ended"
    if isinstance(event, events.CBProcessProcessHandleOperationEventParams):
        return _refusal(event) + _describe_handle(event, program_of)
    return ""


def program_names(event: events.CBProcessProcessTerminationEventParams) -> str:
    """The name by which a program was executed, and its own where that is another: `sh (dash)`."""
    program = os.path.basename(event.process_name)
    name = os.path.basename(event.image_file_name) or program
    is_same = os.path.normcase(name) == os.path.normcase(program)
    return printable(program if is_same else f"{name} ({program})")


def command_text(event: events.CBProcessProcessCreationEventParams) -> str:
    """The command line, and the path of a refused attempt."""
    text = printable(event.command_line)
    path = event.image_file_name
    if event.result_code and path and event.arguments[:1] != [path]:
        # A search in PATH tries several, and the command line tells none of them.
        return f"{printable(path)}: {text}"
    return text


def refusal_name(code: int) -> str:
    """The error that the refused process gets to see."""
    return f"(error {code})" if sys.platform == "win32" else ERRNO_NAMES.get(code, "EPERM")


def failure_name(os_error: int) -> str:
    """The failure of an execution that was allowed."""
    return f"failed {errno.errorcode.get(os_error, os_error)}" if os_error else "failed with its process"


def has_failed(event: events.EventParams) -> bool:
    """Whether the event is a refusal, or the end of a program that failed."""
    if isinstance(event, events.CBProcessProcessTerminationEventParams):
        return event.exit_status != 0
    return event.result_code != 0


def _refusal(event: events.EventParams) -> str:
    return f"refused {refusal_name(event.result_code)}  " if event.result_code else ""


def _describe_handle(
    event: events.CBProcessProcessHandleOperationEventParams, program_of: Callable[[int], str]
) -> str:
    """The caller, the rights that it wants to which process, and those that a rule has taken away."""
    subject = printable(program_of(event.process_id))
    is_thread = False
    if isinstance(event, events.CBProcessThreadHandleOperationEventParams):
        subject += f" thread {event.thread_id}"
        is_thread = True
    caller = f"{event.originator_process_id} {printable(program_of(event.originator_process_id))}"
    asked, granted = event.original_desired_access, event.desired_access
    text = f"{subject.strip()} by {caller.strip()}: {right_names(asked, is_thread)}".lstrip()
    if event.duplication:
        text += f", duplicated from {event.source_process_id} for {event.target_process_id}"
    if asked & ~granted:
        by_rule = " by a rule" if event.decided_by_rule else ""
        text += f"  [stripped{by_rule}: {right_names(asked & ~granted, is_thread)}]"
    return text


def right_names(rights: int, is_thread: bool) -> str:
    """Access rights by their names, TERMINATE|VM_READ; those without a name in hexadecimal."""
    from ..enums import ProcessAccess, ThreadAccess

    names = []
    for right in ThreadAccess if is_thread else ProcessAccess:
        if rights & right:
            names.append(str(right.name))
            rights &= ~int(right)
    if rights or not names:
        names.append(f"{rights:#x}")
    return "|".join(names)


def line_kind(name: str, event: events.EventParams) -> str:
    """What a line's colour tells of the event: a refusal, a failure, or nothing but its name."""
    if event.result_code or _is_stripped(event):
        return "refused"
    return "failure" if has_failed(event) else name


def _is_stripped(event: events.EventParams) -> bool:
    """Whether the event tells of rights that were taken away."""
    if not isinstance(event, events.CBProcessProcessHandleOperationEventParams):
        return False
    return bool(event.original_desired_access & ~event.desired_access)


def format_line(
    offset: float, name: str, process_id: int, text: str, color: bool, kind: str = "", digits: int = 6
) -> str:
    """One line. Its colour is that of kind, otherwise that of the name. Its time has so many digits behind
    the point."""
    label = f"{name:<{EVENT_WIDTH}}"
    stamp = f"{offset:10.{digits}f}"
    if color:
        stamp = f"\x1b[{DIM}m{stamp}\x1b[0m"
    label = painted(label, kind or name, color)
    return f"{stamp}  {label} {process_id:>8}  {text}"


def painted(text: str, kind: str, color: bool) -> str:
    """The text in the colour of the kind, where there are colours."""
    return f"\x1b[{COLORS.get(kind, '0')}m{text}\x1b[0m" if color else text


def prefix_columns(name: str, process_id: int) -> int:
    """The columns of a line before its text."""
    return len(format_line(0.0, name, process_id, "", False))


class Tally:
    """The counts of the one line that closes the output when the command has ended. Takes the events that are
    shown, one at a time."""

    def __init__(self) -> None:
        self.programs = 0
        self.failed = 0
        self.refused = 0

    def add(self, event: events.EventParams) -> None:
        if isinstance(event, events.CBProcessProcessCreationEventParams):
            if event.result_code:
                self.refused += 1
            else:
                self.programs += 1
        elif isinstance(event, events.CBProcessProcessTerminationEventParams):
            # A process without a name did not get so far as to be a program.
            self.failed += event.exit_status != 0 and bool(event.process_name)

    def took_back(self) -> None:
        """Takes back an execution that was counted and has not happened."""
        self.programs -= 1

    def line(self, status: int, seconds: float, statistics: Counts, color: bool) -> str:
        """The line. `status` is the command's own, `seconds` the time that it took. What is rare is told
        where it has happened: operations that were let go at their deadline, and events that were lost."""
        parts = [f"{self.programs} program{'' if self.programs == 1 else 's'}", f"{self.failed} failed"]
        parts.append(f"{self.refused} refused")
        if statistics.timed_out:
            parts.append(f"{statistics.timed_out} timed out")
        if statistics.lost:
            parts.append(f"{statistics.lost} events lost")
        text = f"{status_text(status)} after {duration_text(seconds)}: {', '.join(parts)}"
        return painted(text, "failure" if status else "success", color)
