"""From the native worker threads to the handlers: the functions that the library calls, and back.

A worker thread enters Python once, in `_worker_main`, and stays there. Each event is then a cheap nested call
that keeps the thread's state and its thread-locals. The function `dispatch`, made here for each worker and
event type, is the hot path of the whole package. It is written for speed first. Knows nothing of sessions."""

from __future__ import annotations

import ctypes
import sys
from _thread import allocate_lock, get_ident

from .. import events
from .._checks import as_text
from .._lean import suppress
from ..constants import ERROR_GEN_FAILURE, EVENT_FLAG_DECIDED_BY_RULE
from . import structures
from .hooks import Hooks, is_only_counted
from .layouts import EVENT_SIZE_INLINE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Block = tuple[memoryview, memoryview, Any, Any]


NO_COUNT = 0


def _no_count(event: object) -> int:
    return NO_COUNT


def make_block(address: int, size: int) -> Block:
    """The views of the memory at this address through which an event's object reads it: words, double words,
    all bytes, and the process name.

    The process name has one place in all events, directly behind the fixed part, so its view is made once.
    """
    chars: Any = (ctypes.c_char * size).from_address(address)
    fixed = memoryview(chars).cast("B")[: events.FIXED_SIZE]
    name = (ctypes.c_char * (size - events.FIXED_SIZE)).from_address(address + events.FIXED_SIZE)
    return fixed.cast("I"), fixed.cast("Q"), chars, name


def make_dispatch(
    hooks: Hooks, block: Block, kind: int, unkept: int, kept: Callable[[events.EventParams, int], None]
) -> Callable[[], None]:
    """The function that handles the event in a block, of that type. A reference count of the event's object
    other than `unkept` means that the handler kept it: `kept` is told then, with the object and the count,
    and the next event gets another object."""
    words = block[0]
    handlers = hooks.handlers
    getrefcount = getattr(sys, "getrefcount", _no_count)
    event_class = events.EVENT_CLASSES.get(kind, events.EventParams)
    event = event_class(*block)

    def dispatch() -> None:
        nonlocal event
        handler = handlers[kind]
        if handler is None:
            return
        try:
            handler(event)
        except BaseException as error:
            if not words[events.FLAGS] & EVENT_FLAG_DECIDED_BY_RULE:
                words[events.RESULT_CODE] = 0
                words[events.DESIRED_ACCESS] = words[events.ORIGINAL_DESIRED_ACCESS]
            hooks.handler_raised(error, event.sequence)
        count = getrefcount(event)
        if count != unkept:
            kept(event, count)
            event = event_class(*block)

    return dispatch


def detach_kept(event: events.EventParams, count: int) -> None:
    """Gives the object that a handler kept memory of its own."""
    event._detach()


def make_any_dispatch(hooks: Hooks, block: Block, unkept: int) -> Callable[[], None]:
    """The function that handles the event in a block, whatever its type."""

    def dispatch() -> None:
        make_dispatch(hooks, block, block[0][events.TYPE], unkept, detach_kept)()

    return dispatch


def unkept_count() -> int:
    """The reference count of an event object that no handler kept. It differs between Python versions, so it
    is found by handling an event made up for it. A Python without such counts never uses an object again."""
    if not hasattr(sys, "getrefcount"):
        return NO_COUNT - 1
    counts: list[int] = []
    hooks = Hooks()
    # It has the size of the workers' blocks: ctypes makes a class for each size of an array.
    sample = ctypes.create_string_buffer(EVENT_SIZE_INLINE)
    block = make_block(ctypes.addressof(sample), EVENT_SIZE_INLINE)
    hooks.handlers[0] = lambda event: None
    make_dispatch(hooks, block, 0, -1, lambda event, count: counts.append(count))()
    return counts[0]


class NativeCallbacks:
    """The callbacks of one session in the form that the library takes. Must live as long as the session."""

    def __init__(self, library: ctypes.CDLL, hooks: Hooks) -> None:
        self._library = library
        self._hooks = hooks
        self._worker_count = 0
        self._count_lock = allocate_lock()
        self._unkept = unkept_count()
        self.structure = structures.Callbacks(
            size=ctypes.sizeof(structures.Callbacks),
            event=structures.EventCallback(self._event),
            error=structures.ErrorCallback(self._error),
            worker=structures.WorkerCallback(self._worker_main),
        )

    def _event(self, address: int) -> None:
        """Handles an event that is too large for its worker's block: it stands in memory of its own."""
        size = ctypes.c_uint32.from_address(address).value
        make_any_dispatch(self._hooks, make_block(address, size), self._unkept)()

    def _error(self, context: int, code: int, text: bytes | None) -> None:
        """Tells of an error, in a thread of the library."""
        try:
            os_error = ctypes.c_uint32()
            is_failure = code == ERROR_GEN_FAILURE
            sequence = self._library.cbp_failed_execution(ctypes.byref(os_error)) if is_failure else 0
            if sequence and self._hooks.take_back is not None:
                self._hooks.take_back(sequence, os_error.value)
            if self._hooks.error is not None or not is_only_counted(code, sequence):
                description = as_text(text or b"")
                self._hooks.report(code, description, failed=(sequence, os_error.value))
        finally:
            _forget_foreign_thread()

    def before_threads(self) -> None:
        """To be called before there are worker threads."""
        # Before Python 3.13 the first thread that imports it passes for the main thread. Where no descriptor
        # is left to import it, the start says so itself.
        if not self._hooks.without_threading:
            with suppress(ImportError, OSError):
                import threading  # noqa: F401

    def _worker_main(self, context: int, worker: int) -> None:
        """The body of a worker thread."""
        # Another thread may be importing it just now.
        current_thread = getattr(sys.modules.get("threading"), "current_thread", None)
        if current_thread is not None:
            with self._count_lock:
                self._worker_count += 1
                number = self._worker_count
            current_thread().name = f"cbprocess-worker-{number}"
        try:
            if self._worker_may_run():
                callback = self._bind(worker)
                self._library.cbp_worker_run(worker)
                del callback
                self._worker_ends()
        finally:
            _forget_foreign_thread()

    def _bind(self, worker: int) -> object:
        """Gives the worker a dispatch of its own for each event type. They have to live as long as it
        runs."""
        bind, hooks, unkept = self._library.cbp_worker_bind, self._hooks, self._unkept
        address = ctypes.c_void_p()
        # The first call only tells the address, which a dispatch has to know.
        bind(worker, self.structure.event, ctypes.byref(address))
        block = make_block(address.value or 0, EVENT_SIZE_INLINE)
        callbacks = [structures.BlockCallback(make_any_dispatch(hooks, block, unkept))]
        bind(worker, callbacks[0], ctypes.byref(address))
        for kind in events.KINDS:
            dispatch = make_dispatch(hooks, block, kind, unkept, detach_kept)
            callbacks.append(structures.BlockCallback(dispatch))
            self._library.cbp_worker_bind_type(worker, kind, callbacks[-1])
        return callbacks

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
        with suppress(BaseException):
            handler(events.CBProcessWorkerThreadTerminationEventParams())


def _forget_foreign_thread() -> None:
    """Takes the calling thread, which Python did not start, out of threading's table. Python before 3.13
    would keep it there for ever."""
    threading = sys.modules.get("threading")
    table: dict[int, object] = getattr(threading, "_active", {})
    if isinstance(table.get(get_ident()), getattr(threading, "_DummyThread", ())):
        table.pop(get_ident(), None)
