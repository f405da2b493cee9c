"""monitor(): the events of a filter as an iterator, plain or (with aio.py) asynchronous.

A monitor owns a filter while it runs: it sets the handlers and starts the filter; a thread of its own, the
keeper, starts the program in it, and stops it when the program or the interest in it has ended. The thread
that iterates could not do that: what it would wait for may be waiting for its verdict.
"""

from __future__ import annotations

import threading
import weakref
from time import monotonic
from typing import Generic, TypeVar, cast, overload

from .. import constants
from .._api.checks import UINT32_MAX, checked_int, wrong
from .._api.hooks import HANDLERS, is_only_counted, tell_unraisablehook
from .._api.process import CBProcess
from .._binding.library import check_outside_handler
from ..errors import CBProcessError
from .feed import QUEUE_SIZE, Feed, Overflow, close_feeds_at_exit

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from concurrent.futures import Future
    from types import TracebackType
    from typing import Any, Literal

    from typing_extensions import Self

    from ..aio import AsyncEvents, Waiters
    from .held import (
        AnyHeldEvent,
        HeldEvent,
        HeldProcessCreation,
        HeldProcessHandleOperation,
        HeldProcessTermination,
        HeldThreadCreation,
        HeldThreadHandleOperation,
        HeldThreadTermination,
    )

# What a monitor's events can be, as far as a type checker can tell from the `events` of monitor().
EventT = TypeVar("EventT", bound="HeldEvent", covariant=True)

# Of monitors that are not given an instance, when nobody called initialize().
PRODUCT_GUID = "{c1b5f2a4-3d0e-4f43-8b1c-7a9d5e6f0213}"
DEFAULT_EVENTS = constants.PROC_EVT_PROCESS_CREATION | constants.PROC_EVT_PROCESS_TERMINATION
DEFAULT_TIMEOUT_MS = 30000
# How often the keeper looks, without a program and with one.
LOOK_S = 0.1
LOOK_AT_PROGRAM_S = 0.02
# Descendants that go on after the program must not keep the iteration going.
LAST_EVENTS_LIMIT_S = 2.0
# How long the stop waits for programs that are being started.
LAUNCH_LIMIT_S = 5.0


