"""What every driver owes, whoever does the operations: one suite, run against each driver that can run here.

A program that is run is a thread creation and a process creation, a thread and a process termination; where
programs are forked (stage.forks) the first comes first, and before its image is known. That is all; the rest
is the same. What a test compares are the events of its own programs."""

from __future__ import annotations

import threading
import time
from typing import Any, Callable

import pytest
from contract.stages import Run, Stage, wait_for

from cbprocess import CBProcessError, Statistics, constants

ALL_EVENTS = (
    "process_creation",
    "process_termination",
    "thread_creation",
    "thread_termination",
    "process_handle_operation",
    "thread_handle_operation",
)


class Log:
    """Handlers that keep what they see."""

    def __init__(self, stage: Stage) -> None:
        self._lock = threading.Lock()
        self.seen: list[tuple[str, Any]] = []
        self.errors: list[int] = []
        for name in ALL_EVENTS:
            setattr(stage.process, f"on_{name}", self._handler(name))
        stage.process.on_error = lambda params: self.errors.append(params.error_code)

    def _handler(self, name: str) -> Callable[[Any], None]:
        def handle(event: Any) -> None:
            with self._lock:
                self.seen.append((name, event))

        return handle

    def names(self, run: Run) -> list[str]:
        return [name for name, event in self.seen if event.process_id == run.process_id]

    def of(self, run: Run, name: str = "process_creation") -> Any:
        found = [event for kind, event in self.seen if kind == name and event.process_id == run.process_id]
        assert len(found) == 1, found
        return found[0]


def settle(stage: Stage) -> Statistics:
    """The counts once nothing is on its way any more."""
    wait_for(lambda: stage.process.statistics().queued == 0)
    return stage.process.statistics()


def watch_all(stage: Stage, timeout: int = 0) -> Log:
    log = Log(stage)
    stage.process.add_filtered_process_by_id(-1, True)
    stage.start(timeout)
    return log


def life(stage: Stage) -> list[str]:
    creations = ["thread_creation", "process_creation"]
    return [*(creations if stage.forks else reversed(creations)), "thread_termination", "process_termination"]


def needs(stage: Stage, capability: int) -> None:
    if not stage.process.driver_capabilities() & capability:
        pytest.skip(f"the {stage.driver} driver has no such capability, and says so")


# ---- What is told ----


def test_a_life_is_told_in_order_and_without_a_gap(stage: Stage) -> None:
    log = watch_all(stage)
    run = stage.run("alpha")
    assert not run.refused()
    wait_for(lambda: len(log.names(run)) == 4)
    assert log.names(run) == life(stage)
    stage.process.stop_filter()
    sequences = sorted(event.sequence for _, event in log.seen)
    assert sequences == list(range(1, len(sequences) + 1))
    creation, end = log.of(run), log.of(run, "process_termination")
    assert creation.start_time == end.start_time
    assert creation.process_name == end.process_name == stage.path("alpha")
    assert creation.creating_process_id == stage.actor_id
    assert end.exit_status == 0
    assert creation.time_ns <= end.time_ns
    assert settle(stage).delivered == len(sequences)
    assert not log.errors


def test_only_operations_that_can_wait_are_held(stage: Stage) -> None:
    held: list[tuple[str, bool, bool]] = []
    capabilities = stage.process.driver_capabilities()
    log = watch_all(stage)
    run = stage.run("alpha")
    wait_for(lambda: len(log.names(run)) == 4)
    for name, event in log.seen:
        if event.process_id == run.process_id:
            held.append((name, event.held, event.refusable))
    assert capabilities & constants.CAP_HOLD_PROCESS_CREATION
    assert ("process_creation", True, True) in held
    assert all(not refusable for name, _, refusable in held if name != "process_creation")


def test_nothing_fires_without_a_rule(stage: Stage) -> None:
    log = Log(stage)
    stage.start()
    run = stage.run("alpha")
    assert not run.refused()
    assert settle(stage).delivered == 0
    assert log.seen == []


def test_events_to_fire_takes_effect_at_once(stage: Stage) -> None:
    log = watch_all(stage)
    stage.process.config(f"EventsToFire={constants.PROC_EVT_PROCESS_TERMINATION}")
    first = stage.run("alpha")
    stage.process.config("EventsToFire=0")
    second = stage.run("beta")
    stage.process.config("EventsToFire=-1")
    third = stage.run("gamma")
    wait_for(lambda: len(log.names(third)) == 4)
    assert log.names(first) == ["process_termination"]
    assert log.names(second) == []
    assert log.names(third) == life(stage)


