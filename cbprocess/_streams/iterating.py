"""One loop over the events of a monitor, and the plain iterator. Knows feeds, keepers and snapshots; nothing
of event loops."""

from __future__ import annotations

from typing import Generic, TypeVar, cast

from .held import HeldEvent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    from typing_extensions import Self

    from ..running import RunningProcess
    from .feed import Feed
    from .joining import Joint
    from .keeper import Keeper

    class Looped(Protocol):
        """The part of a monitor that a loop needs."""

        _feed: Feed
        _keeper: Keeper
        _joint: Joint | None
        _waiters: Any

        def close(self) -> None: ...
        async def aclose(self) -> None: ...
        def _raise_failure(self) -> None: ...


# A type checker tells the class of a monitor's events from the arguments of monitor(), as far as it can.
EventT = TypeVar("EventT", bound="HeldEvent | RunningProcess", covariant=True)


class Turn(Generic[EventT]):
    """One loop over a monitor. Outside of a `with` block the monitor is the loop's. It is closed when the
    loop is left, in whatever way, because the loop's iterator is gone then."""

    def __init__(self, monitor: Looped, owns_monitor: bool) -> None:
        self._monitor = monitor
        self._owns_monitor = owns_monitor
        self._current: EventT | None = None

    def __del__(self) -> None:
        self._settle()
        if self._owns_monitor:
            self._monitor._feed.close()

    def _settle(self) -> None:
        """Answers the event of the loop's last turn."""
        event, self._current = self._current, None
        if isinstance(event, HeldEvent) and not event._is_taken:
            event._finish()

    def _running(self) -> EventT | None:
        """A process of the monitor's snapshot that has not been given yet, or None."""
        joint = self._monitor._joint
        return None if joint is None else cast("EventT | None", joint.take())

    def _is_known(self, event: HeldEvent) -> bool:
        """Whether the snapshot had this already. Then the event is answered."""
        joint = self._monitor._joint
        if joint is None or not joint.knows(event):
            return False
        event._finish()
        return True


class Events(Turn[EventT]):
    """The plain iterator."""

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> EventT:
        self._settle()
        running = self._running()
        if running is not None:
            return running
        try:
            item = self._monitor._feed.wait()
            while item is not None and self._is_known(item[0]):
                item = self._monitor._feed.wait()
        except BaseException:
            if self._owns_monitor:
                self._monitor._feed.close()
            raise
        if item is None:
            if self._owns_monitor:
                self._monitor.close()
            self._monitor._raise_failure()
            raise StopIteration
        # The filter fires only the operations that it was asked for.
        self._current = event = cast("EventT", item[0])
        return event
