"""monitor(): the events of a filter as an iterator, plain (iterating.py) or asynchronous (awaiting.py)."""

from __future__ import annotations

import threading
import weakref
from typing import Generic, overload

from .. import constants
from .._api.process import CBProcess
from .._checks import UINT32_MAX, checked_bool, checked_int, wrong
from ..drivers import TREE_DRIVER
from ..errors import CBProcessError
from .feed import QUEUE_SIZE, Feed, Overflow
from .iterating import Events, EventT
from .keeper import LOOK_S, Keeper

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from concurrent.futures import Future
    from typing import Any, Literal

    from typing_extensions import Self

    from ..running import RunningProcess
    from .awaiting import AsyncEvents, Waiters
    from .held import (
        AnyHeldEvent,
        HeldProcessCreation,
        HeldProcessHandleOperation,
        HeldProcessTermination,
        HeldThreadCreation,
        HeldThreadHandleOperation,
        HeldThreadTermination,
    )
    from .joining import Joint

# Monitors without an instance of the user's initialize theirs with this GUID, if initialize() was not called.
PRODUCT_GUID = "{c1b5f2a4-3d0e-4f43-8b1c-7a9d5e6f0213}"
DEFAULT_EVENTS = constants.PROC_EVT_PROCESS_CREATION | constants.PROC_EVT_PROCESS_TERMINATION
DEFAULT_TIMEOUT_MS = 30000


