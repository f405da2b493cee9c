"""The check of wire messages against arbitrary bytes and against damaged valid messages: its verdict equals
that of an independent description of each message, and it reads only the bytes that it is given."""

from __future__ import annotations

import ctypes
import mmap
import struct
import sys
from typing import Any

import pytest
from abi.wire import MESSAGE_TYPES, STRUCTURES, TEXTS, make_message
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cbprocess import constants
from cbprocess._binding import library

VALID, INVALID = 0, constants.ERROR_INVALID_DATA

# Fields whose values are limited: largest value, or (as a set of bits) a mask.
LARGEST = {
    "session_settings": {"session_id": 15, "timeout_action": 1, "refuse_with": 1},
    "session_close": {"session_id": 15},
    "rules": {"session_id": 15, "part": 1},
    "launch_forget": {"session_id": 15},
    "launch": {"session_id": 15},
    "launch_process": {"session_id": 15},
    "event_message": {"session_id": 15, "item_count": 4},
    "kernel_session": {"session_id": 15, "is_strict": 1},
    "kernel_worker": {"session_id": 15, "is_worker": 1},
    "kernel_receive": {"session_id": 15},
    "kernel_answer": {"session_id": 15, "item_count": 4},
    "kernel_deadline": {"session_id": 15, "moves": 1},
    "kernel_token": {"session_id": 15},
    "kernel_beat": {"session_id": 15},
    "verdict": {"state": 5, "item_count": 4},
    "script_step": {"kind": 10},
}
LEAST = {"script_step": {"kind": 1}}
BITS = {
    "session_settings": {"flags": 15},
    "launch_go": {"flags": 31},
    "verdict": {"deferred_items": 15, "decided_items": 15},
}


class GuardedMemory:
    """Bytes that end where memory that cannot be read begins."""

    PAGES = 3

    def __init__(self) -> None:
        self._size = self.PAGES * mmap.PAGESIZE
        self._map = mmap.mmap(-1, self._size + mmap.PAGESIZE)
        self._address = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        self._libc = ctypes.CDLL(None, use_errno=True)
        forbidden = ctypes.c_void_p(self._address + self._size)
        assert self._libc.mprotect(forbidden, mmap.PAGESIZE, 0) == 0, ctypes.get_errno()

    def place(self, data: bytes) -> int:
        """The address of the data, aligned to 8 and as near to the end as that allows."""
        offset = (self._size - len(data)) // 8 * 8
        self._map[offset : offset + len(data)] = data
        return self._address + offset


MEMORY = GuardedMemory()


def check(data: bytes, kind: int) -> int:
    status: int = library.load().cbp_message_validate(MEMORY.place(data), len(data), kind)
    return status


def text_of(message: Any, name: str, data: bytes, fixed_size: int) -> bytes | None:
    """A variable part; None if it does not lie behind the structure and inside the message."""
    offset, size = getattr(message, f"{name}_offset"), getattr(message, f"{name}_size")
    if size == 0 and offset == 0:
        return b""
    if not fixed_size <= offset <= len(data) or size > len(data) - offset:
        return None
    return data[offset : offset + size]


def expected(data: bytes, kind: int) -> int:
    """The verdict as the protocol's description has it."""
    name = {number: name for name, number in MESSAGE_TYPES.items()}.get(kind)
    if name is None or len(data) < ctypes.sizeof(STRUCTURES[name]):
        return INVALID
    fixed_size = ctypes.sizeof(STRUCTURES[name])
    message: Any = STRUCTURES[name].from_buffer_copy(data)
    sound = message.header.size == len(data) and message.header.type == kind
    sound = sound and getattr(message, "reserved", 0) == 0
    sound = sound and all(getattr(message, key) <= most for key, most in LARGEST.get(name, {}).items())
    sound = sound and all(getattr(message, key) >= least for key, least in LEAST.get(name, {}).items())
    sound = sound and all(getattr(message, key) & ~mask == 0 for key, mask in BITS.get(name, {}).items())
    texts = {key: text_of(message, key, data, fixed_size) for key in TEXTS.get(name, ())}
    sound = sound and None not in texts.values()
    if sound and name == "event_message":
        sound = items_are_sound(message)
        sound = sound and not any(b"\0" in (texts[key] or b"") for key in ("process_name", "image_file_name"))
    return VALID if sound else INVALID


def items_are_sound(message: Any) -> bool:
    items = [message.item0, message.item1, message.item2, message.item3]
    used, unused = items[: message.item_count], items[message.item_count :]
    kinds = {1, 2, 4, 8, 16, 32}
    return (
        len(used) > 0 and all(item.type in kinds for item in used) and all(item.type == 0 for item in unused)
    )


TEXT_BYTES = st.binary(min_size=1, max_size=40).map(lambda text: text.replace(b"\0", b"x"))


