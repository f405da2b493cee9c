"""Puts records of many hosts in the order of their times, as far as they come within a short while.

A record is held so long at most, by the clock of this process: hosts whose clocks are wrong delay nobody.
Knows records; nothing of the network."""

from __future__ import annotations

import heapq
import time

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
        self._heap: list[tuple[int, int, float, dict[str, Any]]] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, record: dict[str, Any]) -> None:
        """Takes a record. One without a time goes in the order in which it came."""
        self._count += 1
        stamp = time_of(record) if self._seconds else 0
        heapq.heappush(self._heap, (stamp, self._count, time.monotonic(), record))

    def ready(self, is_end: bool = False) -> list[dict[str, Any]]:
        """The records that were held long enough, in order; at the end all."""
        horizon = time.monotonic() - self._seconds
        found = []
        while self._heap and (is_end or self._heap[0][2] <= horizon or len(self._heap) > HELD_MAX):
            found.append(heapq.heappop(self._heap)[3])
        return found

    def wait(self) -> float | None:
        """Seconds until the next record is ready; None if there is none."""
        if not self._heap:
            return None
        return max(0.0, self._heap[0][2] + self._seconds - time.monotonic())
