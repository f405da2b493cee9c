"""From the native worker threads to the handlers: the three functions that the library calls, and back.

A worker thread enters Python once, in `worker_main`, and stays there: each event is then a cheap nested call
that keeps the thread's state and its thread-locals. The function `dispatch` made here is the hot path of the
whole package; it is written for speed first. Knows sessions only as what is called.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import sys
import threading
from _thread import get_ident

from . import abi, events
from .checks import TEXT_ERRORS
from .hooks import CALIBRATION, HANDLER_COUNT, Hooks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Block = tuple[memoryview, list[events.EventParams]]


def make_block(address: int, size: int) -> Block:
    """The fields of the event at this address, and a list with an event object for each event type.

    The process name has one place in all events (the library promises it), so its view is made once.
    """
    chars: Any = (ctypes.c_char * size).from_address(address)
    fixed = memoryview(chars).cast("B")[: events.FIXED_SIZE]
    words, quads = fixed.cast("I"), fixed.cast("Q")
    start = min(words[events.PROCESS_NAME_OFFSET], size)
    name = (ctypes.c_char * (size - start)).from_address(address + start)
    pool = [
        events.EVENT_CLASSES.get(kind, events.EventParams)(words, quads, chars, name)
        for kind in range(HANDLER_COUNT)
    ]
    return words, pool


def make_dispatch(hooks: Hooks) -> tuple[Callable[[int], None], Callable[[], None]]:
    """The function that handles the event at an address, and one that forgets the calling worker's memory.

    Whether a handler kept the event object shows in its reference count. What the count is when nobody did
    differs between Python versions, so the first call, of an event made up for it, finds that out.
    """
    handlers = hooks.handlers
    getrefcount = sys.getrefcount
    blocks: dict[int, Block] = {}
    owners: dict[int, int] = {}
    unkept = 0

    def dispatch(address: int) -> None:
        try:
            words, pool = blocks[address]
        except KeyError:
            words, pool = new_block(address)
        kind = words[1]
        handler = handlers[kind]
        if handler is None:
            return
        event = pool[kind]
        try:
            handler(event)
        except BaseException as error:
            words[events.RESULT_CODE] = 0
            words[events.DESIRED_ACCESS] = words[events.ORIGINAL_DESIRED_ACCESS]
            hooks.handler_raised(error)
        count = getrefcount(event)
        if count != unkept:
            kept(pool, kind, count)

    def new_block(address: int) -> Block:
        size = ctypes.c_uint32.from_address(address).value
        if size > abi.EVENT_SIZE_INLINE:
            # Memory of this one event only.
            return make_block(address, size)
        block = blocks[address] = make_block(address, abi.EVENT_SIZE_INLINE)
        owners[get_ident()] = address
        return block

    def kept(pool: list[events.EventParams], kind: int, count: int) -> None:
        nonlocal unkept
        if kind == CALIBRATION:
            unkept = count
            return
        event = pool[kind]
        pool[kind] = type(event)(event._words, event._quads, event._chars, event._name)
        event._detach()

    def forget_worker() -> None:
        address = owners.pop(get_ident(), None)
        if address is not None:
            del blocks[address]

    sample = ctypes.create_string_buffer(events.FIXED_SIZE)
    address = ctypes.addressof(sample)
    blocks[address] = make_block(address, events.FIXED_SIZE)
    dispatch(address)
    del blocks[address]
    return dispatch, forget_worker


class NativeCallbacks:
    """The callbacks of one session in the form that the library takes. Must live as long as the session."""

    def __init__(self, library: ctypes.CDLL, hooks: Hooks) -> None:
        self._library = library
        self._hooks = hooks
        self._numbers = itertools.count(1)
        dispatch, self._forget_worker = make_dispatch(hooks)
        self.structure = abi.Callbacks(
            size=ctypes.sizeof(abi.Callbacks),
            event=abi.EventCallback(dispatch),
            error=abi.ErrorCallback(self._error),
            worker=abi.WorkerCallback(self._worker_main),
        )

    def _error(self, context: int, code: int, text: bytes | None) -> None:
        """In a thread of the library."""
        try:
            self._hooks.report(code, (text or b"").decode("utf-8", TEXT_ERRORS))
        finally:
            _forget_foreign_thread()

    def _worker_main(self, context: int, worker: int) -> None:
        """The body of a worker thread."""
        threading.current_thread().name = f"cbprocess-worker-{next(self._numbers)}"
        try:
            if self._worker_may_run():
                self._library.cbp_worker_run(worker)
                self._worker_ends()
        finally:
            self._forget_worker()
            _forget_foreign_thread()

    def _worker_may_run(self) -> bool:
        handler = self._hooks.worker_creation
        if handler is None:
            return True
        params = events.CBProcessWorkerThreadCreationEventParams()
        try:
            handler(params)
        except BaseException as error:
            self._hooks.handler_raised(error)
            return True
        if params.result_code:
            text = "on_worker_thread_creation gave a result code: this worker thread ends"
            self._hooks.report(params.result_code, text)
        return params.result_code == 0

    def _worker_ends(self) -> None:
        handler = self._hooks.worker_termination
        if handler is None:
            return
        with contextlib.suppress(BaseException):
            handler(events.CBProcessWorkerThreadTerminationEventParams())


def _forget_foreign_thread() -> None:
    """Takes the calling thread, which Python did not start, out of threading's table: Python before 3.13
    would keep it there for ever."""
    table: dict[int, threading.Thread] = getattr(threading, "_active", {})
    if isinstance(table.get(get_ident()), getattr(threading, "_DummyThread", ())):
        table.pop(get_ident(), None)