@st.composite
def valid_messages(draw: st.DrawFn) -> tuple[str, bytes]:
    name = draw(st.sampled_from(sorted(MESSAGE_TYPES)))
    texts = {key: draw(st.one_of(st.just(b""), TEXT_BYTES)) for key in TEXTS.get(name, ())}
    fields: dict[str, Any] = {}
    for key, most in LARGEST.get(name, {}).items():
        fields[key] = draw(st.integers(LEAST.get(name, {}).get(key, 0), most))
    for key, mask in BITS.get(name, {}).items():
        fields[key] = draw(st.integers(0, mask))
    if name == "event_message":
        fields["item_count"] = draw(st.integers(1, 4))
        for number in range(fields["item_count"]):
            kind = 1 << draw(st.integers(0, 5))
            fields[f"item{number}"] = (kind, *draw(st.tuples(*[st.integers(0, 2**32 - 1)] * 3)))
    return name, make_message(name, texts, **fields)


@settings(max_examples=600, deadline=None)
@given(valid_messages())
def test_valid_messages_pass(case: tuple[str, bytes]) -> None:
    name, data = case
    assert expected(data, MESSAGE_TYPES[name]) == VALID
    assert check(data, MESSAGE_TYPES[name]) == VALID


def sample_of(name: str, **fields: Any) -> bytes:
    """A valid message but for these fields."""
    if name == "event_message":
        count = min(fields.get("item_count", 1), 4)
        fields = {"item_count": 1, **{f"item{i}": (1, 0, 0, 0) for i in range(count)}, **fields}
    return make_message(name, {key: b"" for key in TEXTS.get(name, ())}, **{**LEAST.get(name, {}), **fields})


@pytest.mark.parametrize("name", BITS)
def test_each_bit_of_a_field_is_known_and_no_other(name: str) -> None:
    for field, mask in BITS[name].items():
        for bit in range(32):
            status = VALID if mask >> bit & 1 else INVALID
            assert check(sample_of(name, **{field: 1 << bit}), MESSAGE_TYPES[name]) == status, (field, bit)


@pytest.mark.parametrize("name", LARGEST)
def test_the_largest_value_of_a_field_is_known_and_no_larger_one(name: str) -> None:
    for field, most in LARGEST[name].items():
        assert check(sample_of(name, **{field: most}), MESSAGE_TYPES[name]) == VALID, field
        assert check(sample_of(name, **{field: most + 1}), MESSAGE_TYPES[name]) == INVALID, field


WORDS = st.one_of(
    st.integers(0, 2**32 - 1), st.integers(0, 300), st.sampled_from([2**31, 2**32 - 1, 2**32 - 8, 4096, 4097])
)


@settings(max_examples=3000, deadline=None)
@given(
    valid_messages(),
    st.lists(st.tuples(st.integers(0, 80), WORDS), max_size=3),
    st.one_of(st.just(0), st.integers(-40, 40)),
    st.booleans(),
)
def test_damaged_messages(
    case: tuple[str, bytes], patches: list[tuple[int, int]], change: int, fix_size: bool
) -> None:
    """Words anywhere are overwritten, the message is cut or grows, its size field follows or not."""
    name, original = case
    data = bytearray(original[: len(original) + change] if change < 0 else original + b"\0" * change)
    for word, value in patches:
        if 4 * word + 4 <= len(data):
            struct.pack_into("=I", data, 4 * word, value)
    if fix_size and len(data) >= 4:
        struct.pack_into("=I", data, 0, len(data))
    for kind in (MESSAGE_TYPES[name], MESSAGE_TYPES[name] % 12 + 1):
        assert check(bytes(data), kind) == expected(bytes(data), kind)


@settings(max_examples=1500, deadline=None)
@given(st.binary(max_size=400), st.integers(0, 2**32 - 1))
@example(b"", 0)
def test_arbitrary_bytes(data: bytes, other_kind: int) -> None:
    for kind in [*range(14), *range(31, 37), other_kind]:
        assert check(data, kind) == expected(data, kind)


@settings(max_examples=600, deadline=None)
@given(st.binary(min_size=16, max_size=400), st.sampled_from(sorted(MESSAGE_TYPES.values())))
def test_arbitrary_bytes_behind_a_right_header(data: bytes, kind: int) -> None:
    data = struct.pack("=II", len(data) + 8, kind) + data
    assert check(data, kind) == expected(data, kind)


@pytest.mark.skipif(sys.platform == "win32", reason="uses mprotect")
def test_the_guard_is_where_a_message_ends() -> None:
    data = make_message("event_message", {"arguments": b"x" * 8}, item_count=1, item0=(1, 0, 0, 0))
    assert len(data) % 8 == 0
    assert MEMORY.place(data) + len(data) == MEMORY._address + MEMORY.PAGES * mmap.PAGESIZE
    assert check(data, 12) == VALID
