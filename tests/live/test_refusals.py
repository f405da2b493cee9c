"""Refused programs: what the caller sees, what does not run, and that the decision is about what runs."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import supervised
from live_tools import Programs, Recorder, descriptors, recording, refuse, run_checked

import cbprocess

CODES = [
    (cbprocess.ERROR_ACCESS_DENIED, errno.EACCES),
    (cbprocess.ERROR_FILE_NOT_FOUND, errno.ENOENT),
    (cbprocess.ERROR_NOT_ENOUGH_MEMORY, errno.ENOMEM),
    (cbprocess.ERROR_BUSY, errno.EBUSY),
    (cbprocess.ERROR_GEN_FAILURE, errno.EPERM),
    (0xFFFFFFFF, errno.EPERM),
]


@pytest.fixture
def victim(programs: Programs, tmp_path: Path) -> str:
    """A program that no other test decides about."""
    return programs.copy("status", tmp_path / "victim")


@pytest.mark.parametrize("mode", ["execve", "execveat", "vfork", "spawn", "thread"])
def test_caller_sees_the_error(mode: str, programs: Programs, victim: str) -> None:
    with recording(decide=refuse("victim")) as recorder:
        status, output, errors = run_checked(recorder, [programs["refused"], mode, victim])
    assert (status, errors) == (0, "")
    assert output.splitlines() == [f"errno {errno.EACCES}"] + (["goes on"] if mode == "thread" else [])
    assert recorder.errors == [] and recorder.filter.statistics().refused == 1
    refused = [event for event in recorder.of("process_creation") if event["process_name"] == victim]
    assert len(refused) == 1 and refused[0]["refusable"] and refused[0]["held"]


@pytest.mark.parametrize(("code", "number"), CODES)
def test_code_becomes_an_errno(code: int, number: int, programs: Programs, victim: str) -> None:
    with recording(decide=refuse("victim", code)) as recorder:
        assert run_checked(recorder, [programs["refused"], "execve", victim])[1] == f"errno {number}\n"
        with pytest.raises(OSError) as raised:
            recorder.filter.popen([victim])
    assert raised.value.errno == number and raised.value.filename == victim
    assert isinstance(raised.value, type(OSError(number, "")))


def test_search_of_path_treats_it_as_a_real_error(
    programs: Programs, victim: str, environment: dict[str, str], tmp_path: Path
) -> None:
    """After EACCES execvp tries the next folder; if nothing else is found it reports EACCES, not ENOENT."""
    second = tmp_path / "second"
    second.mkdir()
    alone = dict(environment, PATH=f"{tmp_path}:/nowhere")
    both = dict(environment, PATH=f"{tmp_path}:{second}")
    with recording(decide=refuse("victim")) as recorder:
        assert run_checked(recorder, [programs["refused"], "execvp", "victim"], env=alone)[1] == "errno 13\n"
    programs.copy("status", second / "victim")

    def only_the_first(kind: str, event: Any) -> None:
        if kind == "process_creation" and event.process_name == victim:
            event.result_code = cbprocess.ERROR_ACCESS_DENIED

    with recording(decide=only_the_first) as recorder:
        status, output, _ = run_checked(recorder, [programs["refused"], "execvp", "victim"], env=both)
    assert (status, output) == (0, "")
    assert [event["process_name"] for event in recorder.of("process_creation")][1:] == [
        victim,
        str(second / "victim"),
    ]


def test_a_shell_says_permission_denied(victim: str) -> None:
    with recording(decide=refuse("victim")) as recorder:
        status, output, errors = run_checked(recorder, ["sh", "-c", f"{victim}; echo $?"])
    assert (status, output) == (0, "126\n")
    assert "Permission denied" in errors


def test_a_python_program_gets_its_exception(victim: str) -> None:
    text = "import os, sys\ntry: os.execv(sys.argv[1], sys.argv[1:])\nexcept OSError as e: print(e.errno)"
    with recording(decide=refuse("victim")) as recorder:
        assert run_checked(recorder, [sys.executable, "-c", text, victim])[:2] == (0, "13\n")


@pytest.mark.parametrize("mode", ["execve", "vfork", "thread"])
def test_refused_by_killing(mode: str, programs: Programs, tmp_path: Path) -> None:
    """RefuseWith=kill: the new program does nothing at all, and whoever waits sees a process killed."""
    mark = tmp_path / "mark"
    touch = tmp_path / "touch-the-mark"
    touch.write_text(f"#!/bin/sh\necho ran > {mark}\n")
    touch.chmod(0o755)
    with recording("RefuseWith=kill", decide=refuse("touch-the-mark")) as recorder:
        status, output, _ = run_checked(recorder, [programs["refused"], mode, str(touch)])
        assert run_checked(recorder, ["sh", "-c", f"{touch}; echo $?"])[1] == "137\n"
    assert (status, output) == ((0, "signal 9\n") if mode == "vfork" else (-9, ""))
    assert not mark.exists()
    assert recorder.filter.statistics().refused == 2
    ends = [event["exit_status"] for event in recorder.of("process_termination")]
    assert ends.count(-9) == 2


def test_killed_before_its_first_instruction(programs: Programs, victim: str) -> None:
    """Not even the loader of a dynamic program runs: a traced system call would show."""
    with recording("RefuseWith=kill", decide=refuse("victim")) as recorder, pytest.raises(OSError) as raised:
        recorder.filter.popen([victim])
    assert raised.value.filename == victim


def test_desired_access_and_late_changes_are_refused_for_creations(victim: str) -> None:
    """Only what the event class has can be set; an unknown name is an AttributeError for the handler."""
    seen: list[str] = []

    def decide(kind: str, event: Any) -> None:
        try:
            event.process_name = "other"
        except AttributeError:
            seen.append(kind)

    with recording(decide=decide) as recorder:
        assert run_checked(recorder, [victim])[0] == 0
    assert "process_creation" in seen and recorder.errors == []


class TestRulesThatDecide:
    """Rules with an action are applied in the helper; the event comes afterwards."""

    def test_deny(self, programs: Programs, victim: str) -> None:
        with recording(decide=self.never_asked(victim)) as recorder:
            recorder.filter.add_rule(name="*/victim", action="deny", code=cbprocess.ERROR_FILE_NOT_FOUND)
            assert (
                run_checked(recorder, [programs["refused"], "execve", victim])[1] == f"errno {errno.ENOENT}\n"
            )
            recorder.filter.remove_rule(name="*/victim", action="deny")
            assert run_checked(recorder, [programs["refused"], "execve", victim])[1] == ""
        events = [event for event in recorder.of("process_creation") if event["process_name"] == victim]
        assert [(event["decided_by_rule"], event["held"]) for event in events] == [
            (True, False),
            (False, True),
        ]
        assert not any(event["timed_out"] for event in events)
        assert [event["result_code"] for event in events] == [cbprocess.ERROR_FILE_NOT_FOUND, 0]
        statistics = recorder.filter.statistics()
        assert statistics.decided_by_rule == statistics.refused == 1

    @staticmethod
    def never_asked(victim: str) -> Any:
        def decide(kind: str, event: Any) -> None:
            if event.decided_by_rule:
                event.result_code = 0  # changes nothing: the rule has decided

        return decide

    def test_deny_from_the_start(self, victim: str) -> None:
        with recording() as recorder:
            recorder.filter.add_rule(name="victim", action="deny")
            with pytest.raises(PermissionError) as raised:
                recorder.filter.popen([victim, "argument"])
        assert raised.value.filename == victim

    def test_allow_is_not_held(self, programs: Programs, victim: str) -> None:
        with recording() as recorder:
            recorder.filter.add_rule(name="victim", action="allow")
            assert run_checked(recorder, [programs["processes"], "vfork", "3", victim])[0] == 0
        events = [event for event in recorder.of("process_creation") if event["process_name"] == victim]
        assert [(event["decided_by_rule"], event["held"]) for event in events] == [(True, False)] * 3

    def test_deny_holds_while_the_handler_sleeps(self, programs: Programs, victim: str) -> None:
        """The rule is next to the operation: no handler has to be there."""
        with recording("MaxWorkerThreadCount=1", "MinWorkerThreadCount=1", timeout_ms=3000) as recorder:
            recorder.filter.add_rule(name="victim", action="deny")
            assert (
                run_checked(recorder, [programs["refused"], "execve", victim])[1] == f"errno {errno.EACCES}\n"
            )

    def test_on_the_command_line(
        self, programs: Programs, victim: str, environment: dict[str, str], tmp_path: Path
    ) -> None:
        command = ["sh", "-c", f"{victim} 0; echo $?; {programs['status']} 0; echo $?"]
        events, done = supervised.run(command, tmp_path / "events", "--deny", "victim", env=environment)
        assert done.returncode == 0 and done.stdout == b"126\n0\n"
        assert b"Permission denied" in done.stderr
        refused = [event for event in events if event.get("process_name") == victim]
        assert [event["event"] for event in refused] == ["process_creation"]
        assert "decided_by_rule" in refused[0]["flags"]
        assert refused[0]["result_code"] == cbprocess.ERROR_ACCESS_DENIED


def flips(recorder: Recorder, programs: Programs, first: str, second: str, count: int) -> dict[str, int]:
    status, output, errors = run_checked(recorder, [programs["refused"], "flip", str(count), first, second])
    assert (status, errors) == (0, "")
    result: dict[str, int] = json.loads(output)
    assert sum(result.values()) == count and result["other"] == 0
    return result


@pytest.mark.parametrize("setting", ["RefuseWith=errno", "RefuseWith=kill"])
@pytest.mark.parametrize("by", ["handler", "rule"])
def test_a_flipped_path_never_runs_what_was_refused(
    by: str, setting: str, programs: Programs, tmp_path: Path
) -> None:
    """Another thread keeps changing the path between a file that may run and one that may not."""
    first = programs.copy("status", tmp_path / "permitted")
    second = tmp_path / "forbidden"
    second.write_text(f"#!/bin/sh\necho ran >> {tmp_path}/mark\nexit 1\n")
    second.chmod(0o755)
    with recording(setting, decide=refuse("forbidden") if by == "handler" else None) as recorder:
        if by == "rule":
            recorder.filter.add_rule(name="forbidden", action="deny")
        result = flips(recorder, programs, first, str(second), 300)
    assert not (tmp_path / "mark").exists() and result["second"] == 0
    # The race is really run: both files were tried.
    assert result["first"] > 0 and result["refused"] + result["killed"] > 0


def test_a_flipped_path_that_nobody_refuses_runs(programs: Programs, tmp_path: Path) -> None:
    """The check of what runs must not kill what was permitted, and reports what really runs."""
    first, second = tmp_path / "program-a", tmp_path / "program-b"
    programs.copy("status", first)
    second.write_text("#!/bin/sh\nexit 1\n")
    second.chmod(0o755)
    with recording() as recorder:
        result = flips(recorder, programs, str(first), str(second), 100)
    assert result["refused"] == result["killed"] == 0 and result["first"] + result["second"] == 100
    # The last creation event of a process tells what it ran.
    last = {event["process_id"]: event["process_name"] for event in recorder.of("process_creation")}
    assert sum(name == str(first) for name in last.values()) == result["first"]


def test_a_change_of_the_target_is_noticed(programs: Programs, tmp_path: Path) -> None:
    """A symbolic link that is changed while the handler decides does not lead around the decision."""
    link, harmless = tmp_path / "link", programs.copy("status", tmp_path / "harmless")
    forbidden = programs.copy("status", tmp_path / "forbidden")
    link.symlink_to(harmless)
    changed: list[bool] = []

    def decide(kind: str, event: Any) -> None:
        if kind != "process_creation":
            return
        if event.process_name == forbidden:
            changed.append(bool(event.flags & cbprocess.EVENT_FLAG_CHANGED))
            event.result_code = cbprocess.ERROR_ACCESS_DENIED
        elif event.process_name in (str(link), harmless):
            link.unlink()
            link.symlink_to(forbidden)

    with recording(decide=decide) as recorder:
        assert run_checked(recorder, ["sh", "-c", f"{link} 5; echo $?"])[1] == "137\n"
    assert changed == [True]


def test_a_refused_program_leaves_nothing(victim: str) -> None:
    """popen() of a refused program reaps its process and closes its descriptors."""
    with recording(decide=refuse("victim")) as recorder:
        before = descriptors()
        for _ in range(20):
            with pytest.raises(PermissionError):
                recorder.filter.popen([victim], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert descriptors() == before
        with pytest.raises(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)
