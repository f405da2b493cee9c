"""One asynchronous loop over the events of a monitor. An event loop is touched only from its own thread, but
for call_soon_threadsafe. That is called only when the loop waits for an event, so that a burst wakes it once.
Works with every loop that has asyncio's interface."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import cast

from ..constants import ERROR_NOT_READY
from ..errors import CBProcessError
from .iterating import EventT, Turn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

    from .feed import Feed
    from .iterating import Looped

# A loop that always finds an event must still let other tasks run.
EVENTS_IN_A_ROW = 16


class Waiters:
    """The tasks that wait for the next event of a feed, in one event loop."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._loop = asyncio.get_running_loop()
        self._futures: deque[asyncio.Future[None]] = deque()
        feed.set_wake(self._wake)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    async def wait(self) -> None:
        """Waits until there may be an item."""
        if not self._feed.arm():
            return
        future = self._loop.create_future()
        self._futures.append(future)
        try:
            await future
        finally:
            with contextlib.suppress(ValueError):
                self._futures.remove(future)

    def _wake(self) -> None:
        """Wakes the tasks, from any thread."""
        try:
            self._loop.call_soon_threadsafe(self._wake_all)
        except RuntimeError:
            # The loop is closed, so no event will ever be taken.
            self._feed.close()

    def _wake_all(self) -> None:
        while self._futures:
            future = self._futures.popleft()
            if not future.done():
                future.set_result(None)


class AsyncEvents(Turn[EventT]):
    """The asynchronous iterator over a monitor."""

    def __init__(self, monitor: Looped, owns_monitor: bool) -> None:
        super().__init__(monitor, owns_monitor)
        feed = monitor._feed
        waiters = monitor._waiters
        if waiters is None:
            waiters = monitor._waiters = Waiters(feed)
            monitor._keeper.is_gone = waiters.loop.is_closed
        elif waiters.loop is not asyncio.get_running_loop():
            raise CBProcessError(ERROR_NOT_READY, "the monitor belongs to another event loop")
        self._feed = feed
        self._waiters: Waiters = waiters
        self._in_a_row = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> EventT:
        self._settle()
        try:
            event = await self._next()
        except BaseException:
            if self._owns_monitor:
                self._monitor._feed.close()
            raise
        if event is None:
            if self._owns_monitor:
                await self._monitor.aclose()
            self._monitor._raise_failure()
            raise StopAsyncIteration
        self._current = event
        return event

    async def _next(self) -> EventT | None:
        self._in_a_row += 1
        if self._in_a_row > EVENTS_IN_A_ROW:
            self._in_a_row = 0
            await asyncio.sleep(0)
        running = self._running()
        if running is not None:
            return running
        while True:
            self._feed.check_process()
            item = self._feed.take()
            if item is not None:
                if self._is_known(item[0]):
                    continue
                return cast("EventT", item[0])
            if self._feed.is_ended:
                return None
            self._in_a_row = 0
            await self._waiters.wait()


async def wait_for_call(register: Callable[[Callable[[], None]], None]) -> None:
    """Waits until the function that `register` gets has been called, in any thread."""
    loop = asyncio.get_running_loop()
    future = loop.create_future()

    def finish() -> None:
        if not future.done():
            future.set_result(None)

    def call() -> None:
        # A closed loop waits for nothing.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(finish)

    register(call)
    await future
