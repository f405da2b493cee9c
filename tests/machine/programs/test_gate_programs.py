"""The gate's programs with a server of the tests' own: what waits, what a verdict does, and that everything
goes on when nobody answers. Only processes of the test are held, because no others have the mask."""

from __future__ import annotations

import collections
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Callable, Optional

import pytest
from machine.programs import records
from machine.programs.gate_server import EXEC, EXIT, START, GateServer, Stop
from machine.programs.records import (
    HELD,
    HOLD_SHIFT,
    LAST,
    PROCESS_CREATION,
    PROCESS_TERMINATION,
    RELEASED,
    THREAD_CREATION,
    THREAD_TERMINATION,
    Programs,
    Record,
)


def obstacle() -> str:
    found = records.obstacle()
    if not found and records.bpf_table().kernel_version() < (6, 18):
        found = "the kernel has no bpf_task_work (6.18)"
    if not found and not os.path.exists("/dev/fuse"):
        found = "there is no /dev/fuse"
    return found


pytestmark = pytest.mark.skipif(bool(obstacle()), reason=obstacle() or "runs")

EVENTS = PROCESS_CREATION | PROCESS_TERMINATION | THREAD_CREATION | THREAD_TERMINATION
STARTED, ENDED, EXECUTED = THREAD_CREATION, THREAD_TERMINATION | PROCESS_TERMINATION, PROCESS_CREATION

# A process that begins when it gets a line, so that its children can get their mask before.
CHILDREN = """
import os, sys, threading
sys.stdin.readline()
statuses = []
for number in range(int(sys.argv[1])):
    child = os.fork()
    if child == 0:
        if number % 2:
            os.execv("/bin/true", ["true"])
        thread = threading.Thread(target=int)
        thread.start()
        thread.join()
        os._exit(7)
    statuses.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(statuses)
"""


class Gate:
    """Programs with an open gate. decide may be changed at any time."""

    def __init__(self) -> None:
        self.decide: Callable[[Stop], Optional[bool]] = lambda stop: True
        self.programs = Programs(records.of_this_kernel("gate"))
        self.server = GateServer(
            self.programs.objects[0].map_descriptor("slots"), lambda stop: self.decide(stop)
        )

    def begin(self) -> None:
        self.decide = lambda stop: True
        self.programs.reset()
        self.server.stops.clear()
        self.programs.set(
            controller_process_id=os.getpid(),
            gate_address=self.server.address,
            gate_process_id=self.server.process_id,
        )

    def run(self, count: int, held: int, script: str = CHILDREN) -> list[int]:
        """Exit codes of the children, each of which is held at these events and their own children too."""
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(count)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.programs.set_task(process.pid, 0, child_mask=held << HOLD_SHIFT)
        printed, _ = process.communicate("\n", timeout=60)
        assert process.returncode == 0
        return [int(number) for number in printed.strip("[]\n").split(",") if number]

    def kinds(self) -> collections.Counter[int]:
        return collections.Counter(stop.stop for stop in self.server.stops)

    def close(self) -> None:
        self.programs.set(gate_process_id=0)
        self.programs.__exit__()
        self.server.close()


@pytest.fixture(scope="module")
def opened() -> Iterator[Gate]:
    made = Gate()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def gate(opened: Gate) -> Gate:
    opened.begin()
    return opened


@pytest.fixture
def own_gate() -> Iterator[Gate]:
    made = Gate()
    try:
        made.begin()
        yield made
    finally:
        made.close()