class Keeper:
    """What a monitor's thread does, and what is left when the monitor itself has been forgotten."""

    def __init__(self, process: CBProcess, feed: Feed, command: tuple[Any, dict[str, Any]] | None) -> None:
        self.process = process
        self.feed = feed
        self.child: subprocess.Popen[Any] | None = None
        self.error: BaseException | None = None
        self.is_gone: Callable[[], bool] = lambda: False  # whether the consumer can never take another event
        self.is_done = threading.Event()
        self.launches: set[Future[subprocess.Popen[Any]]] = set()
        self._on_done: list[Callable[[], None]] = []
        self._command = command
        self._restore: list[tuple[str, Any]] = []
        self._events_before = "0"

    def start(self, mask: int, timeout_ms: int) -> None:
        """Sets the handlers and starts the filter and the thread. On failure everything is as before."""
        process = self.process
        check_outside_handler("starting a monitor")
        if process.active:
            raise CBProcessError(constants.ERROR_CONNECTION_ACTIVE, "the instance's filter is active already")
        self._events_before = process.config("EventsToFire")
        self._restore = [(name, getattr(process, name)) for bit, name in HANDLERS.items() if mask & bit]
        self._restore.append(("on_error", process.on_error))
        try:
            process.config(f"EventsToFire={mask}")
            for name, _ in self._restore:
                setattr(process, name, self.feed.offer)
            process.on_error = self._restore[-1][1] or self._hear
            process._hooks.take_back = self.feed.take_back
            process.start_filter(timeout_ms)
            close_feeds_at_exit()
            threading.Thread(target=self._run, name="cbprocess-monitor", daemon=True).start()
        except BaseException:
            self.feed.close()
            self._end()
            raise

    def when_done(self, call: Callable[[], None]) -> None:
        """Calls this in the keeper's thread after its end, or here if that has been."""
        self._on_done.append(call)
        if self.is_done.is_set():
            self._tell_done()

    def _hear(self, error: Any) -> None:
        """Errors outside any call, where the user does not hear them: one that ended the filter ends the
        iteration."""
        if is_only_counted(error.error_code, error.sequence):
            return
        failure = CBProcessError(error.error_code, error.description)
        if self.process.active:
            tell_unraisablehook(failure)
        else:
            self.error = self.error or failure

    def _run(self) -> None:
        try:
            if self._command is not None:
                self.child = self.process.popen(self._command[0], **self._command[1])
            self._keep()
        except BaseException as error:
            self.error = self.error or error
        finally:
            self._end()

    def _keep(self) -> None:
        """Returns when there is no reason to go on."""
        ended_at: float | None = None
        delivered = -1
        while not self.feed.wait_closed(LOOK_S if self.child is None else LOOK_AT_PROGRAM_S):
            if self.is_gone():
                self.feed.close()
            if not self.process.active:
                return
            if self.child is None or self.child.poll() is None:
                continue
            ended_at = ended_at or monotonic()
            counts = self.process.statistics()
            is_quiet = counts.delivered == delivered and counts.queued == 0
            delivered = counts.delivered
            if self.feed.is_idle and (is_quiet or monotonic() - ended_at > LAST_EVENTS_LIMIT_S):
                return

    def _end(self) -> None:
        # A worker that waits for room would keep the stop waiting, and what is still to come is not held.
        self.feed.lift_bound()
        for step in (self._wait_for_launches, self.process.stop_filter, self._restore_settings):
            try:
                step()
            except BaseException as error:
                self.error = self.error or error
        self.feed.finish()
        self.is_done.set()
        self._tell_done()

    def _restore_settings(self) -> None:
        for name, handler in self._restore:
            setattr(self.process, name, handler)
        self.process._hooks.take_back = None
        self.process.config(f"EventsToFire={self._events_before}")

    def _wait_for_launches(self) -> None:
        """A program that is let go now must not be ended because the filter stops under its start."""
        if self.launches and self.feed.is_closed:
            from concurrent.futures import wait

            wait(list(self.launches), LAUNCH_LIMIT_S)

    def _tell_done(self) -> None:
        while True:
            try:
                call = self._on_done.pop()
            except IndexError:
                return
            call()


