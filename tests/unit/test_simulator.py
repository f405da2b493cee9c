"""Made-up operations at a user's handlers: what comes back, the order, and determinism.
A driver's disturbances are in test_simulator_disturbances.py."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest
from unit.instances import wait_for

from cbprocess import CBProcess, CBProcessError, constants, script
from cbprocess.testing import FIRST_ID, PRODUCT_GUID, Simulator, Verdict

# ---- What a handler sees, and what comes back ----


def test_a_creation(simulator: Simulator) -> None:
    seen: list[Any] = []
    simulator.process.on_process_creation = seen.append
    verdict = simulator.process_creation(
        process_name="/usr/bin/curl",
        arguments=["curl", "-o", "a b"],
        image_file_name="curl",
        process_id=77,
        parent_process_id=78,
        creating_process_id=79,
        creating_thread_id=80,
        user_id=1000,
        start_time=5,
        time_ns=6,
    )
    event = seen[0]
    assert (event.process_name, event.image_file_name) == ("/usr/bin/curl", "curl")
    assert event.arguments == ["curl", "-o", "a b"]
    assert event.command_line == "curl -o 'a b'"
    assert (event.process_id, event.parent_process_id) == (77, 78)
    assert (event.creating_process_id, event.creating_thread_id) == (79, 80)
    assert (event.user_id, event.start_time, event.time_ns) == (1000, 5, 6)
    assert event.held
    assert event.refusable
    assert verdict.process_id == 77
    assert (verdict.fired, verdict.answered, verdict.refused, verdict.raised) == (True, True, False, None)


def test_names_that_are_no_text(simulator: Simulator) -> None:
    names: list[str] = []
    simulator.process.on_process_creation = lambda event: names.append(event.process_name)
    simulator.process_creation(process_name="/bin/\udcff\udc80")
    assert os.fsencode(names[0]) == b"/bin/\xff\x80"


@pytest.mark.parametrize("status", [0, 1, 255, -9, -15])
def test_a_termination(simulator: Simulator, status: int) -> None:
    seen: list[Any] = []
    simulator.process.on_process_termination = seen.append
    started = simulator.process_creation(process_name="/bin/tool")
    verdict = simulator.process_termination(process_id=started.process_id, exit_status=status)
    assert (seen[0].exit_status, seen[0].process_name) == (status, "/bin/tool")
    assert not verdict.refused


def test_threads(simulator: Simulator) -> None:
    seen: list[Any] = []
    simulator.process.on_thread_creation = simulator.process.on_thread_termination = seen.append
    simulator.thread_creation(process_id=50, thread_id=51, creating_thread_id=52)
    simulator.thread_termination(process_id=50, thread_id=51, exit_status=3)
    assert [(event.process_id, event.thread_id) for event in seen] == [(50, 51)] * 2
    assert (seen[0].creating_process_id, seen[0].creating_thread_id) == (50, 52)
    assert seen[1].exit_status == 3


def test_handles(simulator: Simulator) -> None:
    def strip(event: Any) -> None:
        assert (event.duplication, event.source_process_id, event.target_process_id) == (True, 8, 9)
        event.desired_access &= ~constants.PROCESS_TERMINATE

    simulator.process.on_process_handle_operation = strip
    wanted = constants.PROCESS_TERMINATE | constants.PROCESS_VM_READ
    verdict = simulator.process_handle_operation(
        process_id=7, desired_access=wanted, duplication=True, source_process_id=8, target_process_id=9
    )
    assert verdict.desired_access == constants.PROCESS_VM_READ
    assert not verdict.refused

    def refuse(event: Any) -> None:
        assert event.thread_id == 71
        event.result_code = 170

    simulator.process.on_thread_handle_operation = refuse
    verdict = simulator.thread_handle_operation(process_id=7, thread_id=71)
    assert verdict.result_code == 170


def test_several_events_told_together(simulator: Simulator) -> None:
    order: list[str] = []
    simulator.process.on_thread_termination = lambda event: order.append("thread")
    simulator.process.on_process_termination = lambda event: order.append("process")
    end = script.thread_termination(process_id=5, thread_id=5) + script.process_termination(process_id=5)
    verdict = simulator.fire(end)[0]
    assert order == ["thread", "process"]
    assert len(verdict.verdicts) == 2
    with pytest.raises(CBProcessError):
        end + script.process_termination(process_id=6)


def test_what_has_happened_already(simulator: Simulator) -> None:
    def refuse(event: Any) -> None:
        assert not event.held
        event.result_code = 5

    simulator.process.on_process_creation = refuse
    verdict = simulator.process_creation(held=False)
    assert (verdict.fired, verdict.state, verdict.refused) == (True, "unasked", False)


def test_what_a_handler_raises(simulator: Simulator) -> None:
    def fail(event: Any) -> None:
        event.result_code = 5
        raise KeyError(event.process_id)

    simulator.process.on_process_creation = fail
    verdict = simulator.process_creation(process_id=12)
    assert isinstance(verdict.raised, KeyError)
    assert verdict.raised.args == (12,)
    assert not verdict.refused
    simulator.process.on_process_creation = None
    assert simulator.process_creation().raised is None


def test_what_nobody_looked_at_is_raised_at_the_end() -> None:
    simulator = Simulator()

    def fail(event: Any) -> None:
        raise ZeroDivisionError

    simulator.process.on_process_creation = fail
    simulator.process_creation()
    with pytest.raises(ZeroDivisionError):
        simulator.close()
    simulator.close()


def test_a_deferred_answer(simulator: Simulator) -> None:
    answers: list[Any] = []
    simulator.process.on_process_creation = lambda event: answers.append(event.defer())
    pending = simulator.pending("process_creation")
    wait_for(lambda: answers)
    answers[0].complete(5)
    verdict = pending.wait()
    assert verdict.deferred
    assert verdict.result_code == 5
    assert pending.wait() is verdict


def test_an_answer_that_never_comes(simulator: Simulator) -> None:
    simulator.process.on_process_creation = lambda event: event.defer()
    pending = simulator.pending("process_creation")
    with pytest.raises(TimeoutError, match="1 operations are deferred"):
        pending.wait(0.3)
    simulator.advance(3)
    verdict = pending.wait()
    assert verdict.timed_out
    assert verdict.deferred


def test_wrong_keywords(simulator: Simulator) -> None:
    for call in (
        lambda: simulator.process_creation(colour="red"),
        lambda: simulator.pending("process_explosion"),
        lambda: simulator.process_creation(process_id=0),
        lambda: simulator.process_creation(process_name="a\0b"),
        lambda: simulator.process_creation(arguments=["a\0b"]),
        lambda: simulator.process_creation(user_id=-1),
        lambda: simulator.process_creation(copies=-1),
        lambda: simulator.lose(0),
    ):
        with pytest.raises(CBProcessError) as raised:
            call()
        assert raised.value.code == constants.ERROR_INVALID_PARAMETER


def test_in_a_handler_nothing_waits(simulator: Simulator) -> None:
    codes: list[int] = []
    more: list[Any] = []

    def fire_more(event: Any) -> None:
        if event.process_id != FIRST_ID + 1:
            return
        with pytest.raises(CBProcessError) as raised:
            simulator.process_creation()
        codes.append(raised.value.code)
        more.append(simulator.pending("process_creation"))

    simulator.process.on_process_creation = fire_more
    simulator.process_creation(process_id=FIRST_ID + 1)
    assert codes == [constants.ERROR_POSSIBLE_DEADLOCK]
    assert more[0].wait().answered


# ---- An instance of the user's ----


def test_the_users_own_rules_hold() -> None:
    process = CBProcess()
    process.initialize(PRODUCT_GUID)
    process.config(f"EventsToFire={constants.PROC_EVT_PROCESS_CREATION}")
    process.add_filtered_process_by_name("tool*", False)
    process.add_rule(name="tool-bad", action="deny", code=13)
    seen: list[str] = []
    process.on_process_creation = lambda event: seen.append(event.process_name)
    with Simulator(process) as simulator:
        assert not simulator.process_creation(process_name="/bin/other").fired
        assert simulator.process_creation(process_name="/bin/tool").fired
        verdict = simulator.process_creation(process_name="/bin/tool-bad")
        assert (verdict.result_code, verdict.decided_by_rule) == (13, True)
        assert not simulator.process_termination(process_name="/bin/tool").fired
    assert seen == ["/bin/tool", "/bin/tool-bad"]
    assert not process.active


def test_use_takes_another_instance(simulator: Simulator) -> None:
    process = CBProcess()
    process.initialize(PRODUCT_GUID)
    process.config("EventsToFire=-1")
    process.add_filtered_process_by_id(-1, False)
    simulator.use(process)
    seen: list[Any] = []
    process.on_process_creation = seen.append
    simulator.process_creation()
    assert len(seen) == 1


def test_names_and_tokens_are_the_scripts(simulator: Simulator) -> None:
    """An id that a process of this machine has too is the script's in a handler."""
    names: list[str] = []
    tokens: list[int] = []

    def look(event: Any) -> None:
        names.append(simulator.process.get_process_name(os.getpid()))
        tokens.append(simulator.process.get_originator_token())

    simulator.process.on_process_creation = look
    simulator.process_creation(process_id=os.getpid(), process_name="/bin/made-up", creating_process_id=1)
    simulator.process_creation(creating_process_id=os.getpid())
    assert names == ["/bin/made-up"] * 2
    assert tokens == [-1, -1]


