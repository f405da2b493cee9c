"""Counts of the last seconds, one bucket a second. Knows numbers and names only; its user has a lock."""

from __future__ import annotations

from collections import deque

SECOND_NS = 1_000_000_000
# So many whole seconds are kept.
SECONDS = 60
# The longest wait is that of so many seconds, so that an eye can catch it.
LONGEST_SECONDS = 5


class Bucket:
    """One second."""

    __slots__ = ("counts", "longest_ns", "second", "total")

    def __init__(self, second: int) -> None:
        self.second = second
        self.total = 0
        self.counts: dict[str, int] = {}
        self.longest_ns = 0


class Rates:
    """Events of the last seconds. Times come in any order: one of a second that is over, as after a clock was
    set back, counts for the newest second."""

    def __init__(self) -> None:
        self._buckets: deque[Bucket] = deque(maxlen=SECONDS + 1)

    def add(self, name: str, now_ns: int, waited_ns: int) -> None:
        bucket = self._bucket(now_ns // SECOND_NS)
        bucket.total += 1
        bucket.counts[name] = bucket.counts.get(name, 0) + 1
        bucket.longest_ns = max(bucket.longest_ns, waited_ns)

    def per_second(self, now_ns: int) -> list[int]:
        """The events of each of the last whole seconds, the newest last."""
        now = now_ns // SECOND_NS
        totals = {bucket.second: bucket.total for bucket in self._buckets}
        return [totals.get(second, 0) for second in range(now - SECONDS, now)]

    def by_kind(self, now_ns: int) -> dict[str, int]:
        """The events of the last whole second, by their names."""
        last = now_ns // SECOND_NS - 1
        found = next((bucket for bucket in self._buckets if bucket.second == last), None)
        return {} if found is None else dict(found.counts)

    def longest_ns(self, now_ns: int) -> int:
        """The longest wait of the last few seconds, the running one included."""
        first = now_ns // SECOND_NS - LONGEST_SECONDS
        return max([bucket.longest_ns for bucket in self._buckets if bucket.second > first], default=0)

    def _bucket(self, second: int) -> Bucket:
        if not self._buckets or self._buckets[-1].second < second:
            self._buckets.append(Bucket(second))
        elif self._buckets[-1].second > second + SECONDS:
            # The clock was set back: what was counted belongs to a time that comes again.
            self._buckets.clear()
            self._buckets.append(Bucket(second))
        return self._buckets[-1]
