"""Disturbances of a made-up driver at a user's handlers: answers that are late, loss and damage, executions
that fail afterwards, and the death of either side."""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

import pytest
from unit.instances import wait_for

from cbprocess import CBProcessError, constants, script
from cbprocess.testing import Simulator


def test_a_slow_answer_times_out_whatever_the_clock_says(simulator: Simulator) -> None:
    simulator.process.on_process_creation = lambda event: setattr(event, "result_code", 5)
    started = time.monotonic()
    assert simulator.process_creation(answer_after=2.999).result_code == 5
    verdict = simulator.process_creation(answer_after=3)
    assert (verdict.timed_out, verdict.refused) == (True, False)
    assert time.monotonic() - started < 2
    counts = simulator.process.statistics()
    assert (counts.timed_out, counts.late, counts.refused) == (1, 1, 1)
    accepted: list[bool] = []
    simulator.process.on_process_creation = lambda event: accepted.append(
        simulator.process.reset_timeout(10000)
    )
    assert simulator.process_creation(answer_after=9).answered
    assert accepted == [True]


def test_a_deadline_before_the_handler(simulator: Simulator) -> None:
    flags: list[tuple[bool, bool]] = []
    simulator.process.on_process_creation = lambda event: flags.append((event.timed_out, event.held))
    simulator.process.config("TimeoutAction=deny")
    verdict = simulator.process_creation(expired=True)
    assert flags == [(True, False)]
    assert (verdict.timed_out, verdict.result_code) == (True, constants.ERROR_TIMEOUT)


def test_duplicates_are_answered_once(simulator: Simulator) -> None:
    codes = iter([5, 6, 7])
    lock = threading.Lock()

    def refuse(event: Any) -> None:
        with lock:
            event.result_code = next(codes)

    simulator.process.serialize_events = 1
    simulator.process.on_process_creation = refuse
    verdict = simulator.process_creation(copies=2)
    simulator.wait()
    assert verdict.result_code == 5
    wait_for(lambda: simulator.process.statistics().late == 2)  # counted when their handlers have returned
    counts = simulator.process.statistics()
    assert (counts.delivered, counts.refused, counts.late) == (3, 1, 2)


def test_loss_and_damage_are_told(simulator: Simulator) -> None:
    errors: list[int] = []
    sequences: list[int] = []
    simulator.process.on_error = lambda params: errors.append(params.error_code)
    simulator.process.on_process_creation = lambda event: sequences.append(event.sequence)
    simulator.process_creation()
    simulator.lose(3)
    simulator.malformed()
    simulator.process_creation()
    simulator.wait()
    wait_for(lambda: len(errors) == 2)
    assert sequences == [1, 5]
    assert set(errors) == {constants.ERROR_NO_SYSTEM_RESOURCES, constants.ERROR_INVALID_DATA}
    counts = simulator.process.statistics()
    assert (counts.lost, counts.malformed) == (3, 1)


def test_a_process_that_is_first_heard_of_when_it_is_aimed_at(simulator: Simulator) -> None:
    """As in a recording of handle operations only: its parent has created it, so far as is known."""
    simulator.process.add_rule(name="server", action="strip", access=constants.PROCESS_TERMINATE)
    for number, name in (10, "/bin/server"), (11, "/bin/shell"):
        simulator.process_creation(process_id=number, process_name=name)
    for originator, target, name, wanted in (10, 20, b"server", 1), (11, 20, b"server", 0), (11, 21, b"", 0):
        operation = script.process_handle_operation(process_id=target, originator_process_id=originator)
        operation.fields["parent_process_id"] = 10
        operation.texts = [name, name, b""]
        assert simulator.fire(operation)[0].desired_access == wanted


def test_an_execution_that_fails_afterwards(simulator: Simulator) -> None:
    simulator.process_creation(fails_after=True)
    assert simulator.process.statistics().failed_after == 1
    simulator.process.on_process_creation = lambda event: setattr(event, "result_code", 5)
    simulator.process_creation(fails_after=True)
    assert simulator.process.statistics().failed_after == 1


def test_a_failed_execution_is_taken_back(simulator: Simulator) -> None:
    errors: list[tuple[int, int]] = []
    created: list[int] = []
    simulator.process.on_error = lambda params: errors.append((params.error_code, params.sequence))
    simulator.process.on_process_creation = lambda event: created.append(event.sequence)
    simulator.process_creation()
    simulator.process_creation(fails_after=True)
    simulator.process_creation()
    simulator.process_creation(fails_after=True)
    simulator.wait()
    wait_for(lambda: len(errors) == 2)
    assert errors == [(constants.ERROR_GEN_FAILURE, created[1]), (constants.ERROR_GEN_FAILURE, created[3])]


def test_a_failed_execution_is_nobodys_failure(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody listens it is only counted."""
    raised: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", raised.append)
    simulator.process_creation(fails_after=True)
    simulator.wait()
    simulator.process.stop_filter()
    assert raised == []


def test_the_drivers_death(simulator: Simulator) -> None:
    errors: list[int] = []
    simulator.process.on_error = lambda params: errors.append(params.error_code)
    simulator.process.on_process_creation = lambda event: event.defer()
    pending = simulator.pending("process_creation")
    wait_for(lambda: simulator.process.statistics().deferred == 1)
    simulator.kill_driver()
    assert pending.wait().state == "let go"
    wait_for(lambda: not simulator.process.active)
    wait_for(lambda: errors == [constants.ERROR_BROKEN_PIPE])
    with pytest.raises(CBProcessError) as raised:
        simulator.process_creation()
    assert raised.value.code == constants.ERROR_NOT_READY


def test_the_controllers_death(simulator: Simulator) -> None:
    seen: list[Any] = []
    simulator.process.add_rule(name="bad", action="deny")
    simulator.process.on_process_creation = lambda event: seen.append(event.defer())
    pending = simulator.pending("process_creation")
    wait_for(lambda: len(seen) == 1)
    simulator.kill_controller()
    assert pending.wait().state == "let go"
    verdict = simulator.process_creation()
    assert (verdict.state, verdict.fired, verdict.refused) == ("let go", False, False)
    verdict = simulator.process_creation(process_name="/bin/bad")
    assert verdict.result_code == constants.ERROR_ACCESS_DENIED
    assert len(seen) == 1
    with pytest.raises(CBProcessError) as raised:
        seen[0].complete(5)
    assert raised.value.code in (constants.ERROR_TIMEOUT, constants.ERROR_NOT_FOUND)


def test_a_stop_before_the_turn(simulator: Simulator) -> None:
    simulator.process.on_process_creation = lambda event: event.defer()
    first = simulator.pending("process_creation", process_id=5)
    second = simulator.pending("process_creation", process_id=5)
    wait_for(lambda: simulator.process.statistics().deferred == 1)
    simulator.process.stop_filter()
    assert first.wait().state == "let go"
    with pytest.raises(CBProcessError) as raised:
        second.wait()
    assert raised.value.code == constants.ERROR_OPERATION_ABORTED