# ---- Answers ----


@pytest.mark.parametrize("code", [5, 2, 0xFFFFFFFF])
def test_a_handler_refuses(stage: Stage, code: int) -> None:
    log = watch_all(stage)

    def refuse(event: Any) -> None:
        log.seen.append(("process_creation", event))
        if event.process_name == stage.path("beta"):
            event.result_code = code

    stage.process.on_process_creation = refuse
    assert not stage.run("alpha").refused()
    assert stage.run("beta").refused()
    assert not stage.run("alpha").refused()
    counts = settle(stage)
    assert counts.refused == 1
    assert counts.late == counts.timed_out == counts.lost == 0


def test_an_operation_waits_for_its_handler(stage: Stage) -> None:
    gate, entered = threading.Event(), threading.Event()
    watch_all(stage)

    def wait(event: Any) -> None:
        entered.set()
        assert gate.wait(30)

    stage.process.on_process_creation = wait
    run = stage.begin("alpha")
    assert entered.wait(30)
    time.sleep(0.1)
    assert not run.has_ended
    gate.set()
    assert not run.refused()


def test_operations_of_several_processes_are_held_at_once(stage: Stage) -> None:
    gate = threading.Barrier(4)
    watch_all(stage)
    stage.process.on_process_creation = lambda event: gate.wait(30)
    runs = [stage.begin(f"program{number}") for number in range(4)]
    # Each handler goes on only when all four are inside one.
    assert [run.refused() for run in runs] == [False] * 4
    assert not gate.broken


def test_one_thread_serializes(stage: Stage) -> None:
    log = Log(stage)
    stage.process.serialize_events = 1
    threads: set[int] = set()
    stage.process.on_process_creation = lambda event: threads.add(threading.get_ident())
    stage.process.add_filtered_process_by_id(-1, True)
    stage.start()
    runs = [stage.begin(f"program{number}") for number in range(4)]
    assert not any(run.refused() for run in runs)
    assert len(threads) == 1
    settle(stage)
    sequences = [event.sequence for _, event in log.seen]
    assert sequences == sorted(sequences)


def test_a_handler_that_raises_decides_nothing(stage: Stage) -> None:
    log = watch_all(stage)

    def fail(event: Any) -> None:
        event.result_code = 5
        raise ValueError("oops")

    stage.process.on_process_creation = fail
    assert not stage.run("alpha").refused()
    assert log.errors == [constants.ERROR_UNHANDLED_EXCEPTION]
    assert settle(stage).failed_in_handler == 1


# ---- Rules ----


def test_a_deny_rule_decides_without_asking(stage: Stage) -> None:
    log = watch_all(stage)
    stage.process.add_rule(name="b?ta*", action="deny", code=13)
    run = stage.run("beta-1")
    assert run.refused()
    assert not stage.run("alpha").refused()
    wait_for(lambda: "process_creation" in log.names(run))
    event = log.of(run)
    assert event.decided_by_rule
    assert not event.held
    assert event.result_code == 13
    counts = settle(stage)
    assert counts.refused == counts.decided_by_rule == 1
    stage.process.remove_rule(name="b?ta*", action="deny")
    assert not stage.run("beta-1").refused()


def test_a_handler_cannot_overrule_a_rule(stage: Stage) -> None:
    watch_all(stage)

    def answer(event: Any) -> None:
        event.result_code = 0 if event.decided_by_rule else 5

    stage.process.on_process_creation = answer
    stage.process.add_rule(name="beta", action="deny")
    stage.process.add_rule(name="gamma", action="allow")
    assert stage.run("beta").refused()
    assert not stage.run("gamma").refused()
    assert stage.run("alpha").refused()


def test_an_allow_rule_does_not_hold(stage: Stage) -> None:
    log = watch_all(stage)
    stage.process.add_rule(name="alpha", action="allow")
    run = stage.run("alpha")
    wait_for(lambda: "process_termination" in log.names(run))
    assert log.of(run).decided_by_rule
    assert not log.of(run).held


