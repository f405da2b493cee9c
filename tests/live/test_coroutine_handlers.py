"""Handlers that are coroutines, in an event loop, over real programs."""

from __future__ import annotations

import asyncio
import errno
import functools
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from iterating import HANDFUL, check_goes_on, check_nothing_left, crowd, handlers, instance, run, until
from live_tools import Programs, wait_until

import cbprocess
from cbprocess.aio import AsyncCBProcess


@pytest.fixture
def victim(programs: Programs, tmp_path: Path) -> str:
    return programs.copy("status", tmp_path / "victim")


@pytest.mark.filterwarnings("ignore")
def test_a_loop_that_is_closed_with_coroutines_pending(victim: str) -> None:
    loop = asyncio.new_event_loop()
    process = handlers(queue_size=1, concurrency=1)
    started: list[str] = []

    async def decide(event: Any) -> None:
        started.append(event.process_name)
        if event.process_name == victim:
            await asyncio.sleep(30)

    async def main() -> Any:
        await process.__aenter__()
        process.on_process_creation = decide
        process.start_filter(0)
        child = await process.apopen(["sh", "-c", f"{victim} 1 & {victim} 2 & {victim} 3 & wait; exit 5"])
        await until(lambda: victim in started, "a coroutine waits")
        return child

    child = loop.run_until_complete(main())
    time.sleep(0.2)
    assert process.statistics().deferred >= 1
    loop.close()
    check_goes_on(child, 5)
    assert process.statistics().deferred == 0
    process.stop_filter()
    check_nothing_left(process)


