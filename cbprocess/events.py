"""The event objects of handlers: one class for each operation, reading straight from the event's memory.

An object is a view of its worker's event block while its handler runs. If it is kept, the dispatcher turns it
into a copy of its own when the handler returns (`_detach`): it can be read for ever, but no longer answered.
If it is not kept, the dispatcher uses it again for the worker's next event.

Reads struct cbp_event by the indexes of its fields (_event_fields.py); knows nothing of sessions or
threads."""

# ruff: noqa: F405 (the indexes of fields)
from __future__ import annotations

import sys

from . import constants
from ._checks import TEXT_ERRORS, UINT32_MAX, checked_int, printable, quoted, wrong
from ._event_fields import *  # noqa: F403
from .constants import (
    ERROR_NO_CALLBACK_ACTIVE,
    EVENT_FLAG_DECIDED_BY_RULE,
    EVENT_FLAG_DUPLICATION,
    EVENT_FLAG_HELD,
    EVENT_FLAG_IMAGE_DELETED,
    EVENT_FLAG_REFUSABLE,
    EVENT_FLAG_TIMED_OUT,
)
from .errors import CBProcessError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ctypes import Array, c_char

    from ._binding.deferred import DeferredAnswer

ON_WINDOWS = sys.platform == "win32"


class EventParams:
    """The common part of all operations. An event can be read in its handler, and afterwards wherever it is
    kept. Only `result_code`, `desired_access` and `defer` need the handler to be running still (else error
    614). As a str it is one line, with the operation, the process and its program."""

    __slots__ = ("_chars", "_name", "_quads", "_words")

    def __init__(self, words: memoryview, quads: memoryview, chars: bytes, name: Array[c_char]) -> None:
        # chars is a ctypes array of c_char while the object is a view: it slices to bytes as bytes do. name
        # begins with the process name; its value, up to the NUL, is the cheapest way to the text.
        self._words = words
        self._quads = quads
        self._chars = chars
        self._name = name

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.sequence}: process {self.process_id}>"

    def __str__(self) -> str:
        """One line: the operation, the process with its program, the details of the operation, and the code
        of a refusal. Characters that could end a line or steer a terminal are escaped."""
        program = self._name.value.decode("utf-8", TEXT_ERRORS)
        kind = KINDS.get(self._words[TYPE])
        name = "operation" if kind is None else kind.name
        parts = [f"{name} {self.process_id} {program}".rstrip(), self._particulars()]
        if self.result_code:
            parts.append(f"refused with {self.result_code}")
        return printable(", ".join(part for part in parts if part))

    def _particulars(self) -> str:
        """The details of the operation, in a few words."""
        return ""

    def _detach(self) -> None:
        """Turns the view into a copy, whose memory cannot be written: setters know it by that."""
        from ctypes import create_string_buffer

        data = self._chars[: max(self._words[SIZE], FIXED_SIZE)]
        fixed = memoryview(data)[:FIXED_SIZE]
        self._chars = data
        self._name = create_string_buffer(self._name.value)
        self._quads = fixed.cast("Q")
        self._words = fixed.cast("I")

    @property
    def process_id(self) -> int:
        """The process that the operation is about."""
        return self._words[PROCESS_ID]

    @property
    def result_code(self) -> int:
        """0 at first. A Win32 error code set here refuses the operation where `refusable` is True, and
        changes nothing elsewhere. Set it in the handler (error 614 afterwards), to an int from 0 to
        0xffffffff (87)."""
        return self._words[RESULT_CODE]

    @result_code.setter
    def result_code(self, value: int) -> None:
        # A view of memory would take a bool for the number that it is.
        if value is True or value is False:
            raise _unwritable(self._words, value, "result_code")
        try:
            self._words[RESULT_CODE] = value
        except (TypeError, ValueError):
            raise _unwritable(self._words, value, "result_code") from None

    @property
    def sequence(self) -> int:
        """Counts up by one for each event of the instance; a gap means that events were lost."""
        return self._quads[SEQUENCE_64]

    @property
    def time(self) -> float:
        """The time at which the operation was seen, in seconds since 1970, as time.time() has it."""
        return self._quads[TIME_NS_64] / 1_000_000_000

    @property
    def time_ns(self) -> int:
        """The time at which the operation was seen, in nanoseconds since 1970, as time.time_ns() has it."""
        return self._quads[TIME_NS_64]

    @property
    def start_time(self) -> int:
        """The start of process_id, in the clock ticks that /proc/PID/stat shows. With process_id it names a
        process for good, also when the id is used again."""
        return self._quads[START_TIME_64]

    @property
    def user_id(self) -> int:
        """Linux: the real user of process_id, as of its last execution."""
        return self._words[USER_ID]

    @property
    def flags(self) -> int:
        """The EVENT_FLAG_ bits of this event."""
        return self._words[FLAGS]

    @property
    def capabilities(self) -> int:
        """The CAP_ bits of process_id: its operations that can be seen, held and refused."""
        return self._words[CAPABILITIES]

    @property
    def held(self) -> bool:
        """Whether the operation waits for the handler."""
        return self._words[FLAGS] & EVENT_FLAG_HELD != 0

    @property
    def refusable(self) -> bool:
        """Whether a result_code refuses the operation."""
        return self._words[FLAGS] & EVENT_FLAG_REFUSABLE != 0

    @property
    def decided_by_rule(self) -> bool:
        """Whether a rule has decided already: an answer changes nothing."""
        return self._words[FLAGS] & EVENT_FLAG_DECIDED_BY_RULE != 0

    @property
    def timed_out(self) -> bool:
        """Whether the deadline had passed before the handler was called: an answer changes nothing."""
        return self._words[FLAGS] & EVENT_FLAG_TIMED_OUT != 0

    def defer(self) -> DeferredAnswer:
        """Lets the handler return without an answer. The operation stays held, and its deadline runs, until
        complete() of the returned object is called, from any thread. In the handler, once for each event;
        error 614 elsewhere."""
        if self._words.readonly:
            raise _no_handler("defer")
        from ._binding.deferred import defer_current

        return defer_current(self._words[ORIGINAL_DESIRED_ACCESS])

    def _text(self, offset: int, size: int) -> str:
        return self._chars[offset : offset + size].decode("utf-8", TEXT_ERRORS)


