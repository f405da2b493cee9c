"""Handle operations where it matters who does them, to how many, when and under which rules; and what fires
none."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from handle_cases import CASES, ONE_OF_EACH, PROCESS, Case
from handle_tools import (
    ALLOWED,
    HANDLE_CAPABILITIES,
    Outcome,
    Verdict,
    bare,
    judging,
    outcome_of,
    refused_with,
    supervised,
    targets_of,
    watching,
    without_ids,
)
from live_tools import HANDLE_EVENTS, Programs, recording, run_checked

import cbprocess


@pytest.fixture
def judged() -> Iterator[Any]:
    with judging() as pair:
        yield pair


# What would end a process that does it to itself is done with a signal that it counts.
TO_ONESELF = [
    *(CASES[name].command for name in ONE_OF_EACH if "15" not in CASES[name].command),
    *((call, "10") for call in ("kill", "tkill", "tgkill", "rt_sigqueueinfo", "pidfd_send_signal")),
    *(("-a", call, "10") for call in ("tkill", "tgkill", "rt_tgsigqueueinfo", "pidfd_send_signal")),
    ("-a", "pidfd_open"),
    ("-a", "sched_setscheduler"),
    ("-a", "setpriority", "process"),
]
NO_SUCH_SIGNAL = ("kill", "tgkill", "tkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "pidfd_send_signal")
NO_DESCRIPTOR = (("pidfd_send_signal", "15"), ("pidfd_getfd",), ("process_madvise",), ("process_mrelease",))
SILENT = [
    *(("-s", *command) for command in TO_ONESELF),
    *(("-g", *CASES[name].command) for name in ONE_OF_EACH),
    *(("-b", *command) for command in NO_DESCRIPTOR),
    *((call, "99") for call in NO_SUCH_SIGNAL),
]


@pytest.mark.parametrize("options", [(), ("-t", "-n")], ids=["main", "thread-in-namespace"])
@pytest.mark.parametrize("command", SILENT, ids=" ".join)
def test_nothing_fires(
    command: tuple[str, ...], options: tuple[str, ...], programs: Programs, judged: Any
) -> None:
    """Neither for what a process does to itself, nor for what is bound to fail."""
    recorder, verdicts = judged
    line = [programs["handles"], *options, *command]
    outcome = bare(line)
    verdicts.append(Verdict(code=cbprocess.ERROR_NOT_ENOUGH_MEMORY))
    # With threads, what a descriptor stands for is not sure where a rule takes the right: see tests/hostile.
    unsure = cbprocess.PROCESS_DUP_HANDLE | cbprocess.PROCESS_VM_OPERATION
    recorder.filter.add_rule(name="handles", action="strip", access=0x101FFF & ~unsure)
    assert without_ids(supervised(recorder, line)) == without_ids(outcome)
    assert recorder.handle_operations() == []


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name].target_count > 1])
@pytest.mark.parametrize("by", ["strip", "code", "rule"])
def test_one_of_several_targets(name: str, by: str, programs: Programs) -> None:
    """A call for several targets fails as a whole when one of them is refused, whichever it is."""
    case = CASES[name]
    line = [programs["handles"], *case.command]
    for position in range(case.target_count):
        seen: list[int] = []

        def decide(kind: str, event: Any, position: int = position, seen: list[int] = seen) -> None:
            if kind not in HANDLE_EVENTS:
                return
            seen.append(event.process_id)
            if len(seen) - 1 != position or event.decided_by_rule:
                return
            if by == "strip":
                event.desired_access = 0
            else:
                event.result_code = cbprocess.ERROR_ACCESS_DENIED

        with watching("SerializeEvents=1", decide=None if by == "rule" else decide) as recorder:
            if by == "rule":
                outcome = with_rule_for_one(recorder, line, position, case)
            else:
                outcome = supervised(recorder, line)
        number = errno.EACCES if by == "code" else errno.EPERM
        assert without_ids(outcome) == refused_with(number, case)
        if by == "rule":
            ruled = [
                event["process_id"] for event in recorder.handle_operations() if event["decided_by_rule"]
            ]
            assert ruled == [outcome["targets"][position][0]]


def with_rule_for_one(recorder: Any, line: list[str], position: int, case: Case) -> Outcome:
    """Runs the case with a strip rule for one of its targets, which is added while the caller waits."""
    process = recorder.filter.popen(
        [line[0], "-w", *line[1:]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    if process.stdout.readline() != "ready\n":
        output, _ = process.communicate(timeout=30)
        pytest.fail(str(outcome_of(output, process.returncode)))  # unless it skips for want of namespaces
    created = [event["process_id"] for event in recorder.of("thread_creation")]
    targets = [
        process_id
        for process_id in dict.fromkeys(created)
        if created.count(process_id) == 2 and process_id != process.pid
    ]
    assert len(targets) == case.target_count
    recorder.filter.add_rule(process_id=targets[position], action="strip", access=case.process_rights)
    output, _ = process.communicate("\n", timeout=30)
    return outcome_of(output, process.returncode)


@pytest.mark.parametrize("flags", ["", ":4"])
def test_a_pidfd_taken_before_the_rule(flags: str, programs: Programs, tmp_path: Path) -> None:
    """A descriptor gives no right for ever: what counts are the rules when it is used."""
    line = [programs["handles"], "-w", "pidfd_send_signal", f"15{flags}"]
    with watching() as recorder:
        process = recorder.filter.popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        (target,) = targets_of(process.pid)
        recorder.filter.add_rule(process_id=target, action="strip", access=cbprocess.PROCESS_TERMINATE)
        output, _ = process.communicate("\n", timeout=30)
    outcome = outcome_of(output, process.returncode)
    assert without_ids(outcome) == refused_with(errno.EPERM, CASES["pidfd_send_signal-TERM"])


def test_two_filters(programs: Programs) -> None:
    """One refusal refuses; and of the rights there remains what both have left in."""
    case = CASES["process_vm_writev"]
    with judging() as (first, of_first), judging() as (second, of_second):
        second.filter.add_filtered_process_by_name("handles", True)
        line = [programs["handles"], *case.command]
        assert supervised(first, line)["result"] == 8
        assert len(second.handle_operations()) == len(first.handle_operations()) == 1
        for one, other in ((of_first, of_second), (of_second, of_first)):
            one.append(ALLOWED)
            other.append(Verdict(code=cbprocess.ERROR_NOT_ENOUGH_MEMORY))
            assert supervised(first, line)["errno"] == errno.ENOMEM
            other.append(Verdict(strip=cbprocess.PROCESS_VM_OPERATION))
            assert without_ids(supervised(first, line)) == refused_with(errno.EPERM, case)


def test_many_at_once(programs: Programs) -> None:
    """Each of many operations held at once gets its own answer."""
    codes = (0, cbprocess.ERROR_ACCESS_DENIED, cbprocess.ERROR_NOT_ENOUGH_MEMORY)
    numbers = {0: 0, codes[1]: errno.EACCES, codes[2]: errno.ENOMEM}
    decided: dict[int, int] = {}
    barrier = threading.Barrier(8)

    def decide(kind: str, event: Any) -> None:
        if kind in HANDLE_EVENTS:
            code = codes[event.sequence % 3]
            barrier.wait(20)
            event.result_code = decided[event.originator_thread_id] = code

    with watching("MinWorkerThreadCount=12", "MaxWorkerThreadCount=12", decide=decide) as recorder:
        for _ in range(5):
            line = [programs["handles"], "-t", "kill", "10"]
            running = [recorder.filter.popen(line, stdout=subprocess.PIPE, text=True) for _ in range(8)]
            outcomes = [outcome_of(process.communicate(timeout=30)[0], 0) for process in running]
            found = {outcome["thread"]: outcome["errno"] for outcome in outcomes}
            assert found == {thread: numbers[decided[thread]] for thread in found}


def test_originator_token(programs: Programs) -> None:
    """A descriptor of the process that asks, which the handler's caller owns."""
    named: list[tuple[int, int]] = []

    def decide(kind: str, event: Any) -> None:
        if kind in HANDLE_EVENTS:
            token = recorder.filter.get_originator_token()
            fields = Path(f"/proc/self/fdinfo/{token}").read_text().splitlines()
            process_id = next(int(line.split()[1]) for line in fields if line.startswith("Pid:"))
            named.append((process_id, event.originator_process_id))
            os.close(token)

    with watching(decide=decide) as recorder:
        for options in ([], ["-t", "-n"]):
            outcome = supervised(recorder, [programs["handles"], *options, "kill", "10"])
            assert named.pop() == (outcome["process"], outcome["process"])
    assert recorder.errors == [] and named == []