# ---- Order ----


def test_a_process_waits_for_itself_only(simulator: Simulator) -> None:
    """The next operation of a process is not told while one waits; nobody's before those in front of it."""
    answers: list[tuple[int, int, Any]] = []
    simulator.process.on_process_creation = lambda event: answers.append(
        (event.sequence, event.process_id, event.defer())
    )
    pendings = simulator.fire_and_go_on(
        script.process_creation(process_id=5),
        script.process_creation(process_id=6),
        script.process_creation(process_id=5, process_name="/bin/second"),
        script.process_creation(process_id=7),
    )
    wait_for(lambda: len(answers) == 2)
    time.sleep(0.05)
    assert sorted(answer[:2] for answer in answers) == [(1, 5), (2, 6)]
    next(answer for answer in answers if answer[1] == 5)[2].complete()
    wait_for(lambda: len(answers) == 4)
    assert sorted(answer[:2] for answer in answers) == [(1, 5), (2, 6), (3, 5), (4, 7)]
    for sequence, _, answer in answers:
        if sequence > 1:
            answer.complete()
    assert all(pending.wait().answered for pending in pendings)


def test_a_barrier_waits_for_everybody(simulator: Simulator) -> None:
    answers: list[Any] = []
    simulator.process.on_process_creation = lambda event: answers.append(event.defer())
    simulator.fire_and_go_on(
        script.process_creation(process_id=5),
        script.process_creation(process_id=6),
        script.barrier(),
        script.process_creation(process_id=7),
    )
    wait_for(lambda: len(answers) == 2)
    answers[0].complete()
    time.sleep(0.05)
    assert len(answers) == 2
    answers[1].complete()
    wait_for(lambda: len(answers) == 3)
    answers[2].complete()
    simulator.wait()


