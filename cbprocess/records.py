"""Events as dictionaries of numbers, texts and lists, as JSON has them and `cbprocess run --json` prints
them. Knows events; nothing of files, filters and the command line."""

from __future__ import annotations

from . import events
from ._checks import wrong

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Names of events by class. A held event has the name of the class that it is made of.
NAMES: dict[type[Any], str] = {
    **{kind.event_class: kind.name for kind in events.OPERATIONS},
    events.CBProcessErrorEventParams: "error",
}

# Classes that were met have an entry: the event's name and its properties.
_shapes: dict[type[Any], tuple[str, list[str]]] = {}


def property_names(event_class: type[Any]) -> list[str]:
    """The names of the properties of events, in the order in which they were declared, bases first."""
    names: list[str] = []
    for base in reversed(event_class.__mro__):
        names += [name for name, value in vars(base).items() if isinstance(value, property)]
    return list(dict.fromkeys(names))


def event_record(event: events.EventParams | events.CBProcessErrorEventParams) -> dict[str, Any]:
    """The event's properties by their names, behind "event" with its kind: "process_creation" and so on, or
    "error" for the argument of on_error. Held events and events of a recording can be given, too. Error 87
    for anything else."""
    shape = _shapes.get(type(event))
    if shape is None:
        shape = _shapes[type(event)] = _shape(type(event))
    name, properties = shape
    record: dict[str, Any] = {"event": name}
    for key in properties:
        record[key] = getattr(event, key)
    return record


def _shape(event_class: type[Any]) -> tuple[str, list[str]]:
    for base in event_class.__mro__:
        if base in NAMES:
            return NAMES[base], property_names(base)
    raise wrong(f"event must be an event, not {event_class.__name__}")