def test_names_of_both(programs: Programs) -> None:
    """In the handler both processes have a name."""
    names: list[str] = []

    def decide(kind: str, event: Any) -> None:
        if kind in HANDLE_EVENTS:
            ids = (event.process_id, event.originator_process_id)
            names.extend(recorder.filter.get_process_name(number) for number in ids)

    with watching(decide=decide) as recorder:
        supervised(recorder, [programs["handles"], "-n", "kill", "15"])
    assert names == [programs["handles"]] * 2


def test_without_handle_events_at_the_launch(programs: Programs) -> None:
    """What a program can be seen to do is settled when it is launched; its capabilities say so."""
    creations = cbprocess.PROC_EVT_PROCESS_CREATION
    line = [programs["handles"], "-w", "kill", "10"]
    with recording(events=creations) as recorder:
        process = recorder.filter.popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        assert recorder.filter.get_process_capabilities(process.pid) & HANDLE_CAPABILITIES == 0
        recorder.filter.config("EventsToFire=-1")
        assert outcome_of(process.communicate("\n", timeout=30)[0], process.returncode)["errno"] == 0
        assert recorder.handle_operations() == []
        process = recorder.filter.popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        found = recorder.filter.get_process_capabilities(process.pid)
        assert found & HANDLE_CAPABILITIES == HANDLE_CAPABILITIES
        process.communicate("\n", timeout=30)
        assert len(recorder.handle_operations()) == 1
        with pytest.raises(cbprocess.CBProcessError) as raised:
            recorder.filter.get_process_capabilities(os.getpid())
        assert raised.value.code == cbprocess.ERROR_NOT_FOUND


