"""One loop over the events of a monitor, and the plain iterator. Knows feeds and keepers, nothing of event
loops."""

from __future__ import annotations

from typing import Generic, TypeVar, cast

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    from typing_extensions import Self

    from .feed import Feed
    from .held import HeldEvent
    from .keeper import Keeper

    class Looped(Protocol):
        """What a loop needs of its monitor."""

        _feed: Feed
        _keeper: Keeper
        _waiters: Any

        def close(self) -> None: ...
        async def aclose(self) -> None: ...
        def _raise_failure(self) -> None: ...


# What a monitor's events can be, as far as a type checker can tell from the `events` of monitor().
EventT = TypeVar("EventT", bound="HeldEvent", covariant=True)


class Turn(Generic[EventT]):
    """One loop over a monitor. Outside of a `with` block the monitor is the loop's: it is closed when the
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
        """The loop's body is through with its event."""
        event, self._current = self._current, None
        if event is not None and not event._is_taken:
            event._finish()


class Events(Turn[EventT]):
    """The plain iterator."""

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> EventT:
        self._settle()
        try:
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
        # The filter fires nothing but what it was asked for.
        self._current = event = cast("EventT", item[0])
        return event
