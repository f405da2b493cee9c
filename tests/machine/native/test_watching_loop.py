"""monitor(hold=False) with the bpf driver, for operations of every kind: nothing waits for the loop, not even
where a rule would have handlers asked about everything, and nothing is missing."""

from __future__ import annotations

import asyncio
import collections
import subprocess
from typing import Any

import pytest
from live_tools import Programs
from machine import own_place

import cbprocess
from cbprocess import CBProcess, Outcome, monitor

NO_PRODUCT = "{00000000-0000-0000-0000-000000000000}"
COUNT = 30
TAKEN_S = 60


def instance(is_asking: bool) -> CBProcess:
    process = CBProcess()
    process.config("Driver=bpf")
    process.initialize(NO_PRODUCT)
    process.config(f"HoldPaths={own_place.own_place()}")
    if is_asking:
        process.add_filtered_process_by_id(-1, True)
    else:
        process.add_rule(process_id=-1, action="allow")
    return process


def crowd(programs: Programs) -> subprocess.Popen[str]:
    """Executes programs where executions may be held, makes threads, and asks for rights to a process. It
    prints the ids of itself and of that process."""
    status = own_place.program(programs["status"], "status")
    text = (
        f"sleep 600 & p=$!; i=0; while [ $i -lt {COUNT} ]; do kill -0 $p || exit 6; {status} 7; "
        f"i=$((i + 1)); done; {programs['threads']} run {COUNT} || exit 8; "
        "kill $p; wait $p; echo $$ $p; exit 5"
    )
    return subprocess.Popen(["/bin/sh", "-c", text], stdout=subprocess.PIPE, text=True)


def check(seen: list[Any], shell: int, victim: int) -> None:
    assert {event.outcome for event in seen} == {Outcome.NOT_HELD}
    assert [event.sequence for event in seen] == sorted(event.sequence for event in seen)
    ended = [event.exit_status for event in seen if isinstance(event, cbprocess.HeldProcessTermination)]
    created = [
        event
        for event in seen
        if isinstance(event, cbprocess.HeldProcessCreation) and event.creating_process_id == shell
    ]
    assert sum(event.arguments[1:] == ["7"] for event in created) == COUNT
    assert ended.count(7) >= COUNT
    (threads,) = [event.process_id for event in created if event.arguments[1:] == ["run", str(COUNT)]]
    of_threads = collections.Counter(type(event) for event in seen if event.process_id == threads)
    assert of_threads[cbprocess.HeldThreadCreation] >= COUNT
    assert of_threads[cbprocess.HeldThreadTermination] >= COUNT
    rights = collections.Counter(
        event.original_desired_access
        for event in seen
        if isinstance(event, cbprocess.HeldProcessHandleOperation)
        and (event.originator_process_id, event.process_id) == (shell, victim)
    )
    assert rights[cbprocess.PROCESS_QUERY_LIMITED_INFORMATION] == COUNT
    assert rights[cbprocess.PROCESS_TERMINATE] == 1


def is_end(event: Any, process_id: int) -> bool:
    return isinstance(event, cbprocess.HeldProcessTermination) and event.process_id == process_id


@pytest.mark.parametrize("is_asking", [True, False], ids=["everything asked about", "everything allowed"])
def test_operations_of_every_kind_do_not_wait_for_the_loop(programs: Programs, is_asking: bool) -> None:
    """The loop takes nothing before the programs have ended."""
    with monitor(process=instance(is_asking), events=-1, hold=False, queue_size=4) as source:
        events = iter(source)
        shell = crowd(programs)
        shell_id, victim = map(int, shell.communicate(timeout=TAKEN_S)[0].split())
        assert shell.returncode == 5
        seen: list[Any] = []
        while not (seen and is_end(seen[-1], shell_id)):
            seen.append(next(events))
        counts = source.filter.statistics()
        assert (counts.timed_out, counts.lost, source.dropped) == (0, 0, 0)
    check(seen, shell_id, victim)


def test_an_event_loop_that_sleeps_holds_nobody(programs: Programs) -> None:
    seen: list[Any] = []

    async def follow() -> tuple[int, int]:
        async with monitor(process=instance(True), events=-1, hold=False, queue_size=4) as source:
            shell = crowd(programs)
            # This blocks the event loop, which can take nothing meanwhile.
            shell_id, victim = map(int, shell.communicate(timeout=TAKEN_S)[0].split())
            async for event in source:
                seen.append(event)
                if is_end(event, shell_id):
                    return shell_id, victim
        raise AssertionError("the iteration has ended")

    check(seen, *asyncio.run(follow()))