def test_rules_decide_what_does_not_fire(stage: Stage) -> None:
    log = Log(stage)
    stage.process.add_rule(name="beta", action="deny")
    stage.start()
    stage.process.config("EventsToFire=0")
    assert stage.run("beta").refused()
    assert settle(stage).refused == 1
    assert log.seen == []


def test_an_ignored_name_is_silent(stage: Stage) -> None:
    log = watch_all(stage)
    stage.process.add_ignored_process_by_name("beta", False)
    run = stage.run("beta")
    after = stage.run("alpha")
    wait_for(lambda: "process_termination" in log.names(after))
    # Before it executes, it is the actor's copy and not ignored; its creation is the actor's request.
    assert "process_termination" not in log.names(run)
    assert "thread_termination" not in log.names(run)
    stage.process.remove_ignored_process_by_name("beta")
    again = stage.run("beta")
    wait_for(lambda: len(log.names(again)) == 4)


def test_a_name_rule_matches_what_is_executed(stage: Stage) -> None:
    log = Log(stage)
    stage.process.add_filtered_process_by_name("beta*", False)
    stage.start()
    other, run = stage.run("alpha"), stage.run("beta2")
    expected = life(stage)[1 if stage.forks else 0 :]
    wait_for(lambda: len(log.names(run)) == len(expected))
    assert log.names(run) == expected
    assert log.names(other) == []


@pytest.mark.parametrize("children", [False, True])
def test_include_children(stage: Stage, children: bool) -> None:
    log = Log(stage)
    stage.start()
    stage.process.add_filtered_process_by_id(stage.actor_id, children)
    run = stage.run("alpha")
    wait_for(lambda: len(log.names(run)) == (4 if children else 2))
    settle(stage)
    # What the actor itself asks for fires in any case; what the child does, only with the flag.
    assert log.names(run) == (life(stage) if children else life(stage)[:2])


def test_a_rule_added_in_a_handler_counts_for_the_next_operation(stage: Stage) -> None:
    log = watch_all(stage)

    def ignore_from_now_on(event: Any) -> None:
        stage.process.add_ignored_process_by_id(event.process_id, False)

    stage.process.on_process_creation = ignore_from_now_on
    run = stage.run("alpha")
    settle(stage)
    assert log.names(run) == ["thread_creation"]


def test_rules_outlive_a_stop(stage: Stage) -> None:
    log = watch_all(stage)
    stage.process.add_rule(name="beta", action="deny")
    stage.run("alpha")
    before = settle(stage)
    assert before.delivered > 0
    stage.restart()
    assert stage.run("beta").refused()
    after = settle(stage)
    assert after.refused == 1
    sequences = [event.sequence for _, event in log.seen]
    assert sequences.count(1) == 2, "each start counts from one"


# ---- Handles ----


def test_a_handler_takes_rights_away(stage: Stage) -> None:
    needs(stage, constants.CAP_STRIP_PROCESS_HANDLE)
    watch_all(stage)
    target = stage.begin_lasting("lasting")
    original: list[tuple[int, int]] = []

    def strip(event: Any) -> None:
        original.append((event.original_desired_access, event.originator_process_id))
        event.desired_access &= ~constants.PROCESS_TERMINATE

    stage.process.on_process_handle_operation = strip
    assert not stage.signal(target.process_id)
    assert settle(stage).refused == 1
    stage.process.on_process_handle_operation = None
    assert stage.signal(target.process_id)
    assert original == [(constants.PROCESS_TERMINATE, stage.actor_id)]


def test_a_strip_rule_protects(stage: Stage) -> None:
    needs(stage, constants.CAP_STRIP_PROCESS_HANDLE)
    log = watch_all(stage)
    stage.process.add_rule(name="lasting", action="strip", access=constants.PROCESS_TERMINATE)
    target = stage.begin_lasting("lasting")
    assert not stage.signal(target.process_id)
    wait_for(lambda: "process_handle_operation" in log.names(target))  # nothing waits for it to be told
    event = log.of(target, "process_handle_operation")
    assert event.decided_by_rule
    assert event.desired_access == 0
    assert event.original_desired_access == constants.PROCESS_TERMINATE
    counts = settle(stage)
    assert counts.refused == 1
    stage.process.remove_rule(name="lasting", action="strip")
    assert stage.signal(target.process_id)


# ---- Time ----


