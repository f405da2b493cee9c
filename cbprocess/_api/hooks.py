"""What one instance's user has set to be called, and how a failure in it is told. Called from worker threads;
knows nothing of the native library."""

from __future__ import annotations

from _thread import allocate_lock

from .. import events
from ..constants import (
    ERROR_NOT_FOUND,
    ERROR_UNHANDLED_EXCEPTION,
    PROC_EVT_PROCESS_CREATION,
    PROC_EVT_PROCESS_HANDLE_OPERATION,
    PROC_EVT_PROCESS_TERMINATION,
    PROC_EVT_THREAD_CREATION,
    PROC_EVT_THREAD_HANDLE_OPERATION,
    PROC_EVT_THREAD_TERMINATION,
)
from ..errors import CBProcessError
from .checks import checked_handler

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Optional

    Handler = Callable[[Any], object]

# The property that is each operation's.
HANDLERS = {
    PROC_EVT_PROCESS_CREATION: "on_process_creation",
    PROC_EVT_PROCESS_TERMINATION: "on_process_termination",
    PROC_EVT_PROCESS_HANDLE_OPERATION: "on_process_handle_operation",
    PROC_EVT_THREAD_CREATION: "on_thread_creation",
    PROC_EVT_THREAD_TERMINATION: "on_thread_termination",
    PROC_EVT_THREAD_HANDLE_OPERATION: "on_thread_handle_operation",
}
# One place for each event type's bit.
HANDLER_COUNT = max(events.EVENT_CLASSES) + 1


class Hooks:
    """The handlers of one instance, by event type, and the count of those that raised."""

    __slots__ = (
        "_lock",
        "error",
        "failed_in_handler",
        "handlers",
        "raised",
        "take_back",
        "worker_creation",
        "worker_termination",
    )

    def __init__(self) -> None:
        self.handlers: list[Handler | None] = [None] * HANDLER_COUNT
        self.error: Handler | None = None
        self.worker_creation: Handler | None = None
        self.worker_termination: Handler | None = None
        # Told the number of the event (0: none) whose handler has raised, and what.
        self.raised: Callable[[int, BaseException], object] | None = None
        # Told the number of the event whose execution has failed after it was allowed, and the errno.
        self.take_back: Callable[[int, int], object] | None = None
        self.failed_in_handler = 0
        self._lock = allocate_lock()

    def report(
        self,
        code: int,
        description: str,
        cause: BaseException | None = None,
        failed: tuple[int, int] = (0, 0),
    ) -> None:
        """Fires on_error, or where there is none tells sys.unraisablehook. Never raises. failed is an
        execution that is taken back: its event's sequence, its errno."""
        handler = self.error
        if handler is None:
            tell_unraisablehook(cause or CBProcessError(code, description))
            return
        try:
            handler(events.CBProcessErrorEventParams(code, description, *failed))
        except BaseException as error:
            tell_unraisablehook(error)

    def handler_raised(self, error: BaseException, sequence: int = 0) -> None:
        """Counts and reports what a handler raised for the event with that number."""
        from traceback import format_exception

        with self._lock:
            self.failed_in_handler += 1
        if self.raised is not None:
            self.raised(sequence, error)
            if self.error is None:
                return
        text = "".join(format_exception(type(error), error, error.__traceback__))
        self.report(ERROR_UNHANDLED_EXCEPTION, text, error)


def is_only_counted(code: int, failed_sequence: int) -> bool:
    """Whether an error outside any call is nobody's failure: a guessed creator, or an execution
    that the system has refused. It is told to those alone who listen; statistics() has it for the others."""
    return code == ERROR_NOT_FOUND or failed_sequence != 0


def tell_unraisablehook(error: BaseException) -> None:
    """Only the interpreter can make the argument of sys.unraisablehook; it does so for a callback that
    raises."""
    from .._binding.abi import PlainCallback

    def cbprocess_handler() -> None:
        raise error

    PlainCallback(cbprocess_handler)()