class Monitor(Generic[EventT]):
    """What monitor() gives: iterate it with `for` or `async for`, best in a `with` or `async with` block."""

    def __init__(
        self,
        command: Any = None,
        *,
        process: CBProcess | None = None,
        events: int | None = None,
        timeout: int = DEFAULT_TIMEOUT_MS,
        queue_size: int = QUEUE_SIZE,
        overflow: Overflow | str = Overflow.HOLD,
        **keywords: Any,
    ) -> None:
        if command is None and keywords:
            raise wrong(f"{next(iter(keywords))} means nothing without a command")
        if process is not None and not isinstance(process, CBProcess):
            raise wrong(f"process must be a CBProcess, not {type(process).__name__}")
        self._timeout_ms = checked_int(timeout, "timeout", 0, UINT32_MAX)
        self._mask = DEFAULT_EVENTS if events is None else checked_int(events, "events", -1, UINT32_MAX)
        if self._mask == 0:
            raise wrong("events must name at least one operation")
        self._feed = Feed(queue_size, overflow)
        self._keeper = Keeper(
            process or _own_instance(), self._feed, None if command is None else (command, keywords)
        )
        self._is_started = False
        self._is_in_block = False
        self._waiters: Waiters | None = None
        self._finalizer = weakref.finalize(self, self._feed.close)
        # At exit the feeds are closed in any case, in the right order.
        self._finalizer.atexit = False

    @property
    def filter(self) -> CBProcess:
        """The instance: for rules and statistics(). Its handlers are the monitor's while that runs."""
        return self._keeper.process

    @property
    def process(self) -> subprocess.Popen[Any] | None:
        """The command's process, once it runs its program; None before, and without a command."""
        return self._keeper.child

    @property
    def dropped(self) -> int:
        """How many events were let go unseen because the queue was full."""
        return self._feed.dropped

    def launch(self, args: Any, **keywords: Any) -> Future[subprocess.Popen[Any]]:
        """Starts another program under the filter, as CBProcess.popen() does, in a thread of its own: the
        iterating thread has to be free to decide about it. Gives a concurrent.futures.Future of the Popen,
        or of the error; `asyncio.wrap_future()` makes it awaitable. Error 21 if the monitor does not run."""
        from concurrent.futures import Future

        if not self._keeper.process.active:
            raise CBProcessError(constants.ERROR_NOT_READY, "the monitor is not running")
        future: Future[subprocess.Popen[Any]] = Future()
        future.set_running_or_notify_cancel()
        keeper = self._keeper
        keeper.launches.add(future)
        future.add_done_callback(keeper.launches.discard)

        def run() -> None:
            try:
                child = keeper.process.popen(args, **keywords)
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(child)

        threading.Thread(target=run, name="cbprocess-launch", daemon=True).start()
        return future

    def close(self) -> None:
        """Lets everything go and stops the filter; waits until it has stopped, interruptibly. The program
        goes on without the filter. Does nothing when closed. Nothing of the monitor's process in a fork."""
        self._abandon()
        if self._is_started and not self._feed.ledger.is_foreign:
            while not self._keeper.is_done.wait(LOOK_S):
                pass

    async def aclose(self) -> None:
        """As close(), waiting in the event loop. Nothing is held any more when this is first suspended."""
        self._abandon()
        if self._is_started and not self._feed.ledger.is_foreign:
            from ..aio import wait_for_call

            await wait_for_call(self._keeper.when_done)

    def _abandon(self) -> None:
        """Lets everything go and leaves the rest to the keeper."""
        self._feed.close()

    def _start(self) -> None:
        if self._is_started:
            self._feed.check_process()
            return
        if self._feed.is_closed:
            raise CBProcessError(constants.ERROR_NOT_READY, "the monitor is closed")
        self._keeper.start(self._mask, self._timeout_ms)
        self._is_started = True

    def _raise_failure(self) -> None:
        """Raises what ended the iteration, once, if that was a failure."""
        error, self._keeper.error = self._keeper.error, None
        if error is not None:
            raise error

    def __enter__(self) -> Self:
        self._start()
        self._is_in_block = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_in_block = False
        self.close()

    def __iter__(self) -> Events[EventT]:
        self._start()
        return Events(self, not self._is_in_block)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_in_block = False
        await self.aclose()

    def __aiter__(self) -> AsyncEvents[EventT]:
        from ..aio import AsyncEvents

        self._start()
        return AsyncEvents(self, not self._is_in_block)


class Turn(Generic[EventT]):
    """One loop over a monitor. Outside of a `with` block the monitor is the loop's: it is closed when the
    loop is left, in whatever way, because the loop's iterator is gone then."""

    def __init__(self, monitor: Monitor[EventT], owns_monitor: bool) -> None:
        self._monitor = monitor
        self._owns_monitor = owns_monitor
        self._current: EventT | None = None

    def __del__(self) -> None:
        self._settle()
        if self._owns_monitor:
            self._monitor._abandon()

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
                self._monitor._abandon()
            raise
        if item is None:
            if self._owns_monitor:
                self._monitor.close()
            self._monitor._raise_failure()
            raise StopIteration
        # The filter fires nothing but what it was asked for.
        self._current = event = cast("EventT", item[0])
        return event


