"""Recordings: the events that were delivered, and the answers. docs/recording.md has the format.

To send a recording through handlers again, set config("Driver=simulated") and config("Script=FILE")."""

from __future__ import annotations

import contextlib
import ctypes
import os

from ._binding import layouts, library, wire
from ._checks import as_text
from .constants import ERROR_NOT_FOUND
from .errors import CBProcessError
from .events import OPERATIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from .events import EventParams

ANSWERED, TIMED_OUT, LET_GO, UNASKED, SILENT = "answered", "timed out", "let go", "unasked", "silent"
# Messages have these numbers for the states.
STATES = {
    layouts.VERDICT_ANSWERED: ANSWERED,
    layouts.VERDICT_TIMED_OUT: TIMED_OUT,
    layouts.VERDICT_LET_GO: LET_GO,
    layouts.VERDICT_UNASKED: UNASKED,
    layouts.VERDICT_SILENT: SILENT,
}


class RecordedVerdict:
    """The verdict on one event. state: "answered"; "timed out"; "let go" (the filter stopped first); or
    "unasked" (the operation did not wait: a rule had decided it, or it had happened already). result_code and
    desired_access are the answer, or the rule's decision."""

    __slots__ = ("decided_by_rule", "deferred", "desired_access", "result_code", "state", "time_ns")

    def __init__(self, message: wire.VerdictMessage, index: int) -> None:
        self.state = STATES[message.state]
        self.result_code = message.result_codes[index]
        self.desired_access = message.desired_access[index]
        self.deferred = bool(message.deferred_items >> index & 1)
        self.decided_by_rule = bool(message.decided_items >> index & 1)
        self.time_ns = message.time_ns

    def __repr__(self) -> str:
        return f"<verdict: {self.state}, {self.result_code}, {self.desired_access:#x}>"


class RecordedEvent:
    """One event of a recording. `event` is an object as its handler got it; it can only be read. `verdict` is
    None if the recording ends before it. `os_error` is the errno of an execution that was allowed and has
    failed (0 if its process has ended in it), and None for all others."""

    __slots__ = ("event", "os_error", "verdict")

    def __init__(
        self, event: EventParams, verdict: RecordedVerdict | None, os_error: int | None = None
    ) -> None:
        self.event = event
        self.verdict = verdict
        self.os_error = os_error

    def __repr__(self) -> str:
        return f"<recorded {self.event!r}: {self.verdict!r}>"


class RecordingHead:
    """The origin of a recording: platform, driver, process and time."""

    __slots__ = ("driver", "platform", "process_id", "time_ns")

    def __init__(self, message: bytes) -> None:
        values = wire.RECORDING.unpack_from(message, wire.HEADER.size)
        _, self.process_id, _, self.time_ns = values[:4]
        self.platform, self.driver = (
            as_text(message[offset : offset + size]) for offset, size in (values[4:6], values[6:8])
        )


def read_head(path: str | os.PathLike[str]) -> RecordingHead:
    """The head of a recording. Its errors are those of Recording."""
    with contextlib.closing(_File(path)) as file:
        return RecordingHead(file.first)


# An estimate looks at so many messages, which takes a tenth of a second.
SAMPLE = 20_000
# A record of the file has its size and its checksum in front of the message.
RECORD_HEAD = 8


def estimate_events(path: str | os.PathLike[str], names: Container[str], sample: int = SAMPLE) -> int:
    """The number of events of these kinds in a recording. It is exact if the file has no more messages than
    the sample; of a longer file it is as if the rest were like the sample. 0 if the file cannot be read."""
    wanted = {kind.type for kind in OPERATIONS if kind.name in names}
    count = position = 0
    # What is wrong with the file is told by whoever reads it.
    with contextlib.suppress(CBProcessError, OSError), contextlib.closing(_File(path)) as file:
        for _ in range(sample):
            message = file.next()
            if message is None:
                return count
            position += RECORD_HEAD + len(wire.padded(message))
            if wire.HEADER.unpack_from(message)[1] == layouts.MESSAGE_EVENT:
                count += sum(kind in wanted for kind, *_ in wire.EventMessage(message).items)
        return count * os.stat(path).st_size // position
    return count


class _File:
    """A recording file of the native library."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._library = library.load()
        self._pointer = ctypes.c_void_p()
        message, size = ctypes.c_void_p(), ctypes.c_uint64()
        self._library.cbp_recording_open(
            os.fsencode(path), ctypes.byref(self._pointer), ctypes.byref(message), ctypes.byref(size)
        )
        self.first = ctypes.string_at(message.value or 0, size.value)

    def next(self) -> bytes | None:
        """The next message, or None at the end."""
        message, size = ctypes.c_void_p(), ctypes.c_uint64()
        try:
            self._library.cbp_recording_next(self._pointer, ctypes.byref(message), ctypes.byref(size))
        except CBProcessError as error:
            if error.code == ERROR_NOT_FOUND:
                return None
            raise
        return ctypes.string_at(message.value or 0, size.value)

    def close(self) -> None:
        self._library.cbp_recording_close(self._pointer)


class Recording:
    """A recording, read whole. Iterating gives a RecordedEvent for each event, in the order in which they
    happened.

    platform, driver, process_id, time_ns: the origin of the recording. trouble: None, or the CBProcessError
    (13) that gives the offset at which the file is damaged or was cut off; the events before that are there.

    Errors of the constructor: 2, 3, 5 for a file that cannot be read; 11 for a file that is no recording, or
    one of a later version; 13 if it is damaged at its very beginning."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.trouble: CBProcessError | None = None
        self._messages: list[wire.EventMessage] = []
        self._verdicts: dict[int, wire.VerdictMessage] = {}
        self._failures: dict[int, int] = {}
        with contextlib.closing(_File(path)) as file:
            head = RecordingHead(file.first)
            try:
                while (message := file.next()) is not None:
                    self._take(message)
            except CBProcessError as error:
                self.trouble = error
        self.platform, self.driver = head.platform, head.driver
        self.process_id, self.time_ns = head.process_id, head.time_ns
        # Workers write side by side, so a recording is not quite in order. The messages of a script have no
        # sequence.
        self._messages.sort(key=lambda message: message.fields["sequence"])

    def __iter__(self) -> Iterator[RecordedEvent]:
        for message in self._messages:
            verdict = self._verdicts.get(message.number) if message.number else None
            for index in range(len(message.items)):
                item = None if verdict is None else RecordedVerdict(verdict, index)
                event = message.event(index)
                yield RecordedEvent(event, item, self._failures.get(event.sequence))

    def __len__(self) -> int:
        return sum(len(message.items) for message in self._messages)

    def _take(self, message: bytes) -> None:
        kind = wire.HEADER.unpack_from(message)[1]
        if kind == layouts.MESSAGE_EVENT:
            self._messages.append(wire.EventMessage(message))
        elif kind == layouts.MESSAGE_VERDICT:
            verdict = wire.VerdictMessage(message)
            if verdict.state == layouts.VERDICT_FAILED:
                self._failures[verdict.sequence] = verdict.result_codes[0]
            else:
                self._verdicts[verdict.number] = verdict
