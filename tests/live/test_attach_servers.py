"""Attaching to a server of several processes under load, and the command `cbprocess attach`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import supervised
from attach_tools import END_STATUS, assert_let_go, attached, descendants, running
from live_tools import PROGRAMS, Programs, tracer_of, wait_until

import cbprocess

WORKERS = 4


class Server:
    def __init__(self, folder: Path, program: str) -> None:
        self.socket = str(folder / "socket")
        line = [*self._line("serve"), str(WORKERS), program]
        self.process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None and self.process.stdout.readline() == "ready\n"
        self.members = descendants(self.process.pid)
        assert len(self.members) == WORKERS + 1

    def _line(self, mode: str) -> list[str]:
        return [sys.executable, str(PROGRAMS / "server.py"), mode, self.socket]

    def start_load(self, seconds: float) -> subprocess.Popen[str]:
        line = [*self._line("load"), str(seconds)]
        return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    @staticmethod
    def result(load: subprocess.Popen[str]) -> dict[str, float]:
        output, errors = load.communicate(timeout=60)
        assert (load.returncode, errors) == (0, ""), "a request failed"
        found: dict[str, float] = json.loads(output)
        return found

    def end(self) -> None:
        self.process.terminate()
        _, errors = self.process.communicate(timeout=20)
        assert (self.process.returncode, errors) == (4, "")


@pytest.fixture
def server(programs: Programs, tmp_path: Path) -> Iterator[Server]:
    found = Server(tmp_path, programs["status"])
    try:
        yield found
    finally:
        if found.process.poll() is None:
            for member in reversed(descendants(found.process.pid)):
                os.kill(member, signal.SIGKILL)
        found.process.communicate(timeout=20)


def test_server_under_load(server: Server, programs: Programs) -> None:
    """Attached in the middle of it: each program and thread that serves a request is seen, no request fails,
    and afterwards it is as fast as before."""
    before = server.result(server.start_load(1.0))
    early = server.start_load(1.5)
    time.sleep(0.3)
    with attached(server.process.pid) as (recorder, instance):
        assert all(tracer_of(member) for member in server.members)
        server.result(early)
        del recorder.events[:]
        during = server.result(server.start_load(1.5))
        programs_run = [event["arguments"] for event in recorder.of("process_creation")]
        assert programs_run == [[programs["status"], "5"]] * int(during["spawn"]) and programs_run
        wait_until(
            lambda: len(recorder.of("process_termination")) == during["spawn"], 10, "the programs' ends"
        )
        threads = [row for row in recorder.of("thread_creation") if row["thread_id"] != row["process_id"]]
        assert len(threads) == during["thread"] > 0
        late = server.start_load(1.0)
        time.sleep(0.3)
        instance.remove_filtered_process_by_id(server.process.pid)
        server.result(late)
        assert_let_go(*server.members)
        assert recorder.errors == [] and instance.statistics().lost == 0
    found = []
    for _ in range(6):
        found.append(server.result(server.start_load(0.7))["latency_us"])
        if found[-1] < before["latency_us"] * 1.4:
            break
    else:
        pytest.fail(f"{before['latency_us']:.0f} us before, then {found}")
    server.end()


class Attached:
    """A run of `cbprocess attach`."""

    def __init__(self, output: Path, *arguments: str) -> None:
        self.output = output
        line = [*supervised.COMMAND_LINE, "attach", "--json", "--output", str(output), *arguments]
        self.process = subprocess.Popen(line, stderr=subprocess.PIPE, text=True)

    def events(self) -> list[supervised.Event]:
        """Those that are written whole."""
        text = self.output.read_text() if self.output.exists() else ""
        return [json.loads(line) for line in text.split("\n")[:-1]]

    def of(self, name: str) -> list[supervised.Event]:
        return [event for event in self.events() if event["event"] == name]

    def end(self, timeout: float = 20) -> tuple[int, str]:
        errors = self.process.communicate(timeout=timeout)[1]
        return self.process.returncode, errors


@pytest.fixture
def attach(tmp_path: Path) -> Iterator[Any]:
    started: list[Attached] = []

    def start(*arguments: str) -> Attached:
        started.append(Attached(tmp_path / f"events-{len(started)}", *arguments))
        return started[-1]

    yield start
    for command in started:
        command.process.kill()
        command.process.communicate(timeout=20)


def test_command_ends_with_the_processes(attach: Any, programs: Programs, tmp_path: Path) -> None:
    """It ends with 0 when all the processes that it was given have ended."""
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        folder.mkdir()
    arguments = ("threads", "1", "5000")
    with running(programs, folders[0], *arguments) as one, running(programs, folders[1], *arguments) as two:
        command = attach(str(one.pid), str(two.pid))
        wait_until(
            lambda: {event["process_id"] for event in command.of("thread_creation")} == {one.pid, two.pid},
            20,
            "threads of both",
        )
        assert one.end() == END_STATUS
        time.sleep(0.3)
        assert command.process.poll() is None and tracer_of(two.pid) != 0
        assert two.end() == END_STATUS
        assert command.end() == (0, "")
        ends = {event["process_id"]: event["exit_status"] for event in command.of("process_termination")}
        assert ends == {one.pid: END_STATUS, two.pid: END_STATUS}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_command_ended_by_a_signal(
    number: signal.Signals, attach: Any, programs: Programs, tmp_path: Path
) -> None:
    """It lets the processes go as they were, and says which signal it was."""
    with running(programs, tmp_path, "threads", "1", "5000") as process:
        command = attach(str(process.pid))
        wait_until(lambda: command.of("thread_creation"), 20, "a thread")
        command.process.send_signal(number)
        assert command.end() == (128 + number, "")
        assert_let_go(process.pid)
        assert process.end() == END_STATUS


def test_command_refuses_what_it_is_told_to(attach: Any, programs: Programs, tmp_path: Path) -> None:
    with running(programs, tmp_path, "forks", "2000", programs["status"]) as process:
        command = attach(str(process.pid), "--deny", "status")
        wait_until(lambda: len(command.of("process_termination")) > 3, 20, "ends")
        process.account.leave()
        assert process.end() == END_STATUS and command.end() == (0, "")
        refused = {event["process_id"] for event in command.of("process_creation") if event["result_code"]}
        ends = {event["process_id"]: event["exit_status"] for event in command.of("process_termination")}
        assert refused and {ends[number] for number in refused} == {-signal.SIGKILL}


def test_command_says_what_is_wrong(attach: Any, programs: Programs, tmp_path: Path) -> None:
    with running(programs, tmp_path, "threads", "1", "5000") as process:
        first = attach(str(process.pid))
        wait_until(lambda: first.of("thread_creation"), 20, "a thread")
        status, errors = attach(str(process.pid)).end()
        assert status == 125 and str(cbprocess.ERROR_BUSY) in errors and str(process.pid) in errors
        first.process.terminate()
        first.end()
    status, errors = attach(str(process.pid)).end()
    assert status == 125 and str(process.pid) in errors and "Traceback" not in errors
