"""Whom the BPF programs wake: masks of processes and how they are inherited, exempt processes, and executions
that were decided before. Nothing is held here, and no guard and no controller takes part."""

from __future__ import annotations

import os
import signal
import subprocess
import threading

import pytest
from machine.programs import records
from machine.programs.programs_tools import TRUE, ask, exec_record_of, own_threads, run, start
from machine.programs.programs_tools import loaded as loaded
from machine.programs.programs_tools import programs as programs
from machine.programs.records import (
    DECIDED,
    EXEC,
    EXEMPT,
    FIRST_THREAD,
    FORK,
    NAMES,
    PROCESS_CREATION,
    PROCESS_TERMINATION,
    THREAD_CREATION,
    THREAD_TERMINATION,
    WORKER,
    Programs,
)

pytestmark = pytest.mark.skipif(bool(records.obstacle()), reason=records.obstacle() or "runs")


def test_nobody_is_woken_without_need(programs: Programs) -> None:
    for _ in range(50):
        run(["/bin/true"])
    assert programs.setting("waked") == 0
    assert sum(record.type == EXEC for record in programs.read()) >= 50


@pytest.mark.parametrize(
    ("mask", "count"),
    [(PROCESS_CREATION, 1), (THREAD_CREATION, 1), (PROCESS_TERMINATION, 1), (THREAD_TERMINATION, 1), (0, 0)],
)
def test_what_a_mask_wants_wakes(programs: Programs, mask: int, count: int) -> None:
    """A shell that forks one child, which executes; only the child has the mask."""
    process = start("/bin/true; :")
    programs.set_task(process.pid, 0, child_mask=mask)
    process.communicate(b"\n")
    assert programs.setting("waked") == count


def test_a_doze_wakes_nobody(programs: Programs) -> None:
    programs.set(default_mask=PROCESS_CREATION | PROCESS_TERMINATION, is_dozing=1)
    run(["/bin/true"])
    assert programs.setting("waked") == 0
    programs.set(is_dozing=0)
    run(["/bin/true"])
    assert programs.setting("waked") >= 2


def test_a_fork_inherits_and_an_end_forgets(programs: Programs) -> None:
    process = start("sleep 1000 & echo $!; read b")
    mask = PROCESS_CREATION | THREAD_CREATION
    programs.set_task(process.pid, 0, child_mask=mask, child_strip=5, strip=1, start=7)
    child = int(ask(process))
    entry = programs.task(child)
    assert entry is not None
    assert (entry["mask"], entry["child_mask"], entry["strip"], entry["child_strip"]) == (mask, mask, 5, 5)
    assert entry["creator"] == process.pid
    os.kill(child, signal.SIGKILL)
    process.communicate(b"\n")
    programs.read_process(process.pid)
    assert programs.task(child) is None
    assert programs.task(process.pid) is None


def test_exempt_processes_have_exempt_children(programs: Programs) -> None:
    programs.set(unknown_mask=0x3F)
    process = start("sleep 1000 & echo $!; read b")
    programs.set_task(process.pid, EXEMPT | 0x3F, child_mask=0x3F)
    child = int(ask(process))
    entry = programs.task(child)
    assert entry is not None
    assert entry["mask"] & EXEMPT
    os.kill(child, signal.SIGKILL)
    process.communicate(b"\n")
    assert programs.setting("waked") == 0


def test_what_a_worker_starts_is_exempt(programs: Programs) -> None:
    programs.set(controller_process_id=os.getpid(), default_mask=0x3F)
    ids: dict[str, int] = {}

    def start(name: str, is_worker: bool) -> None:
        if is_worker:
            programs.set_task(threading.get_native_id(), FIRST_THREAD)
        ids[name] = subprocess.Popen(["/bin/sleep", "1000"]).pid

    for name, is_worker in (("worker", True), ("other", False)):
        thread = threading.Thread(target=start, args=(name, is_worker))
        thread.start()
        thread.join()
    masks = {name: (programs.task(process_id) or {"mask": -1})["mask"] for name, process_id in ids.items()}
    told = {record.process_id: record for record in programs.read() if record.type == FORK}
    for process_id in ids.values():
        os.kill(process_id, signal.SIGKILL)
        os.waitpid(process_id, 0)
    assert masks == {"worker": EXEMPT, "other": 0x3F}
    assert told[ids["worker"]].flags & WORKER
    assert not told[ids["other"]].flags & WORKER
    assert not own_threads(programs) - {os.getpid()}, "the worker's entry goes with it"


def test_an_unknown_image_has_the_mask_of_unknown_ones(programs: Programs) -> None:
    """An execution makes a process with name rules unknown until its entry says that the image is known."""
    programs.set(unknown_mask=PROCESS_TERMINATION)
    process = start("exec cat")
    list(programs.read())
    programs.set_task(process.pid, NAMES)
    ask(process, wanted=b"x\n")
    execution = exec_record_of(programs, process.pid)
    assert programs.setting("waked") == 1, "an execution of a process with name rules wakes"
    programs.set_task(process.pid, NAMES, execution_count=execution.exec()["execution_count"])
    process.communicate()
    programs.read_process(process.pid)
    assert programs.setting("waked") == 1, "a known image does not"


def test_an_unknown_image_is_still_unknown_at_its_end(programs: Programs) -> None:
    programs.set(unknown_mask=PROCESS_TERMINATION)
    process = start("exec /bin/true")
    programs.set_task(process.pid, NAMES)
    process.communicate(b"\n")
    programs.read_process(process.pid)
    assert programs.setting("waked") == 2


# ---- Decided executions ----


@pytest.mark.parametrize("is_same", [True, False])
def test_a_decided_execution(programs: Programs, is_same: bool) -> None:
    process = start("exec /bin/true")
    programs.set_task(process.pid, PROCESS_CREATION)
    programs.decide(process.pid, TRUE if is_same else "/bin/sh")
    list(programs.read())
    process.communicate(b"\n")
    told = programs.read_process(process.pid)
    execution = next(record for record in told if record.type == EXEC)
    assert bool(execution.flags & DECIDED) is is_same
    assert programs.setting("waked") == (0 if is_same else 1)
    left = programs.decided.get(process.pid % records.DECIDED_COUNT)
    assert left is not None
    thread_id, taken_thread_id, taken_stamp, _, _ = records.DECIDED_VALUE.unpack(left)
    assert thread_id == 0
    assert (taken_thread_id, taken_stamp != 0) == ((process.pid, True) if is_same else (0, False))