def busy_script() -> list[script.Operation | script.Step]:
    entries: list[script.Operation | script.Step] = []
    for number in range(300):
        process_id = 100 + number % 17
        creation = script.process_creation(
            process_id=process_id, creating_process_id=90, process_name=f"/bin/tool{number % 7}", time_ns=1
        )
        if number % 11 == 0:
            creation.with_steps(answer_after=5)
        elif number % 13 == 0:
            creation.with_steps(copies=1)
        elif number % 19 == 0:
            creation.with_steps(expired=True)
        entries.append(creation)
        if number % 23 == 0:
            entries.append(script.loss(2))
        if number % 29 == 0:
            entries.append(script.malformed())
        if number % 5 == 0:
            entries.append(script.process_termination(process_id=process_id, time_ns=1))
    return entries


def play_busy_script() -> tuple[list[tuple[int, str]], list[tuple[Any, ...]], tuple[int, ...]]:
    seen: list[tuple[int, str]] = []
    with Simulator(timeout=3000) as simulator:
        process = simulator.process

        def answer(event: Any) -> None:
            seen.append((event.sequence, event.process_name))
            if event.sequence % 3 == 0:
                event.result_code = event.sequence
            if event.sequence % 4 == 0:
                time.sleep(0.001)

        process.on_error = lambda params: None
        process.on_process_creation = process.on_process_termination = answer
        process.add_rule(name="tool3", action="deny", code=33)
        process.add_rule(name="tool5", action="allow")
        verdicts: list[Verdict] = simulator.fire(*busy_script())
        simulator.wait()
        rows = [
            (v.sequence, v.state, v.result_code, v.desired_access, v.decided_by_rule, v.fired)
            for v in verdicts
        ]
        counts = process.statistics()
        numbers = (counts.delivered, counts.lost, counts.malformed, counts.timed_out, counts.late)
        return sorted(seen), rows, (*numbers, counts.refused, counts.decided_by_rule)


def test_the_same_script_gives_the_same_every_time() -> None:
    """With many workers: who runs when differs, what happens does not."""
    first = play_busy_script()
    assert len({state for _, state, *_ in first[1]}) >= 3
    for _ in range(3):
        assert play_busy_script() == first
