"""The parts of a script for the simulated driver: made-up operations, and steps.

The names that describe an operation are those of its event object. Knows the messages' meaning; nothing of
sessions. docs/recording.md describes each of them."""

from __future__ import annotations

import os
import struct
import time
import zlib

from . import constants
from ._binding import layouts, wire
from ._checks import TEXT_ERRORS, UINT32_MAX, checked_int, checked_text, wrong
from .events import ON_WINDOWS, OPERATIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MAGIC = b"\x89CBPR\r\n\n"

# Each field of an event message has a largest value.
LARGEST = {name: UINT32_MAX if kind == "I" else 2**64 - 1 for name, kind in layouts.FIELDS["event_message"]}
DEFAULT_NAME = "/usr/bin/program"
TYPES = {operation.name: operation.type for operation in OPERATIONS}


class Operation:
    """An operation that is about to happen: up to four events of one process, told together.

    The functions below make them. `operation + other` adds the events of another one of that process. held
    False: it has happened already, so it cannot be refused."""

    __slots__ = ("fields", "items", "steps", "texts")

    def __init__(
        self, kind: int, flags: int, fields: dict[str, int], texts: Sequence[bytes] = (b"", b"", b"")
    ) -> None:
        for name, value in fields.items():
            checked_int(value, name, 0, LARGEST[name])
        self.fields = fields
        self.items = [(kind, flags)]
        self.texts = list(texts)
        self.steps: list[Step] = []

    @property
    def process_id(self) -> int:
        return self.fields["process_id"]

    def __add__(self, other: Operation) -> Operation:
        if self.process_id != other.process_id or len(self.items) + len(other.items) > constants.BATCH_MAX:
            raise wrong("only up to four events of one process can be told together")
        fields = {**other.fields, **{name: value for name, value in self.fields.items() if value}}
        texts = [own or others for own, others in zip(self.texts, other.texts)]
        merged = Operation(0, 0, fields, texts)
        merged.items = self.items + other.items
        merged.steps = self.steps + other.steps
        return merged

    def with_steps(
        self,
        *,
        answer_after: float = 0,
        expired: bool = False,
        copies: int = 0,
        fails_after: bool = False,
    ) -> Operation:
        """The operation with a disturbance. answer_after: its answer comes that many seconds later than it is
        given; beyond the deadline it times out, however fast the handler was. expired: the deadline passes
        before the handler is called. copies: that many more copies of the message arrive. fails_after: if it
        is allowed, it then fails in the system."""
        if answer_after:
            self.steps.append(Step(layouts.SCRIPT_SLOW_ANSWER, _milliseconds(answer_after, "answer_after")))
        if expired:
            self.steps.append(Step(layouts.SCRIPT_EXPIRED))
        if copies:
            self.steps.append(Step(layouts.SCRIPT_DUPLICATE, checked_int(copies, "copies", 0, 1000)))
        if fails_after:
            self.steps.append(Step(layouts.SCRIPT_FAILED_AFTER))
        return self

    def message(self, number: int = 0) -> bytes:
        """The bytes of the steps in front of it and of its event message, which has that id."""
        access = self.fields.get("original_desired_access", 0)
        items = [(kind, flags, 0, access) for kind, flags in self.items]
        fields = dict(self.fields)
        fields["time_ns"] = fields.get("time_ns") or time.time_ns()
        message = wire.event_message(number, items, self.texts, **fields)
        return b"".join(step.message() for step in self.steps) + wire.padded(message)


class Step:
    """A part of a script that is no event."""

    __slots__ = ("kind", "value")

    def __init__(self, kind: int, value: int = 0) -> None:
        self.kind = kind
        self.value = value

    def message(self, number: int = 0) -> bytes:
        return wire.padded(wire.step_message(self.kind, self.value))


# ---- Operations ----


