"""The asyncio front end: `async for` over a monitor, and AsyncCBProcess, whose handlers may be coroutines.

from cbprocess.aio import AsyncCBProcess, monitor
"""

from __future__ import annotations

import asyncio
import inspect
import threading

from ._api.process import CBProcess
from ._api.properties import handler_property
from ._binding.hooks import tell_unraisablehook
from ._checks import checked_int
from ._streams.awaiting import AsyncEvents, wait_for_call
from ._streams.feed import QUEUE_SIZE, QUEUE_SIZE_MAX, Feed, Overflow, close_feeds_at_exit
from ._streams.monitoring import Monitor, monitor
from .constants import ERROR_NOT_READY, ERROR_POSSIBLE_DEADLOCK
from .errors import CBProcessError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from collections.abc import Coroutine
    from typing import Any, Callable, TypeVar

    from typing_extensions import Self

    from . import events
    from ._binding.hooks import Handler, Hooks
    from ._streams.held import HeldEvent

    Result = TypeVar("Result")

__all__ = ["AsyncCBProcess", "AsyncEvents", "Monitor", "monitor"]

CONCURRENCY = 1024
LOOK_S = 0.1
EXIT_LOOKS_S = (0.001, 0.05)
# A stop waits so long for programs that are being started.
LAUNCH_LIMIT_S = 5.0
# A worker thread fires them as it begins and as it ends, and waits for no coroutine.
PLAIN_HANDLERS = ("on_worker_thread_creation", "on_worker_thread_termination")


async def call_in_thread(
    function: Callable[[], Result], dispose: Callable[[Result], None] = lambda result: None
) -> Result:
    """The result of function(), called in a thread of its own: those of the loop's executor may all be
    waiting for this call. If the wait is cancelled, `dispose` gets the result, in that thread."""
    outcome: list[tuple[bool, Any]] = []  # whether it succeeded; its result, or its exception
    is_cancelled = False
    lock = threading.Lock()

    def register(call: Callable[[], None]) -> None:
        def run() -> None:
            try:
                result: tuple[bool, Any] = (True, function())
            except BaseException as error:
                result = (False, error)
            with lock:
                outcome.append(result)
                is_unwanted = is_cancelled
            if is_unwanted and result[0]:
                dispose(result[1])
            call()

        threading.Thread(target=run, name="cbprocess-call", daemon=True).start()

    try:
        await wait_for_call(register)
    except BaseException:
        with lock:
            is_cancelled = True
            done = outcome[:]
        if done and done[0][0]:
            threading.Thread(target=dispose, args=(done[0][1],), daemon=True).start()
        raise
    succeeded, value = outcome[0]
    if not succeeded:
        raise value
    result: Result = value
    return result


