"""A controller that is killed, stopped, out of descriptors or asleep hurts nobody: each in a storm of
executions that wait for it. What waited goes on, and nothing stays attached."""

from __future__ import annotations

import contextlib
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
from live_tools import Orphans, Programs, is_alive, of_session, start_controller, wait_until
from machine import own_place
from machine.native.machine_tools import FANOTIFY, GATE, Attached, attached, has_gate

import cbprocess

WIDTH, COUNT, HOLD = 12, 15, 20
CONTROLLER = str(Path(__file__).with_name("storm_controller.py"))
CREATIONS = cbprocess.PROC_EVT_PROCESS_CREATION
LIVES = CREATIONS | cbprocess.PROC_EVT_PROCESS_TERMINATION | cbprocess.PROC_EVT_THREAD_CREATION
AT_ONCE_S = 2.0  # milliseconds, but for a busy machine
DEADLINE_MS = 3000
WAYS = pytest.mark.parametrize(
    ("setting", "events"), [(FANOTIFY, CREATIONS), (GATE, LIVES)], ids=["fanotify", "gate"]
)


class Storm:
    """A controller and a storm of executions, up to the moment when they are held."""

    def __init__(
        self, output: Path, command: list[str], setting: str, events: int, timeout: int, fault: str
    ) -> None:
        self.output = output
        hold_path = str(own_place.own_place())
        line = [setting, str(timeout), str(events), str(HOLD), fault, hold_path, str(output), *command]
        self.controller = start_controller(CONTROLLER, *line)
        self.child = 0
        try:
            self.await_standstill()
            self.attached: Attached = attached(self.controller.pid)
        except BaseException:
            self.end()
            raise

    def await_standstill(self) -> None:
        assert self.controller.stdout is not None
        for line in iter(self.controller.stdout.readline, ""):
            what, *numbers = line.split()
            if what == "held":
                time.sleep(0.3)  # the storm comes to a standstill: all of it is held
                return
            assert what == "child", line
            self.child = int(numbers[0])
        raise AssertionError(f"the controller ended: {self.controller.communicate(timeout=10)}")

    def rows(self) -> list[tuple[int, int]]:
        """Time and exit status of each execution that is done; the last row may be half written."""
        lines = self.output.read_text().split("\n")[:-1]
        return [(int(line.split()[0]), int(line.split()[1])) for line in lines if line != "end"]

    def finish(self, timeout: float) -> None:
        """Waits for the storm's end, and checks that it ended as it would have without a filter."""
        wait_until(lambda: self.output.read_text().endswith("end\n"), timeout, "the end of the storm")
        assert [status for _, status in self.rows()] == [0] * (WIDTH * COUNT)

    def released_after(self, moment_ns: int) -> float:
        """Seconds from the moment to the first execution that went on after it."""
        later = [when for when, _ in self.rows() if when > moment_ns]
        return (min(later) - moment_ns) / 1e9

    def end(self) -> None:
        for task in of_session(self.controller.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(task.process_id, signal.SIGKILL)
        self.controller.communicate(timeout=20)


@pytest.fixture
def start_storm(programs: Programs, tmp_path: Path) -> Iterator[Any]:
    storms: list[Storm] = []

    def start(
        setting: str, events: int, timeout: int = 0, fault: str = "nothing", count: int = COUNT
    ) -> Storm:
        if setting == GATE and not has_gate():
            pytest.skip("the bpf driver has no gate on this kernel")
        storm, status = (own_place.program(programs[name], name) for name in ("processes", "status"))
        command = [storm, "storm", str(WIDTH), str(count), status]
        storms.append(Storm(tmp_path / "storm", command, setting, events, timeout, fault))
        return storms[-1]

    yield start
    for storm in storms:
        storm.end()


def nothing_left(storm: Storm, orphans: Orphans, but: tuple[int, ...] = ()) -> None:
    """No guard, link, program or mount of the controller's, and nobody of its session."""
    wait_until(lambda: storm.attached.left() == [], 20, f"the end of {storm.attached}")
    wait_until(lambda: set(orphans.left()) <= set(but), 20, "the end of everything in the storm")
    assert [task for task in of_session(storm.controller.pid) if task.process_id not in but] == []


@WAYS
def test_what_is_attached_meanwhile(setting: str, events: int, start_storm: Any, orphans: Orphans) -> None:
    """So that the absence of all of it means something."""
    storm = start_storm(setting, events)
    assert storm.attached.processes and storm.attached.links and storm.attached.programs
    assert bool(storm.attached.marks) == (setting == FANOTIFY)
    assert not storm.attached.mounts, "the gate's mount stands in no folder"
    assert storm.attached.left() != []
    storm.controller.kill()
    storm.finish(30)
    nothing_left(storm, orphans)


@WAYS
@pytest.mark.parametrize("timeout", [0, 60000])
def test_killed(setting: str, events: int, timeout: int, start_storm: Any, orphans: Orphans) -> None:
    storm = start_storm(setting, events, timeout)
    assert len(storm.rows()) < WIDTH * COUNT / 2, "the storm was over before the controller was killed"
    moment = time.monotonic_ns()
    storm.controller.kill()
    storm.controller.wait(10)
    storm.finish(30)
    released = storm.released_after(moment)
    print(f"released {released * 1e3:.1f} ms after the controller was killed")
    assert released < AT_ONCE_S
    nothing_left(storm, orphans)


@WAYS
def test_killed_with_a_forked_child_alive(
    setting: str, events: int, start_storm: Any, orphans: Orphans
) -> None:
    """The child has copies of all descriptors: that must not look like a living controller."""
    storm = start_storm(setting, events, fault="fork")
    moment = time.monotonic_ns()
    storm.controller.kill()
    storm.controller.wait(10)
    storm.finish(30)
    released = storm.released_after(moment)
    print(f"released {released * 1e3:.1f} ms after the controller was killed")
    assert released < AT_ONCE_S
    assert is_alive(storm.child)
    nothing_left(storm, orphans, but=(storm.child,))
    os.kill(storm.child, signal.SIGKILL)


@WAYS
def test_stopped(setting: str, events: int, start_storm: Any, orphans: Orphans) -> None:
    """A stopped controller costs each operation its deadline, and nobody is refused."""
    storm = start_storm(setting, events, DEADLINE_MS)
    moment = time.monotonic_ns()
    storm.controller.send_signal(signal.SIGSTOP)
    wait_until(lambda: storm.rows()[-1][0] > moment, 20, "the first operation to go on")
    released = storm.released_after(moment)
    print(f"released {released:.2f} s after the controller was stopped, its deadline being 3 s")
    assert released < 10.0
    done = len(storm.rows())
    wait_until(lambda: len(storm.rows()) >= done + WIDTH, 60, "more to go on")
    storm.controller.kill()
    storm.finish(60)
    storm.controller.wait(10)
    nothing_left(storm, orphans)


@WAYS
def test_stopped_and_continued(setting: str, events: int, start_storm: Any, orphans: Orphans) -> None:
    """Its answers are late, and count for nothing."""
    storm = start_storm(setting, events, DEADLINE_MS, count=4)
    done = len(storm.rows())
    storm.controller.send_signal(signal.SIGSTOP)
    wait_until(lambda: len(storm.rows()) > done, 20, "an operation to go on")
    storm.controller.send_signal(signal.SIGCONT)
    wait_until(lambda: storm.output.read_text().endswith("end\n"), 100, "the end of the storm")
    assert [status for _, status in storm.rows()] == [0] * (WIDTH * 4)
    output, errors = storm.controller.communicate(timeout=30)
    result = json.loads(output.splitlines()[-1])
    assert (errors, storm.controller.returncode) == ("", 0)
    assert (result["status"], result["refused"], result["lost"]) == (0, 0, 0)
    assert result["timed_out"] > 0
    nothing_left(storm, orphans)


@WAYS
def test_handlers_asleep(setting: str, events: int, start_storm: Any, orphans: Orphans) -> None:
    """However many operations wait for a worker: each goes on after its own deadline."""
    storm = start_storm(setting, events, DEADLINE_MS, count=3)
    moment = time.monotonic_ns()
    wait_until(lambda: storm.output.read_text().endswith("end\n"), 100, "the end of the storm")
    assert [status for _, status in storm.rows()] == [0] * (WIDTH * 3)
    print(f"the storm is over after {(time.monotonic_ns() - moment) / 1e9:.1f} s")
    output, errors = storm.controller.communicate(timeout=30)
    result = json.loads(output.splitlines()[-1])
    assert (errors, storm.controller.returncode, result["status"], result["refused"]) == ("", 0, 0, 0)
    assert result["timed_out"] >= WIDTH * 3 - HOLD
    nothing_left(storm, orphans)


def test_out_of_descriptors(start_storm: Any, orphans: Orphans) -> None:
    """The kernel needs a descriptor of the controller for each execution that it reads; without one it would
    refuse it. What is held already keeps its deadline, and the rest goes on."""
    storm = start_storm(FANOTIFY, CREATIONS, DEADLINE_MS, fault="descriptors")
    storm.finish(100)
    output, errors = storm.controller.communicate(timeout=30)
    result = json.loads(output.splitlines()[-1])
    assert (errors, storm.controller.returncode, result["status"], result["refused"]) == ("", 0, 0, 0)
    nothing_left(storm, orphans)


@WAYS
def test_the_guard_is_killed(setting: str, events: int, start_storm: Any, orphans: Orphans) -> None:
    """What waits goes on at once; the controller notices, and ends by itself."""
    storm = start_storm(setting, events)
    moment = time.monotonic_ns()
    os.kill(storm.attached.processes[0], signal.SIGKILL)
    storm.finish(30)
    released = storm.released_after(moment)
    print(f"released {released * 1e3:.1f} ms after the guard was killed")
    assert released < AT_ONCE_S
    storm.controller.communicate(timeout=30)
    nothing_left(storm, orphans)


FORGETFUL = """
import sys, cbprocess
instance = cbprocess.CBProcess()
instance.initialize("{00000000-0000-0000-0000-000000000000}")
for line in ("Driver=bpf", "HoldPaths=" + sys.argv[1], "EventsToFire=" + sys.argv[2], sys.argv[3]):
    instance.config(line)
instance.on_process_creation = lambda event: None
instance.add_filtered_process_by_id(-1, True)
instance.start_filter(0)
print("active", flush=True)
sys.stdin.read()
"""


@WAYS
def test_a_filter_that_nobody_stops(setting: str, events: int) -> None:
    """It is stopped when its interpreter ends."""
    if setting == GATE and not has_gate():
        pytest.skip("the bpf driver has no gate on this kernel")
    line = [sys.executable, "-c", FORGETFUL, str(own_place.own_place()), str(events), setting]
    pipe = subprocess.PIPE
    with subprocess.Popen(line, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as controller:
        assert controller.stdout is not None
        assert controller.stdout.readline() == "active\n"
        has = attached(controller.pid)
        assert has.processes and has.left() != []
        _, errors = controller.communicate("", timeout=30)
    assert (errors, controller.returncode) == ("", 0)
    wait_until(lambda: has.left() == [], 20, f"the end of {has}")