class HandlerProperties:
    """The on_... properties of CBProcess: each is a callable with one argument, or None. They can be set at
    any time, in handlers too, and take effect with the next event; anything else is error 87. Which
    operations fire is what the EventsToFire setting says.

    Handlers run in worker threads while the operation waits, several at a time unless serialize_events is 1.
    """

    __slots__ = ("_hooks",)

    def __init__(self) -> None:
        self._hooks = Hooks()

    def _set_handler(self, kind: int, name: str, handler: Handler | None) -> None:
        checked_handler(handler, name)
        self._hooks.handlers[kind] = handler

    def _get_handler(self, kind: int) -> Handler | None:
        return self._hooks.handlers[kind]

    @property
    def on_process_creation(self) -> Optional[Callable[[events.CBProcessProcessCreationEventParams], object]]:
        """A process is being created: a program is about to be executed. A result_code refuses it."""
        return self._get_handler(PROC_EVT_PROCESS_CREATION)

    @on_process_creation.setter
    def on_process_creation(
        self, handler: Optional[Callable[[events.CBProcessProcessCreationEventParams], object]]
    ) -> None:
        self._set_handler(PROC_EVT_PROCESS_CREATION, "on_process_creation", handler)

    @property
    def on_process_termination(
        self,
    ) -> Optional[Callable[[events.CBProcessProcessTerminationEventParams], object]]:
        """A process is ending: its last thread leaves."""
        return self._get_handler(PROC_EVT_PROCESS_TERMINATION)

    @on_process_termination.setter
    def on_process_termination(
        self, handler: Optional[Callable[[events.CBProcessProcessTerminationEventParams], object]]
    ) -> None:
        self._set_handler(PROC_EVT_PROCESS_TERMINATION, "on_process_termination", handler)

    @property
    def on_thread_creation(self) -> Optional[Callable[[events.CBProcessThreadCreationEventParams], object]]:
        """A thread is being created; also the first thread of a forked process."""
        return self._get_handler(PROC_EVT_THREAD_CREATION)

    @on_thread_creation.setter
    def on_thread_creation(
        self, handler: Optional[Callable[[events.CBProcessThreadCreationEventParams], object]]
    ) -> None:
        self._set_handler(PROC_EVT_THREAD_CREATION, "on_thread_creation", handler)

    @property
    def on_thread_termination(
        self,
    ) -> Optional[Callable[[events.CBProcessThreadTerminationEventParams], object]]:
        """A thread is ending."""
        return self._get_handler(PROC_EVT_THREAD_TERMINATION)

    @on_thread_termination.setter
    def on_thread_termination(
        self, handler: Optional[Callable[[events.CBProcessThreadTerminationEventParams], object]]
    ) -> None:
        self._set_handler(PROC_EVT_THREAD_TERMINATION, "on_thread_termination", handler)

    @property
    def on_process_handle_operation(
        self,
    ) -> Optional[Callable[[events.CBProcessProcessHandleOperationEventParams], object]]:
        """A process is being opened, signalled, traced or the like. Access rights can be taken out."""
        return self._get_handler(PROC_EVT_PROCESS_HANDLE_OPERATION)

    @on_process_handle_operation.setter
    def on_process_handle_operation(
        self, handler: Optional[Callable[[events.CBProcessProcessHandleOperationEventParams], object]]
    ) -> None:
        self._set_handler(PROC_EVT_PROCESS_HANDLE_OPERATION, "on_process_handle_operation", handler)

    @property
    def on_thread_handle_operation(
        self,
    ) -> Optional[Callable[[events.CBProcessThreadHandleOperationEventParams], object]]:
        """A thread is being opened, signalled, traced or the like. Access rights can be taken out."""
        return self._get_handler(PROC_EVT_THREAD_HANDLE_OPERATION)

    @on_thread_handle_operation.setter
    def on_thread_handle_operation(
        self, handler: Optional[Callable[[events.CBProcessThreadHandleOperationEventParams], object]]
    ) -> None:
        self._set_handler(PROC_EVT_THREAD_HANDLE_OPERATION, "on_thread_handle_operation", handler)

    @property
    def on_error(self) -> Optional[Callable[[events.CBProcessErrorEventParams], object]]:
        """Something failed outside any call: a handler raised (error_code 574), events were lost, the
        driver's process died, or was stopped (1053; and again when it runs). Without it such things go to
        sys.unraisablehook, but for a creator that had to be guessed (1168), which statistics().guessed
        counts, and an execution that has failed after it was allowed (31, with the event's `sequence`), which
        failed_after counts. Runs in the thread that met the failure."""
        return self._hooks.error

    @on_error.setter
    def on_error(self, handler: Optional[Callable[[events.CBProcessErrorEventParams], object]]) -> None:
        checked_handler(handler, "on_error")
        self._hooks.error = handler

    @property
    def on_worker_thread_creation(
        self,
    ) -> Optional[Callable[[events.CBProcessWorkerThreadCreationEventParams], object]]:
        """A worker thread has started; fires in it. A result_code ends that worker and fires on_error."""
        return self._hooks.worker_creation

    @on_worker_thread_creation.setter
    def on_worker_thread_creation(
        self, handler: Optional[Callable[[events.CBProcessWorkerThreadCreationEventParams], object]]
    ) -> None:
        checked_handler(handler, "on_worker_thread_creation")
        self._hooks.worker_creation = handler

    @property
    def on_worker_thread_termination(
        self,
    ) -> Optional[Callable[[events.CBProcessWorkerThreadTerminationEventParams], object]]:
        """A worker thread is about to end; fires in it. What it raises is ignored."""
        return self._hooks.worker_termination

    @on_worker_thread_termination.setter
    def on_worker_thread_termination(
        self, handler: Optional[Callable[[events.CBProcessWorkerThreadTerminationEventParams], object]]
    ) -> None:
        checked_handler(handler, "on_worker_thread_termination")
        self._hooks.worker_termination = handler
