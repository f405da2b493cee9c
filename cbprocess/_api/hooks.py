"""The properties of CBProcess that are handlers. Knows their types, not when they are called."""

from __future__ import annotations

from .. import events
from .._checks import checked_handler
from ..constants import (
    PROC_EVT_PROCESS_CREATION,
    PROC_EVT_PROCESS_HANDLE_OPERATION,
    PROC_EVT_PROCESS_TERMINATION,
    PROC_EVT_THREAD_CREATION,
    PROC_EVT_THREAD_HANDLE_OPERATION,
    PROC_EVT_THREAD_TERMINATION,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Optional

    from .._binding.hooks import Handler


class HandlerProperties:
    """The on_... properties of CBProcess: each is a callable with one argument, or None. They can be set at
    any time, in handlers too, and take effect with the next event; anything else is error 87. Which
    operations fire is what the EventsToFire setting says.

    Handlers run in worker threads while the operation waits, several at a time unless serialize_events is 1.
    """

    __slots__ = ("_hooks",)

    def __init__(self) -> None:
        from .._binding.hooks import Hooks

        self._hooks = Hooks()

    def _set_handler(self, kind: int, handler: Handler | None) -> None:
        checked_handler(handler, events.KINDS[kind].handler)
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
        self._set_handler(PROC_EVT_PROCESS_CREATION, handler)

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
        self._set_handler(PROC_EVT_PROCESS_TERMINATION, handler)

    @property
    def on_thread_creation(self) -> Optional[Callable[[events.CBProcessThreadCreationEventParams], object]]:
        """A thread is being created; also the first thread of a forked process."""
        return self._get_handler(PROC_EVT_THREAD_CREATION)

    @on_thread_creation.setter
    def on_thread_creation(
        self, handler: Optional[Callable[[events.CBProcessThreadCreationEventParams], object]]
    ) -> None:
        self._set_handler(PROC_EVT_THREAD_CREATION, handler)

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
        self._set_handler(PROC_EVT_THREAD_TERMINATION, handler)

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
        self._set_handler(PROC_EVT_PROCESS_HANDLE_OPERATION, handler)

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
        self._set_handler(PROC_EVT_THREAD_HANDLE_OPERATION, handler)

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
