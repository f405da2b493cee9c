"""Held events without a driver: a stand-in for the library's tickets, and events made by hand."""

from __future__ import annotations

import itertools
from typing import Any, Optional

from unit.event_blocks import dispatch_once, make_event

from cbprocess._streams.feed import Feed
from cbprocess._streams.held import HeldEvent, Ledger
from cbprocess.constants import (
    ERROR_NOT_FOUND,
    ERROR_TIMEOUT,
    EVENT_FLAG_HELD,
    EVENT_FLAG_REFUSABLE,
    PROC_EVT_PROCESS_CREATION,
)
from cbprocess.errors import CBProcessError


class Tickets:
    """What the library remembers: which tickets are open, and how each was answered."""

    def __init__(self, ledger: Ledger) -> None:
        self.open: set[int] = set()
        self.expired: set[int] = set()
        self.answers: dict[int, tuple[int, int]] = {}
        self._numbers = itertools.count(1)
        ledger._defer = self._defer
        ledger._complete = self._complete

    def _defer(self, place: Any) -> None:
        place._obj.value = next(self._numbers)
        self.open.add(place._obj.value)

    def _complete(self, ticket: int, code: int, access: int) -> None:
        if ticket not in self.open:
            raise CBProcessError(ERROR_NOT_FOUND, "unknown")
        self.open.discard(ticket)
        if ticket in self.expired:
            raise CBProcessError(ERROR_TIMEOUT, "too late")
        self.answers[ticket] = (code, access)


def hold(
    ledger: Ledger,
    kind: int = PROC_EVT_PROCESS_CREATION,
    flags: int = EVENT_FLAG_HELD | EVENT_FLAG_REFUSABLE,
    **fields: Any,
) -> HeldEvent:
    """A held event, made in a handler as a worker calls it."""
    made: list[HeldEvent] = []
    dispatch_once(make_event(kind, flags=flags, **fields), lambda event: made.append(ledger.hold(event)))
    return made[0]


def offer(feed: Feed, process_id: int, purpose: Optional[Any] = None) -> None:
    """An event with this process id, offered by a worker's handler."""
    memory = make_event(flags=EVENT_FLAG_HELD | EVENT_FLAG_REFUSABLE, process_id=process_id)
    dispatch_once(memory, lambda event: feed.offer(event, purpose))
