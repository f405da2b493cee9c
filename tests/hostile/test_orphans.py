"""Processes whose creator is not known, because it ended while it created them: they have the rules of all
that may have created them, what they execute is asked about and told, and they are counted."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Callable

import pytest
from hostile_tools import Setting
from live_tools import GUID, helper_is_sanitized, name_of, recording, refuse, run_checked, wait_until

import cbprocess

ROUNDS = {"exit": 150, "kill": 100, "exec": 60}
TIME_S = 8


def marks(file: Path) -> list[int]:
    return [int(line) for line in file.read_text().split()] if file.exists() else []


@pytest.mark.parametrize("how", ROUNDS)
def test_nothing_runs_unasked(how: str, setting: Setting, attack: Callable[..., str], tmp_path: Path) -> None:
    """A handler refuses every execution of one program, and none gets by, until enough were guessed at."""
    file, end, guessed = tmp_path / "marks", time.monotonic() + TIME_S, 0
    program = attack("leave_mark")
    command = [attack("orphan_forks"), how, str(ROUNDS[how]), program, str(file)]
    with recording(*setting.config, events=setting.events, decide=refuse(name_of(program))) as recorder:
        while guessed < 3 and time.monotonic() < end:
            assert run_checked(recorder, command) == (0, "", "")
            guessed = recorder.filter.statistics().guessed
        assert recorder.filter.statistics().lost == 0
        assert recorder.filter.statistics().refused > ROUNDS[how] / 2
        if guessed:
            wait_until(lambda: recorder.errors, 5, "the guess is told")
    assert marks(file) == [], f"{len(marks(file))} of them ran"
    # Some may still have been on their way when the last run was over.
    assert recorder.filter.statistics().guessed >= guessed
    assert recorder.errors_but_guesses() == []
    assert bool(recorder.errors) == (recorder.filter.statistics().guessed > 0)


@pytest.mark.parametrize("how", ["process", "monitor"])
def test_a_guess_is_no_traceback(
    how: str, attack: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no handler of errors is set, it is counted and nothing else."""
    told: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda arguments: told.append(arguments.exc_value))
    process = cbprocess.CBProcess()
    process.initialize(GUID)
    command = [attack("orphan_forks"), "exit", str(ROUNDS["exit"]), "/bin/true", "-"]
    guessed, end = 0, time.monotonic() + TIME_S
    while guessed == 0 and time.monotonic() < end:
        if how == "monitor":
            with cbprocess.monitor(command, process=process, timeout=0) as source:
                for _ in source:
                    pass
        else:
            process.start_filter(0)
            assert process.popen(command).wait(60) == 0
            process.stop_filter()
        guessed = process.statistics().guessed
    assert told == []


def test_all_that_run_are_told(setting: Setting, attack: Callable[..., str], tmp_path: Path) -> None:
    file, program = tmp_path / "marks", attack("leave_mark")
    command = [attack("orphan_forks"), "exit", str(ROUNDS["exit"]), program, str(file)]
    with recording(*setting.config, events=setting.events) as recorder:
        assert run_checked(recorder, command, timeout=60) == (0, "", "")
        wait_until(lambda: recorder.filter.statistics().supervised == 0, 10, "all have ended")
    told = {
        event["process_id"]
        for event in recorder.of("process_creation")
        if name_of(event["process_name"]) == name_of(program)
    }
    assert set(marks(file)) - told == set()
    ended = {event["process_id"] for event in recorder.of("process_termination")}
    assert told - ended == set()
    for event in recorder.of("thread_creation"):
        assert event["creating_process_id"] != 0 or event["thread_id"] == event["process_id"]


@pytest.mark.parametrize("status", [0, 3, -signal.SIGKILL], ids=["exit-0", "exit-3", "SIGKILL"])
@pytest.mark.parametrize("how", ["fork", "vfork", "thread"])
def test_an_exit_status_is_no_id(
    how: str,
    status: int,
    attack: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A creator ends before the helper has asked which task its event is about: it is answered with a
    status, and believes in no such task. It can only be seen while somebody else of the tree lives."""
    if helper_is_sanitized():
        pytest.skip("a sanitizer wants to be the first library of the helper")
    file, program = tmp_path / "file", attack("overtaken")
    monkeypatch.setenv("LD_PRELOAD", attack("late_question", "-shared", "-fPIC"))
    monkeypatch.setenv("QUESTION_FILE", str(file))
    with recording() as recorder:
        monkeypatch.delenv("LD_PRELOAD")
        bystander = recorder.filter.popen(["sleep", "60"])
        try:
            creator = recorder.filter.popen([program, how, str(max(status, -1)), file])
            wait_until(file.exists, 30, "the helper asks")
            if status < 0:
                os.kill(creator.pid, signal.SIGKILL)
            assert creator.wait(30) == status
            wait_until(lambda: recorder.filter.statistics().supervised == 1, 10, "only the bystander is left")
        finally:
            bystander.kill()
            bystander.wait(30)
        wait_until(lambda: recorder.filter.statistics().supervised == 0, 10, "nobody is left")
    told = {event["process_id"] for event in recorder.of("process_termination")}
    assert {bystander.pid, creator.pid} <= told <= {e["process_id"] for e in recorder.of("thread_creation")}
    assert recorder.errors_but_guesses() == []


def test_who_is_killed_while_it_executes_a_program(setting: Setting, attack: Callable[..., str]) -> None:
    """A thread that has taken its leader's id, and dies before it can stop for that, stays in no books. It
    can only be seen while somebody else of the tree lives."""
    command = [attack("killed_execution", "-pthread"), "900"]
    with recording(*setting.config, events=setting.events) as recorder:
        bystander = recorder.filter.popen(["sleep", "60"])
        try:
            assert run_checked(recorder, command, timeout=60) == (0, "900\n", "")
            wait_until(lambda: recorder.filter.statistics().supervised == 1, 10, "only the bystander is left")
        finally:
            bystander.kill()
            bystander.wait(30)
        wait_until(lambda: recorder.filter.statistics().supervised == 0, 10, "nobody is left")
    created = {event["process_id"] for event in recorder.of("process_creation")}
    ended = [event["process_id"] for event in recorder.of("process_termination")]
    assert created <= set(ended)
