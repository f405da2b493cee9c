"""Answers that are given after the handler has returned."""

from __future__ import annotations

from ctypes import byref, c_uint64

from .._checks import UINT32_MAX, checked_int
from . import library


class DeferredAnswer:
    """The answer that a handler owes: what event.defer() returns."""

    __slots__ = ("_access", "_ticket")

    def __init__(self, ticket: int, access: int) -> None:
        self._ticket = ticket
        self._access = access

    def complete(self, result_code: int = 0, desired_access: int | None = None) -> None:
        """Answers the operation; from any thread, once.

        `result_code` is as the event's. `desired_access` None grants the rights that were asked for, less
        those that rules took away. Error 1168 when it was answered already or the filter has stopped, 1460
        when the deadline had passed (the answer changes nothing), 87 for a value out of range."""
        code = checked_int(result_code, "result_code", 0, UINT32_MAX)
        access = self._access
        if desired_access is not None:
            access &= checked_int(desired_access, "desired_access", 0, UINT32_MAX)
        library.load().cbp_event_complete(self._ticket, code, access)


def defer_current(access: int) -> DeferredAnswer:
    """Defers the event that this thread's handler is running for."""
    ticket = c_uint64()
    library.load().cbp_event_defer(byref(ticket))
    return DeferredAnswer(ticket.value, access)
