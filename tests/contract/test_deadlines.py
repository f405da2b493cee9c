"""What deadlines do beside what test_contract.py says of them: on each driver, to what, and to whom."""

from __future__ import annotations

import threading
from typing import Any

from contract.stages import Stage, wait_for
from contract.test_contract import needs, settle, watch_all

from cbprocess import constants


def test_a_deadline_refuses_no_request(stage: Stage) -> None:
    """TimeoutAction is about creations: anything else goes on."""
    needs(stage, constants.CAP_STRIP_PROCESS_HANDLE)
    stage.process.config("TimeoutAction=deny")
    stage.process.config(f"EventsToFire={constants.PROC_EVT_PROCESS_HANDLE_OPERATION}")
    watch_all(stage, timeout=3000)
    target = stage.begin_lasting("lasting")
    gate = threading.Event()

    def take(event: Any) -> None:
        event.desired_access = 0
        gate.wait(60)

    stage.process.on_process_handle_operation = take
    assert stage.signal(target.process_id)
    gate.set()
    wait_for(lambda: stage.process.statistics().late == 1)
    counts = settle(stage)
    assert (counts.timed_out, counts.refused) == (1, 0)


def test_each_operation_has_a_deadline_of_its_own(stage: Stage) -> None:
    """One that has been taken away keeps nobody else waiting; and its answer counts."""
    watch_all(stage, timeout=5000)
    gate, entered = threading.Event(), threading.Event()

    def handle(event: Any) -> None:
        if event.process_name == stage.path("alpha"):
            assert stage.process.reset_timeout(0)
            entered.set()
        gate.wait(60)
        event.result_code = 5

    stage.process.on_process_creation = handle
    patient = stage.begin("alpha")
    assert entered.wait(60)
    try:
        hasty = [stage.begin(f"beta-{number}") for number in range(2)]
        wait_for(lambda: all(run.has_ended for run in hasty), 40)
        assert not any(run.refused() for run in hasty)
        assert not patient.has_ended
    finally:
        gate.set()
    assert patient.refused()
    wait_for(lambda: stage.process.statistics().late == 2)
    counts = settle(stage)
    assert (counts.timed_out, counts.refused) == (2, 1)
