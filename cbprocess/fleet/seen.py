"""Which events have come: doubles are found, and what is missing is counted, by the numbers of events.

The stream's own window for doubles is a time, and no promise; numbers are. Knows nothing of the network."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import OrderedDict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Optional

    # host, boot, session
    Key = tuple[Optional[str], Optional[str], Optional[str]]

# Sessions that are remembered. A session more makes the longest silent one forgotten.
SESSIONS_MAX = 200_000


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
    __slots__ = ("came", "told", "unnumbered")

    def __init__(self) -> None:
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


class Seen:
    """Tells new events from doubles, over all sessions of all hosts.

    from_start: the reader began with the stream's first message, so that a session whose first number did not
    come lacks the numbers before."""

    def __init__(self, from_start: bool = True, sessions_max: int = SESSIONS_MAX) -> None:
        self._sessions: OrderedDict[Key, _Session] = OrderedDict()
        self._from_start = from_start
        self._sessions_max = sessions_max
        self.events = 0
        self.doubles = 0
        self.unknown = 0  # losses of which nobody knows how many
        self.forgotten = 0

    def is_new(self, key: Key, number: int) -> bool:
        """Whether this event has not come before; it has from now on."""
        if not self._session(key).came.add(number):
            self.doubles += 1
            return False
        self.events += 1
        return True

    def tell_lost(self, key: Key, first: int | None, last: int | None, count: int | None) -> None:
        """A `lost` record has come: these numbers of that session are lost, and the stream says so itself."""
        session = self._session(key)
        if first is not None and last is not None and 0 < first <= last:
            session.told.add(first, last)
        elif count:
            session.unnumbered += count
        else:
            self.unknown += 1

    def missing(self) -> int:
        """How many numbers are missing of which no record said that they are lost."""
        return sum(end - start + 1 for _key, start, end in self.gaps())

    def told(self) -> int:
        """How many events are lost by what `lost` records say, and did not come by another way."""
        return sum(
            session.unnumbered + len(session.known()) - len(session.came)
            for session in self._sessions.values()
        )

    def gaps(self) -> Iterator[tuple[Key, int, int]]:
        """The ranges of numbers that are missing, and of which nothing was told."""
        for key, session in self._sessions.items():
            begin = 1 if self._from_start else session.came.first
            if not begin:
                # A session of which nothing came: nobody knows where it began.
                continue
            for start, end in session.known().holes(begin):
                yield key, start, end

    def _session(self, key: Key) -> _Session:
        session = self._sessions.get(key)
        if session is None:
            session = self._sessions[key] = _Session()
            if len(self._sessions) > self._sessions_max:
                self._sessions.popitem(last=False)
                self.forgotten += 1
        else:
            self._sessions.move_to_end(key)
        return session