class Monitor(Generic[EventT]):
    """The result of monitor(): iterate it with `for` or `async for`, best in a `with` or `async with`
    block."""

    def __init__(
        self,
        command: Any = None,
        *,
        process: CBProcess | None = None,
        events: int | None = None,
        timeout_ms: int | None = None,
        timeout: int | None = None,
        queue_size: int = QUEUE_SIZE,
        overflow: Overflow | str = Overflow.HOLD,
        snapshot: bool = False,
        hold: bool = True,
        **keywords: Any,
    ) -> None:
        if command is None and keywords:
            raise wrong(f"{next(iter(keywords))} means nothing without a command")
        if process is not None and not isinstance(process, CBProcess):
            raise wrong(f"process must be a CBProcess, not {type(process).__name__}")
        if timeout is not None:
            if timeout_ms is not None:
                raise wrong("timeout is the older name of timeout_ms: give one of them")
            timeout_ms = checked_int(timeout, "timeout", 0, UINT32_MAX)
        timeout_ms = DEFAULT_TIMEOUT_MS if timeout_ms is None else timeout_ms
        self._timeout_ms = checked_int(timeout_ms, "timeout_ms", 0, UINT32_MAX)
        self._mask = DEFAULT_EVENTS if events is None else checked_int(events, "events", -1, UINT32_MAX)
        if self._mask == 0:
            raise wrong("events must name at least one operation")
        self._has_snapshot = checked_bool(snapshot, "snapshot")
        self._joint: Joint | None = None
        self._feed = Feed(queue_size, overflow)
        self._keeper = Keeper(
            process or _own_instance(command is not None),
            self._feed,
            None if command is None else (command, keywords),
            checked_bool(hold, "hold"),
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
        """The command's process, once it runs its program. None before, and without a command."""
        return self._keeper.child

    @property
    def dropped(self) -> int:
        """The number of events that were let go unseen because the queue was full."""
        return self._feed.dropped

    def launch(self, args: Any, **keywords: Any) -> Future[subprocess.Popen[Any]]:
        """Starts another program under the filter, as CBProcess.popen() does, in a thread of its own: the
        iterating thread has to be free to decide about it. Gives a concurrent.futures.Future of the Popen, or
        of the error; `asyncio.wrap_future()` makes it awaitable. Error 21 if the monitor does not run."""
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
        goes on without the filter. Does nothing when closed. In a fork it changes nothing of the monitor's
        process."""
        self._feed.close()
        if self._is_started and not self._feed.ledger.is_foreign:
            while not self._keeper.is_done.wait(LOOK_S):
                pass

    async def aclose(self) -> None:
        """Does what close() does, and waits in the event loop. All operations have been let go when this is
        first suspended."""
        self._feed.close()
        if self._is_started and not self._feed.ledger.is_foreign:
            from .awaiting import wait_for_call

            await wait_for_call(self._keeper.when_done)

    def _start(self) -> None:
        if self._is_started:
            self._feed.check_process()
            return
        if self._feed.is_closed:
            raise CBProcessError(constants.ERROR_NOT_READY, "the monitor is closed")
        if not self._has_snapshot:
            self._keeper.start(self._mask, self._timeout_ms)
            self._is_started = True
            return
        from .joining import Joint, check_driver

        check_driver(self._keeper.process)
        self._keeper.start(self._mask, self._timeout_ms)
        self._is_started = True
        try:
            self._joint = Joint(self._keeper.process)
        except BaseException:
            self.close()
            raise

    def _raise_failure(self) -> None:
        """Raises the failure that ended the iteration, once, if there was one."""
        error, self._keeper.error = self._keeper.error, None
        if error is not None:
            raise error

    def __enter__(self) -> Self:
        self._start()
        self._is_in_block = True
        return self

    def __exit__(self, *exception: object) -> None:
        self._is_in_block = False
        self.close()

    def __iter__(self) -> Events[EventT]:
        self._start()
        return Events(self, not self._is_in_block)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, *exception: object) -> None:
        self._is_in_block = False
        await self.aclose()

    def __aiter__(self) -> AsyncEvents[EventT]:
        from .awaiting import AsyncEvents

        self._start()
        return AsyncEvents(self, not self._is_in_block)


# A type checker tells the class of the events from `events`.
@overload
def monitor(
    command: Any = None,
    *,
    events: None = None,
    process: CBProcess | None = None,
    timeout_ms: int | None = None,
    timeout: int | None = None,
    queue_size: int = QUEUE_SIZE,
    overflow: Overflow | str = Overflow.HOLD,
    snapshot: Literal[False] = False,
    hold: bool = True,
    **keywords: Any,
) -> Monitor[HeldProcessCreation | HeldProcessTermination]: ...
@overload
def monitor(
    command: Any = None,
    *,
    events: Literal[1],
    process: CBProcess | None = None,
    timeout_ms: int | None = None,
    timeout: int | None = None,
    queue_size: int = QUEUE_SIZE,
    overflow: Overflow | str = Overflow.HOLD,
    snapshot: Literal[False] = False,
    hold: bool = True,
    **keywords: Any,
) -> Monitor[HeldProcessCreation]: ...
@overload
def monitor(
    command: Any = None,
    *,
    events: Literal[2],
    process: CBProcess | None = None,
    timeout_ms: int | None = None,
    timeout: int | None = None,
    queue_size: int = QUEUE_SIZE,
    overflow: Overflow | str = Overflow.HOLD,
    snapshot: Literal[False] = False,
    hold: bool = True,
    **keywords: Any,
) -> Monitor[HeldProcessTermination]: ...
@overload
def monitor(
    command: Any = None,
    *,
    events: Literal[4],
    process: CBProcess | None = None,
    timeout_ms: int | None = None,
    timeout: int | None = None,
    queue_size: int = QUEUE_SIZE,
    overflow: Overflow | str = Overflow.HOLD,
    snapshot: Literal[False] = False,
    hold: bool = True,
    **keywords: Any,
) -> Monitor[HeldProcessHandleOperation]: ...
@overload
def monitor(
    command: Any = None,
    *,
    events: Literal[8],
    process: CBProcess | None = None,
    timeout_ms: int | None = None,
    timeout: int | None = None,
    queue_size: int = QUEUE_SIZE,
    overflow: Overflow | str = Overflow.HOLD,
    snapshot: Literal[False] = False,
    hold: bool = True,
    **keywords: Any,
) -> Monitor[HeldThreadCreation]: ...
@overload
def monitor(
    command: Any = None,
    *,
    events: Literal[16],
    process: CBProcess | None = None,
    timeout_ms: int | None = None,
    timeout: int | None = None,
    queue_size: int = QUEUE_SIZE,
    overflow: Overflow | str = Overflow.HOLD,
    snapshot: Literal[False] = False,
    hold: bool = True,
    **keywords: Any,
) -> Monitor[HeldThreadTermination]: ...
@overload
def monitor(
    command: Any = None,
    *,
    events: Literal[32],
    process: CBProcess | None = None,
    timeout_ms: int | None = None,
    timeout: int | None = None,
    queue_size: int = QUEUE_SIZE,
    overflow: Overflow | str = Overflow.HOLD,
    snapshot: Literal[False] = False,
    hold: bool = True,
    **keywords: Any,
) -> Monitor[HeldThreadHandleOperation]: ...
@overload
def monitor(
    command: Any = None,
    *,
    events: int,
    process: CBProcess | None = None,
    timeout_ms: int | None = None,
    timeout: int | None = None,
    queue_size: int = QUEUE_SIZE,
    overflow: Overflow | str = Overflow.HOLD,
    snapshot: Literal[False] = False,
    hold: bool = True,
    **keywords: Any,
) -> Monitor[AnyHeldEvent]: ...
@overload
def monitor(
    command: Any = None,
    *,
    events: int | None = None,
    process: CBProcess | None = None,
    timeout_ms: int | None = None,
    timeout: int | None = None,
    queue_size: int = QUEUE_SIZE,
    overflow: Overflow | str = Overflow.HOLD,
    snapshot: bool,
    hold: bool = True,
    **keywords: Any,
) -> Monitor[RunningProcess | AnyHeldEvent]: ...
def monitor(
    command: Any = None,
    *,
    process: CBProcess | None = None,
    events: int | None = None,
    timeout_ms: int | None = None,
    timeout: int | None = None,
    queue_size: int = QUEUE_SIZE,
    overflow: Overflow | str = Overflow.HOLD,
    snapshot: bool = False,
    hold: bool = True,
    **keywords: Any,
) -> Monitor[Any]:
    """The events of a filter, to be iterated with `for` or `async for`. Each of them waits for its verdict,
    unless hold is False.

    With a command (and keywords, as of subprocess.Popen) that program is started in the filter, and the
    iteration ends after the last event before the program's end. Without, it goes on until close() or until
    the filter stops. `process` is an initialized, inactive CBProcess with rules and settings of your own; by
    default one is made. events: PROC_EVT_ bits, -1 for all, by default creations and ends of processes.
    timeout_ms (30000): as of start_filter(); timeout is its older name. queue_size, from 1 to 1000000: the
    number of events that may wait to be taken. overflow: what happens to one more, "hold" (it waits too),
    "drop_oldest" or "drop_newest" (`dropped` counts them).

    With hold=False no operation ever waits, however slow the loop is: for programs that only look. Rules that
    refuse stay in force. Each event tells of an operation that has gone on (`outcome` is NOT_HELD), and its
    verdicts change nothing. The events come in the order of their numbers. While the loop is behind, they
    gather: queue_size of them, then 65,536 in the driver (256 MiB), and what comes then is lost
    (`filter.statistics().lost`, a gap in `sequence`). With overflow "drop_oldest" or "drop_newest" those
    beyond queue_size are dropped and counted.

    With snapshot=True the running processes come first, as RunningProcess objects, and then the events: no
    process is missing between the two, and no event tells of a creation or an end that the snapshot has
    known. They are all processes of the machine, whichever rules there are; with a driver for process trees
    those that it supervises. Processes that have ended are left out. Events wait while the processes are
    taken. A process whose creation waits for its verdict can come before it, with the program that it still
    has. Error 50: the driver's processes are not the system's (the simulated driver).

    Asking for the next event answers the last one by the properties that were set, unless it was kept with
    hold(). Leaving the loop, or the `with` block around it, by a break, an exception, a cancellation or an
    interrupt lets every unanswered operation go and stops the filter; the program goes on without it.

    The `with` block or the loop starts the filter. Errors there are those of start_filter(), and 1230 for an
    instance that is active. An error of popen() for the command is raised at the end of the iteration. Error
    87 for an argument of the wrong type or value.

    To a type checker the events are of the class that the one bit in `events` names, without `events`
    HeldProcessCreation or HeldProcessTermination, and else AnyHeldEvent: the union of all six, which
    isinstance() tells apart."""
    return Monitor(
        command,
        process=process,
        events=events,
        timeout_ms=timeout_ms,
        timeout=timeout,
        queue_size=queue_size,
        overflow=overflow,
        snapshot=snapshot,
        hold=hold,
        **keywords,
    )


def _own_instance(is_for_a_tree: bool) -> CBProcess:
    """An instance for a loop. A program that the loop starts needs no driver of the machine."""
    instance = CBProcess()
    if is_for_a_tree:
        instance.config(f"Driver={TREE_DRIVER}")
    try:
        instance.statistics()  # as any method would: error 21 before initialize()
    except CBProcessError as error:
        if error.code != constants.ERROR_NOT_READY:
            raise
        instance.initialize(PRODUCT_GUID)
    return instance
