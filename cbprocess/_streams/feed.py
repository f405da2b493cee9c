"""The bounded queue between worker threads, which hand held events in, and a consumer, which takes them out.

The consumer chooses what happens when it is full (Overflow). Closing it lets every unanswered event go that
came through it, wherever it is, and every later event too. Knows nothing of filters, of event loops, or of
the use of events.

The lock may be taken again by the thread that has it, because a collection of garbage can close a feed
anywhere. So offer() looks afterwards whether the feed is closed."""

from __future__ import annotations

import atexit
import threading
import weakref
from collections import deque
from enum import Enum
from time import monotonic

from .._checks import checked_int, wrong
from ..constants import ERROR_NOT_READY
from ..errors import CBProcessError
from .held import HeldProcessCreation, Ledger

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .. import events
    from .held import HeldEvent

    Item = tuple[HeldEvent, Any]
    Executions = weakref.WeakValueDictionary[int, HeldProcessCreation]

QUEUE_SIZE = 1024
QUEUE_SIZE_MAX = 1_000_000
# Failed executions wait for their event up to this number. Most are of events that nothing refers to any
# more.
EARLY_MAX = 1024
# A wait is cut into slices, between which Python handles signals.
SLICE_S = 0.1


class Overflow(str, Enum):
    """Choices for an event that finds the queue full."""

    HOLD = "hold"  # It waits in its worker thread. Nothing is let go; others behind it wait too.
    DROP_OLDEST = "drop_oldest"  # The queue's oldest is let go unseen.
    DROP_NEWEST = "drop_newest"  # The new one is let go unseen.


def checked_overflow(value: object) -> Overflow:
    try:
        return Overflow(value)
    except ValueError:
        names = ", ".join(member.value for member in Overflow)
        raise wrong(f"overflow must be one of {names}, not {value!r:.100}") from None