class NamedEventParams(EventParams):
    """The common part of events of whole processes."""

    __slots__ = ()

    @property
    def process_name(self) -> str:
        """The path of the process's program. get_process_name(process_id) gives it, too, in this handler."""
        try:
            return self._name.value.decode()
        except UnicodeDecodeError:
            # This error handling costs time, and few names need it.
            return self._name.value.decode("utf-8", TEXT_ERRORS)

    @property
    def image_deleted(self) -> bool:
        """Linux: whether the program's file had been deleted, or replaced by another, at its execution or
        when the process was attached to. process_name is the path that it had."""
        return self._words[FLAGS] & EVENT_FLAG_IMAGE_DELETED != 0


class CBProcessProcessCreationEventParams(NamedEventParams):
    """A process is being created: a program is about to be executed."""

    __slots__ = ()

    @property
    def parent_process_id(self) -> int:
        """The parent of the new process, as the system tells it. It is not the creator after a clone with
        CLONE_PARENT, and it is a reaper where the parent has ended."""
        return self._words[PARENT_PROCESS_ID]

    @property
    def creating_process_id(self) -> int:
        """The process that made the new one; for a process that executes another program, itself."""
        return self._words[ORIGINATOR_PROCESS_ID]

    @property
    def creating_thread_id(self) -> int:
        """The thread that made the new process."""
        return self._words[ORIGINATOR_THREAD_ID]

    @property
    def image_file_name(self) -> str:
        """The file by which the program was started: a script, a symbolic link, a path as it was given."""
        return self._text(self._words[IMAGE_FILE_NAME_OFFSET], self._words[IMAGE_FILE_NAME_SIZE])

    @property
    def file_open_name_available(self) -> bool:
        """Whether image_file_name is a full path."""
        name = self.image_file_name
        return name.startswith(("\\", "/")) or name[1:3] == ":\\" if ON_WINDOWS else name.startswith("/")

    @property
    def arguments(self) -> list[str]:
        """The argument list, argv[0] first."""
        if ON_WINDOWS:
            return [self.command_line]
        words = self._words
        offset = words[ARGUMENTS_OFFSET]
        data = self._chars[offset : offset + words[ARGUMENTS_SIZE]]
        if not data:
            return []
        if data.endswith(b"\0"):
            data = data[:-1]
        # A NUL is a character of its own in any text, so all is decoded at once.
        return data.decode("utf-8", TEXT_ERRORS).split("\0")

    @property
    def command_line(self) -> str:
        """The command line; on Linux the arguments, quoted as a shell would need them."""
        if ON_WINDOWS:
            return self._text(self._words[ARGUMENTS_OFFSET], self._words[ARGUMENTS_SIZE])
        return quoted(self.arguments)

    def _particulars(self) -> str:
        return self.command_line