class Runner:
    """Runs the coroutines of one filter's handlers, from its start to its stop, in one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, feed: Feed, hooks: Hooks, concurrency: int) -> None:
        self._loop = loop
        self._hooks = hooks
        self._concurrency = concurrency
        self._tasks: set[asyncio.Task[None]] = set()
        self.feed = feed
        feed.set_wake(self._wake)

    def start(self) -> None:
        self.feed.arm()
        threading.Thread(target=self._watch, name="cbprocess-loop-watch", daemon=True).start()

    def call(self, function: Callable[[], object]) -> bool:
        """Has the loop call this. Gives whether it will."""
        try:
            self._loop.call_soon_threadsafe(function)
        except RuntimeError:
            self.feed.close()
            return False
        return True

    def close(self) -> None:
        """Lets everything go and cancels the coroutines; in any thread."""
        self.feed.close()
        try:
            is_here = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            is_here = False
        if is_here:
            self._cancel()
        else:
            self.call(self._cancel)

    async def join(self) -> None:
        """Waits for the coroutines to end, but for the one that calls this."""
        self._cancel()
        tasks = self._tasks - {asyncio.current_task()}
        if tasks:
            await asyncio.wait(tasks)

    def run_apart(self, function: Callable[[Any], Coroutine[Any, Any, object]], argument: Any) -> None:
        """Starts a coroutine that holds nothing. Its exceptions go to sys.unraisablehook. Any thread."""

        async def run() -> None:
            try:
                await function(argument)
            except Exception as error:
                tell_unraisablehook(error)

        if not self.call(lambda: self._add(run())):
            tell_unraisablehook(CBProcessError(argument.error_code, argument.description))

    def _watch(self) -> None:
        """Looks whether the loop is closed. If that happens while events wait, no later event may come to
        notice it."""
        while not self.feed.wait_closed(LOOK_S):
            if self._loop.is_closed():
                self.feed.close()

    def _wake(self) -> None:
        self.call(self._take)

    def _take(self) -> None:
        """Starts coroutines for events that have come, as many as may run at once."""
        while len(self._tasks) < self._concurrency:
            item = self.feed.take()
            if item is not None:
                self._add(self._handle(*item))
            elif self.feed.is_ended or self.feed.arm():
                return

    def _add(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        was_full = len(self._tasks) >= self._concurrency
        self._tasks.discard(task)
        if was_full:
            self._take()

    async def _handle(self, event: HeldEvent, function: Callable[[Any], Any]) -> None:
        try:
            await function(event)
        except (asyncio.CancelledError, GeneratorExit):
            event._let_go()
            raise
        except BaseException as error:
            # The failure is reported before the operation goes on, as with a plain handler.
            try:
                self._hooks.handler_raised(error, event.sequence)
            finally:
                event._let_go()
        else:
            if not event._is_taken:
                event._finish()

    def _cancel(self) -> None:
        """Cancels the coroutines, in the loop."""
        current = asyncio.current_task(self._loop)
        for task in self._tasks:
            if task is not current:
                task.cancel()


class AwaitedHandler:
    """The dispatcher's handler in the place of a coroutine function."""

    def __init__(self, process: AsyncCBProcess, function: Handler) -> None:
        self._process = process
        self.function = function

    def __call__(self, event: Any) -> None:
        runner = self._process._runner
        if runner is not None:
            runner.feed.offer(event, self.function)


class AwaitedErrorHandler(AwaitedHandler):
    """The handler in the place of a coroutine function that is on_error."""

    def __call__(self, event: Any) -> None:
        runner = self._process._runner
        if runner is None:
            tell_unraisablehook(CBProcessError(event.error_code, event.description))
        else:
            runner.run_apart(self.function, event)  # type: ignore[arg-type]


