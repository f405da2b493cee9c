"""A controller that dies, stops, forks or ends in the middle of its work hurts nobody."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from live_tools import Orphans, Programs, is_alive, of_session, start_controller, tracer_of, wait_until

import cbprocess

WIDTH, COUNT = 12, 15
CREATION = str(cbprocess.PROC_EVT_PROCESS_CREATION)
SETTINGS = pytest.mark.parametrize("setting", ["RefuseWith=errno", "RefuseWith=kill"])


@pytest.fixture
def semaphores() -> None:
    """Skips the test where multiprocessing has none, for want of a /dev/shm that may be written to."""
    try:
        multiprocessing.get_context("fork").Lock()
    except OSError as error:
        pytest.skip(f"multiprocessing cannot work here, /dev/shm: {error.strerror}")


class Storm:
    """A controller with a fork storm under it, up to the moment when operations are held."""

    def __init__(
        self, output: Path, program: list[str], setting: str, timeout: int, events: str, fork: bool
    ) -> None:
        self.output = output
        line = [setting, str(timeout), events, "20", str(int(fork)), str(output), *program]
        self.controller = start_controller("controller_storm.py", *line)
        self.child, self.child_codes, self.helper = 0, [], 0
        try:
            self.await_standstill(fork)
        except BaseException:
            self.end()
            raise

    def await_standstill(self, fork: bool) -> None:
        while not self.helper or (fork and not self.child):
            assert self.controller.stdout is not None
            line = self.controller.stdout.readline()
            assert line, f"the controller ended: {self.controller.communicate(timeout=10)}"
            words = line.split(maxsplit=2)
            if words[0] == "held":
                self.helper = int(words[1])
            else:
                assert words[0] == "child", line
                self.child, self.child_codes = int(words[1]), json.loads(words[2])
        time.sleep(0.3)  # the storm comes to a standstill: all of it is held

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
        return (min(time for time, _ in self.rows() if time > moment_ns) - moment_ns) / 1e9

    def end(self) -> None:
        for task in of_session(self.controller.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(task.process_id, signal.SIGKILL)
        self.controller.communicate(timeout=20)


@pytest.fixture
def start_storm(programs: Programs, tmp_path: Path) -> Iterator[Any]:
    storms: list[Storm] = []

    def start(
        setting: str, timeout: int, events: str = "27", fork: bool = False, count: int = COUNT
    ) -> Storm:
        line = [programs["processes"], "storm", str(WIDTH), str(count), programs["status"]]
        storms.append(Storm(tmp_path / "storm", line, setting, timeout, events, fork))
        return storms[-1]

    yield start
    for storm in storms:
        storm.end()


def nothing_left(storm: Storm, orphans: Orphans, but: tuple[int, ...] = ()) -> None:
    """No process of the controller's session, no zombie, no helper."""
    wait_until(lambda: not is_alive(storm.helper), 20, "the end of the helper")
    wait_until(lambda: set(orphans.left()) <= set(but), 20, "the end of everything in the storm")
    assert [task for task in of_session(storm.controller.pid) if task.process_id not in but] == []


@SETTINGS
@pytest.mark.parametrize("timeout", [0, 60000])
def test_killed(setting: str, timeout: int, start_storm: Any, orphans: Orphans) -> None:
    storm = start_storm(setting, timeout)
    done = len(storm.rows())
    assert done < WIDTH * COUNT / 2, "the storm was over before the controller was killed"
    moment = time.monotonic_ns()
    storm.controller.kill()
    storm.controller.wait(10)
    storm.finish(30)
    released = storm.released_after(moment)
    print(f"released {released * 1e3:.1f} ms after the controller was killed")
    assert released < 5.0  # at once, not after a deadline; the machine may be busy
    nothing_left(storm, orphans)


@SETTINGS
@pytest.mark.usefixtures("semaphores")
def test_killed_with_a_forked_child_alive(setting: str, start_storm: Any, orphans: Orphans) -> None:
    """The child has copies of all descriptors: that must not look like a living controller."""
    storm = start_storm(setting, 0, fork=True)
    assert storm.child_codes == [cbprocess.ERROR_NOT_READY] * 3
    moment = time.monotonic_ns()
    storm.controller.kill()
    storm.controller.wait(10)
    storm.finish(30)
    assert storm.released_after(moment) < 5.0
    assert is_alive(storm.child)
    nothing_left(storm, orphans, but=(storm.child,))
    os.kill(storm.child, signal.SIGKILL)


