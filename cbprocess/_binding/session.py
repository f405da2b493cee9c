"""The native session behind one instance, and the list of active ones that keeps them alive until exit.

Owns the library's handle: knows how to start, stop and free it; nothing of the meaning of its settings."""

from __future__ import annotations

import os
import sys
from _thread import RLock
from ctypes import byref, c_int64, c_uint32, c_void_p, sizeof
from time import monotonic

from ..constants import ERROR_CONNECTION_ACTIVE, ERROR_TIMEOUT, ERROR_TOO_MANY_OPEN_FILES
from ..errors import CBProcessError, CBProcessWarning
from . import abi, library

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .callbacks import NativeCallbacks
    from .hooks import Hooks
    from .own_requests import OwnRequests
    from .structures import Statistics

# A wait in the library is cut into slices, between which Python handles signals.
SLICE_MS = 100
# An interpreter that exits waits so long for handlers that are still running.
EXIT_LIMIT_S = 5.0
FOREVER_S = float("inf")

_active: set[Session] = set()
_exit_hook_set = False
_is_importing = False


class Session:
    """A session of the native library. All methods may raise CBProcessError with the library's code."""

    # What only filters need is imported and made at the first start, by one thread at a time, for all
    # sessions. Reentrant: a signal's handler may start the filter, or fork, while this thread is about to
    # start it.
    first_use = RLock()

    def __init__(self, hooks: Hooks, original: Session | None = None) -> None:
        """original is a session of the process that this one was forked from. Its settings are taken over."""
        self.pointer = c_void_p()
        self.library = library.load()
        self.process_id = os.getpid()
        self.is_initialized = False
        self.is_copy = original is not None
        self._own_requests: OwnRequests | None = original._own_requests if original else None
        self.library.cbp_session_create(None, byref(self.pointer))
        if original is not None:
            self.library.cbp_session_copy_config(self.pointer, original.pointer)
        self._hooks = hooks
        self._callbacks: NativeCallbacks | None = None

    def __del__(self) -> None:
        # The session is not active here: the set above keeps active sessions alive.
        if self.pointer:
            self.library.cbp_session_destroy(self.pointer)

    def initialize(self, product_guid: bytes) -> None:
        """Sets the GUID. A filter that is active goes on under the GUID that it was started with."""
        try:
            self.library.cbp_session_set_product_guid(self.pointer, product_guid)
        except CBProcessError as error:
            if error.code != ERROR_CONNECTION_ACTIVE:
                raise
        self.is_initialized = True

    def start(self, timeout_ms: int) -> None:
        _finish_stopped()
        with self.first_use:
            _set_exit_hook()
            self._give_callbacks().before_threads()
        self.library.cbp_session_start(self.pointer, timeout_ms)
        _active.add(self)

    def _give_callbacks(self) -> NativeCallbacks:
        """Gives the library the callbacks, once. No call comes before the start, and a program that only
        makes instances ready does without them."""
        if self._callbacks is None:
            callbacks = _import_callbacks()(self.library, self._hooks)
            self.library.cbp_session_set_callbacks(self.pointer, byref(callbacks.structure))
            self._callbacks = callbacks
        return self._callbacks

    def stop(self) -> None:
        """Ends delivery and waits for the handlers; in a handler only ends delivery."""
        try:
            while not self.stop_slice(SLICE_MS):
                pass
        finally:
            if not self.library.cbp_in_handler() and not self.is_active():
                _active.discard(self)

    def stop_slice(self, slice_ms: int) -> bool:
        """Ends delivery and waits for a while. Whether the stop is complete."""
        try:
            self.library.cbp_session_stop(self.pointer, slice_ms)
        except CBProcessError as error:
            if error.code == ERROR_TIMEOUT:
                return False
            if self.pointer:
                raise
            # It was abandoned at exit while this thread was waiting.
        return True

    def stop_slice_at_exit(self) -> bool:
        """Does stop_slice(); waits no longer for a helper that does not answer."""
        try:
            return self.stop_slice(SLICE_MS // 10)
        except CBProcessError as error:
            import warnings

            warnings.warn(str(error), CBProcessWarning, stacklevel=1)
            return True

    def abandon(self) -> None:
        """Leaves the library's memory as it is: its threads may still use it while the process ends."""
        self.pointer = c_void_p()

    def is_active(self) -> bool:
        active = c_uint32()
        pointer = self.pointer
        if pointer:  # else abandoned at exit, perhaps this moment, while another thread stops it
            self.library.cbp_session_is_active(pointer, byref(active))
        return active.value != 0

    def statistics(self) -> Statistics:
        from .structures import Statistics

        values = Statistics()
        self.library.cbp_session_get_statistics(self.pointer, byref(values), sizeof(values))
        return values

    def set_config(self, name: bytes, value: bytes) -> None:
        self.library.cbp_session_set_config(self.pointer, name, value)

    def set_own_requests(self, on: bool) -> None:
        """Switches FilterOwnRequests on or off: processes that this one creates may be held, or not."""
        if not on:
            self._own_requests = None
        elif self._own_requests is None:
            from .own_requests import OwnRequests

            self._own_requests = OwnRequests()

    def get_config(self, name: bytes) -> bytes:
        return abi.read_text(
            lambda buffer, size, needed: self.library.cbp_session_get_config(
                self.pointer, name, buffer, size, needed
            )
        )

    def process_name(self, process_id: int) -> bytes:
        return abi.read_text(
            lambda buffer, size, needed: self.library.cbp_process_name(process_id, buffer, size, needed)
        )

    def process_capabilities(self, process_id: int) -> int:
        capabilities = c_uint32()
        self.library.cbp_session_process_capabilities(self.pointer, process_id, byref(capabilities))
        return capabilities.value

    def originator_token(self) -> int:
        token = c_int64()
        self.library.cbp_event_originator_token(byref(token))
        return token.value

    def reset_timeout(self, timeout_ms: int) -> bool:
        accepted = c_uint32()
        self.library.cbp_event_reset_timeout(timeout_ms, byref(accepted))
        return accepted.value != 0


# No fork happens while a thread imports: the child would wait for that module for ever, because it has not
# got that thread.
if sys.platform != "win32":
    os.register_at_fork(
        before=Session.first_use.acquire,
        after_in_parent=Session.first_use.release,
        after_in_child=Session.first_use.release,
    )


def in_slices(call: Callable[[], object], limit_s: float = FOREVER_S) -> bool:
    """Makes a call that waits in the library for a slice of time, until it has succeeded. False if that takes
    longer than the limit."""
    end_s = monotonic() + limit_s
    while True:
        try:
            call()
            return True
        except CBProcessError as error:
            if error.code != ERROR_TIMEOUT:
                raise
        if monotonic() >= end_s:
            return False


def _finish_stopped() -> None:
    """Lets go of sessions that were stopped inside a handler and whose handlers have returned since."""
    for session in list(_active):
        if session.process_id == os.getpid() and not session.is_active():
            try:
                if not session.stop_slice(1):
                    continue
            except CBProcessError:
                pass  # not this start's business
            _active.discard(session)


def _import_callbacks() -> type[NativeCallbacks]:
    """The class, which is imported at the first start."""
    global _is_importing
    if _is_importing:
        # A signal has come in between, and its handler would get a module that is not complete.
        raise CBProcessError(ERROR_CONNECTION_ACTIVE, "this thread is starting a filter already")
    _is_importing = True
    try:
        from .callbacks import NativeCallbacks
    except (ImportError, OSError) as error:
        limit = _missing_descriptor(error)
        if not limit:
            raise
        # The start itself, for which no descriptor is left either, would say the same.
        message = f"the modules of a filter: a limit of file descriptors is reached: {limit}"
        raise CBProcessError(ERROR_TOO_MANY_OPEN_FILES, message) from None
    finally:
        _is_importing = False
    return NativeCallbacks


def _missing_descriptor(error: ImportError | OSError) -> str:
    """The limit of descriptors by which an import has failed; "" if it was something else."""
    import errno

    if isinstance(error, ImportError):
        # It does not tell why a file could not be opened. Another one may.
        try:
            os.close(os.open(os.devnull, os.O_RDONLY))
            return ""
        except OSError as reason:
            error = reason
    if error.errno == errno.EMFILE:
        return "RLIMIT_NOFILE (for this process)"
    return "fs.file-max (for the whole system)" if error.errno == errno.ENFILE else ""


def _set_exit_hook() -> None:
    global _exit_hook_set
    if not _exit_hook_set:
        _exit_hook_set = True
        import atexit

        atexit.register(_stop_at_exit)


def _stop_at_exit() -> None:
    """Stops the active sessions, so that no worker thread is inside Python when the interpreter goes."""
    own = [session for session in _active if session.process_id == os.getpid()]
    limit = monotonic() + EXIT_LIMIT_S
    while own:
        own = [session for session in own if not session.stop_slice_at_exit()]
        if own and monotonic() > limit:
            import warnings

            for session in own:
                session.abandon()
            warnings.warn("an event handler was still running at exit", CBProcessWarning, stacklevel=1)
            return