class AsyncCBProcess(CBProcess):
    """A CBProcess whose handlers may be coroutine functions: the operation waits until the coroutine returns.

    To be used as `async with`. Handlers then run in that event loop, and no thread is occupied while they
    wait. They get a HeldEvent: they may set result_code and desired_access as plain handlers do, or call
    allow(), deny(), strip() before they return. on_error may be one too. Plain functions still run in worker
    threads. on_worker_thread_creation and on_worker_thread_termination must be plain (else error 87). A
    coroutine that raises lets its operation go (on_error gets 574); one that is cancelled does so silently.

    queue_size (1 to 1000000): the number of events that may wait for their coroutine to be started. overflow:
    what happens to one more ("hold", "drop_oldest", "drop_newest"). concurrency (1 to 1000000): the number of
    coroutines that run at once. The filter stops at the end of the block; coroutines that still run are
    cancelled."""

    __slots__ = ("_concurrency", "_launches", "_loop", "_loop_thread", "_overflow", "_queue_size", "_runner")

    def __init__(
        self,
        *,
        queue_size: int = QUEUE_SIZE,
        overflow: Overflow | str = Overflow.HOLD,
        concurrency: int = CONCURRENCY,
    ) -> None:
        super().__init__()
        self._concurrency = checked_int(concurrency, "concurrency", 1, QUEUE_SIZE_MAX)
        self._queue_size = queue_size
        self._overflow = overflow
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_thread = 0
        self._runner: Runner | None = None
        self._launches: set[asyncio.Future[None]] = set()
        Feed(queue_size, overflow)  # refuses wrong values here rather than at the start

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        return self

    async def __aexit__(self, *exception: object) -> None:
        if self._owns_session():
            await self.astop_filter()

    @property
    def dropped(self) -> int:
        """The number of events that were let go unseen, since start_filter(), because the queue was full."""
        return self._runner.feed.dropped if self._runner is not None else 0

    def start_filter(self, timeout: int) -> None:
        """Does what CBProcess.start_filter() does; error 21 outside of the `async with` block."""
        loop = self._loop
        if loop is None or loop.is_closed():
            raise CBProcessError(
                ERROR_NOT_READY, "start_filter() needs the `async with` block of the instance"
            )
        if self.active:
            super().start_filter(timeout)  # the error
        runner = self._runner = Runner(
            loop, Feed(self._queue_size, self._overflow), self._hooks, self._concurrency
        )
        self._hooks.take_back = runner.feed.take_back
        try:
            runner.start()
            super().start_filter(timeout)
        except BaseException:
            runner.close()
            raise
        close_feeds_at_exit()

    def stop_filter(self) -> None:
        """Does what CBProcess.stop_filter() does, and cancels coroutines that still run, but for the calling
        one. For other threads: in the event loop, astop_filter() does not block it."""
        if self._runner is not None and self._owns_session():
            self._runner.close()
        super().stop_filter()

    async def astop_filter(self) -> None:
        """Stops the filter, and waits in the event loop until handlers and coroutines have ended. All
        operations have been let go when this is first suspended, so its cancellation leaves nothing held
        either."""
        runner = self._runner
        if runner is not None:
            runner.close()
        if self._launches:
            # Programs that are let go now must not be ended because the filter stops under them.
            await asyncio.wait(set(self._launches), timeout=LAUNCH_LIMIT_S)
        await call_in_thread(super().stop_filter)
        if runner is not None:
            await runner.join()

    async def apopen(self, args: Any, *positional: Any, **keywords: Any) -> subprocess.Popen[Any]:
        """Does what popen() does, and waits in the event loop, whose handlers decide about the program. If
        the wait is cancelled the program is ended."""

        def end(child: subprocess.Popen[Any]) -> None:
            child.kill()
            child.wait()

        launch = asyncio.get_running_loop().create_future()
        self._launches.add(launch)
        try:
            return await call_in_thread(lambda: self.popen(args, *positional, **keywords), end)
        finally:
            self._launches.discard(launch)
            launch.set_result(None)

    async def await_exit(self, child: subprocess.Popen[Any]) -> int:
        """Waits in the event loop for a program's end; its return code, as child.wait() gives it."""
        delay_s, longest_s = EXIT_LOOKS_S
        while True:
            status = child.poll()
            if status is not None:
                return status
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, longest_s)

    def _popen(self, ask: bool, args: Any, *positional: Any, **keywords: Any) -> subprocess.Popen[Any]:
        if self.active and threading.get_ident() == self._loop_thread:
            message = "popen() would wait for the event loop that it blocks: use `await apopen()`"
            raise CBProcessError(ERROR_POSSIBLE_DEADLOCK, message)
        return super()._popen(ask, args, *positional, **keywords)

    def _set_handler(self, name: str, handler: Handler | None) -> None:
        if handler is not None and name not in PLAIN_HANDLERS and _is_coroutine_function(handler):
            handler = (AwaitedErrorHandler if name == "on_error" else AwaitedHandler)(self, handler)
        super()._set_handler(name, handler)

    def _get_handler(self, name: str) -> Handler | None:
        handler = super()._get_handler(name)
        return handler.function if isinstance(handler, AwaitedHandler) else handler

    @handler_property
    def on_error(self, event: events.CBProcessErrorEventParams) -> None:
        """The handler of CBProcess.on_error. May be a coroutine function, whose failure goes to
        sys.unraisablehook."""


def _is_coroutine_function(handler: object) -> bool:
    """Whether calling it gives a coroutine: a function, method or partial, or an object with such a call."""
    call = getattr(type(handler), "__call__", None)  # noqa: B004
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(call)
