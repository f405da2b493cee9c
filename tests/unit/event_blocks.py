"""Events made by hand, as the native library lays them out, for tests of what reads them."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any, Optional

from cbprocess import events
from cbprocess._binding import callbacks, layouts, structures
from cbprocess._binding.hooks import Hooks
from cbprocess.constants import PROC_EVT_PROCESS_CREATION


def make_event(
    kind: int = PROC_EVT_PROCESS_CREATION,
    *,
    process_name: bytes = b"/usr/bin/program",
    image_file_name: bytes = b"",
    arguments: Sequence[bytes] = (),
    memory: Optional[Any] = None,
    **fields: int,
) -> Any:
    """An event in a block of its own (or in `memory`, over what stood there), process name first."""
    texts = bytearray()
    values = dict(fields, type=kind)
    for name, text, ended in (
        ("process_name", process_name, True),
        ("image_file_name", image_file_name, True),
        ("arguments", b"".join(argument + b"\0" for argument in arguments), False),
    ):
        values[f"{name}_offset"] = ctypes.sizeof(structures.Event) + len(texts)
        values[f"{name}_size"] = len(text)
        texts += text + (b"\0" if ended else b"")
    size = ctypes.sizeof(structures.Event) + len(texts)
    if memory is None:
        memory = ctypes.create_string_buffer(max(size, layouts.EVENT_SIZE_INLINE))
    event = structures.Event.from_buffer(memory)
    for name, value in values.items():
        setattr(event, name, value)
    event.size = size
    ctypes.memmove(ctypes.addressof(event) + ctypes.sizeof(structures.Event), bytes(texts), len(texts))
    return memory


def fields_of(memory: Any) -> structures.Event:
    return structures.Event.from_buffer(memory)


def dispatches_for(hooks: Hooks, memory: Any) -> dict[int, Callable[[], None]]:
    """The package's own dispatch of each event type, for the events that come to stand in this memory."""
    block = callbacks.make_block(ctypes.addressof(memory), ctypes.sizeof(memory))
    unkept = callbacks.unkept_count()
    return {
        kind: callbacks.make_dispatch(hooks, block, kind, unkept, callbacks.detach_kept)
        for kind in events.KINDS
    }


def dispatch_for(hooks: Hooks, memory: Any) -> Callable[[], None]:
    """What a worker does with the event that stands in this memory."""
    dispatches = dispatches_for(hooks, memory)
    return lambda: dispatches[fields_of(memory).type]()


def dispatch_once(memory: Any, handler: Any) -> None:
    """Calls the handler for the event in memory, through the package's own dispatch."""
    hooks = Hooks()
    hooks.handlers[structures.Event.from_buffer(memory).type] = handler
    failures: list[Any] = []
    hooks.error = failures.append
    dispatch_for(hooks, memory)()
    assert not failures, failures[0].description
