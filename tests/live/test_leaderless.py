"""A program whose first thread has ended is known by the others: its name, its arguments, its folders."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from live_tools import Programs, Recorder, recording, tracer_of, wait_until

from cbprocess.cli.running_tree import running_tree
from cbprocess.running import running_processes

END_STATUS = 7
ARGUMENTS = ["leaderless", "an argument", ""]


@pytest.fixture
def program(programs: Programs, tmp_path: Path) -> str:
    return programs.copy("leaderless", tmp_path / "leaderless-program")


@pytest.fixture
def link(program: str, tmp_path: Path) -> str:
    path = tmp_path / "leaderless-link"
    path.symlink_to(program)
    return str(path)


@pytest.fixture
def running(link: str) -> Iterator[subprocess.Popen[str]]:
    """Runs by the link; the first thread has ended."""
    child = subprocess.Popen(
        ARGUMENTS, executable=link, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdin is not None and child.stdout is not None
    try:
        assert child.stdout.readline() == "alone\n"
        assert not os.path.exists(f"/proc/{child.pid}/exe")  # what makes it hard
        yield child
    finally:
        child.kill()
        child.wait(60)
        child.stdin.close()
        child.stdout.close()


def end(child: subprocess.Popen[str]) -> None:
    assert child.stdin is not None
    child.stdin.close()
    assert child.wait(60) == END_STATUS


def is_traced(process_id: int) -> bool:
    return any(tracer_of(int(thread)) for thread in os.listdir(f"/proc/{process_id}/task"))


def assert_told(recorder: Recorder, child: subprocess.Popen[str], program: str) -> None:
    """It is traced, and its end is told by its name."""
    wait_until(lambda: recorder.of("process_termination"), 60, "the end is told")
    (event,) = recorder.of("process_termination")
    assert (event["process_id"], event["exit_status"]) == (child.pid, END_STATUS)
    assert event["process_name"] == program


def test_in_a_snapshot(running: subprocess.Popen[str], program: str) -> None:
    (found,) = [each for each in running_processes() if each.process_id == running.pid]
    assert (found.process_name, found.arguments) == (program, ARGUMENTS)


def test_by_its_id(running: subprocess.Popen[str], program: str) -> None:
    with recording() as recorder:
        assert recorder.filter.get_process_name(running.pid) == program
        recorder.filter.add_filtered_process_by_id(running.pid, False)
        end(running)
        assert_told(recorder, running, program)


@pytest.mark.parametrize("name", ["program", "link"])
def test_by_its_names(name: str, running: subprocess.Popen[str], program: str, link: str) -> None:
    """By the path of its file, and by the one that it was started by: only its memory knows that."""
    with recording() as recorder:
        recorder.filter.add_filtered_process_by_name({"program": program, "link": link}[name], False)
        end(running)
        assert_told(recorder, running, program)


def test_a_rule_by_name(running: subprocess.Popen[str], program: str) -> None:
    """What is ignored by name is not told, whoever else is."""
    with recording() as recorder:
        recorder.filter.add_ignored_process_by_name(program, False)
        recorder.filter.add_filtered_process_by_id(running.pid, False)
        end(running)
    assert recorder.events == []


def test_a_rule_that_allows_its_file(link: str, program: str) -> None:
    """The rule comes when the first thread has ended already: which file it is a living one knows."""
    with recording("RefuseWith=kill") as recorder:
        child = recorder.filter.popen(
            ARGUMENTS, executable=link, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        with child:
            assert child.stdout is not None and child.stdout.readline() == "alone\n"
            recorder.filter.add_rule(name=program, action="allow")
            end(child)
        assert_told(recorder, child, program)
    (event,) = recorder.of("process_termination")
    assert event["decided_by_rule"] and not event["held"]


def test_the_attach_command(running: subprocess.Popen[str], program: str, tmp_path: Path) -> None:
    output = tmp_path / "events"
    line = [sys.executable, "-m", "cbprocess", "attach", "--json", "--output", str(output), str(running.pid)]
    command = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        wait_until(lambda: is_traced(running.pid) or command.poll() is not None, 60, "attached")
        end(running)
        command.communicate(timeout=60)
    finally:
        command.kill()
        command.communicate()
    events = [json.loads(text) for text in output.read_text().splitlines()]
    (told,) = [event for event in events if event["event"] == "process_termination"]
    assert told["process_name"] == program


def test_a_running_tree(running: subprocess.Popen[str], program: str) -> None:
    """What the summary, the timeline and the trace begin with."""
    (found,) = running_tree([running.pid], False)
    assert found == (running.pid, os.getpid(), program, ARGUMENTS)