@pytest.mark.parametrize("setting", ["RefuseWith=errno", "RefuseWith=kill"])
def test_either_way_of_refusing_executions(setting: str, programs: Programs) -> None:
    """How executions are refused says nothing about handle operations."""
    with judging(setting) as (recorder, verdicts):
        verdicts.append(Verdict(strip=cbprocess.PROCESS_TERMINATE))
        outcome = supervised(recorder, [programs["handles"], "kill", "15"])
    assert without_ids(outcome) == refused_with(errno.EPERM, CASES["kill-TERM"])


def test_ignored_originator(programs: Programs, tmp_path: Path) -> None:
    """What an ignored process does fires nothing, but a protected one stays protected against it."""
    other = programs.copy("handles", tmp_path / "ignored-handles")
    with watching() as recorder:
        recorder.filter.add_rule(name="ignored-handles", action="ignore")
        assert supervised(recorder, [other, "kill", "15"])["errno"] == 0
        assert recorder.handle_operations() == []


def test_a_shell_and_its_children(programs: Programs) -> None:
    """Real programs: what a shell's kill does to a child of its own."""
    with watching() as recorder:
        command = "sleep 94 & kill -TERM $!; wait $!; echo $?"
        assert run_checked(recorder, ["sh", "-c", command])[:2] == (0, "143\n")
    (event,) = recorder.handle_operations()
    assert (event["event"], event["original_desired_access"]) == (PROCESS, cbprocess.PROCESS_TERMINATE)
    with judging() as (recorder, verdicts):
        verdicts.append(Verdict(code=cbprocess.ERROR_ACCESS_DENIED))
        command = "read line & kill -TERM $!; echo $?; wait $!; echo $?"
        status, output, errors = run_checked(recorder, ["sh", "-c", command], stdin=subprocess.DEVNULL)
    assert (status, output) == (0, "1\n1\n") and "ermission denied" in errors


def test_python_signal_of_another_process() -> None:
    """Real programs: Python's exception tells the errno."""
    text = (
        "import os, subprocess\n"
        "child = subprocess.Popen(['sleep', '94'], stdout=-3)\n"
        "try: os.kill(child.pid, 15)\n"
        "except PermissionError as error: print(error.errno)\n"
        "print(child.poll())\n"
    )
    with judging() as (recorder, verdicts):
        verdicts.append(Verdict(strip=cbprocess.PROCESS_TERMINATE))
        process = recorder.filter.popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True)
        output, _ = process.communicate(timeout=30)
        verdicts.append(ALLOWED)
        for event in recorder.handle_operations():
            os.kill(event["process_id"], 9)
    assert output == f"{errno.EPERM}\nNone\n"
