"""Attaching to a server of several processes while it is under load."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from attach_tools import assert_let_go, attached, descendants
from live_tools import PROGRAMS, Programs, tracer_of, wait_until

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
        assert recorder.errors == [] and instance.statistics().lost == 0
    assert_let_go(*server.members)
    found = []
    for _ in range(6):
        found.append(server.result(server.start_load(0.7))["latency_us"])
        if found[-1] < before["latency_us"] * 1.4:
            break
    else:
        pytest.fail(f"{before['latency_us']:.0f} us before, then {found}")
    server.end()