def process_creation(
    *,
    process_id: int,
    process_name: str = DEFAULT_NAME,
    image_file_name: str | None = None,
    arguments: Sequence[str] | None = None,
    parent_process_id: int | None = None,
    creating_process_id: int = 0,
    creating_thread_id: int | None = None,
    user_id: int = 0,
    start_time: int = 0,
    time_ns: int = 0,
    fork: bool = False,
    held: bool = True,
) -> Operation:
    """A program is about to be executed. Names and arguments default to those of process_name. The creating
    thread defaults to its process's main thread. fork: a fork without an execution (ForkIsCreation)."""
    given = process_name if image_file_name is None else image_file_name
    words = [os.path.basename(process_name)] if arguments is None else arguments
    fields = _fields(process_id, creating_process_id, creating_thread_id, start_time, time_ns)
    fields["parent_process_id"] = creating_process_id if parent_process_id is None else parent_process_id
    fields["user_id"] = user_id
    texts = (checked_text(process_name, "process_name"), checked_text(given, "image_file_name"))
    flags = constants.EVENT_FLAG_FORK if fork else 0
    return _operation("process_creation", held, fields, (*texts, _argument_block(words)), flags)


def process_termination(
    *,
    process_id: int,
    process_name: str = "",
    exit_status: int = 0,
    user_id: int = 0,
    start_time: int = 0,
    time_ns: int = 0,
    held: bool = True,
) -> Operation:
    """A process is about to end. exit_status is as the event has it: an exit code, or minus a signal's
    number."""
    fields = _fields(process_id, process_id, None, start_time, time_ns)
    fields.update(exit_status=_native_status(exit_status), user_id=user_id)
    texts = (checked_text(process_name, "process_name"), b"", b"")
    return _operation("process_termination", held, fields, texts)


def thread_creation(
    *,
    process_id: int,
    thread_id: int,
    creating_process_id: int | None = None,
    creating_thread_id: int | None = None,
    start_time: int = 0,
    time_ns: int = 0,
    held: bool = True,
) -> Operation:
    """A thread is about to begin. If its thread_id is the process_id, it is the first one of a forked
    process."""
    creator = process_id if creating_process_id is None else creating_process_id
    fields = _fields(process_id, creator, creating_thread_id, start_time, time_ns)
    fields["thread_id"] = thread_id
    return _operation("thread_creation", held, fields)


def thread_termination(
    *,
    process_id: int,
    thread_id: int,
    exit_status: int = 0,
    start_time: int = 0,
    time_ns: int = 0,
    held: bool = True,
) -> Operation:
    """A thread is about to end."""
    fields = _fields(process_id, process_id, None, start_time, time_ns)
    fields.update(exit_status=_native_status(exit_status), thread_id=thread_id)
    return _operation("thread_termination", held, fields)


def process_handle_operation(
    *,
    process_id: int,
    originator_process_id: int,
    originator_thread_id: int | None = None,
    desired_access: int = constants.PROCESS_TERMINATE,
    duplication: bool = False,
    source_process_id: int = 0,
    target_process_id: int = 0,
    start_time: int = 0,
    time_ns: int = 0,
    held: bool = True,
) -> Operation:
    """originator_process_id asks for rights (desired_access) to process_id, or with duplication for a copy of
    a handle of it."""
    fields = _fields(process_id, originator_process_id, originator_thread_id, start_time, time_ns)
    fields.update(original_desired_access=desired_access)
    fields.update(source_process_id=source_process_id, target_process_id=target_process_id)
    flags = constants.EVENT_FLAG_DUPLICATION if duplication else 0
    return _operation("process_handle_operation", held, fields, flags=flags)


def thread_handle_operation(
    *,
    process_id: int,
    thread_id: int,
    originator_process_id: int,
    originator_thread_id: int | None = None,
    desired_access: int = constants.THREAD_TERMINATE,
    duplication: bool = False,
    source_process_id: int = 0,
    target_process_id: int = 0,
    start_time: int = 0,
    time_ns: int = 0,
    held: bool = True,
) -> Operation:
    """A process asks for rights to one thread of process_id; desired_access are THREAD_ rights."""
    fields = _fields(process_id, originator_process_id, originator_thread_id, start_time, time_ns)
    fields.update(thread_id=thread_id, original_desired_access=desired_access)
    fields.update(source_process_id=source_process_id, target_process_id=target_process_id)
    flags = constants.EVENT_FLAG_DUPLICATION if duplication else 0
    return _operation("thread_handle_operation", held, fields, flags=flags)


# ---- Steps ----