# What is looped over with which events, for type checkers.
@overload
def monitor(
    command: Any = None,
    *,
    events: None = None,
    process: CBProcess | None = None,
    timeout: int = DEFAULT_TIMEOUT_MS,
    queue_size: int = QUEUE_SIZE,
    overflow: Overflow | str = Overflow.HOLD,
    **keywords: Any,
) -> Monitor[HeldProcessCreation | HeldProcessTermination]: ...
@overload
def monitor(
    command: Any = None,
    *,
    events: Literal[1],
    process: CBProcess | None = None,
    timeout: int = DEFAULT_TIMEOUT_MS,
    queue_size: int = QUEUE_SIZE,
    overflow: Overflow | str = Overflow.HOLD,
    **keywords: Any,
) -> Monitor[HeldProcessCreation]: ...
@overload
def monitor(
    command: Any = None,
    *,
    events: Literal[2],
    process: CBProcess | None = None,
    timeout: int = DEFAULT_TIMEOUT_MS,
    queue_size: int = QUEUE_SIZE,
    overflow: Overflow | str = Overflow.HOLD,
    **keywords: Any,
) -> Monitor[HeldProcessTermination]: ...
@overload
def monitor(
    command: Any = None,
    *,
    events: Literal[4],
    process: CBProcess | None = None,
    timeout: int = DEFAULT_TIMEOUT_MS,
    queue_size: int = QUEUE_SIZE,
    overflow: Overflow | str = Overflow.HOLD,
    **keywords: Any,
) -> Monitor[HeldProcessHandleOperation]: ...
@overload
def monitor(
    command: Any = None,
    *,
    events: Literal[8],
    process: CBProcess | None = None,
    timeout: int = DEFAULT_TIMEOUT_MS,
    queue_size: int = QUEUE_SIZE,
    overflow: Overflow | str = Overflow.HOLD,
    **keywords: Any,
) -> Monitor[HeldThreadCreation]: ...
@overload
def monitor(
    command: Any = None,
    *,
    events: Literal[16],
    process: CBProcess | None = None,
    timeout: int = DEFAULT_TIMEOUT_MS,
    queue_size: int = QUEUE_SIZE,
    overflow: Overflow | str = Overflow.HOLD,
    **keywords: Any,
) -> Monitor[HeldThreadTermination]: ...
@overload
def monitor(
    command: Any = None,
    *,
    events: Literal[32],
    process: CBProcess | None = None,
    timeout: int = DEFAULT_TIMEOUT_MS,
    queue_size: int = QUEUE_SIZE,
    overflow: Overflow | str = Overflow.HOLD,
    **keywords: Any,
) -> Monitor[HeldThreadHandleOperation]: ...
@overload
def monitor(
    command: Any = None,
    *,
    events: int,
    process: CBProcess | None = None,
    timeout: int = DEFAULT_TIMEOUT_MS,
    queue_size: int = QUEUE_SIZE,
    overflow: Overflow | str = Overflow.HOLD,
    **keywords: Any,
) -> Monitor[AnyHeldEvent]: ...
def monitor(
    command: Any = None,
    *,
    process: CBProcess | None = None,
    events: int | None = None,
    timeout: int = DEFAULT_TIMEOUT_MS,
    queue_size: int = QUEUE_SIZE,
    overflow: Overflow | str = Overflow.HOLD,
    **keywords: Any,
) -> Monitor[Any]:
    """The events of a filter, to be iterated with `for` or `async for`; each waits for its verdict.

    With a command (and keywords, as of subprocess.Popen) that program is started in the filter, and the
    iteration ends after the last event before the program's end; without, it goes on until close() or until
    the filter stops. `process` is an initialized, inactive CBProcess with rules and settings of your own; by
    default one is made. events: PROC_EVT_ bits, -1 for all, by default creations and ends of processes.
    timeout: as of start_filter(). queue_size, from 1 to 1000000: how many events may wait to be taken;
    overflow: what happens to one more, "hold" (it waits too), "drop_oldest" or "drop_newest" (`dropped`
    counts them).

    Asking for the next event answers the last one with what was set, unless it was kept with hold(). Leaving
    the loop, or the `with` block around it, by a break, an exception, a cancellation or an interrupt lets go
    whatever is unanswered and stops the filter; the program goes on without it.

    The filter is started by the `with` block or by the loop: errors there are those of start_filter(), and
    1230 for an instance that is active. To a type checker the events are of the class that the one bit in
    `events` names, without `events` HeldProcessCreation or HeldProcessTermination, and else AnyHeldEvent:
    the union of all six, which isinstance() tells apart. What popen() raises for the command is raised at the
    end of the iteration. Error 87 for an argument of the wrong type or value.
    """
    return Monitor(
        command,
        process=process,
        events=events,
        timeout=timeout,
        queue_size=queue_size,
        overflow=overflow,
        **keywords,
    )


def _own_instance() -> CBProcess:
    instance = CBProcess()
    try:
        instance.statistics()  # as any method would: error 21 before initialize()
    except CBProcessError as error:
        if error.code != constants.ERROR_NOT_READY:
            raise
        instance.initialize(PRODUCT_GUID)
    return instance
