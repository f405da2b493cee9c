"""The messages of recordings and scripts as bytes: docs/recording.md, driver/protocol/cbp_message.h.

Knows their layout; nothing of files, of sessions or of the meaning of messages."""

from __future__ import annotations

import struct

from .. import events
from .._event_fields import FIXED_SIZE
from ..constants import BATCH_MAX
from .layouts import FIELDS, MESSAGE_EVENT, MESSAGE_SCRIPT_STEP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def _layout(name: str) -> struct.Struct:
    return struct.Struct("=" + "".join(kind for _, kind in FIELDS[name]))


# Every message begins with a header.
HEADER = _layout("message_header")
EVENT_HEAD = _layout("event_message")
ITEM = _layout("event_item")
EVENT_SIZE = HEADER.size + EVENT_HEAD.size + BATCH_MAX * ITEM.size
EVENT = _layout("event")
RECORDING = _layout("recording")
RECORDING_END = _layout("recording_end")
VERDICT = _layout("verdict")
STEP = _layout("script_step")

TEXTS = ("process_name", "image_file_name", "arguments")
# An event message has these numbers, in front of the places of its texts.
EVENT_FIELDS = [name for name, _ in FIELDS["event_message"]][: -2 * len(TEXTS)]


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
        """The event object of an item. It can only be read, as one that its handler has kept."""
        from ctypes import create_string_buffer

        values = {"context": 0, **self.fields, "deadline_ns": self.deadline_ns}
        values["type"], values["flags"], values["result_code"], values["desired_access"] = self.items[index]
        values["sequence"] += index
        size = FIXED_SIZE
        for name, text in zip(TEXTS, self.texts):
            values[f"{name}_offset"], values[f"{name}_size"] = size, len(text)
            size += len(text) + 1
        values["size"] = size
        data = EVENT.pack(*(values[name] for name, _ in FIELDS["event"]))
        data += b"".join(text + b"\0" for text in self.texts)
        fixed = memoryview(data)[:FIXED_SIZE]
        kept = events.EVENT_CLASSES.get(values["type"], events.EventParams)
        name_memory = create_string_buffer(self.texts[0])
        return kept(fixed.cast("I"), fixed.cast("Q"), data, name_memory)


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
