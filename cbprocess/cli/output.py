"""Where lines go and what they look like: a closed pipe does no harm, and text is safe for terminals."""

from __future__ import annotations

import os
import signal

from .. import events

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

COLORS = {
    "process_creation": "32",
    "process_termination": "31",
    "thread_creation": "36",
    "thread_termination": "34",
    "process_handle_operation": "35",
    "thread_handle_operation": "35",
    "error": "1;31",
}
DIM = "2"
EVENT_WIDTH = max(map(len, COLORS))


class Output:
    """Lines to a descriptor, each written whole. After a failed write nothing more is written: its reader has
    gone (or the disk is full), and the command goes on."""

    def __init__(self, path: str | None) -> None:
        self._fd = 2
        if path is not None:
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        self.failure: OSError | None = None

    def line(self, text: str) -> None:
        if self.failure is not None:
            return
        data = (text + "\n").encode("utf-8", "backslashreplace")
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except OSError as error:
            self.failure = error

    def wants_color(self, choice: str, environment: Mapping[str, str]) -> bool:
        if choice != "auto":
            return choice == "always"
        if environment.get("NO_COLOR") or environment.get("TERM") == "dumb":
            return False
        return os.isatty(self._fd)


def printable(text: str) -> str:
    """The text with everything that could end a line or steer a terminal as an escape sequence."""
    if text.isprintable():
        return text
    return "".join(part if part.isprintable() else _escaped(part) for part in text)


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        # A byte of a name that is not UTF-8.
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def status_text(status: int) -> str:
    """An exit status as people say it."""
    if status >= 0:
        return f"exit {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"


def property_names(event: object) -> list[str]:
    """The names of an event object's properties, in the order in which they were declared, bases first."""
    names: list[str] = []
    for base in reversed(type(event).__mro__):
        names += [name for name, value in vars(base).items() if isinstance(value, property)]
    return list(dict.fromkeys(names))


def event_record(name: str, event: object, names: list[str]) -> dict[str, object]:
    """What --json prints of an event."""
    record: dict[str, object] = {"event": name}
    for key in names:
        record[key] = getattr(event, key)
    return record


def describe(event: events.EventParams, program: str) -> str:
    """What a line says about an event; program is the name of its process's program."""
    if isinstance(event, events.CBProcessProcessCreationEventParams):
        text = printable(event.command_line)
        return f"refused ({event.result_code})  {text}" if event.result_code else text
    if isinstance(event, events.CBProcessProcessTerminationEventParams):
        return f"{status_text(event.exit_status)}  {printable(program)}"
    if isinstance(event, events.CBProcessThreadCreationEventParams):
        return f"thread {event.thread_id} made by {event.creating_process_id}"
    if isinstance(event, events.CBProcessThreadTerminationEventParams):
        return f"thread {event.thread_id} ended"
    if isinstance(event, events.CBProcessThreadHandleOperationEventParams):
        return f"thread {event.thread_id} by {event.originator_process_id}, rights {event.desired_access:#x}"
    if isinstance(event, events.CBProcessProcessHandleOperationEventParams):
        return f"by {event.originator_process_id}, rights {event.desired_access:#x}"
    return ""


def format_line(offset: float, name: str, process_id: int, text: str, color: bool) -> str:
    label = f"{name:<{EVENT_WIDTH}}"
    stamp = f"{offset:10.6f}"
    if color:
        stamp = f"\x1b[{DIM}m{stamp}\x1b[0m"
        label = f"\x1b[{COLORS.get(name, '0')}m{label}\x1b[0m"
    return f"{stamp}  {label} {process_id:>8}  {text}"
