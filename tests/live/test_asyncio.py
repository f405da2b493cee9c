"""Monitors in an event loop, over real programs."""

from __future__ import annotations

import asyncio
import errno
import gc
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from iterating import (
    CREATION,
    HANDFUL,
    check_goes_on,
    check_nothing_left,
    crowd,
    handlers,
    instance,
    is_program,
    run,
    until,
)
from live_tools import Programs

from cbprocess import Outcome, monitor


@pytest.fixture
def victim(programs: Programs, tmp_path: Path) -> str:
    return programs.copy("status", tmp_path / "victim")


class TestMonitor:
    def test_sees_the_whole_tree_and_ends(self, victim: str) -> None:
        async def main() -> list[tuple[str, str]]:
            seen = []
            async for event in monitor(["sh", "-c", f"{victim} 3; exit 4"]):
                await asyncio.sleep(0)
                seen.append((type(event).__name__, event.process_name))
            return seen

        seen = run(main())
        assert [name for name, _ in seen] == ["HeldProcessCreation"] * 2 + ["HeldProcessTermination"] * 2
        assert seen[1][1] == seen[2][1] == victim

    def test_waits_for_the_verdict(self, programs: Programs, victim: str) -> None:
        async def main() -> tuple[bool, str, float]:
            begin = time.monotonic()
            command = [programs["refused"], "execve", victim]
            async with monitor(command, events=CREATION, stdout=-1, text=True) as source:
                async for event in source:
                    if is_program(event, victim):
                        await asyncio.sleep(0.5)
                        verdict = event.deny()
            assert source.process is not None
            return verdict, source.process.communicate()[0], time.monotonic() - begin

        verdict, output, took = run(main())
        assert verdict is True and output == f"errno {errno.EACCES}\n" and took >= 0.5

    def test_no_event_of_a_burst_is_missing(self, programs: Programs) -> None:
        async def main() -> None:
            command = [programs["processes"], "storm", "8", "10", programs["status"]]
            async with monitor(command, events=-1, stdout=-3) as source:
                numbers = [event.sequence async for event in source]
            assert sorted(numbers) == list(range(1, len(numbers) + 1)) and len(numbers) > 300
            assert source.filter.statistics().delivered == len(numbers)
            check_nothing_left(source.filter)

        run(main())

    def test_a_thousand_decided_by_tasks(self, programs: Programs) -> None:
        """Each has a task of its own that waits; one of them sees all held at once."""

        async def main() -> None:
            loop_thread = threading.get_ident()
            all_held = asyncio.Event()
            tasks = []

            async def decide(event: Any) -> None:
                with event:
                    await all_held.wait()
                    assert threading.get_ident() == loop_thread

            source = monitor(
                crowd(programs["status"], 1000),
                process=instance(*HANDFUL),
                events=CREATION,
                timeout=0,
                queue_size=64,
            )
            async with source:
                async for event in source:
                    if is_program(event, programs["status"]):
                        tasks.append(asyncio.create_task(decide(event.hold())))
                    if len(tasks) == 1000 and not all_held.is_set():
                        statistics = source.filter.statistics()
                        assert statistics.deferred == 1000 and 1 <= statistics.workers <= 3
                        all_held.set()
            await asyncio.gather(*tasks)
            check_nothing_left(source.filter)
            check_goes_on(source.process, 5)

        run(main())

    def test_two_in_one_loop(self, victim: str, programs: Programs) -> None:
        async def names(program: str, status: int) -> set[str]:
            seen = set()
            async with monitor(
                ["sh", "-c", f"for i in 1 2 3 4 5; do {program} 1; done; exit {status}"]
            ) as source:
                async for event in source:
                    await asyncio.sleep(0.01)
                    seen.add(event.process_name)
            check_goes_on(source.process, status)
            return seen

        async def main() -> list[set[str]]:
            return await asyncio.gather(names(victim, 5), names(programs["status"], 6))

        one, other = run(main())
        assert victim in one and programs["status"] not in one
        assert programs["status"] in other and victim not in other

    def test_two_tasks_share_one(self, programs: Programs) -> None:
        async def main() -> None:
            counts = [0, 0]

            async def consume(number: int) -> None:
                async for _ in source:
                    counts[number] += 1
                    await asyncio.sleep(0.001)

            async with monitor(
                [programs["processes"], "storm", "4", "5", programs["status"]], stdout=-3
            ) as source:
                await asyncio.gather(consume(0), consume(1))
            assert sum(counts) == source.filter.statistics().delivered and min(counts) > 0

        run(main())

    def test_after_the_deadline(self, victim: str) -> None:
        async def main() -> tuple[Any, ...]:
            async for event in monitor(["sh", "-c", f"{victim} 3"], events=CREATION, timeout=3000):
                if is_program(event, victim):
                    await asyncio.sleep(3.2)
                    return event.deny(), event.outcome, event.timed_out
            return ()

        assert run(main()) == (False, Outcome.TIMED_OUT, True)

    def test_a_program_that_cannot_be_started(self) -> None:
        async def main() -> None:
            async for _ in monitor(["/nowhere/at/all"]):
                pass

        with pytest.raises(FileNotFoundError):
            run(main())

    def test_another_program_is_launched(self, victim: str) -> None:
        async def main() -> None:
            async with monitor(events=CREATION) as source:
                future = asyncio.wrap_future(source.launch([victim, "4"]))
                async for event in source:
                    assert event.process_name == victim
                    break
                child = await future
            check_goes_on(child, 4)

        run(main())


