"""Who is never held: the controller, its guard, what handlers start, and logging; and nobody at all where
nothing but observing is asked for."""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from live_tools import Programs, wait_until
from machine import own_place
from machine.native.machine_tools import FANOTIFY, GATE, has_gate, own_attached, run, through_shell, watching

import cbprocess

LIMIT_S = 20
ALL_FOUR = (
    cbprocess.PROC_EVT_PROCESS_CREATION
    | cbprocess.PROC_EVT_PROCESS_TERMINATION
    | cbprocess.PROC_EVT_THREAD_CREATION
    | cbprocess.PROC_EVT_THREAD_TERMINATION
)


@pytest.fixture(params=[FANOTIFY, GATE])
def setting(request: pytest.FixtureRequest) -> str:
    if request.param == GATE and not has_gate():
        pytest.skip("the bpf driver has no gate on this kernel")
    chosen: str = request.param
    return chosen


@pytest.fixture
def status(programs: Programs) -> str:
    return own_place.program(programs["status"], "status")


class Workers:
    """As many operations held as there are workers, each of whom does something meanwhile."""

    def __init__(self, act: Any) -> None:
        self.act = act
        self.results: list[Any] = []
        self.lock = threading.Lock()

    def decide(self, kind: str, event: Any) -> None:
        if kind == "process_creation":
            result = self.act()
            with self.lock:
                self.results.append(result)


def hold_everybody(
    settings: tuple[str, ...], status: str, act: Any, count: int = 12
) -> tuple[list[Any], list[int]]:
    """The results of what each handler did, and the statuses of the programs that waited for them."""
    workers = Workers(act)
    with watching(*settings, events=ALL_FOUR, decide=workers.decide) as recorder:
        waiting = [subprocess.Popen(through_shell(status, number)) for number in range(count)]
        codes = [process.wait(LIMIT_S) for process in waiting]
        assert recorder.errors == []
        assert recorder.filter.statistics().timed_out == 0
    return workers.results, codes


def test_what_handlers_start(setting: str, status: str) -> None:
    """With every worker busy, each starts a program where executions are held, and that one another."""
    line = [sys.executable, "-c", f"import subprocess; print(subprocess.call([{status!r}, '7']))"]

    def act() -> tuple[int, int, str]:
        own = subprocess.run([status, "5"], timeout=LIMIT_S)
        child = subprocess.run(line, capture_output=True, text=True, timeout=LIMIT_S)
        return own.returncode, child.returncode, child.stdout

    results, codes = hold_everybody((setting,), status, act)
    assert codes == list(range(12))
    assert results == [(5, 0, "7\n")] * 12


def test_threads_that_handlers_start(setting: str, status: str) -> None:
    def act() -> str:
        found: list[str] = []
        thread = threading.Thread(target=lambda: found.append("ran"))
        thread.start()
        thread.join(LIMIT_S)
        return found[0]

    results, codes = hold_everybody((setting,), status, act)
    assert codes == list(range(12))
    assert results == ["ran"] * 12


def test_logging_in_handlers(setting: str, status: str, tmp_path: Path) -> None:
    """A file that is rotated, and a queue with a thread of its own that writes another."""
    rotated = logging.handlers.RotatingFileHandler(tmp_path / "log", maxBytes=200, backupCount=3)
    logger = logging.Logger("own")
    logger.addHandler(rotated)

    def act() -> int:
        for number in range(20):
            logger.warning("a process is created, says line %d", number)
        return 1

    results, codes = hold_everybody((setting,), status, act)
    rotated.close()
    assert (codes, results) == (list(range(12)), [1] * 12)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "log.1", "log.2", "log.3"]


def test_what_another_thread_of_the_controller_starts(setting: str, status: str) -> None:
    """It is no worker. While all workers are in handlers, what it does itself never waits for one."""
    gate, entered = threading.Event(), threading.Event()

    def decide(kind: str, event: Any) -> None:
        if kind == "process_creation":
            entered.set()
            assert gate.wait(LIMIT_S)

    with watching(setting, events=ALL_FOUR, everything=False, decide=decide) as recorder:
        recorder.filter.add_filtered_process_by_name("status", False)
        waiting = [subprocess.Popen([sys.executable, "-c", _starter(status)]) for _ in range(12)]
        assert entered.wait(LIMIT_S)
        time.sleep(0.3)
        # The start and the end of a thread and of a process, and the execution of a program of another name.
        thread = threading.Thread(target=lambda: None)
        thread.start()
        thread.join(LIMIT_S)
        assert not thread.is_alive()
        other = own_place.program(status, "other")
        assert run([other, "3"]).returncode == 3
        gate.set()
        assert [process.wait(LIMIT_S) for process in waiting] == [9] * 12


def _starter(status: str) -> str:
    return f"import os; os.execv({status!r}, [{status!r}, '9'])"


# ---- Observing ----


def test_observing_holds_nothing(status: str) -> None:
    """No mark, no mount and no program of the gate: all that is there sees, and cannot make wait."""
    with watching(events=ALL_FOUR, everything=False) as recorder:
        before = own_attached()
        assert before.processes, "there is a guard"
        recorder.filter.add_rule(process_id=-1, action="allow")
        assert run(through_shell(status, "3")).returncode == 3
        wait_until(
            lambda: any(status in row["process_name"] for row in recorder.of("process_termination")), 20, "it"
        )
        has = own_attached()
        assert (has.marks, has.mounts) == ([], [])
        assert not [row for row in recorder.events if row["held"] or row["refusable"]]


def test_marks_come_and_go_with_the_rules(setting: str, status: str) -> None:
    with watching(setting, events=ALL_FOUR, everything=False) as recorder:
        assert own_attached().marks == []
        recorder.filter.add_filtered_process_by_name("status", False)
        assert run(through_shell(status, "3")).returncode == 3
        assert bool(own_attached().marks) == (setting == FANOTIFY)
        recorder.filter.remove_filtered_process_by_name("status")
        wait_until(lambda: own_attached().marks == [], 10, "the marks are gone")
        assert run(through_shell(status, "4")).returncode == 4
    assert [row["held"] for row in recorder.of("process_creation")] == [True]


def zombies() -> set[int]:
    """Children of this process that have ended and that nobody has waited for."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
            if state == "Z" and int(parent) == os.getpid():
                found.add(int(path.parent.name))
    return found


def test_nothing_is_left_after_a_stop(setting: str, status: str) -> None:
    before = zombies()
    with watching(setting, events=ALL_FOUR):
        assert run(through_shell(status, "3")).returncode == 3
        has = own_attached()
        assert has.left() != []
    wait_until(lambda: has.left() == [], 20, f"the end of {has}")
    assert zombies() <= before, "a zombie is left"


def test_only_the_hold_path_is_marked(status: str) -> None:
    """Every mark is on the file system that was named."""
    with watching(FANOTIFY, events=cbprocess.PROC_EVT_PROCESS_CREATION):
        assert run(through_shell(status, "3")).returncode == 3
        marks = own_attached().marks
    device = os.stat(own_place.own_place()).st_dev
    number = os.major(device) << 20 | os.minor(device)
    assert marks
    assert all(f"sdev:{number:x}" in mark for mark in marks), marks
