"""The properties of CBProcess that are settings, each with its getter and setter methods. Knows their values;
nothing of their effects."""

from __future__ import annotations

from .._checks import checked_bool, checked_int, checked_text

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