class CBProcessProcessTerminationEventParams(NamedEventParams):
    """A process is ending: its last thread leaves. It cannot be refused."""

    __slots__ = ()

    @property
    def image_file_name(self) -> str:
        """The file by which the program was started: a script, a symbolic link, a path as it was given."""
        return self._text(self._words[IMAGE_FILE_NAME_OFFSET], self._words[IMAGE_FILE_NAME_SIZE])

    @property
    def exit_status(self) -> int:
        """The exit code, or -N when signal N ended the process (Linux)."""
        return exit_status_of(self._words[EXIT_STATUS], ON_WINDOWS)

    def _particulars(self) -> str:
        return f"exit status {self.exit_status}"


class CBProcessThreadCreationEventParams(EventParams):
    """A thread is being created; also the first thread of a forked process. It cannot be refused."""

    __slots__ = ()

    @property
    def thread_id(self) -> int:
        """The new thread."""
        return self._words[THREAD_ID]

    @property
    def creating_process_id(self) -> int:
        """The process that made the thread."""
        return self._words[ORIGINATOR_PROCESS_ID]

    @property
    def creating_thread_id(self) -> int:
        """The thread that made the thread."""
        return self._words[ORIGINATOR_THREAD_ID]

    def _particulars(self) -> str:
        return f"thread {self.thread_id} made by {self.creating_process_id}"


class CBProcessThreadTerminationEventParams(EventParams):
    """A thread is ending. It cannot be refused."""

    __slots__ = ()

    @property
    def thread_id(self) -> int:
        """The ending thread."""
        return self._words[THREAD_ID]

    @property
    def exit_status(self) -> int:
        """The thread's exit code, or -N when signal N ended it (Linux)."""
        return exit_status_of(self._words[EXIT_STATUS], ON_WINDOWS)

    def _particulars(self) -> str:
        return f"thread {self.thread_id}, exit status {self.exit_status}"


class CBProcessProcessHandleOperationEventParams(EventParams):
    """A process is being opened, signalled, traced or the like; or a handle of one is being duplicated."""

    __slots__ = ()

    @property
    def duplication(self) -> bool:
        """Whether an existing handle is duplicated."""
        return self._words[FLAGS] & EVENT_FLAG_DUPLICATION != 0

    @property
    def originator_process_id(self) -> int:
        """The process that asks."""
        return self._words[ORIGINATOR_PROCESS_ID]

    @property
    def originator_thread_id(self) -> int:
        """The thread that asks."""
        return self._words[ORIGINATOR_THREAD_ID]

    @property
    def source_process_id(self) -> int:
        """The process that the handle is taken from. It has a meaning only when duplication is True."""
        return self._words[SOURCE_PROCESS_ID]

    @property
    def target_process_id(self) -> int:
        """The process that gets the handle. It has a meaning only when duplication is True."""
        return self._words[TARGET_PROCESS_ID]

    @property
    def original_desired_access(self) -> int:
        """The access rights that were asked for: PROCESS_ bits, of a thread THREAD_ bits."""
        return self._words[ORIGINAL_DESIRED_ACCESS]

    @property
    def desired_access(self) -> int:
        """The access rights to be granted: at first those that were asked for, less those that rules took
        away. Rights can be taken out, in the handler (error 614 afterwards). Rights that were not asked for
        are dropped, and rights that a rule took away stay away. On Linux a request that lacks a right it
        needs fails with EPERM. An int from 0 to 0xffffffff (else 87)."""
        return self._words[DESIRED_ACCESS]

    @desired_access.setter
    def desired_access(self, value: int) -> None:
        words = self._words
        if words.readonly:
            raise _no_handler("desired_access")
        words[DESIRED_ACCESS] = (
            checked_int(value, "desired_access", 0, UINT32_MAX) & words[ORIGINAL_DESIRED_ACCESS]
        )

    def _particulars(self) -> str:
        rights = f"{self.desired_access:#x} of {self.original_desired_access:#x}"
        return f"rights {rights} for {self.originator_process_id}"


