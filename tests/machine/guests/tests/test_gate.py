"""The gate for the whole machine: starts and ends of all processes and threads, and executions, wait for a
handler; what it refuses has executed nothing. Kernels without the gate skip this."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from live_tools import LIFETIMES, Programs, wait_until
from whole_machine import GATE, filtering, has_gate, seconds_of

import cbprocess

WIDTH, COUNT = 6, 12


@pytest.fixture(autouse=True)
def gate() -> None:
    if not has_gate():
        pytest.skip("the bpf driver has no gate on this kernel")


def test_a_storm_is_held_as_a_whole(programs: Programs) -> None:
    """Each of its events has waited, and the numbers are those of the storm."""
    with filtering(GATE, events=LIFETIMES) as recorder:
        line = [programs["processes"], "storm", str(WIDTH), str(COUNT), programs["status"]]
        process = subprocess.Popen(line, stdout=subprocess.DEVNULL)
        assert process.wait(100) == 0
    executed = [row for row in recorder.of("process_creation") if row["arguments"] == ["storm", "0"]]
    children = {row["process_id"] for row in executed}
    assert len(executed) == WIDTH * COUNT
    of_children = [row for row in recorder.events if row["process_id"] in children]
    counts = Counter(row["event"] for row in of_children)
    assert set(counts.values()) == {WIDTH * COUNT}, counts
    assert all(row["held"] and not row["timed_out"] for row in of_children)
    assert recorder.errors == []


def test_a_refused_execution_runs_nothing(programs: Programs, tmp_path: Path) -> None:
    """It is ended by SIGKILL before its first instruction, in the program's place and not in its caller's."""
    script = tmp_path / "refused"
    script.write_text(f"#!/bin/sh\necho ran >{tmp_path / 'ran'}\n")
    script.chmod(0o755)

    def decide(kind: str, event: Any) -> None:
        if kind == "process_creation" and str(script) in [*event.arguments, event.process_name]:
            event.result_code = cbprocess.ERROR_ACCESS_DENIED

    with filtering(GATE, events=LIFETIMES, decide=decide) as recorder:
        line = ["sh", "-c", f"for i in $(seq 10); do {script}; test $? = 137 || exit 1; done"]
        assert subprocess.run(line, stderr=subprocess.DEVNULL, timeout=100).returncode == 0
        assert recorder.filter.statistics().refused == 10
    assert not (tmp_path / "ran").exists()


def test_an_end_waits(programs: Programs) -> None:
    """A process whose end a handler looks at is still there: its parent waits for it so long."""
    looked: list[bool] = []

    def decide(kind: str, event: Any) -> None:
        if kind == "process_termination" and "status" in event.process_name:
            time.sleep(1)
            looked.append(Path(f"/proc/{event.process_id}").exists())

    with filtering(GATE, events=LIFETIMES, decide=decide):
        assert seconds_of(["sh", "-c", f"{programs['status']} 5; exit $?"], 5) > 1
    assert looked == [True]


def test_a_thread_waits(programs: Programs) -> None:
    """Two hundred threads of another process: the start and the end of each waits."""
    with filtering(GATE, events=LIFETIMES) as recorder:
        done = subprocess.run(
            ["sh", "-c", f"{programs['threads']} run 200 & echo $!; wait $!"], stdout=subprocess.PIPE
        )
        assert done.returncode == 0
    own = [row for row in recorder.events if row["process_id"] == int(done.stdout)]
    counts = Counter(row["event"] for row in own)
    assert counts["thread_creation"] == counts["thread_termination"] == 201
    assert all(row["held"] for row in own)


def test_the_machine_does_its_work(tmp_path: Path) -> None:
    """A build, Python with its threads, and pipes of shells, all held, from several sides at once."""
    text = "for i in $(seq 10); do ls /usr | sort | wc -l >/dev/null; done"
    source = tmp_path / "a.c"
    source.write_text("int main(void) { return 0; }\n")
    lines = [["sh", "-c", text], ["cc", "-o", str(tmp_path / "a"), str(source)]]
    lines.append(
        [sys.executable, "-c", "import threading; [threading.Thread(target=str).start() for _ in range(20)]"]
    )
    with filtering(GATE, events=LIFETIMES) as recorder:
        running = [subprocess.Popen(line) for line in lines]
        assert [process.wait(100) for process in running] == [0, 0, 0]
        assert subprocess.run([str(tmp_path / "a")]).returncode == 0
    assert not [row for row in recorder.events if row["timed_out"]]
    assert recorder.errors == []


def test_a_killed_process_that_waits(programs: Programs) -> None:
    """SIGKILL ends a process whose end or start a handler does not answer: it is not stuck."""
    release = threading.Event()
    held: list[int] = []

    def decide(kind: str, event: Any) -> None:
        if kind == "process_creation" and "status" in event.process_name:
            held.append(event.process_id)
            release.wait(60)

    with filtering(GATE, events=cbprocess.PROC_EVT_PROCESS_CREATION, timeout_ms=60000, decide=decide):
        process = subprocess.Popen(["sh", "-c", f"{programs['status']} 3; exit $?"])
        wait_until(lambda: held, 60, "the execution")
        began = time.monotonic()
        os.kill(held[0], signal.SIGKILL)
        try:
            assert process.wait(30) == 128 + signal.SIGKILL
        finally:
            release.set()
        assert time.monotonic() - began < 20