class Feed:
    """A queue of (event, purpose). `dropped` counts events that were let go for want of room."""

    def __init__(self, size: int = QUEUE_SIZE, overflow: object = Overflow.HOLD) -> None:
        self._size = checked_int(size, "queue_size", 1, QUEUE_SIZE_MAX)
        self._overflow = checked_overflow(overflow)
        self.ledger = Ledger()
        self.dropped = 0
        self.is_closed = False
        self._is_finished = False
        self._items: deque[Item] = deque()
        # Executions that can be taken back are kept by sequence, as long as their events are referred to. If
        # another worker was faster, the errno is kept until the event comes.
        self._executions: Executions = weakref.WeakValueDictionary()
        self._early: dict[int, int] = {}
        self._count = 0  # of the items, and of events that workers are making now
        self._lock = threading.RLock()
        self._room = threading.Condition(self._lock)
        self._ready = threading.Condition(self._lock)
        self._closing = threading.Condition(self._lock)
        self._is_armed = False
        self._wake: Callable[[], None] | None = None
        _feeds.add(self)

    # ---- In a worker thread ----

    def offer(self, event: events.EventParams, purpose: Any = None) -> None:
        """Holds the event that this thread's handler runs for, and queues it."""
        if not self._reserve():
            return
        try:
            held = self.ledger.hold(event)
        except BaseException:
            with self._lock:
                self._count -= 1
            raise
        with self._lock:
            if isinstance(held, HeldProcessCreation) and not self._note_execution(held):
                self._count -= 1
                return
            self._items.append((held, purpose))
            is_armed, self._is_armed = self._is_armed, False
            self._ready.notify()
        if self.is_closed:
            self._discard()
        elif is_armed and self._wake is not None:
            self._wake()

    def _reserve(self) -> bool:
        """Makes room for one more. Gives whether the event is to be queued."""
        victim = None
        with self._lock:
            while self._count >= self._size and not self.is_closed:
                if self._overflow is Overflow.DROP_NEWEST:
                    self.dropped += 1
                    return False
                if self._overflow is Overflow.DROP_OLDEST:
                    if self._items:
                        victim = self._items.popleft()[0]
                        self._count -= 1
                        self.dropped += 1
                    break
                self._room.wait()
            if self.is_closed:
                return False
            self._count += 1
        if victim is not None:
            victim._let_go()
        return True

    def take_back(self, sequence: int, os_error: int) -> None:
        """Takes back the execution that this event tells of: it was allowed, and has failed. An event that
        has not been taken out leaves the queue."""
        with self._lock:
            held = self._executions.pop(sequence, None)
            if held is None:
                self._early[sequence] = os_error
                if len(self._early) > EARLY_MAX:
                    del self._early[next(iter(self._early))]
                return
            held._take_back(os_error)
            waiting = [item for item in self._items if item[0] is not held]
            self._count -= len(self._items) - len(waiting)
            self._items = deque(waiting)
            self._room.notify()

    def _note_execution(self, held: HeldProcessCreation) -> bool:
        """Keeps an execution, under the lock. False: it has been taken back already."""
        os_error = self._early.pop(held.sequence, None)
        if os_error is None:
            self._executions[held.sequence] = held
        else:
            held._take_back(os_error)
        return os_error is None

    # ---- The consumer ----

    def take(self) -> Item | None:
        """The oldest item, or None."""
        with self._lock:
            if not self._items:
                return None
            self._count -= 1
            self._room.notify()
            return self._items.popleft()

    def wait(self) -> Item | None:
        """Waits for an item, interruptibly; None when no more will come."""
        while True:
            self.check_process()
            with self._lock:
                item = self.take()
                if item is not None or self._is_finished:
                    return item
                self._ready.wait(SLICE_S)

    def set_wake(self, wake: Callable[[], None]) -> None:
        """Sets the function that an armed feed calls, once, in a worker's thread, when there is an item."""
        self._wake = wake

    def arm(self) -> bool:
        """Asks for a wake-up by the next event. False if there is an item now, or the end."""
        with self._lock:
            self._is_armed = not self._items and not self._is_finished
            return self._is_armed

    @property
    def is_ended(self) -> bool:
        """Whether the last event has been taken."""
        return self._is_finished and not self._items

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits to be taken or answered."""
        return self._count == 0 and self.ledger.open_count == 0

    def check_process(self) -> None:
        if self.ledger.is_foreign:
            raise CBProcessError(
                ERROR_NOT_READY, "the monitor belongs to the process this one was forked from"
            )

    # ---- The end ----

    def finish(self) -> None:
        """Ends the queue: the consumer gets what is in it, then the end."""
        with self._lock:
            self._is_finished = True
            is_armed, self._is_armed = self._is_armed, False
            self._ready.notify_all()
        if is_armed and self._wake is not None:
            self._wake()

    def lift_bound(self) -> None:
        """Makes room for all workers: the filter is about to stop, so that few more events can come."""
        with self._lock:
            self._size = QUEUE_SIZE_MAX
            self._room.notify_all()

    def close(self) -> None:
        """Lets everything go, now and later. Any thread, any number of times; never waits for a handler."""
        if self.ledger.is_foreign:
            return
        self.is_closed = True
        with self._lock:
            self._room.notify_all()
            self._closing.notify_all()
        self._discard()
        self.finish()

    def _discard(self) -> None:
        while True:
            item = self.take()
            if item is None:
                break
            item[0]._let_go()
        self.ledger.let_go_all()

    def wait_closed(self, seconds: float) -> bool:
        """Waits until the feed is closed, for that long at most. Gives whether it is."""
        limit = monotonic() + seconds
        with self._lock:
            while not self.is_closed:
                left = limit - monotonic()
                if left <= 0:
                    break
                self._closing.wait(left)
            return self.is_closed


_feeds: weakref.WeakSet[Feed] = weakref.WeakSet()
_exit_hook_set = False


def close_feeds_at_exit() -> None:
    """To be called after the start of a filter: exit handlers run in reverse order, and a worker that waits
    for room must be free before its filter is stopped."""
    global _exit_hook_set
    if not _exit_hook_set:
        _exit_hook_set = True
        atexit.register(_close_feeds)


def _close_feeds() -> None:
    for feed in list(_feeds):
        feed.close()