# Where a task is cancelled: what it does when it is.
async def at_the_next_event(source: Any, victim: str, ready: asyncio.Event) -> None:
    kept = []
    async for event in source:
        if is_program(event, victim):
            kept.append(event.hold())
            ready.set()


async def in_the_body(source: Any, victim: str, ready: asyncio.Event) -> None:
    async for event in source:
        if is_program(event, victim):
            ready.set()
            await asyncio.sleep(30)


async def in_the_body_in_a_block(source: Any, victim: str, ready: asyncio.Event) -> None:
    async with source:
        await in_the_body(source, victim, ready)


async def at_the_next_event_in_a_block(source: Any, victim: str, ready: asyncio.Event) -> None:
    async with source:
        await at_the_next_event(source, victim, ready)


async def in_tasks_of_a_gather(source: Any, victim: str, ready: asyncio.Event) -> None:
    async def decide(event: Any) -> None:
        with event:
            await asyncio.sleep(30)

    async with source:
        tasks = []
        async for event in source:
            tasks.append(asyncio.ensure_future(decide(event.hold())))
            if is_program(event, victim):
                ready.set()
                await asyncio.gather(*tasks)
            else:
                event.allow()


async def while_closing(source: Any, victim: str, ready: asyncio.Event) -> None:
    async with source:
        async for event in source:
            if is_program(event, victim):
                event.hold()
                ready.set()
                break
        await source.aclose()
        await asyncio.sleep(30)


CANCELLED = [
    at_the_next_event,
    in_the_body,
    in_the_body_in_a_block,
    at_the_next_event_in_a_block,
    in_tasks_of_a_gather,
    while_closing,
]


class TestCancellation:
    @pytest.mark.parametrize("place", CANCELLED, ids=lambda place: str(place.__name__))
    def test_leaves_nothing_held(self, victim: str, place: Any) -> None:
        async def main() -> None:
            command = ["sh", "-c", f"{victim} 1 & {victim} 2 & wait; exit 5"]
            source = monitor(command, process=instance(*HANDFUL), timeout=0, queue_size=1)
            ready = asyncio.Event()
            task = asyncio.ensure_future(place(source, victim, ready))
            await asyncio.wait_for(ready.wait(), 20)
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            check_nothing_left(source.filter)
            check_goes_on(source.process, 5)

        run(main())

    @pytest.mark.parametrize("steps", range(0, 40, 3))
    def test_after_any_number_of_steps(self, victim: str, steps: int) -> None:
        """The task is cancelled after so many turns of the loop, wherever it is then."""

        async def main() -> None:
            source = monitor(["sh", "-c", f"{victim} 1 & {victim} 2 & wait; sleep 0.5; exit 5"], timeout=0)

            async def consume() -> None:
                async with source:
                    async for _ in source:
                        await asyncio.sleep(0.001)

            task = asyncio.ensure_future(consume())
            for _ in range(steps):
                await asyncio.sleep(0.001)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            if source._is_started:
                check_nothing_left(source.filter)
            if source.process is not None:
                check_goes_on(source.process, 5)

        run(main())

    def test_of_the_whole_loop(self, victim: str) -> None:
        """asyncio.run() ends while tasks hold events."""
        source = monitor(["sh", "-c", f"{victim} 1 & {victim} 2 & wait; exit 5"], timeout=0)
        held: list[Any] = []

        async def consume() -> None:
            async for event in source:
                held.append(event.hold())
                if not is_program(event, victim):
                    event.allow()

        async def main() -> None:
            task = asyncio.ensure_future(consume())
            await until(lambda: len(held) == 3, "both programs held")
            assert not task.done()

        run(main())
        check_nothing_left(source.filter)
        check_goes_on(source.process, 5)

    def test_by_break_and_by_exception(self, victim: str) -> None:
        async def main(error: type[BaseException] | None) -> None:
            source = monitor(["sh", "-c", f"{victim} 1 & {victim} 2 & wait; exit 5"], timeout=0)
            try:
                async for event in source:
                    if is_program(event, victim):
                        event.hold()
                        if error is not None:
                            raise error
                        break
            except LookupError as raised:
                assert raised.__traceback__ is not None  # the frames are still there
                check_nothing_left(source.filter)
            else:
                check_nothing_left(source.filter)
            check_goes_on(source.process, 5)

        run(main(None))
        run(main(LookupError))

    def test_of_a_wait_for_one_event_keeps_the_monitor(self, victim: str) -> None:
        """In a block the monitor outlives a loop, and a cancelled wait loses no event."""

        async def main() -> None:
            async with monitor(["sh", "-c", f"sleep 0.3; {victim} 1; exit 5"], events=CREATION) as source:
                stream = source.__aiter__()
                names = []
                while True:
                    try:
                        names.append((await asyncio.wait_for(stream.__anext__(), 0.02)).process_name)
                    except asyncio.TimeoutError:
                        continue
                    except StopAsyncIteration:
                        break
            assert len(names) == 3 and names[-1] == victim
            assert source.filter.statistics().delivered == 3
            check_goes_on(source.process, 5)

        run(main())


