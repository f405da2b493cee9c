"""The counts of one session as an object."""

from __future__ import annotations

from .._binding.layouts import FIELDS


class Statistics:
    """The counts of an instance's events since its filter was started. Cannot be changed.

    delivered: events that a handler was called for. lost: events that never reached one. timed_out:
    operations let go (or refused) at their deadline. refused: operations refused, by a handler or a rule.
    decided_by_rule: operations that a rule decided. late: answers that came too late. failed_after:
    executions that were allowed and then failed in the system. malformed: messages of the driver that were
    dropped. workers: worker threads now. supervised: tasks under a tree driver now. deferred: operations
    deferred and not yet completed. queued: messages that wait for a worker now. guessed: processes whose
    creator ended while it created them; they have the rules of every possible creator. failed_in_handler:
    handlers that raised, since the instance was made."""

    __slots__ = tuple(sorted(["failed_in_handler", *(name for name, _ in FIELDS["statistics"])]))

    delivered: int
    lost: int
    timed_out: int
    refused: int
    decided_by_rule: int
    late: int
    failed_after: int
    malformed: int
    workers: int
    supervised: int
    deferred: int
    queued: int
    guessed: int
    failed_in_handler: int

    def __init__(self, native: object, failed_in_handler: int) -> None:
        for name in self.__slots__:
            value = failed_in_handler if name == "failed_in_handler" else getattr(native, name)
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{name} cannot be set: statistics are a record")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{name} cannot be deleted: statistics are a record")

    def __repr__(self) -> str:
        return f"Statistics({', '.join(f'{name}={getattr(self, name)}' for name in self.__slots__)})"
