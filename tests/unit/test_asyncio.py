"""Coroutine handlers and monitors over made-up operations: what is hard to bring about with real ones."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any

import pytest
from unit.instances import GUID

from cbprocess import CBProcess, Outcome, constants, monitor
from cbprocess.aio import AsyncCBProcess
from cbprocess.testing import Simulator

DENIED = constants.ERROR_ACCESS_DENIED


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(main, 60), debug=True)


async def collected(pending: Any) -> Any:
    return await asyncio.get_running_loop().run_in_executor(None, pending.wait)


def prepared(process: CBProcess) -> CBProcess:
    process.initialize(GUID)
    process.config("EventsToFire=-1")
    process.add_filtered_process_by_id(-1, True)
    return process


def test_each_kind_of_verdict_reaches_the_driver() -> None:
    async def decide(event: Any) -> None:
        await asyncio.sleep(0)
        if event.process_name.endswith("/denied"):
            event.deny(2)
        elif event.process_name.endswith("/set"):
            event.result_code = DENIED

    async def opened(event: Any) -> None:
        await asyncio.sleep(0)
        event.strip(constants.PROCESS_TERMINATE)

    async def main() -> None:
        async with AsyncCBProcess() as process:
            simulator = Simulator(prepared(process))
            process.on_process_creation = decide
            process.on_process_handle_operation = opened
            names = ("/bin/denied", "/bin/set", "/bin/allowed")
            fired = [simulator.pending("process_creation", process_name=name) for name in names]
            verdicts = [await collected(pending) for pending in fired]
            assert [verdict.result_code for verdict in verdicts] == [2, DENIED, 0]
            assert all(verdict.deferred and verdict.answered for verdict in verdicts)
            rights = constants.PROCESS_TERMINATE | constants.PROCESS_VM_READ
            pending = simulator.pending("process_handle_operation", desired_access=rights)
            assert (await collected(pending)).desired_access == constants.PROCESS_VM_READ

    run(main())


def test_a_failure_is_that_of_its_operation() -> None:
    errors: list[int] = []

    async def fail(event: Any) -> None:
        event.result_code = DENIED
        await asyncio.sleep(0)
        raise LookupError("here")

    async def main() -> None:
        async with AsyncCBProcess() as process:
            simulator = Simulator(prepared(process))
            process.on_process_creation = fail
            process.on_error = lambda error: errors.append(error.error_code)
            verdict = await collected(simulator.pending("process_creation"))
            assert not verdict.refused and isinstance(verdict.raised, LookupError)

    run(main())
    assert errors == [constants.ERROR_UNHANDLED_EXCEPTION]


def test_the_deadline_passes_while_a_coroutine_waits() -> None:
    outcomes: list[Any] = []

    async def main() -> None:
        waiting, late = asyncio.Event(), asyncio.Event()

        async def decide(event: Any) -> None:
            waiting.set()
            await late.wait()
            outcomes.append((event.deny(), event.outcome))

        async with AsyncCBProcess() as process:
            simulator = Simulator(prepared(process), timeout=3000)
            process.on_process_creation = decide
            pending = simulator.pending("process_creation")
            await waiting.wait()
            simulator.advance(4)
            verdict = await collected(pending)
            assert verdict.timed_out and not verdict.refused
            late.set()
            while not outcomes:
                await asyncio.sleep(0.005)
            assert process.statistics().deferred == 0

    run(main())
    assert outcomes == [(False, Outcome.TIMED_OUT)]


@pytest.mark.parametrize("count", [1000])
def test_a_thousand_in_a_monitor(count: int) -> None:
    async def main() -> None:
        simulator = Simulator(prepared(CBProcess()))
        async with monitor(process=simulator.process, timeout=0, queue_size=count) as source:
            fired = [simulator.pending("process_creation") for _ in range(count)]
            kept = []
            async for event in source:
                kept.append(event.hold())
                if len(kept) == count:
                    break
            assert source.filter.statistics().deferred == count
            for number, event in enumerate(reversed(kept)):
                assert event.deny() if number % 2 else event.allow()
            verdicts = await asyncio.get_running_loop().run_in_executor(
                None, lambda: [p.wait() for p in fired]
            )
            assert sum(verdict.refused for verdict in verdicts) == count // 2

    run(main())


def test_a_rules_decision_comes_without_a_ticket() -> None:
    simulator = Simulator(prepared(CBProcess()))
    simulator.process.add_rule(name="*/nc", action="deny", code=DENIED)
    with monitor(process=simulator.process) as source:
        pending = simulator.pending("process_creation", process_name="/bin/nc")
        event = next(iter(source))
        assert event.decided_by_rule and event.outcome is Outcome.NOT_HELD and event.result_code == DENIED
        assert event.allow() is False
        assert pending.wait().result_code == DENIED


def test_workers_that_wait_for_room_do_not_keep_the_filter() -> None:
    """An event is let go by whoever closes, in the midst of a storm; nothing is ever left."""
    for _ in range(20):
        simulator = Simulator(prepared(CBProcess()))
        source = monitor(process=simulator.process, timeout=0, queue_size=2)
        with source:
            for _ in range(50):
                simulator.pending("process_creation")
            closer = threading.Thread(target=source.close)
            for number, event in enumerate(source):
                event.hold()
                if number == 5:
                    closer.start()
            closer.join()
        statistics = source.filter.statistics()
        assert (statistics.deferred, statistics.workers) == (0, 0)