class TestHandlers:
    @pytest.mark.parametrize("way", ["result_code", "deny"])
    def test_refuse(self, programs: Programs, victim: str, way: str) -> None:
        async def created(event: Any) -> None:
            await asyncio.sleep(0.3)
            if event.process_name == victim:
                if way == "deny":
                    assert event.deny(2) is True
                else:
                    event.result_code = 2

        async def main() -> str:
            async with handlers() as process:
                process.on_process_creation = created
                assert process.on_process_creation is created
                process.start_filter(5000)
                child = await process.apopen([programs["refused"], "execve", victim], stdout=-1, text=True)
                assert await process.await_exit(child) == 0
                assert child.stdout is not None
                return child.stdout.read()

        assert run(main()) == f"errno {errno.ENOENT}\n"

    def test_a_thousand_wait_with_a_handful_of_workers(self, programs: Programs) -> None:
        async def main() -> None:
            all_held = asyncio.Event()
            waiting = 0

            async def created(event: Any) -> None:
                nonlocal waiting
                if event.process_name == programs["status"]:
                    waiting += 1
                    await all_held.wait()

            async with handlers(*HANDFUL, queue_size=16, concurrency=2000) as process:
                process.on_process_creation = created
                process.start_filter(0)
                child = await process.apopen(crowd(programs["status"], 1000))
                await until(lambda: waiting == 1000, "a thousand coroutines wait", 40)
                statistics = process.statistics()
                assert statistics.deferred == 1000 and 1 <= statistics.workers <= 3
                all_held.set()
                assert await process.await_exit(child) == 5
            check_nothing_left(process)

        run(main())

    def test_no_more_at_once_than_allowed(self, programs: Programs) -> None:
        async def main() -> None:
            running = most = total = 0
            all_run = asyncio.Event()

            async def created(event: Any) -> None:
                nonlocal running, most, total
                running += 1
                most, total = max(most, running), total + 1
                if running == 5:
                    all_run.set()
                if total > 1:  # the first one creates the others
                    await all_run.wait()
                await asyncio.sleep(0.002)
                running -= 1

            async with handlers(*HANDFUL, queue_size=4, concurrency=5) as process:
                process.on_process_creation = created
                process.start_filter(0)
                assert await process.await_exit(await process.apopen(crowd(programs["status"], 100))) == 5
            assert (most, total, process.dropped) == (5, 101, 0)

        run(main())

    @pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest"])
    def test_overflow(self, programs: Programs, overflow: str) -> None:
        async def main() -> None:
            let_go = asyncio.Event()
            statuses = []

            async def created(event: Any) -> None:
                statuses.append(event.process_name)
                if len(statuses) > 1:
                    await let_go.wait()

            async with handlers(*HANDFUL, queue_size=3, overflow=overflow, concurrency=1) as process:
                process.on_process_creation = created
                process.start_filter(0)
                child = await process.apopen(crowd(programs["status"], 50))
                await until(lambda: process.dropped == 50 - 4, "one runs, three wait")
                let_go.set()
                assert await process.await_exit(child) == 5
            assert len(statuses) == 1 + 4 and process.dropped == 46

        run(main())

    @pytest.mark.parametrize("listener", ["plain", "coroutine", "none"])
    def test_raise(self, victim: str, listener: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """The operation goes on, whatever was set before; on_error gets 574, or else sys.unraisablehook."""
        errors: list[tuple[int, str]] = []
        unraisable: list[Any] = []
        monkeypatch.setattr(sys, "unraisablehook", lambda arguments: unraisable.append(arguments.exc_value))

        async def created(event: Any) -> None:
            event.result_code = 5
            await asyncio.sleep(0)
            raise LookupError("what the coroutine says")

        async def hear(error: Any) -> None:
            await asyncio.sleep(0)
            errors.append((error.error_code, error.description))

        def hear_at_once(error: Any) -> None:
            errors.append((error.error_code, error.description))

        async def main() -> None:
            async with handlers() as process:
                process.on_process_creation = created
                process.on_error = {"plain": hear_at_once, "coroutine": hear, "none": None}[listener]
                process.start_filter(5000)
                child = await process.apopen([victim, "3"])
                assert await process.await_exit(child) == 3
                await until(lambda: errors or unraisable, "the report")
                assert process.statistics().failed_in_handler == 1
                assert process.statistics().deferred == 0

        run(main())
        if listener == "none":
            assert errors == [] and [type(error) for error in unraisable] == [LookupError]
        else:
            ((code, text),) = errors
            assert code == cbprocess.ERROR_UNHANDLED_EXCEPTION and unraisable == []
            assert "LookupError: what the coroutine says" in text and "in created" in text

    def test_plain_ones_run_in_workers(self, victim: str) -> None:
        async def main() -> None:
            loop_thread = threading.get_ident()
            seen: list[tuple[str, bool]] = []

            async def created(event: Any) -> None:
                seen.append(("created", threading.get_ident() == loop_thread))

            def ended(event: Any) -> None:
                seen.append(("ended", threading.get_ident() == loop_thread))

            async with handlers(events=-1) as process:
                process.on_process_creation = created
                process.on_process_termination = ended
                process.start_filter(5000)
                child = await process.apopen([victim, "3"])
                assert await process.await_exit(child) == 3
            assert seen == [("created", True), ("ended", False)]

        run(main())

    def test_every_kind_of_coroutine_function(self, victim: str) -> None:
        seen: list[str] = []

        async def with_more(name: str, event: Any) -> None:
            seen.append(name)

        class Decider:
            async def method(self, event: Any) -> None:
                seen.append("method")

            async def __call__(self, event: Any) -> None:
                seen.append("object")

        async def main() -> None:
            async with handlers() as process:
                process.start_filter(5000)
                for handler in (functools.partial(with_more, "partial"), Decider().method, Decider()):
                    process.on_process_creation = handler
                    assert process.on_process_creation is handler or handler == process.on_process_creation
                    await process.await_exit(await process.apopen([victim]))
                process.on_process_creation = None
                assert process.on_process_creation is None

        run(main())
        assert seen == ["partial", "method", "object"]

    def test_still_running_at_the_end_are_cancelled(self, victim: str) -> None:
        outcomes: list[Any] = []
        running: list[Any] = []

        async def created(event: Any) -> None:
            if event.process_name != victim:
                return
            running.append(event)
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                outcomes.append(event.deny())
                raise

        async def main() -> None:
            begin = time.monotonic()
            async with handlers() as process:
                process.on_process_creation = created
                process.start_filter(0)
                child = await process.apopen(["sh", "-c", f"{victim} 3; exit $?"])
                await until(lambda: running, "the coroutine runs")
            check_goes_on(child, 3)
            assert time.monotonic() - begin < 10
            check_nothing_left(process)

        run(main())
        assert outcomes == [False]

    def test_a_program_that_is_being_started_goes_on(self, victim: str) -> None:
        """The block ends while apopen() waits for the verdict on its own program."""
        waiting: list[Any] = []

        async def created(event: Any) -> None:
            waiting.append(event)
            await asyncio.sleep(30)

        async def main() -> None:
            async with handlers() as process:
                process.on_process_creation = created
                process.start_filter(0)
                popen = asyncio.ensure_future(process.apopen([victim, "3"]))
                await until(lambda: waiting, "the coroutine waits")
            check_goes_on(await popen, 3)
            check_nothing_left(process)

        run(main())

    def test_may_stop_the_filter(self, victim: str) -> None:
        stopped: list[bool] = []

        async def main() -> None:
            async def created(event: Any) -> None:
                if event.process_name == victim:
                    await process.astop_filter()
                    stopped.append(process.active)
                    assert event.deny() is False

            async with handlers() as process:
                process.on_process_creation = created
                process.start_filter(0)
                child = await process.apopen(["sh", "-c", f"{victim} 1; exit 5"])
                assert await process.await_exit(child) == 5
                await until(lambda: stopped, "the handler goes on")
                # It can be started again.
                process.start_filter(0)
                process.on_process_creation = None
                assert await process.await_exit(await process.apopen([victim, "4"])) == 4
            check_nothing_left(process)

        run(main())
        assert stopped == [False]

    def test_a_cancelled_apopen_ends_the_program(self, victim: str) -> None:
        held: list[Any] = []

        async def created(event: Any) -> None:
            held.append(event)
            await asyncio.sleep(30)

        async def main() -> None:
            async with handlers() as process:
                process.on_process_creation = created
                process.start_filter(0)
                task = asyncio.ensure_future(process.apopen([victim, "3"]))
                await until(lambda: held, "the program is held")
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            check_nothing_left(process)

        run(main())
        wait_until(lambda: not Path(f"/proc/{held[0].process_id}").exists(), 10, "the program has ended")

    def test_a_blocking_popen_in_the_loop_is_an_error(self, victim: str) -> None:
        async def main() -> int:
            async with handlers() as process:
                process.start_filter(5000)
                with pytest.raises(cbprocess.CBProcessError) as raised:
                    process.popen([victim])
                return raised.value.code

        assert run(main()) == cbprocess.ERROR_POSSIBLE_DEADLOCK

    def test_stop_filter_of_a_full_queue_in_the_loop_does_not_deadlock(self, programs: Programs) -> None:
        async def main() -> None:
            async def created(event: Any) -> None:
                if event.process_name == programs["status"]:
                    await asyncio.sleep(30)

            async with handlers(*HANDFUL, queue_size=1, concurrency=1) as process:
                process.on_process_creation = created
                process.start_filter(0)
                child = await process.apopen(crowd(programs["status"], 20))
                await until(lambda: process.statistics().deferred >= 2, "the queue is full")
                await asyncio.sleep(0.1)
                process.stop_filter()
                assert await process.await_exit(child) == 5
            check_nothing_left(process)

        run(main())

    def test_need_the_front_end_and_its_block(self) -> None:
        async def created(event: Any) -> None:
            raise AssertionError("never")

        plain = instance()
        for name in ("on_process_creation", "on_error", "on_worker_thread_creation"):
            for target in (plain, handlers()):
                if target is plain or name.startswith("on_worker"):
                    with pytest.raises(cbprocess.CBProcessError) as raised:
                        setattr(target, name, created)
                    assert raised.value.code == cbprocess.ERROR_INVALID_PARAMETER
        with pytest.raises(cbprocess.CBProcessError) as raised:
            handlers().start_filter(0)
        assert raised.value.code == cbprocess.ERROR_NOT_READY
        for options in ({"concurrency": 0}, {"queue_size": 0}, {"overflow": "block"}):
            with pytest.raises(cbprocess.CBProcessError) as raised:
                AsyncCBProcess(**options)  # type: ignore[arg-type]
            assert raised.value.code == cbprocess.ERROR_INVALID_PARAMETER
