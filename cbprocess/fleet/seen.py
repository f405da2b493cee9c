"""Which events have come: doubles are found, and what is missing is counted, by the numbers of events.

The stream's own window for doubles is a time, and no promise; numbers are. Knows nothing of the network."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import OrderedDict

from .counts import FeedCounts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Optional

    # host, boot, session
    Key = tuple[Optional[str], Optional[str], Optional[str]]

# Sessions that are remembered. One more makes the longest silent one of the host that has most forgotten: a
# host that makes sessions up pushes out its own.
SESSIONS_MAX = 200_000
# Ranges of numbers that are remembered of a session. One more makes its first hole a loss for good.
RANGES_MAX = 10_000


class Numbers:
    """A set of positive numbers that come nearly in order, kept as ranges."""

    __slots__ = ("_ends", "_starts")

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def add(self, first: int, last: int | None = None) -> int:
        """Adds the numbers from first to last. Gives how many of them are new."""
        last = first if last is None else last
        starts, ends = self._starts, self._ends
        if ends and starts[-1] <= first <= ends[-1] + 1:
            # This is how nearly all come.
            new = max(0, last - ends[-1])
            ends[-1] += new
            return new
        # The ranges from low to high overlap or touch the new one, and become one with it.
        low = bisect_left(ends, first - 1)
        high = bisect_right(starts, last + 1)
        held = sum(end - start + 1 for start, end in zip(starts[low:high], ends[low:high]))
        if low < high:
            first, last = min(first, starts[low]), max(last, ends[high - 1])
        starts[low:high] = [first]
        ends[low:high] = [last]
        return last - first + 1 - held

    def close_first_hole(self) -> tuple[int, int]:
        """Adds the numbers between the first two ranges, of which there must be two. Gives the hole."""
        hole = self._ends[0] + 1, self._starts[1] - 1
        self._starts[:2] = self._starts[:1]
        self._ends[:2] = self._ends[1:2]
        return hole

    def count(self, first: int, last: int) -> int:
        """How many of the numbers from first to last are in the set."""
        low, high = bisect_left(self._ends, first), bisect_right(self._starts, last)
        pairs = zip(self._starts[low:high], self._ends[low:high])
        return sum(min(end, last) - max(start, first) + 1 for start, end in pairs)

    @property
    def size(self) -> int:
        """How many ranges there are."""
        return len(self._starts)

    def ranges(self) -> list[tuple[int, int]]:
        """The numbers as ranges, first and last, in order."""
        return list(zip(self._starts, self._ends))

    def __len__(self) -> int:
        return sum(end - start + 1 for start, end in zip(self._starts, self._ends))

    @property
    def first(self) -> int:
        """The lowest number, 0 if there is none."""
        return self._starts[0] if self._starts else 0

    @property
    def last(self) -> int:
        """The highest number, 0 if there is none."""
        return self._ends[-1] if self._ends else 0

    def holes(self, first: int) -> list[tuple[int, int]]:
        """The ranges that are missing between `first` and the highest number."""
        found, expected = [], first
        for start, end in zip(self._starts, self._ends):
            if start > expected:
                found.append((expected, start - 1))
            expected = max(expected, end + 1)
        return found


class _Session:
    __slots__ = ("begin", "came", "told", "unnumbered")

    def __init__(self, begin: int = 0) -> None:
        # The number that is the first to come, 0 where nobody knows.
        self.begin = begin
        self.came = Numbers()
        self.told = Numbers()
        # Lost events that never had a number, such as those that a driver lost.
        self.unnumbered = 0

    def known(self) -> Numbers:
        """The numbers that came, and those of which it was told that they are lost."""
        both = Numbers()
        for start, end in sorted(self.came.ranges() + self.told.ranges()):
            both.add(start, end)
        return both

    def gone(self) -> int:
        """How many events are told to be lost, and did not come by another way."""
        return self.unnumbered + len(self.known()) - len(self.came)

    def holes(self, from_start: bool) -> list[tuple[int, int]]:
        """The ranges of which nothing came and nothing was told. Of a session of which nothing came, nobody
        knows where it began, but for who was there from the start."""
        begin = self.begin or (1 if from_start else self.came.first)
        return self.known().holes(begin) if begin else []


class Seen:
    """Tells new events from doubles, over all sessions of all hosts.

    from_start: the reader began with the stream's first message, so that a session whose first number did not
    come lacks the numbers before. begins: for a reader that goes on, the number with which a session goes on,
    0 for one that the reader before did not know. counts: has the sums that are counted as they come."""

    def __init__(
        self,
        from_start: bool = True,
        sessions_max: int = SESSIONS_MAX,
        ranges_max: int = RANGES_MAX,
        begins: Callable[[Key], int] | None = None,
        counts: FeedCounts | None = None,
    ) -> None:
        # By host, so that none can make those of others forgotten.
        self._hosts: dict[str | None, OrderedDict[Key, _Session]] = {}
        self._count = 0
        self._ranges_max = ranges_max
        self._begins = begins
        # Of what is forgotten.
        self._missing = self._told = 0
        self._from_start = from_start
        self._sessions_max = sessions_max
        self.counts = counts or FeedCounts()

    def is_new(self, key: Key, number: int) -> bool:
        """Whether this event has not come before; it has from now on."""
        session = self._session(key)
        if not session.came.add(number):
            self.counts.doubles += 1
            return False
        if session.came.size > self._ranges_max:
            self._forget_hole(session)
        self.counts.events += 1
        return True

    def tell_lost(self, key: Key, first: int | None, last: int | None, count: int | None) -> None:
        """A `lost` record has come: these numbers of that session are lost, and the stream says so itself."""
        session = self._session(key)
        has_room = session.told.size < self._ranges_max
        if first is not None and last is not None and 0 < first <= last and has_room:
            session.told.add(first, last)
        elif count:
            session.unnumbered += count
        else:
            self.counts.unknown += 1

    def missing(self) -> int:
        """How many numbers are missing of which no record said that they are lost."""
        return self._missing + sum(end - start + 1 for _key, start, end in self.gaps())

    def told(self) -> int:
        """How many events are lost by what `lost` records say, and did not come by another way."""
        return self._told + sum(session.gone() for _, session in self._all())

    def gaps(self) -> Iterator[tuple[Key, int, int]]:
        """The ranges of numbers that are missing, and of which nothing was told, of the sessions that are
        remembered."""
        for key, session in self._all():
            for start, end in session.holes(self._from_start):
                yield key, start, end

    def _all(self) -> Iterator[tuple[Key, _Session]]:
        for sessions in self._hosts.values():
            yield from sessions.items()

    def _session(self, key: Key) -> _Session:
        sessions = self._hosts.get(key[0])
        if sessions is None:
            sessions = self._hosts[key[0]] = OrderedDict()
        session = sessions.get(key)
        if session is None:
            session = sessions[key] = _Session(self._begins(key) if self._begins is not None else 0)
            self._count += 1
            if self._count > self._sessions_max:
                self._forget_session()
        else:
            sessions.move_to_end(key)
        return session

    def _forget_session(self) -> None:
        name, sessions = max(self._hosts.items(), key=lambda item: len(item[1]))
        _, session = sessions.popitem(last=False)
        if not sessions:
            del self._hosts[name]
        self._count -= 1
        self.counts.forgotten += 1
        # What it lacks stays counted.
        self._missing += sum(end - start + 1 for start, end in session.holes(self._from_start))
        self._told += session.gone()

    def _forget_hole(self, session: _Session) -> None:
        """Counts the first hole of a session as lost, whatever may come of it later."""
        first, last = session.came.close_first_hole()
        told = session.told.count(first, last)
        self._told += told
        self._missing += last - first + 1 - told
