"""With BPF LSM and the gate a call that concerns another process waits for a handler: it takes the rights,
and the call fails; it leaves them, and the call goes as it does without a filter. Calls that give an error of
their own in place of the hook's cannot begin again, so these are told, and do not wait."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from handle_cases import CASES
from handle_tools import refused_with, without_ids
from live_tools import HANDLE_EVENTS, Programs, wait_until
from whole_machine import ENFORCED_CALLS, HANDLES, filtering, has_gate, is_enforced, rows_of, run_call

import cbprocess

TAKEN, LEFT, SEEN = "handles", "allowed-handles", "seen-handles"  # programs
NEVER_HELD = ["pidfd_getfd", "process_vm_readv", "process_vm_writev", "kcmp", "move_pages-set"]
HELD = [name for name in ENFORCED_CALLS if name not in NEVER_HELD]


def name_of_process(process_id: int) -> str:
    try:
        return Path(f"/proc/{process_id}/comm").read_text().strip()
    except OSError:
        return ""


def take_from(program: str, kind: str, event: Any) -> None:
    if kind in HANDLE_EVENTS and name_of_process(event.originator_process_id) == program:
        event.desired_access = 0


@pytest.fixture(scope="module")
def recorder() -> Iterator[Any]:
    """One filter for all calls: each run of `handles` is told apart by its process."""
    if not is_enforced():
        pytest.skip("BPF LSM is not active in this guest")
    if not has_gate():
        pytest.skip("the bpf driver has no gate on this kernel")
    with filtering(events=HANDLES, decide=partial(take_from, TAKEN)) as recorder:
        yield recorder


@pytest.mark.parametrize("name", HELD)
def test_taken(name: str, recorder: Any, programs: Programs) -> None:
    case = CASES[name]
    outcome = run_call([programs[TAKEN], *case.command])
    assert without_ids(outcome) == refused_with(errno.EPERM, case)
    rows = rows_of(recorder, outcome)
    assert rows and all(row["held"] for row in rows)
    assert recorder.errors == []


@pytest.mark.parametrize("name", HELD)
def test_left(name: str, recorder: Any, programs: Programs, tmp_path: Path) -> None:
    case = CASES[name]
    program = programs.copy("handles", tmp_path / LEFT)
    outcome = run_call([program, *case.command])
    assert rows_of(recorder, outcome)
    assert outcome["result"] >= 0
    assert recorder.errors == []


@pytest.mark.parametrize("name", NEVER_HELD)
def test_told_alone(name: str, recorder: Any, programs: Programs, tmp_path: Path) -> None:
    """What the handler takes is not taken, and it is told so."""
    case, program = CASES[name], programs.copy("handles", tmp_path / SEEN)
    with filtering(events=HANDLES, decide=partial(take_from, SEEN)) as second:
        outcome = run_call([program, *case.command])
        wait_until(lambda: len(rows_of(second, outcome)) > 0, 30, "the event")
        wait_until(lambda: second.errors != [], 30, "the error")
    assert outcome["result"] >= 0
    assert not [row for row in rows_of(second, outcome) if row["held"]]
    assert {code for code, _ in second.errors} == {cbprocess.ERROR_NOT_SUPPORTED}
    assert recorder.errors == []


def test_a_storm_of_signals(recorder: Any, programs: Programs) -> None:
    """Four threads that signal one another all the time: each signal is one's own business, and none is
    held."""
    done = subprocess.run(
        [programs["preempt"], "4", "0", "2"], stdout=subprocess.PIPE, text=True, timeout=100
    )
    assert done.returncode == 0
    assert not [row for row in recorder.handle_operations() if row["timed_out"]]