def loss(count: int) -> Step:
    """Events are lost: their numbers are missing, and the loss is counted and reported."""
    return Step(layouts.SCRIPT_LOSS, checked_int(count, "count", 1, UINT32_MAX))


def malformed() -> Step:
    """A malformed message arrives: it is dropped, counted and reported."""
    return Step(layouts.SCRIPT_MALFORMED)


def time_passes(seconds: float) -> Step:
    """Time passes for the deadlines of all operations that wait for an answer."""
    return Step(layouts.SCRIPT_TIME, _milliseconds(seconds, "seconds"))


def barrier() -> Step:
    """The entries that follow wait until everything before has been answered."""
    return Step(layouts.SCRIPT_BARRIER)


def controller_death() -> Step:
    """The driver takes the controller for dead. It lets everything go, asks nothing and tells nothing from
    now on. Rules that decide stay in force."""
    return Step(layouts.SCRIPT_CONTROLLER_DEATH)


def driver_death() -> Step:
    """The driver dies: everything goes on, and the filter stops with error 109."""
    return Step(layouts.SCRIPT_DRIVER_DEATH)


# ---- Files ----


def save(path: str | os.PathLike[str], script: Iterable[Operation | Step]) -> None:
    """Writes a script as a file, in this order, for Script=FILE and `cbprocess replay`. A new file is its
    owner's alone (mode 0600), because command lines can hold secrets."""
    played = list(script)
    clocks = time.monotonic_ns(), time.time_ns()
    # The text of the platform is empty. The driver's name follows the numbers.
    driver, place = b"script", wire.HEADER.size + wire.RECORDING.size
    texts = place, 0, place, len(driver)
    head = wire.RECORDING.pack(layouts.RECORDING_VERSION, os.getpid(), *clocks, *texts) + driver
    parts = [MAGIC, *_records(wire.header(len(head), layouts.MESSAGE_RECORDING) + head)]
    count = 0
    for entry in played:
        count += isinstance(entry, Operation)
        parts += _records(entry.message(count))
    end = wire.RECORDING_END.pack(time.time_ns(), count, 0, 0)
    parts += _records(wire.header(len(end), layouts.MESSAGE_RECORDING_END) + end)
    with open(path, "wb", opener=_private) as file:
        file.write(b"".join(parts))


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _records(messages: bytes) -> list[bytes]:
    """The messages, which stand at multiples of 8, each as a record."""
    parts: list[bytes] = []
    offset = 0
    while offset < len(messages):
        size: int = wire.HEADER.unpack_from(messages, offset)[0]
        message = messages[offset : offset + size]
        parts += [struct.pack("=II", size, zlib.crc32(message)), wire.padded(message)]
        offset += len(parts[-1])
    return parts


# ---- What the operations have in common ----


def _fields(
    process_id: int,
    originator_process_id: int,
    originator_thread_id: int | None,
    start_time: int,
    time_ns: int,
) -> dict[str, int]:
    thread = originator_process_id if originator_thread_id is None else originator_thread_id
    return {
        "process_id": checked_int(process_id, "process_id", 1, UINT32_MAX),
        "originator_process_id": originator_process_id,
        "originator_thread_id": thread,
        "start_time": start_time,
        "time_ns": time_ns,
    }


def _operation(
    name: str, held: bool, fields: dict[str, int], texts: Sequence[bytes] = (b"", b"", b""), flags: int = 0
) -> Operation:
    return Operation(TYPES[name], flags | (constants.EVENT_FLAG_HELD if held else 0), fields, texts)


def _argument_block(arguments: Sequence[str]) -> bytes:
    if ON_WINDOWS:
        from subprocess import list2cmdline

        return list2cmdline(arguments).encode("utf-8", TEXT_ERRORS)
    return b"".join(checked_text(argument, "arguments") + b"\0" for argument in arguments)


def _native_status(status: int) -> int:
    """The exit status as the system gives it, from that of an event."""
    if ON_WINDOWS:
        return status
    return -status if status < 0 else (status & 0xFF) << 8


def _milliseconds(seconds: float, name: str) -> int:
    return checked_int(round(seconds * 1000), f"{name} in milliseconds", 0, UINT32_MAX)
