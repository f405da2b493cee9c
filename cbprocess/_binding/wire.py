"""The messages of recordings and scripts as bytes: docs/recording.md, driver/protocol/cbp_message.h.

Knows their layout; nothing of files, sessions or of what the messages mean.
"""

from __future__ import annotations

import struct

from .. import events
from .._api.checks import TEXT_ERRORS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

MESSAGE_EVENT = 12
MESSAGE_RECORDING = 32
MESSAGE_RECORDING_END = 33
MESSAGE_VERDICT = 34
MESSAGE_SCRIPT_STEP = 35

RECORDING_VERSION = 1

VERDICT_ANSWERED = 0
VERDICT_TIMED_OUT = 1
VERDICT_LET_GO = 2
VERDICT_UNASKED = 3
VERDICT_SILENT = 4
VERDICT_FAILED = 5

SCRIPT_SLOW_ANSWER = 1
SCRIPT_EXPIRED = 2
SCRIPT_DUPLICATE = 3
SCRIPT_FAILED_AFTER = 4
SCRIPT_MALFORMED = 5
SCRIPT_LOSS = 6
SCRIPT_TIME = 7
SCRIPT_BARRIER = 8
SCRIPT_CONTROLLER_DEATH = 9
SCRIPT_DRIVER_DEATH = 10

BATCH_MAX = 4

# Every message begins with size, type, id, deadline_ns.
HEADER = struct.Struct("=IIQQ")
EVENT_HEAD = struct.Struct("=3Q14I6I")
ITEM = struct.Struct("=4I")
EVENT_SIZE = HEADER.size + EVENT_HEAD.size + BATCH_MAX * ITEM.size
RECORDING = struct.Struct("=IIQQ4I")
RECORDING_END = struct.Struct("=4Q")
VERDICT = struct.Struct("=QQ4I4I4I")
STEP = struct.Struct("=II")

EVENT_FIELDS = (
    "sequence",
    "time_ns",
    "start_time",
    "session_id",
    "item_count",
    "process_id",
    "thread_id",
    "parent_process_id",
    "originator_process_id",
    "originator_thread_id",
    "source_process_id",
    "target_process_id",
    "original_desired_access",
    "user_id",
    "exit_status",
    "capabilities",
    "reserved",
)
TEXTS = ("process_name", "image_file_name", "arguments")


def header(body_size: int, kind: int, number: int = 0, deadline_ns: int = 0) -> bytes:
    return HEADER.pack(HEADER.size + body_size, kind, number, deadline_ns)


def event_message(
    number: int, items: Sequence[tuple[int, int, int, int]], texts: Sequence[bytes], **fields: int
) -> bytes:
    """An event message. items are (type, flags, result_code, desired_access); texts are process name, image
    file name and arguments (each with its NUL behind it); fields not given are 0."""
    places: list[int] = []
    offset = EVENT_SIZE
    for text in texts:
        places += [offset if text else 0, len(text)]
        offset += len(text)
    fields["item_count"] = len(items)
    values = [fields.get(name, 0) for name in EVENT_FIELDS]
    padded = [*items, *[(0, 0, 0, 0)] * (BATCH_MAX - len(items))]
    return b"".join(
        [
            header(offset - HEADER.size, MESSAGE_EVENT, number),
            EVENT_HEAD.pack(*values, *places),
            *(ITEM.pack(*item) for item in padded),
            *texts,
        ]
    )


def step_message(kind: int, value: int = 0) -> bytes:
    return header(STEP.size, MESSAGE_SCRIPT_STEP) + STEP.pack(kind, value)


def padded(message: bytes) -> bytes:
    """The message with zero bytes up to a multiple of 8."""
    return message + b"\0" * (-len(message) % 8)


class EventMessage:
    """An event message taken apart: `number` is its id, `fields` its numbers by name, `items` and `texts` as
    event_message() takes them."""

    __slots__ = ("deadline_ns", "fields", "items", "number", "texts")

    def __init__(self, message: bytes) -> None:
        _, _, self.number, self.deadline_ns = HEADER.unpack_from(message)
        values = EVENT_HEAD.unpack_from(message, HEADER.size)
        self.fields: dict[str, int] = dict(zip(EVENT_FIELDS, values))
        places = values[len(EVENT_FIELDS) :]
        self.texts = [message[offset : offset + size] for offset, size in zip(places[::2], places[1::2])]
        first = HEADER.size + EVENT_HEAD.size
        self.items: list[tuple[int, int, int, int]] = [
            ITEM.unpack_from(message, first + index * ITEM.size) for index in range(self.fields["item_count"])
        ]

    def event(self, index: int) -> events.EventParams:
        """The event object of an item: one that its handler has kept, to be read only."""
        from ctypes import create_string_buffer

        kind, flags, result_code, access = self.items[index]
        fields = self.fields
        words = [0, kind, result_code, access, flags, fields["process_id"], fields["thread_id"]]
        words += [fields["parent_process_id"], fields["originator_process_id"]]
        words += [fields["originator_thread_id"], fields["source_process_id"], fields["target_process_id"]]
        words += [fields["original_desired_access"], fields["user_id"], fields["exit_status"]]
        words += [fields["capabilities"]]
        quads = [fields["sequence"] + index, fields["time_ns"], fields["start_time"], self.deadline_ns, 0]
        offset = events.FIXED_SIZE
        places: list[int] = []
        for text in self.texts:
            places += [offset, len(text)]
            offset += len(text) + 1
        words[0] = offset
        data = struct.pack("=16I5Q6I", *words, *quads, *places) + b"".join(
            text + b"\0" for text in self.texts
        )
        fixed = memoryview(data)[: events.FIXED_SIZE]
        kept = events.EVENT_CLASSES.get(kind, events.EventParams)
        name = create_string_buffer(self.texts[0])
        return kept(fixed.cast("I"), fixed.cast("Q"), data, name)


class VerdictMessage:
    """A verdict taken apart; the codes and rights are lists with one entry for each item."""

    __slots__ = (
        "decided_items",
        "deferred_items",
        "desired_access",
        "number",
        "result_codes",
        "sequence",
        "state",
        "time_ns",
    )

    SIZE = HEADER.size + VERDICT.size

    def __init__(self, message: bytes) -> None:
        _, _, self.number, _ = HEADER.unpack_from(message)
        values = VERDICT.unpack_from(message, HEADER.size)
        self.sequence, self.time_ns, self.state, count, self.deferred_items, self.decided_items = values[:6]
        self.result_codes = list(values[6 : 6 + count])
        self.desired_access = list(values[10 : 10 + count])


def text(data: bytes) -> str:
    return data.decode("utf-8", TEXT_ERRORS)