def test_a_deadline_lets_go(stage: Stage) -> None:
    watch_all(stage, timeout=3000)
    gate = threading.Event()

    def sleep(event: Any) -> None:
        event.result_code = 5
        gate.wait(30)

    stage.process.on_process_creation = sleep
    started = time.monotonic()
    run = stage.begin("alpha")
    assert not run.refused()
    assert 2.9 < time.monotonic() - started < 10
    assert stage.process.statistics().late == 0
    gate.set()
    wait_for(lambda: stage.process.statistics().late == 1)
    counts = settle(stage)
    assert counts.timed_out == 1
    assert counts.refused == 0


def test_a_deadline_refuses_if_that_is_asked_for(stage: Stage) -> None:
    stage.process.config("TimeoutAction=deny")
    watch_all(stage, timeout=3000)
    gate = threading.Event()
    stage.process.on_process_creation = lambda event: gate.wait(30)
    run = stage.begin("alpha")
    assert run.refused()
    gate.set()
    wait_for(lambda: stage.process.statistics().late == 1)
    assert stage.process.statistics().timed_out == stage.process.statistics().refused == 1


def test_a_deadline_can_be_moved(stage: Stage) -> None:
    watch_all(stage, timeout=3000)
    accepted: list[bool] = []

    def ask_for_time(event: Any) -> None:
        accepted.append(stage.process.reset_timeout(30000))
        time.sleep(3.3)
        event.result_code = 5

    stage.process.on_process_creation = ask_for_time
    assert stage.run("alpha").refused()
    counts = settle(stage)
    assert accepted == [True]
    assert counts.timed_out == counts.late == 0


# ---- Answers from elsewhere, and ends ----


def test_a_deferred_answer_counts(stage: Stage) -> None:
    watch_all(stage)
    answers: list[Any] = []
    stage.process.on_process_creation = lambda event: answers.append(event.defer())
    runs = [stage.begin(f"program{number}") for number in range(6)]
    wait_for(lambda: len(answers) == 6)
    assert settle(stage).deferred == 6
    assert not any(run.has_ended for run in runs)
    for index, answer in enumerate(answers):
        answer.complete(5 if index % 2 else 0)
    assert sorted(run.refused() for run in runs) == [False] * 3 + [True] * 3
    with pytest.raises(CBProcessError) as raised:
        answers[0].complete()
    assert raised.value.code == constants.ERROR_NOT_FOUND
    assert settle(stage).deferred == 0


def test_a_stop_lets_everything_go(stage: Stage) -> None:
    watch_all(stage)
    answers: list[Any] = []
    stage.process.on_process_creation = lambda event: answers.append(event.defer())
    runs = [stage.begin(f"program{number}") for number in range(3)]
    wait_for(lambda: len(answers) == 3)
    stage.process.stop_filter()
    assert not any(run.refused() for run in runs)
    for answer in answers:
        with pytest.raises(CBProcessError) as raised:
            answer.complete(5)
        assert raised.value.code == constants.ERROR_NOT_FOUND
    counts = stage.process.statistics()
    assert counts.late == counts.timed_out == counts.refused == 0


def test_a_handler_stops_the_filter(stage: Stage) -> None:
    watch_all(stage)
    stage.process.on_process_creation = lambda event: stage.process.stop_filter()
    run = stage.begin("alpha")
    assert not run.refused()
    wait_for(lambda: not stage.process.active)
    stage.process.stop_filter()


# ---- What can be done ----


def test_capabilities_of_a_process(stage: Stage) -> None:
    watch_all(stage)
    whole = stage.process.driver_capabilities()
    one = stage.process.get_process_capabilities(stage.actor_id)
    assert one
    assert one & ~whole == 0
    with pytest.raises(CBProcessError) as raised:
        stage.process.get_process_capabilities(2**31 - 2)
    assert raised.value.code == constants.ERROR_NOT_FOUND


def test_names_in_a_handler(stage: Stage) -> None:
    watch_all(stage)
    names: list[str] = []

    def ask(event: Any) -> None:
        names.append(stage.process.get_process_name(event.process_id))
        names.append(stage.process.get_process_name(event.creating_process_id))

    stage.process.on_process_creation = ask
    stage.run("alpha")
    assert names[0] == stage.path("alpha")
    assert names[1]
    assert names[1] != names[0]