def test_starts_executions_and_ends_wait(gate: Gate) -> None:
    count = 20
    assert gate.run(count, EVENTS) == [7, 0] * (count // 2)
    kinds = gate.kinds()
    released = [r for r in gate.programs.read() if r.flags & RELEASED]
    ends = sum(r.type == records.EXIT for r in released)
    assert (kinds[START], kinds[EXEC], kinds[EXIT] + ends) == (count * 3 // 2, count // 2, count * 3 // 2)
    assert gate.programs.setting("gate_full") == 0


def test_a_task_really_waits(gate: Gate) -> None:
    """Nothing of the child happens before the verdict."""
    asked, answer = threading.Event(), threading.Event()

    def decide(stop: Stop) -> bool:
        asked.set()
        return answer.wait(30)

    gate.decide = decide
    process = subprocess.Popen(
        ["/bin/sh", "-c", "read a; (echo child)"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    gate.programs.set_task(process.pid, 0, child_mask=STARTED << HOLD_SHIFT)
    assert process.stdin and process.stdout
    process.stdin.write(b"\n")
    process.stdin.flush()
    assert asked.wait(10)
    os.set_blocking(process.stdout.fileno(), False)
    time.sleep(0.3)
    assert process.stdout.read() is None
    answer.set()
    assert process.wait(10) == 0
    assert process.stdout.read() == b"child\n"


@pytest.mark.parametrize(
    ("stop", "statuses"),
    [(START, [-9, -9]), (EXEC, [7, -9]), (EXIT, [7, 0])],
)
def test_a_refusal_ends_the_task(gate: Gate, stop: int, statuses: list[int]) -> None:
    gate.decide = lambda found: found.stop != stop
    assert gate.run(4, EVENTS) == statuses * 2


def test_without_a_verdict_everything_goes_on(gate: Gate) -> None:
    gate.decide = lambda stop: None
    assert gate.run(6, EVENTS) == [7, 0] * 3
    assert gate.programs.setting("unanswered") > 0


def test_the_slot_has_the_record(gate: Gate) -> None:
    gate.run(2, EVENTS)
    told = [r for r in gate.programs.read() if r.flags & HELD and r.type != records.EXEC]
    found = [Record.of(stop.body) for stop in gate.server.stops if stop.stop != EXEC]
    assert {(r.type, r.thread_id, r.flags & LAST) for r in found} <= {
        (r.type, r.thread_id, r.flags & LAST) for r in told
    }
    assert all(r.flags & HELD for r in found)
    assert {r.fork()[0] for r in found if r.type == records.FORK}
    ends = [r for r in found if r.type == records.EXIT and r.flags & LAST]
    assert sorted(os.waitstatus_to_exitcode(r.exit_status) for r in ends) == [0, 7]


def test_only_what_the_mask_holds_waits(gate: Gate) -> None:
    gate.run(4, ENDED)
    assert set(gate.kinds()) == {EXIT}
    gate.server.stops.clear()
    gate.run(4, EXECUTED)
    assert set(gate.kinds()) == {EXEC}


@pytest.mark.parametrize("is_same", [True, False])
def test_a_decided_execution_does_not_wait_again(gate: Gate, is_same: bool) -> None:
    line = "echo begun; read a; exec /bin/true"
    process = subprocess.Popen(["/bin/sh", "-c", line], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout and process.stdout.readline()  # the shell's own execution is over
    gate.programs.set_task(process.pid, EXECUTED << HOLD_SHIFT)
    gate.programs.decide(process.pid, "/bin/true" if is_same else "/bin/sh")
    process.communicate(b"\n", timeout=60)
    assert process.returncode == 0
    assert gate.kinds()[EXEC] == (0 if is_same else 1)


def test_the_controllers_own_processes_do_not_start_held(gate: Gate) -> None:
    gate.programs.set(default_mask=STARTED << HOLD_SHIFT)
    gate.programs.set_task(os.getpid(), 0, child_mask=STARTED << HOLD_SHIFT)
    gate.programs.set(default_mask=0)
    gate.decide = lambda stop: False
    assert subprocess.run(["/bin/true"], check=False).returncode == 0
    assert not gate.server.stops


def test_a_shut_gate_holds_nothing(gate: Gate) -> None:
    gate.decide = lambda stop: False
    gate.programs.set(gate_process_id=0)
    assert gate.run(4, EVENTS) == [7, 0] * 2
    assert not [r for r in gate.programs.read() if r.flags & HELD]


def test_the_death_of_the_gates_process_lets_all_go(own_gate: Gate) -> None:
    gate = own_gate
    os.kill(gate.server.process_id, signal.SIGKILL)
    began = time.monotonic()
    assert gate.run(6, EVENTS) == [7, 0] * 3
    assert time.monotonic() - began < 20
    released = [r for r in gate.programs.read() if r.flags & RELEASED]
    assert {r.type for r in released} == {records.FORK, records.EXEC, records.EXIT}


def test_a_held_task_can_be_killed_before_anybody_reads(gate: Gate) -> None:
    """The server does not read, as a stopped controller: the task ends at once, and its stop is told."""
    process = subprocess.Popen(["/bin/sh", "-c", "read a; sleep 1000 & echo $!; read b"], **PIPES)
    gate.programs.set_task(process.pid, 0, child_mask=STARTED << HOLD_SHIFT)
    assert process.stdin and process.stdout
    with gate.server.stopped():
        process.stdin.write(b"\n")
        process.stdin.flush()
        child = int(process.stdout.readline())
        time.sleep(0.2)
        os.kill(child, signal.SIGKILL)
        record = gate.programs.read_until(lambda r: bool(r.flags & RELEASED) and r.thread_id == child)[-1]
        assert record.type == records.FORK
    process.communicate(b"\n")


def test_more_tasks_than_slots_go_on(gate: Gate) -> None:
    count = 600
    code = (
        "import os, sys, time\nsys.stdin.readline()\nchildren = []\n"
        "for _ in range(int(sys.argv[1])):\n"
        "    child = os.fork()\n"
        "    if child == 0:\n        os._exit(0)\n"
        "    children.append(child)\n"
        "print([os.waitpid(child, 0)[1] for child in children])"
    )
    with gate.server.stopped():
        threading.Timer(3, gate.server.go_on).start()
        assert gate.run(count, STARTED, code) == [0] * count
    assert gate.programs.setting("gate_full") == count - 512
    assert gate.kinds()[START] == 512
    assert gate.run(4, EVENTS) == [7, 0] * 2
    assert gate.programs.setting("gate_full") == count - 512, "the slots are free again"


def test_no_entry_stays(gate: Gate) -> None:
    process_ids = set()
    gate.decide = lambda stop: process_ids.add(Record.of(stop.body).process_id) or True
    gate.run(10, EVENTS)
    assert process_ids
    assert not process_ids & set(gate.programs.tasks.keys())


PIPES = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
