"""Handle operations as the bpf driver observes them on this machine, where no LSM program is: every call of
the live tests' table is told, goes as it does without a filter, and an answer that would need to be enforced
is reported as one that was not."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from handle_cases import CASES, ONE_OF_EACH, THREAD, Case
from handle_tools import Outcome, assert_fired, bare, outcome_of, without_ids
from live_tools import HANDLE_EVENTS, Programs, Recorder, wait_until
from machine.native.machine_tools import watching

import cbprocess

CALLERS = {"main": (), "thread": ("-t",)}
VARIANTS = [
    pytest.param(name, caller, id=f"{name}-{caller}")
    for name in CASES
    for caller in CALLERS
    if "-n" not in CASES[name].command and (caller == "main" or name in ONE_OF_EACH)
]
HANDLES = cbprocess.PROC_EVT_PROCESS_HANDLE_OPERATION | cbprocess.PROC_EVT_THREAD_HANDLE_OPERATION
ENFORCED = cbprocess.CAP_STRIP_PROCESS_HANDLE | cbprocess.CAP_STRIP_THREAD_HANDLE
OBSERVED = {"held": False, "refusable": False, "decided_by_rule": False, "timed_out": False, "result_code": 0}


@pytest.fixture(scope="module", autouse=True)
def observed_only() -> None:
    capabilities = cbprocess.probe_driver("bpf").capabilities
    if not capabilities & cbprocess.CAP_SEE_PROCESS_HANDLE:
        pytest.skip("the bpf driver sees no handle operations on this kernel")
    if capabilities & ENFORCED:
        pytest.skip("BPF LSM is active here: handle operations are enforced")


@pytest.fixture(scope="module")
def shared() -> Iterator[Recorder]:
    """One filter for all: each run of `handles` is told apart by its process."""
    with watching(events=HANDLES) as recorder:
        yield recorder


@pytest.fixture(scope="module")
def bare_outcome(programs: Programs) -> Callable[[str, str], Outcome]:
    """How a case goes without a filter."""
    return functools.cache(lambda name, caller: bare(line_of(programs, name, caller)))


def line_of(programs: Programs, name: str, caller: str = "main") -> list[str]:
    return [programs["handles"], *CALLERS[caller], *CASES[name].command]


def await_told(recorder: Recorder, case: Case, outcome: Outcome) -> None:
    def told() -> list[int]:
        callers = [event["originator_process_id"] for event in recorder.handle_operations()]
        return [caller for caller in callers if caller == outcome["process"]]

    wait_until(lambda: len(told()) >= case.target_count, 20, "the events")


def observed(recorder: Recorder, case: Case, line: list[str]) -> Outcome:
    """The outcome under the filter, once all that the call has to fire has been told."""
    del recorder.events[:]
    done = subprocess.run(line, stdout=subprocess.PIPE, text=True, timeout=60)
    outcome = outcome_of(done.stdout, done.returncode)
    await_told(recorder, case, outcome)
    return outcome


@pytest.mark.parametrize(("name", "caller"), VARIANTS)
def test_each_call_is_told(
    name: str, caller: str, shared: Recorder, programs: Programs, bare_outcome: Callable[[str, str], Outcome]
) -> None:
    """With its rights, originator, target and, for a duplication, where from and where to."""
    case = CASES[name]
    expected = bare_outcome(name, caller)
    await_told(shared, case, expected)  # the filter is there for that run, too
    outcome = observed(shared, case, line_of(programs, name, caller))
    assert without_ids(outcome) == without_ids(expected)
    assert_fired(shared, case, outcome, **OBSERVED)
    assert shared.errors == []


@pytest.mark.parametrize("name", ["kill-TERM", "tgkill-TERM"])
def test_an_answer_that_cannot_be_enforced_is_reported(name: str, programs: Programs) -> None:
    """desired_access is not applied: the call has been made, and on_error says so."""
    case = CASES[name]

    def take_all(kind: str, event: Any) -> None:
        if kind in HANDLE_EVENTS:
            event.desired_access = 0

    expected = bare(line_of(programs, name))
    with watching(events=HANDLES, decide=take_all) as recorder:
        outcome = observed(recorder, case, line_of(programs, name))
        assert without_ids(outcome) == without_ids(expected)
        wait_until(lambda: recorder.errors, 20, "the report")
        assert recorder.filter.statistics().refused == 0
    codes, texts = zip(*recorder.errors)
    assert set(codes) == {cbprocess.ERROR_NOT_SUPPORTED}
    assert "desired_access" in texts[0]


def test_a_strip_rule_is_refused(programs: Programs) -> None:
    """What cannot be enforced cannot be asked for."""
    with watching(events=HANDLES) as recorder:
        with pytest.raises(cbprocess.CBProcessError) as raised:
            recorder.filter.add_rule(name="handles", action="strip", access=cbprocess.PROCESS_TERMINATE)
        assert raised.value.code == cbprocess.ERROR_NOT_SUPPORTED


def test_calls_that_are_nothing_to_others(shared: Recorder, programs: Programs) -> None:
    """An operation of a process on itself is not told, nor one on a process that has gone."""
    del shared.events[:]
    for line in (["-s", "kill", "0"], ["-g", "kill", "15"]):
        subprocess.run([programs["handles"], *line], stdout=subprocess.DEVNULL, timeout=60)
    case = CASES["kill-TERM"]
    last = observed_after(shared, programs, case)
    assert [row["originator_process_id"] for row in shared.handle_operations()] == [last["process"]]


def observed_after(recorder: Recorder, programs: Programs, case: Case) -> Outcome:
    """Runs a call that is told, after others that are not; what they have fired would stand before it."""
    done = subprocess.run(line_of(programs, "kill-TERM"), stdout=subprocess.PIPE, text=True, timeout=60)
    outcome = outcome_of(done.stdout, done.returncode)
    wait_until(
        lambda: any(
            row["originator_process_id"] == outcome["process"] for row in recorder.handle_operations()
        ),
        20,
        "the event",
    )
    return outcome


def test_memory_through_proc(shared: Recorder, tmp_path: Path) -> None:
    """Opening /proc/PID/mem of another process asks for its memory."""
    del shared.events[:]
    text = (
        "import os, subprocess, sys\n"
        "child = subprocess.Popen(['sleep', '60'])\n"
        "with open(f'/proc/{child.pid}/mem', 'rb'): pass\n"
        "os.kill(child.pid, 9); child.wait(); print(child.pid)\n"
    )
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60)
    child = int(done.stdout)

    def found() -> list[dict[str, Any]]:
        return [row for row in shared.handle_operations() if row["process_id"] == child]

    wait_until(lambda: len(found()) >= 2, 20, "the events")
    reading = found()[0]
    assert reading["event"] != THREAD
    assert reading["original_desired_access"] & cbprocess.PROCESS_VM_READ
