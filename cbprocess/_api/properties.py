"""The properties of CBProcess: those that are handlers, and those that are settings, each with its getter and
setter methods. Knows types and values; nothing of when handlers are called, nor of what settings
do."""

from __future__ import annotations

from .. import constants
from .._checks import checked_bool, checked_handler, checked_int, checked_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Generic, Optional, TypeVar

    from .. import events
    from .._binding.hooks import Handler

    ParamsT = TypeVar("ParamsT")

    class HandlerProperty(Generic[ParamsT]):
        """A property as a type checker sees it: its value takes one argument of that class, or is None."""

        def __get__(self, owner: object, kind: object = None) -> Optional[Callable[[ParamsT], object]]: ...
        def __set__(self, owner: object, handler: Optional[Callable[[ParamsT], object]]) -> None: ...


# Properties for handlers of operations have these types; the others have these places in Hooks.
OPERATION_TYPES = {
    "on_process_creation": constants.PROC_EVT_PROCESS_CREATION,
    "on_process_termination": constants.PROC_EVT_PROCESS_TERMINATION,
    "on_thread_creation": constants.PROC_EVT_THREAD_CREATION,
    "on_thread_termination": constants.PROC_EVT_THREAD_TERMINATION,
    "on_process_handle_operation": constants.PROC_EVT_PROCESS_HANDLE_OPERATION,
    "on_thread_handle_operation": constants.PROC_EVT_THREAD_HANDLE_OPERATION,
}
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


# The values of these settings are paths, which may begin and end with blanks.
PATHS = ("script", "recordto")
# The values of these settings are an enumeration's, which has this name in enums.py.
ENUMERATIONS = {
    "eventstofire": "EventType",
    "refusewith": "RefuseWith",
    "serializeevents": "Serialize",
    "timeoutaction": "TimeoutAction",
}


def setting_value(name: str, value: str) -> str:
    """The value that the library gets for one in config(). name is in lower case."""
    if name in PATHS:
        return value
    value = value.strip()
    prefix = ENUMERATIONS.get(name, "") + "."
    if prefix == "." or not value.startswith(prefix):
        return value
    # Python before 3.11 writes str() of members, and puts a bar between the members of a flag.
    from .. import enums

    members = getattr(enums, prefix[:-1]).__members__
    number = 0
    for member in value[len(prefix) :].split("|"):
        if member not in members:
            return value
        number |= members[member]
    return str(int(number))


class Settings:
    """The properties of settings. They can be read and set before initialize(). A value of the wrong type, or
    one that the property cannot have, is error 87 and changes nothing."""

    __slots__ = ()

    def config(self, configuration_string: str) -> str:
        """CBProcess.config()."""
        raise NotImplementedError

    def get_altitude(self) -> str:
        """Gives the property altitude."""
        return self.config("Altitude")

    def set_altitude(self, value: str) -> None:
        """Sets the property altitude."""
        checked_text(value, "altitude")
        self.config(f"Altitude={value}")

    @property
    def altitude(self) -> str:
        """The place of this instance among several: a decimal number as a str, above 0, below 4294967296,
        with up to nine decimal places; "400055" at first. Can be set at any time and takes effect with the
        next operation. Instances are told of an operation in this order, the highest first; their handlers
        then run side by side. If one refuses, the operation is refused, with the code of the highest that
        does. A handle keeps the access rights that all of them left in."""
        return self.get_altitude()

    @altitude.setter
    def altitude(self, value: str) -> None:
        self.set_altitude(value)

    def get_strict_altitude(self) -> bool:
        """Gives the property strict_altitude."""
        return self.config("StrictAltitude") == "True"

    def set_strict_altitude(self, value: bool) -> None:
        """Sets the property strict_altitude."""
        self.config(f"StrictAltitude={checked_bool(value, 'strict_altitude')}")

    @property
    def strict_altitude(self) -> bool:
        """Whether start_filter() is to fail where another driver has the altitude already; False at first.
        The drivers for process trees have no place in a stack, and let instances share an altitude: the first
        to be started comes first. For them the value is kept and changes nothing."""
        return self.get_strict_altitude()

    @strict_altitude.setter
    def strict_altitude(self, value: bool) -> None:
        self.set_strict_altitude(value)

    def get_serialize_events(self) -> int:
        """Gives the property serialize_events."""
        return int(self.config("SerializeEvents"))

    def set_serialize_events(self, value: int) -> None:
        """Sets the property serialize_events."""
        self.config(f"SerializeEvents={checked_int(value, 'serialize_events', 0, 1)}")

    @property
    def serialize_events(self) -> int:
        """0: events fire in several worker threads (at first). 1: in one, one after the other. Cannot be set
        while active (error 1230), nor in a handler (1131)."""
        return self.get_serialize_events()

    @serialize_events.setter
    def serialize_events(self, value: int) -> None:
        self.set_serialize_events(value)