@SETTINGS
def test_what_survives_a_killed_controller(setting: str, orphans: Orphans) -> None:
    """A program that lives on is let go; where it has a filter of system calls, the helper stays for it
    as long as it lives."""
    quiet = subprocess.DEVNULL
    line = [setting, "sh", "-c", "sleep 93; exit 0"]
    controller = start_controller("run_one.py", *line, stdout=quiet, stderr=quiet)

    def sleeper() -> list[int]:
        return [task.process_id for task in of_session(controller.pid) if task.name == "sleep"]

    (process_id,) = wait_until(sleeper, 20, "the program")
    helper = tracer_of(process_id)
    assert helper
    controller.kill()
    controller.wait(10)
    if setting == "RefuseWith=kill":
        wait_until(lambda: tracer_of(process_id) == 0, 10, "the program is let go")
    else:
        time.sleep(0.5)
        assert tracer_of(process_id) == helper
    assert is_alive(process_id)
    os.kill(process_id, signal.SIGKILL)
    wait_until(lambda: not is_alive(helper), 10, "the end of the helper")
    wait_until(lambda: orphans.left() == [], 10, "the end of everything")


@SETTINGS
def test_stopped(setting: str, programs: Programs, start_storm: Any, orphans: Orphans) -> None:
    """A stopped controller costs each operation its deadline; continued, it finds its answers dropped."""
    storm = start_storm(setting, 3000, events=CREATION, count=COUNT)
    moment = time.monotonic_ns()
    storm.controller.send_signal(signal.SIGSTOP)
    wait_until(lambda: storm.rows()[-1][0] > moment, 20, "the first operation to go on")
    released = storm.released_after(moment)
    print(f"released {released:.2f} s after the controller was stopped, its deadline being 3 s")
    assert released < 10.0
    storm.controller.send_signal(signal.SIGCONT)
    time.sleep(0.2)
    storm.controller.send_signal(signal.SIGSTOP)
    wait_until(lambda: len(storm.rows()) >= 40, 40, "more to go on")
    storm.controller.kill()
    storm.finish(60)
    storm.controller.wait(10)
    nothing_left(storm, orphans)


def test_stopped_and_continued(programs: Programs, start_storm: Any, orphans: Orphans) -> None:
    storm = start_storm("RefuseWith=errno", 3000, events=CREATION, count=2)
    storm.controller.send_signal(signal.SIGSTOP)
    wait_until(lambda: storm.output.read_text().endswith("end\n"), 40, "the end of the storm")
    assert [status for _, status in storm.rows()] == [0] * (WIDTH * 2)
    storm.controller.send_signal(signal.SIGCONT)
    output, errors = storm.controller.communicate(timeout=30)
    result = json.loads(output.splitlines()[-1])
    assert errors == "" and storm.controller.returncode == 0
    assert (result["status"], result["refused"]) == (0, 0) and result["timed_out"] > 0
    nothing_left(storm, orphans)


@pytest.mark.usefixtures("semaphores")
def test_a_forked_child_that_ends_does_nothing_to_the_filter(programs: Programs) -> None:
    """multiprocessing children come and go; their exit handlers leave the parent's filter alone."""
    text = (
        "import multiprocessing, sys, cbprocess\n"
        "seen = []\n"
        "instance = cbprocess.CBProcess()\n"
        "instance.initialize('{5ABD3A8B-6A3F-4C52-9F0C-5E1F0A1C7D15}')\n"
        "instance.config('EventsToFire=-1')\n"
        "instance.on_process_creation = lambda event: seen.append(event.arguments)\n"
        "instance.start_filter(0)\n"
        "context = multiprocessing.get_context('fork')\n"
        "with context.Pool(2) as pool: assert pool.map(abs, [-1, -2]) == [1, 2]\n"
        "child = context.Process(target=sys.exit, args=(0,)); child.start(); child.join()\n"
        "assert child.exitcode == 0 and instance.active\n"
        "assert instance.popen(['true']).wait(20) == 0\n"
        "instance.stop_filter()\n"
        "assert seen == [['true']], seen\n"
    )
    import sys

    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60, cwd="/")
    assert (done.returncode, done.stderr) == (0, "")
