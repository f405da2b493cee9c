"""A machine whose every execution waits for a controller goes on when that is killed, stopped, out of
descriptors or asleep: each in a storm. Nothing stays attached."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from live_tools import LIFETIMES, Programs, is_alive, wait_until
from machine.native.machine_tools import attached
from whole_machine import CREATIONS, FANOTIFY, GATE, Controller, Storm, filtering, has_gate, seconds_of

WIDTH, COUNT = 6, 10
DEADLINE_MS = 3000  # the shortest there is
AT_ONCE_S = 5.0  # milliseconds, but for a guest whose processors other machines share
SLACK_S = 15.0
TRUE = ["/bin/true"]
STARTS_ANOTHER = "import subprocess, sys; sys.exit(subprocess.run(['true']).returncode)"
WAYS = pytest.mark.parametrize(
    ("setting", "events"), [(FANOTIFY, CREATIONS), (GATE, LIFETIMES)], ids=["fanotify", "gate"]
)


class Scene:
    """A controller of the whole machine, and a storm that has begun."""

    def __init__(self, setting: str, events: int, timeout: int, line: list[str], output: Path) -> None:
        if setting == GATE and not has_gate():
            pytest.skip("the bpf driver has no gate on this kernel")
        self.controller = Controller(setting, timeout, events)
        try:
            self.attached = attached(self.controller.pid)
            assert self.attached.left() != []
            self.storm = Storm(line, output)
            self.storm.await_rows(WIDTH)
        except BaseException:
            self.controller.end()
            raise

    def fall_asleep(self) -> None:
        self.controller.order("asleep")
        self.controller.await_held()
        time.sleep(0.5)  # then all of the storm waits

    def nothing_left(self) -> None:
        with contextlib.suppress(AssertionError):
            wait_until(lambda: self.attached.left() == [], 60, "the end of what was attached")
        assert self.attached.left() == []
        assert seconds_of(TRUE) < AT_ONCE_S

    def end(self) -> None:
        self.controller.end()
        self.storm.end()


@pytest.fixture
def begin(programs: Programs, tmp_path: Path) -> Iterator[Any]:
    scenes: list[Scene] = []

    def start(setting: str, events: int, timeout: int = 0, count: int = COUNT) -> Scene:
        line = [programs["processes"], "storm", str(WIDTH), str(count), programs["status"]]
        scenes.append(Scene(setting, events, timeout, line, tmp_path / "storm"))
        return scenes[-1]

    yield start
    for scene in scenes:
        scene.end()


@WAYS
def test_nothing_happens(setting: str, events: int, begin: Any) -> None:
    """Each execution of the machine is held, and nobody notices."""
    scene = begin(setting, events)
    scene.storm.finish(WIDTH * COUNT, 100)
    assert seconds_of(TRUE) < AT_ONCE_S
    told = scene.controller.finish()
    assert (told["errors"], told["lost"], told["timed_out"], told["refused"]) == ([], 0, 0, 0)
    assert told["delivered"] == told["count"] >= WIDTH * COUNT
    scene.nothing_left()


@WAYS
def test_killed(setting: str, events: int, begin: Any) -> None:
    """What waits goes on at once, although it had no deadline."""
    scene = begin(setting, events)
    scene.fall_asleep()
    assert len(scene.storm.rows()) < WIDTH * COUNT, "the storm was over before the controller was killed"
    moment = time.monotonic_ns()
    scene.controller.kill()
    released = scene.storm.released_after(moment)
    print(f"released {released * 1e3:.1f} ms after the controller was killed")
    assert released < AT_ONCE_S
    scene.storm.finish(WIDTH * COUNT, 100)
    scene.nothing_left()


@WAYS
def test_killed_with_a_forked_child_alive(setting: str, events: int, begin: Any) -> None:
    scene = begin(setting, events)
    scene.controller.order("fork")
    scene.fall_asleep()
    moment = time.monotonic_ns()
    scene.controller.kill()
    released = scene.storm.released_after(moment)
    print(f"released {released * 1e3:.1f} ms after the controller was killed")
    assert released < AT_ONCE_S
    assert is_alive(scene.controller.child)
    scene.storm.finish(WIDTH * COUNT, 100)
    scene.nothing_left()
    os.kill(scene.controller.child, signal.SIGKILL)


@WAYS
def test_stopped(setting: str, events: int, begin: Any) -> None:
    """Each operation goes on after its deadline, also those of programs that nobody has to do with."""
    scene = begin(setting, events, DEADLINE_MS, count=2)
    scene.controller.signal(signal.SIGSTOP)
    moment = time.monotonic_ns()
    released = scene.storm.released_after(moment)
    stops = 1 if setting == FANOTIFY else 4  # start, execution, end of the thread, and of the process
    assert released < stops * DEADLINE_MS / 1e3 + SLACK_S
    taken = seconds_of(TRUE)
    print(f"released after {released:.1f} s, a program took {taken:.1f} s")
    assert taken < stops * DEADLINE_MS / 1e3 + SLACK_S
    scene.controller.signal(signal.SIGCONT)
    scene.storm.finish(WIDTH * 2, 100)
    told = scene.controller.finish()
    assert told["refused"] == 0 and told["timed_out"] > 0
    scene.nothing_left()


@WAYS
def test_stopped_and_killed(setting: str, events: int, begin: Any) -> None:
    scene = begin(setting, events, 60000)
    scene.controller.signal(signal.SIGSTOP)
    time.sleep(1)
    moment = time.monotonic_ns()
    scene.controller.kill()
    assert scene.storm.released_after(moment) < AT_ONCE_S
    scene.storm.finish(WIDTH * COUNT, 100)
    scene.nothing_left()


@WAYS
def test_handlers_asleep(setting: str, events: int, begin: Any) -> None:
    """However many operations wait for a worker: each goes on after its deadline. Then handlers answer
    again."""
    scene = begin(setting, events, DEADLINE_MS, count=3)
    scene.fall_asleep()
    moment = time.monotonic_ns()
    stops = 1 if setting == FANOTIFY else 4
    assert scene.storm.released_after(moment) < stops * DEADLINE_MS / 1e3 + SLACK_S
    assert seconds_of(TRUE) < stops * DEADLINE_MS / 1e3 + SLACK_S
    scene.controller.order("awake")
    scene.storm.finish(WIDTH * 3, 100)
    assert seconds_of(TRUE) < AT_ONCE_S
    told = scene.controller.finish()
    assert told["refused"] == 0 and told["timed_out"] > 0
    scene.nothing_left()


def test_out_of_descriptors(begin: Any) -> None:
    """fanotify gives a descriptor for each execution: without a free one the kernel would refuse it."""
    scene = begin(FANOTIFY, CREATIONS, DEADLINE_MS)
    scene.controller.order("descriptors")
    scene.storm.finish(WIDTH * COUNT, 100)
    taken = seconds_of(TRUE)
    print(f"a program took {taken:.2f} s")
    assert taken < DEADLINE_MS / 1e3 + SLACK_S
    told = scene.controller.finish()
    assert told["refused"] == 0
    scene.nothing_left()


@WAYS
def test_the_guard_is_killed(setting: str, events: int, begin: Any) -> None:
    scene = begin(setting, events)
    scene.fall_asleep()
    moment = time.monotonic_ns()
    os.kill(scene.attached.processes[0], signal.SIGKILL)
    assert scene.storm.released_after(moment) < AT_ONCE_S
    scene.storm.finish(WIDTH * COUNT, 100)
    scene.nothing_left()


def test_what_a_handler_starts_is_not_held(programs: Programs) -> None:
    """A handler that runs a program while every execution waits for it would wait for itself."""
    started: list[int] = []

    def decide(kind: str, event: Any) -> None:
        if "status" in event.process_name and not started:
            done = subprocess.run([sys.executable, "-c", STARTS_ANOTHER], timeout=60)
            started.append(done.returncode)

    with filtering(events=CREATIONS, decide=decide) as recorder:
        assert seconds_of(["sh", "-c", f"{programs['status']} 3; exit $?"], 3) < 60
    assert started == [0]
    assert [row for row in recorder.of("process_creation") if row["timed_out"]] == []
