"""monitor(snapshot=True) with a driver for process trees: the snapshot has what the filter supervises."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest
from live_tools import GUID

import cbprocess
from cbprocess import CBProcess, RunningProcess, monitor

LIFE = cbprocess.PROC_EVT_PROCESS_CREATION | cbprocess.PROC_EVT_PROCESS_TERMINATION


def test_only_what_is_supervised_with_a_driver_for_trees() -> None:
    """The attached process and its child; nothing else of the machine."""
    line = ["sh", "-c", "sleep 600 & echo $!; read nothing; kill $!; wait; true"]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as shell:
        assert shell.stdout is not None and shell.stdin is not None
        child = int(shell.stdout.readline())
        process = CBProcess()
        process.config("Driver=ptrace")
        process.initialize(GUID)
        process.add_filtered_process_by_id(shell.pid, True)
        found, events = [], []
        with monitor(process=process, events=LIFE, snapshot=True) as watched:
            for item in watched:
                if isinstance(item, RunningProcess):
                    found.append(item)
                    if len(found) == 2:
                        shell.stdin.close()
                    continue
                events.append((type(item).__name__, item.process_id))
                if item.process_id == shell.pid:
                    break
        assert {each.process_id for each in found} == {shell.pid, child}
        assert events == [("HeldProcessTermination", child), ("HeldProcessTermination", shell.pid)]


def test_the_command_itself_is_no_part_of_the_snapshot() -> None:
    with monitor(["sh", "-c", "true; exit 3"], events=LIFE, snapshot=True) as watched:
        items = list(watched)
    assert [type(item).__name__ for item in items if not isinstance(item, RunningProcess)] == [
        "HeldProcessCreation",
        "HeldProcessTermination",
    ]


def test_a_driver_whose_processes_are_not_the_systems() -> None:
    process = CBProcess()
    process.config("Driver=simulated")
    process.initialize(GUID)
    with pytest.raises(cbprocess.CBProcessError) as failure:
        next(iter(monitor(process=process, snapshot=True)))
    assert failure.value.code == cbprocess.ERROR_NOT_SUPPORTED
    assert not process.active


@pytest.mark.parametrize("value", [2, None, "True"])
def test_what_is_no_boolean(value: Any) -> None:
    with pytest.raises(cbprocess.CBProcessError) as failure:
        monitor(snapshot=value)
    assert failure.value.code == cbprocess.ERROR_INVALID_PARAMETER
