"""monitor(hold=False): no operation waits for the loop, however slow that is, and nothing is missing."""

from __future__ import annotations

import asyncio
import collections
import time
from pathlib import Path
from typing import Any

import pytest
from iterating import CREATION, check_goes_on, check_nothing_left, crowd, instance, is_program
from live_tools import Programs, wait_until

import cbprocess
from cbprocess import CBProcessError, Outcome, monitor

ALL = {"process_id": -1, "action": "allow"}


@pytest.fixture
def victim(programs: Programs, tmp_path: Path) -> str:
    return programs.copy("status", tmp_path / "victim")


def seen_after_the_end(source: Any) -> list[Any]:
    """All events, of which the first is taken only after the program has ended."""
    events = iter(source)
    wait_until(lambda: source.process is not None, 20, "the program runs")
    check_goes_on(source.process, 5)
    time.sleep(0.2)
    seen: list[Any] = list(events)
    counts = source.filter.statistics()
    assert (counts.timed_out, counts.lost, counts.deferred, source.dropped) == (0, 0, 0, 0)
    assert [event.sequence for event in seen] == list(range(1, len(seen) + 1))
    return seen


def test_the_program_does_not_wait_for_the_loop(programs: Programs, victim: str) -> None:
    """The loop takes its first event only after the program has ended."""
    with monitor(crowd(victim, 100), hold=False, queue_size=4) as source:
        seen = seen_after_the_end(source)
    created = [event for event in seen if is_program(event, victim)]
    ended = [event.exit_status for event in seen if hasattr(event, "exit_status")]
    assert len(created) == 100 and sorted(ended) == [5] + [7] * 100
    assert {event.outcome for event in seen} == {Outcome.NOT_HELD}
    check_nothing_left(source.filter)


def test_operations_of_every_kind_do_not_wait_for_the_loop(programs: Programs) -> None:
    """Threads that begin and end, and signals to another process: the loop takes nothing before the end."""
    text = (
        "sleep 600 & p=$!; i=0; while [ $i -lt 50 ]; do kill -0 $p || exit 6; i=$((i + 1)); done; "
        f"{programs['threads']} run 50 || exit 7; kill $p; wait $p; exit 5"
    )
    with monitor(["sh", "-c", text], events=-1, hold=False, queue_size=4) as source:
        seen = seen_after_the_end(source)
    assert {event.outcome for event in seen} == {Outcome.NOT_HELD}
    kinds = collections.Counter(type(event) for event in seen)
    assert kinds[cbprocess.HeldThreadCreation] >= 50 and kinds[cbprocess.HeldThreadTermination] >= 50
    rights = collections.Counter(
        event.desired_access for event in seen if isinstance(event, cbprocess.HeldProcessHandleOperation)
    )
    assert rights[cbprocess.PROCESS_QUERY_LIMITED_INFORMATION] == 50
    assert rights[cbprocess.PROCESS_TERMINATE] == 1
    check_nothing_left(source.filter)


def test_a_verdict_changes_nothing(victim: str) -> None:
    verdicts = []
    with monitor(["sh", "-c", f"{victim} 3"], events=CREATION, hold=False) as source:
        for event in source:
            verdicts.append(event.deny())
            assert event.time_left is None or event.outcome is Outcome.NOT_HELD
    assert source.process is not None and source.process.returncode == 3
    assert verdicts == [False, False] or verdicts == [False]
    assert source.filter.statistics().refused == 0


@pytest.mark.parametrize("rule", [{"name": "*/victim"}, {"process_id": -1}])
def test_rules_that_refuse_stay_in_force(victim: str, rule: dict[str, Any]) -> None:
    process = instance("Driver=ptrace")
    process.add_rule(action="deny", **rule)
    if rule.get("process_id") == -1:
        # The list of what is permitted: not made void by the rule that lets everything go.
        process.add_rule(name=str(Path("/bin/sh").resolve()), action="allow")
    with monitor(["sh", "-c", f"{victim} 3; exit $?"], process=process, hold=False, stderr=-3) as source:
        seen = [event for event in source if is_program(event, victim)]
    assert source.process is not None and source.process.returncode == 126
    assert [event.result_code for event in seen] == [5]
    assert process.statistics().refused == 1


@pytest.mark.parametrize("was_there", [False, True])
def test_the_rules_are_afterwards_as_before(victim: str, was_there: bool) -> None:
    process = instance("Driver=ptrace")
    if was_there:
        process.add_rule(action="allow", process_id=-1)
    for _ in range(2):
        assert list(monitor(["sh", "-c", f"exec {victim} 0"], process=process, hold=False))
        wait_until(lambda: not process.active, 10, "the filter has stopped")
    if was_there:
        process.remove_rule(action="allow", process_id=-1)
    with pytest.raises(CBProcessError) as raised:
        process.remove_rule(action="allow", process_id=-1)
    assert raised.value.code == cbprocess.ERROR_NOT_FOUND
    # Without it, operations wait again.
    outcomes = {event.outcome for event in monitor(["sh", "-c", f"exec {victim} 0"], process=process)}
    assert outcomes == {Outcome.PENDING}


@pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest"])
def test_what_is_dropped_is_counted(victim: str, overflow: str) -> None:
    with monitor(crowd(victim, 50), hold=False, queue_size=10, overflow=overflow) as source:
        events = iter(source)
        wait_until(lambda: source.process is not None, 20, "the program runs")
        check_goes_on(source.process, 5)
        wait_until(lambda: source.filter.statistics().queued == 0, 10, "everything is in the queue")
        time.sleep(0.1)
        seen = list(events)
        delivered = source.filter.statistics().delivered
    assert len(seen) == 10 and source.dropped == delivered - 10 > 80


def test_with_asyncio(victim: str) -> None:
    async def main() -> list[Any]:
        seen = []
        async with monitor(crowd(victim, 20), hold=False) as source:
            async for event in source:
                await asyncio.sleep(0.01)  # says nothing to the program
                seen.append(event)
                child = source.process
        check_goes_on(child, 5)
        assert source.filter.statistics().lost == 0
        return seen

    seen = asyncio.run(asyncio.wait_for(main(), 60))
    assert len([event for event in seen if is_program(event, victim)]) == 20
    assert {event.outcome for event in seen} == {Outcome.NOT_HELD}


@pytest.mark.parametrize("value", [None, "no", 2, 1.0])
def test_a_wrong_value(value: Any) -> None:
    with pytest.raises(CBProcessError) as raised:
        monitor(["true"], hold=value)
    assert raised.value.code == cbprocess.ERROR_INVALID_PARAMETER