class CBProcessThreadHandleOperationEventParams(CBProcessProcessHandleOperationEventParams):
    """A thread is being opened, signalled, traced or the like."""

    __slots__ = ()

    @property
    def thread_id(self) -> int:
        """The thread that is opened, signalled, traced or the like."""
        return self._words[THREAD_ID]

    def _particulars(self) -> str:
        return f"thread {self.thread_id}, {super()._particulars()}"


class CBProcessErrorEventParams:
    """Something failed outside any call: a handler raised, events were lost, the helper died."""

    __slots__ = ("_description", "_error_code", "_os_error", "_sequence")

    def __init__(self, error_code: int, description: str, sequence: int = 0, os_error: int = 0) -> None:
        self._error_code = error_code
        self._description = description
        self._sequence = sequence
        self._os_error = os_error

    def __str__(self) -> str:
        return str(CBProcessError(self._error_code, self._description))

    @property
    def error_code(self) -> int:
        """A Win32 error code: one of the ERROR_ constants."""
        return self._error_code

    @property
    def description(self) -> str:
        """A sentence, or the traceback of a handler that raised."""
        return self._description

    @property
    def sequence(self) -> int:
        """The sequence of a creation event that is taken back: its execution was allowed, and has failed in
        the system (error_code 31). 0 for everything else."""
        return self._sequence

    @property
    def os_error(self) -> int:
        """The errno of that failed execution; 0 if its process has ended in it."""
        return self._os_error


class CBProcessWorkerThreadCreationEventParams:
    """A worker thread has started; fires in that thread."""

    __slots__ = ("_result_code",)

    def __init__(self) -> None:
        self._result_code = 0

    @property
    def result_code(self) -> int:
        """0 at first. Any other code ends this worker and fires on_error with that code."""
        return self._result_code

    @result_code.setter
    def result_code(self, value: int) -> None:
        self._result_code = checked_int(value, "result_code", 0, UINT32_MAX)


class CBProcessWorkerThreadTerminationEventParams:
    """A worker thread is about to end; fires in that thread."""

    __slots__ = ()


class OperationKind:
    """One of the six kinds of operations: its PROC_EVT_ bit, its name, the property for its handler, the
    class of its events, and its colour on a terminal."""

    __slots__ = ("color", "event_class", "handler", "name", "type")

    def __init__(self, name: str, event_class: type[EventParams], color: str) -> None:
        self.type: int = getattr(constants, f"PROC_EVT_{name.upper()}")
        self.name = name
        self.handler = f"on_{name}"
        self.event_class = event_class
        self.color = color


# All kinds of operations are in this table: of processes, of threads, of handles.
OPERATIONS = (
    OperationKind("process_creation", CBProcessProcessCreationEventParams, "36"),
    OperationKind("process_termination", CBProcessProcessTerminationEventParams, "32"),
    OperationKind("thread_creation", CBProcessThreadCreationEventParams, "36"),
    OperationKind("thread_termination", CBProcessThreadTerminationEventParams, "34"),
    OperationKind("process_handle_operation", CBProcessProcessHandleOperationEventParams, "35"),
    OperationKind("thread_handle_operation", CBProcessThreadHandleOperationEventParams, "35"),
)
KINDS = {kind.type: kind for kind in OPERATIONS}
EVENT_CLASSES = {kind.type: kind.event_class for kind in OPERATIONS}


def exit_status_of(status: int, is_of_windows: bool) -> int:
    """The exit code, or -N for signal N, of a status as that system tells it."""
    if is_of_windows:
        return status
    signal = status & 0x7F
    return -signal if signal else status >> 8 & 0xFF


def _no_handler(what: str) -> CBProcessError:
    return CBProcessError(ERROR_NO_CALLBACK_ACTIVE, f"{what} is possible only while the event's handler runs")


def _unwritable(words: memoryview, value: object, name: str) -> CBProcessError:
    if words.readonly:
        return _no_handler(name)
    return wrong(f"{name} must be an int from 0 to {UINT32_MAX}, not {value!r:.100}")
