"""The properties of CBProcess that are handlers. Knows their types; nothing of when they are called."""

from __future__ import annotations

from .. import events
from .._checks import checked_handler

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Generic, Optional, TypeVar

    from .._binding.hooks import Handler

    ParamsT = TypeVar("ParamsT")

    class HandlerProperty(Generic[ParamsT]):
        """A property as a type checker sees it: its value takes one argument of that class, or is None."""

        def __get__(self, owner: object, kind: object = None) -> Optional[Callable[[ParamsT], object]]: ...
        def __set__(self, owner: object, handler: Optional[Callable[[ParamsT], object]]) -> None: ...


# Properties for handlers of operations have these types; the others have these places in Hooks.
OPERATION_TYPES = {kind.handler: kind.type for kind in events.OPERATIONS}
OTHER_HOOKS = {
    "on_error": "error",
    "on_worker_thread_creation": "worker_creation",
    "on_worker_thread_termination": "worker_termination",
}


def handler_property(handler: Callable[[Any, ParamsT], None]) -> HandlerProperty[ParamsT]:
    """The property for handlers that look like this one. Its name, its argument and its docstring count."""
    name = handler.__name__

    def get(owner: HandlerProperties) -> Handler | None:
        return owner._get_handler(name)

    def put(owner: HandlerProperties, value: Handler | None) -> None:
        owner._set_handler(name, value)

    return property(get, put, doc=handler.__doc__)  # type: ignore[return-value]


class HandlerProperties:
    """The on_... properties of CBProcess: each is a callable with one argument, or None. They can be set at
    any time, in handlers too, and take effect with the next event; anything else is error 87. The
    EventsToFire setting says which operations fire.

    Handlers run in worker threads while the operation waits, several at a time unless serialize_events is
    1."""

    __slots__ = ("_hooks",)

    def __init__(self) -> None:
        from .._binding.hooks import Hooks

        self._hooks = Hooks()

    def _set_handler(self, name: str, handler: Handler | None) -> None:
        checked_handler(handler, name)
        if name in OPERATION_TYPES:
            self._hooks.handlers[OPERATION_TYPES[name]] = handler
        else:
            setattr(self._hooks, OTHER_HOOKS[name], handler)

    def _get_handler(self, name: str) -> Handler | None:
        if name in OPERATION_TYPES:
            return self._hooks.handlers[OPERATION_TYPES[name]]
        handler: Handler | None = getattr(self._hooks, OTHER_HOOKS[name])
        return handler

    @handler_property
    def on_process_creation(self, event: events.CBProcessProcessCreationEventParams) -> None:
        """A process is being created: a program is about to be executed. A result_code refuses it."""

    @handler_property
    def on_process_termination(self, event: events.CBProcessProcessTerminationEventParams) -> None:
        """A process is ending: its last thread leaves."""

    @handler_property
    def on_thread_creation(self, event: events.CBProcessThreadCreationEventParams) -> None:
        """A thread is being created; also the first thread of a forked process."""

    @handler_property
    def on_thread_termination(self, event: events.CBProcessThreadTerminationEventParams) -> None:
        """A thread is ending."""

    @handler_property
    def on_process_handle_operation(self, event: events.CBProcessProcessHandleOperationEventParams) -> None:
        """A process is being opened, signalled, traced or the like. Access rights can be taken out."""

    @handler_property
    def on_thread_handle_operation(self, event: events.CBProcessThreadHandleOperationEventParams) -> None:
        """A thread is being opened, signalled, traced or the like. Access rights can be taken out."""

    @handler_property
    def on_error(self, event: events.CBProcessErrorEventParams) -> None:
        """Something failed outside any call: a handler raised (error_code 574), events were lost, the helper
        died, or was stopped (1053; and again when it runs). Runs in the thread that met the failure.

        Without this handler such failures go to sys.unraisablehook. Two are only counted then: a creator that
        had to be guessed (1168; statistics().guessed), and an execution that has failed after it was allowed
        (31, with the event's `sequence`; failed_after)."""

    @handler_property
    def on_worker_thread_creation(self, event: events.CBProcessWorkerThreadCreationEventParams) -> None:
        """A worker thread has started; fires in it. A result_code ends that worker and fires on_error."""

    @handler_property
    def on_worker_thread_termination(self, event: events.CBProcessWorkerThreadTerminationEventParams) -> None:
        """A worker thread is about to end; fires in it. Its exceptions are ignored."""