class TestClosedLoop:
    """A loop that is closed without the courtesies of asyncio.run()."""

    @pytest.mark.filterwarnings("ignore")
    @pytest.mark.parametrize("later_events", [False, True])
    def test_with_events_pending(self, victim: str, later_events: bool) -> None:
        text = f"{victim} 1 & {victim} 2 & wait; " + f"{victim} 3; " * later_events + "exit 5"
        source = monitor(["sh", "-c", text], timeout=0)
        held: list[Any] = []

        async def consume() -> None:
            async for event in source:
                held.append(event.hold())
                if is_program(event, victim):
                    await asyncio.sleep(30)
                event.allow()

        loop = asyncio.new_event_loop()
        task = loop.create_task(consume())
        loop.run_until_complete(until(lambda: held and is_program(held[-1], victim), "the program is held"))
        time.sleep(0.2)
        loop.close()
        # The task, its frames and the events are still referred to: only the loop's state tells.
        check_nothing_left(source.filter)
        check_goes_on(source.process, 5)
        assert not task.done() and held[-1].deny() is False
        del task
        gc.collect()


def test_a_burst_wakes_the_loop_rarely(programs: Programs) -> None:
    """Events that come while the loop is busy cost one call into it, not one each."""

    class CountingLoop(asyncio.SelectorEventLoop):
        calls = 0

        def call_soon_threadsafe(self, *arguments: Any, **keywords: Any) -> Any:
            self.calls += 1
            return super().call_soon_threadsafe(*arguments, **keywords)

    loop = CountingLoop()

    async def main() -> tuple[int, int]:
        async with monitor(crowd(programs["status"], 300), events=CREATION, timeout=0) as source:
            kept = []
            async for event in source:
                kept.append(event.hold())
                if len(kept) == 1:
                    event.allow()
                    await until(lambda: source.filter.statistics().deferred == 300, "all are held")
                if len(kept) == 301:
                    calls = loop.calls
                    for held in kept[1:]:
                        held.allow()
            return calls, len(kept)

    try:
        calls, count = loop.run_until_complete(asyncio.wait_for(main(), 60))
    finally:
        loop.close()
    assert count == 301 and calls <= 3


def test_another_loop_library(victim: str) -> None:
    """uvloop keeps to asyncio's interface, and so must what runs in it."""
    uvloop = pytest.importorskip("uvloop", reason="uvloop is not installed")

    async def main() -> list[str]:
        async def created(event: Any) -> None:
            await asyncio.sleep(0.01)
            if event.process_name == victim:
                event.deny()

        names = [e.process_name async for e in monitor(["sh", "-c", f"{victim} 1; exit 2"], events=CREATION)]
        async with handlers() as process:
            process.on_process_creation = created
            process.start_filter(5000)
            with pytest.raises(PermissionError):
                await process.apopen([victim])
        check_nothing_left(process)
        return names

    loop = uvloop.new_event_loop()
    try:
        assert len(loop.run_until_complete(asyncio.wait_for(main(), 30))) == 2
    finally:
        loop.close()
