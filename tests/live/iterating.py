"""What the tests of iterators, of monitors in event loops and of coroutine handlers share: programs to watch,
waiting in a loop, and that nothing is left."""

from __future__ import annotations

import asyncio
import subprocess
import threading
import time
from collections.abc import Coroutine
from typing import Any, Callable

from live_tools import GUID, wait_until

import cbprocess
from cbprocess.aio import AsyncCBProcess

CREATION = cbprocess.PROC_EVT_PROCESS_CREATION
HANDFUL = ("MinWorkerThreadCount=2", "MaxWorkerThreadCount=3")


def instance(*settings: str) -> cbprocess.CBProcess:
    """An initialized instance for a monitor."""
    made = cbprocess.CBProcess()
    made.initialize("{5ABD3A8B-6A3F-4C52-9F0C-5E1F0A1C7D21}")
    for setting in settings:
        made.config(setting)
    return made


def crowd(program: str, count: int) -> list[str]:
    """A command that starts so many of a program at once, and ends with 5 when all have ended with 7."""
    text = (
        f'i=0; while [ $i -lt {count} ]; do {program} 7 & p="$p $!"; i=$((i + 1)); done; '
        "for q in $p; do wait $q; [ $? = 7 ] || exit 6; done; exit 5"
    )
    return ["sh", "-c", text]


def is_program(event: Any, path: str) -> bool:
    return hasattr(event, "arguments") and bool(event.process_name == path)


def own_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("cbprocess-")]


def check_nothing_left(process: cbprocess.CBProcess) -> None:
    """The filter stops without help, and then nothing is held and no thread is stuck."""
    wait_until(lambda: not process.active, 10, "the filter has stopped")
    wait_until(lambda: not own_threads(), 10, "every thread has ended")
    statistics = process.statistics()
    assert (statistics.deferred, statistics.workers, statistics.queued) == (0, 0, 0)


def check_goes_on(child: subprocess.Popen[Any] | None, status: int) -> None:
    """The program ends by itself, as it would have."""
    assert child is not None
    assert child.wait(20) == status


def run(main: Coroutine[Any, Any, Any], limit_s: float = 60) -> Any:
    """Runs it with asyncio's own checks switched on: calls from a wrong thread raise."""
    return asyncio.run(asyncio.wait_for(main, limit_s), debug=True)


def handlers(*settings: str, events: int = CREATION, **options: Any) -> AsyncCBProcess:
    process = AsyncCBProcess(**options)
    process.initialize(GUID)
    for setting in (f"EventsToFire={events}", *settings):
        process.config(setting)
    return process


async def until(condition: Callable[[], Any], what: str, limit_s: float = 60) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, f"after {limit_s} s still not: {what}"
        await asyncio.sleep(0.005)
