"""Event objects over arbitrary memory: what they show equals what an independent reading of the layout gives,
inside the handler and for ever after; and no bytes whatever make a property fail."""

from __future__ import annotations

import ctypes
import shlex
import struct
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from unit.event_blocks import dispatch_for, dispatch_once

from cbprocess import events
from cbprocess._binding import layouts
from cbprocess._binding.hooks import Hooks

KINDS = st.sampled_from(sorted(events.EVENT_CLASSES))
U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)
NAMES = st.one_of(
    st.binary(max_size=300),
    st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.sampled_from([b"", b"/", b"/usr/bin/env", b"\xff", b"\xed\xb3\xbf"]),
).map(lambda name: name.replace(b"\0", b"\1"))
ARGUMENTS = st.lists(NAMES, max_size=20)


def read_all(event: Any) -> dict[str, object]:
    """All properties of an event, by their names."""
    names = [
        name
        for base in type(event).__mro__
        for name, value in vars(base).items()
        if isinstance(value, property)
    ]
    return {name: getattr(event, name) for name in names}


def read_twice(memory: Any) -> tuple[dict[str, object], dict[str, object]]:
    """What the event shows in its handler, and kept, when its memory has been used again."""
    seen: list[dict[str, object]] = []
    kept: list[Any] = []

    def handler(event: Any) -> None:
        seen.append(read_all(event))
        kept.append(event)

    dispatch_once(memory, handler)
    ctypes.memset(ctypes.addressof(memory), 0xA5, ctypes.sizeof(memory))
    return seen[0], read_all(kept[0])


def decoded(text: bytes) -> str:
    return text.decode("utf-8", "surrogateescape")


def expected_values(
    kind: int, words: list[int], quads: list[int], name: bytes, image: bytes, arguments: list[bytes]
) -> dict[str, object]:
    """An event's properties, from the layout's description alone. words: result code to capabilities; quads:
    sequence to context."""
    (result, access, flags, process, thread, parent, originator, originator_thread) = words[:8]
    (source, target, original, user, status, capabilities) = words[8:]
    everything: dict[str, object] = {
        "result_code": result,
        "desired_access": access,
        "flags": flags,
        "held": bool(flags & 1),
        "decided_by_rule": bool(flags & 2),
        "refusable": bool(flags & 4),
        "timed_out": bool(flags & 8),
        "duplication": bool(flags & 16),
        "image_deleted": bool(flags & 256),
        "process_id": process,
        "thread_id": thread,
        "parent_process_id": parent,
        "creating_process_id": originator,
        "creating_thread_id": originator_thread,
        "originator_process_id": originator,
        "originator_thread_id": originator_thread,
        "source_process_id": source,
        "target_process_id": target,
        "original_desired_access": original,
        "user_id": user,
        "capabilities": capabilities,
        "exit_status": -(status % 128) if status % 128 else status // 256 % 256,
        "sequence": quads[0],
        "time_ns": quads[1],
        "time": quads[1] / 10**9,
        "start_time": quads[2],
        "process_name": decoded(name),
        "image_file_name": decoded(image),
        "file_open_name_available": image.startswith(b"/"),
        "arguments": [decoded(argument) for argument in arguments],
        "command_line": shlex.join(decoded(argument) for argument in arguments),
    }
    names = [name for name in dir(events.EVENT_CLASSES[kind]) if name in everything]
    return {name: everything[name] for name in names}


@settings(max_examples=400, deadline=None)
@given(
    KINDS,
    st.lists(U32, min_size=14, max_size=14),
    st.lists(U64, min_size=5, max_size=5),
    NAMES,
    NAMES,
    ARGUMENTS,
)
def test_events_show_what_the_memory_holds(
    kind: int, words: list[int], quads: list[int], name: bytes, image: bytes, arguments: list[bytes]
) -> None:
    tail = name + b"\0" + image + b"\0"
    argument_bytes = b"".join(argument + b"\0" for argument in arguments)
    tail += argument_bytes
    size = 128 + len(tail)
    offsets = [128, len(name), 129 + len(name), len(image), 130 + len(name) + len(image), len(argument_bytes)]
    data = struct.pack("=16I5Q6I", size, kind, *words, *quads, *offsets) + tail
    memory = ctypes.create_string_buffer(data, max(len(data), layouts.EVENT_SIZE_INLINE))
    in_handler, afterwards = read_twice(memory)
    assert in_handler == expected_values(kind, words, quads, name, image, arguments)
    assert afterwards == in_handler


@settings(max_examples=400, deadline=None)
@given(KINDS, st.binary(min_size=128, max_size=600), st.integers(0, layouts.EVENT_SIZE_INLINE))
def test_no_bytes_make_a_property_fail(kind: int, data: bytes, size: int) -> None:
    memory = ctypes.create_string_buffer(data, layouts.EVENT_SIZE_INLINE)
    struct.pack_into("=II", memory, 0, size, kind)
    in_handler, afterwards = read_twice(memory)
    assert set(in_handler) == set(afterwards)
    fixed = ("process_id", "sequence", "time_ns", "flags", "user_id", "result_code", "start_time")
    assert [in_handler[name] for name in fixed] == [afterwards[name] for name in fixed]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(KINDS, U32, NAMES, st.booleans()), min_size=1, max_size=30))
def test_any_order_of_kept_and_forgotten_events(story: list[tuple[int, int, bytes, bool]]) -> None:
    """One block serves many events, some of which the handler keeps: each stays what it was."""
    hooks = Hooks()
    failures: list[Any] = []
    hooks.error = failures.append
    kept: list[tuple[Any, dict[str, object]]] = []
    to_keep = iter([wanted for *_, wanted in story])

    def handler(event: Any) -> None:
        event.result_code = event.process_id
        if next(to_keep):
            kept.append((event, read_all(event)))

    for kind in events.EVENT_CLASSES:
        hooks.handlers[kind] = handler
    memory = ctypes.create_string_buffer(layouts.EVENT_SIZE_INLINE)
    dispatch = dispatch_for(hooks, memory)
    for kind, process_id, name, _ in story:
        fields = [129 + len(name), kind, 0, 0, 0, process_id, *[0] * 10]
        texts = [128, len(name), 0, 0, 0, 0]
        struct.pack_into("=16I5Q6I", memory, 0, *fields, *[0] * 5, *texts)
        ctypes.memmove(ctypes.addressof(memory) + 128, name + b"\0", len(name) + 1)
        dispatch()
        assert struct.unpack_from("=I", memory, 8) == (process_id,)
    assert failures == []
    assert len({id(event) for event, _ in kept}) == len(kept)
    for event, values in kept:
        assert read_all(event) == values
