"""Handle operations of Python programs, and those on processes outside of the supervised tree."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from handle_cases import CASES, PROCESS, SIGNALS, THREAD, Case
from handle_tools import (
    ALLOWED,
    ASKED,
    Outcome,
    Verdict,
    assert_fired,
    bare,
    judging,
    refused_with,
    supervised,
    without_ids,
)
from live_tools import PROGRAMS, Programs, wait_until

import cbprocess

# How tests/programs/handles.py is told to do what a case is about.
PYTHON_CASES = {
    **{f"kill-{name}": ("kill", str(number)) for name, (number, _) in SIGNALS.items()},
    "tkill-TERM": ("tkill", "15"),
    "tgkill-KILL": ("tgkill", "9"),
    "rt_sigqueueinfo-URG": ("sigqueue", "23"),
    "pidfd_open": ("pidfd_open",),
    "pidfd_send_signal-TERM": ("pidfd_send_signal", "15"),
    "pidfd_getfd": ("pidfd_getfd",),
    "ptrace-attach": ("ptrace",),
    "process_vm_readv": ("process_vm_readv",),
    "process_vm_writev": ("process_vm_writev",),
    "prlimit64-get": ("prlimit-get",),
    "prlimit64-both": ("prlimit-set",),
    "setpriority": ("setpriority",),
    "sched_setaffinity-of-the-leader": ("sched_setaffinity",),
}
LEADER = Case(("sched_setparam",), THREAD, cbprocess.PROCESS_SET_INFORMATION)
# These have no case of the C program that is the same.
MORE_PYTHON_CASES = {
    "killpg": (("killpg", "15"), Case(("killpg", "15"), PROCESS, cbprocess.PROCESS_TERMINATE)),
    "sched_setparam": (("sched_setparam",), LEADER),
    "sched_setscheduler": (("sched_setscheduler",), LEADER),
}
ALL_PYTHON_CASES = {**{name: (line, CASES[name]) for name, line in PYTHON_CASES.items()}, **MORE_PYTHON_CASES}
NEED_A_PIDFD = ("pidfd_send_signal", "pidfd_getfd")


def take_out_the_opening(recorder: Any, line: tuple[str, ...]) -> None:
    """Python's calls with a pidfd open it first, which is an operation of its own."""
    if line[0] not in NEED_A_PIDFD:
        return
    opening = recorder.handle_operations()[0]
    assert opening["original_desired_access"] == CASES["pidfd_open"].access
    recorder.events.remove(opening)


@pytest.mark.parametrize("thread", [(), ("-t",)], ids=["main", "thread"])
@pytest.mark.parametrize("name", ALL_PYTHON_CASES)
def test_from_python(name: str, thread: tuple[str, ...], programs: Programs, tmp_path: Path) -> None:
    """The exceptions of Python programs tell the errno of each verdict; what is allowed works."""
    line, case = ALL_PYTHON_CASES[name]
    command = [sys.executable, str(PROGRAMS / "handles.py"), programs["handles"], str(tmp_path / "memory")]
    command += [*thread, *line]
    expected = without_ids(bare(command)) if line[0] != "ptrace" else refused_with(errno.EPERM, case)
    with judging() as (recorder, verdicts):
        outcome = supervised(recorder, command)
        take_out_the_opening(recorder, line)
        assert without_ids(outcome) == expected
        assert_fired(recorder, case, outcome, **ASKED)
        verdicts.append(Verdict(strip=case.access))
        if not case.access & CASES["pidfd_open"].access or line[0] not in NEED_A_PIDFD:
            outcome = supervised(recorder, command)
            take_out_the_opening(recorder, line)
            assert without_ids(outcome) == refused_with(errno.EPERM, case)
            assert_fired(recorder, case, outcome, **ASKED)
        verdicts.append(Verdict(code=cbprocess.ERROR_NOT_ENOUGH_MEMORY))
        assert without_ids(supervised(recorder, command)) == refused_with(errno.ENOMEM, case)
        verdicts.append(ALLOWED)
        recorder.filter.add_rule(name="handles", action="strip", access=case.process_rights)
        assert without_ids(supervised(recorder, command)) == refused_with(errno.EPERM, case)


@contextlib.contextmanager
def target_outside(programs: Programs, folder: Path) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """A target that nobody supervises, and the options by which `handles` finds it."""
    memory = folder / "memory"
    line = [programs["handles"], "target", str(memory)]
    target = subprocess.Popen(line, stdout=subprocess.PIPE, text=True, start_new_session=True)
    pidfd = os.pidfd_open(target.pid)
    try:
        assert target.stdout is not None and target.stdout.readline() == "ready\n"
        yield target, ["-e", str(memory), "-p", str(pidfd)]
    finally:
        os.close(pidfd)
        target.kill()
        target.communicate(timeout=20)


def run_outside(recorder: Any, name: str, programs: Programs, folder: Path) -> Outcome:
    """Runs a case against a target outside, supervised or (without a recorder) bare."""
    with target_outside(programs, folder) as (_, options):
        line = [programs["handles"], *options, *CASES[name].command]
        more = {"pass_fds": [int(options[-1])]}
        return supervised(recorder, line, **more) if recorder else bare(line, **more)


OUTSIDE = [
    name
    for name, case in CASES.items()
    if case.target_count == 1
    and not (case.aims_at_thread and case.call.startswith("pidfd_send"))
    # A stop that comes from a terminal does nothing to whoever has none.
    and name.rpartition("-")[2] not in ("TSTP", "TTIN", "TTOU")
]


@pytest.mark.parametrize("name", OUTSIDE)
def test_target_outside_of_the_tree(name: str, programs: Programs, tmp_path: Path) -> None:
    """What a supervised process does to one that is not supervised fires and can be refused all the same; and
    what is allowed works, attaching with ptrace too."""
    case = CASES[name]
    with judging() as (recorder, verdicts):
        outcome = run_outside(recorder, name, programs, tmp_path)
        assert without_ids(outcome) == without_ids(run_outside(None, name, programs, tmp_path))
        assert_fired(recorder, case, outcome, **ASKED)
        verdicts.append(Verdict(strip=case.access))
        outcome = run_outside(recorder, name, programs, tmp_path)
        assert without_ids(outcome) == refused_with(errno.EPERM, case)
        assert_fired(recorder, case, outcome, **ASKED)


def test_what_is_done_from_outside_fires_nothing(programs: Programs, tmp_path: Path) -> None:
    """The driver holds what its trees do; who is outside of them is not asked, and not hindered."""
    with judging() as (recorder, verdicts):
        verdicts.append(Verdict(code=cbprocess.ERROR_ACCESS_DENIED))
        recorder.filter.add_rule(name="sleep", action="strip", access=cbprocess.PROCESS_TERMINATE)
        process = recorder.filter.popen(["sleep", "93"])
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(20) == -signal.SIGTERM
        wait_until(lambda: recorder.of("process_termination"), 10, "the end")
        assert recorder.handle_operations() == []
