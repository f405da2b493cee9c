"""Puts records of many hosts in the order of their times, as far as they come within a short while.

No record is held longer, by the clock of this process: hosts whose clocks are wrong delay nobody.
Knows records; nothing of the network."""

from __future__ import annotations

import heapq
import time
from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HELD_MAX = 100_000
DIGITS_MAX = 19


def time_of(record: dict[str, Any]) -> int:
    """The time of a record in nanoseconds since 1970; 0 where it has none that can be read."""
    found = record.get("time_ns")
    if isinstance(found, str) and found.isascii() and found.isdigit() and len(found) <= DIGITS_MAX:
        return int(found)
    return 0


class Merger:
    """A heap of records. seconds: how long each is held for earlier ones; 0 gives all at once, in the order
    in which they came."""

    def __init__(self, seconds: float = 0.2) -> None:
        self._seconds = seconds
        # Stamp, number of its coming, record: the earliest is the first.
        self._heap: list[tuple[int, int, dict[str, Any]]] = []
        # Number and moment of its coming: who waits longest is the first.
        self._order: deque[tuple[int, float]] = deque()
        # Numbers that have left the heap and not the order.
        self._left: set[int] = set()
        self._count = 0
        self._stamp = 0

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, record: dict[str, Any]) -> None:
        """Takes a record. One without a time goes behind the one that came before it."""
        self._count += 1
        if self._seconds:
            self._stamp = time_of(record) or self._stamp
        heapq.heappush(self._heap, (self._stamp, self._count, record))
        self._order.append((self._count, time.monotonic()))

    def ready(self, is_end: bool = False) -> list[dict[str, Any]]:
        """The records that were held long enough, with all that are earlier, in order; at the end all."""
        horizon = time.monotonic() - self._seconds
        found = []
        # The one that waits longest decides, and not the earliest: a host with a clock that is behind has a
        # new earliest one all the time, and those of the other hosts would never be out.
        while self._order and (is_end or self._order[0][1] <= horizon or len(self._order) > HELD_MAX):
            _, count, record = heapq.heappop(self._heap)
            found.append(record)
            self._left.add(count)
            while self._order and self._order[0][0] in self._left:
                self._left.remove(self._order.popleft()[0])
        return found

    def wait(self) -> float | None:
        """Seconds until the next record is ready; None if there is none."""
        if not self._order:
            return None
        return max(0.0, self._order[0][1] + self._seconds - time.monotonic())
