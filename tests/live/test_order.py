"""Handlers are called for one process's events in their order, though several run at once: what follows an
event whose handler is still running waits for it, and nothing else does."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from live_tools import Programs, Recorder, is_alive, name_of, recording, run_checked, wait_until

import cbprocess

LIMIT_S = 60


class Watched:
    """A program by a name of its own; when its handlers begin and end."""

    def __init__(self, programs: Programs, folder: Path) -> None:
        self.program = programs.copy("status", folder / "watched")
        self.calls: list[str] = []
        self.is_held = threading.Event()
        self.may_go_on = threading.Event()
        self.process_id = 0

    def decide(self, kind: str, event: Any) -> None:
        if kind not in ("process_creation", "process_termination"):
            return
        is_creation = kind == "process_creation"
        # Killed before it was executed it ends by the name that it had before.
        if event.process_id != self.process_id and not (
            is_creation and name_of(event.process_name) == "watched"
        ):
            return
        self.calls.append(f"{kind} begins")
        if is_creation:
            self.process_id = event.process_id
            self.is_held.set()
            assert self.may_go_on.wait(LIMIT_S)
        self.calls.append(f"{kind} ends")


IN_ORDER = [
    "process_creation begins",
    "process_creation ends",
    "process_termination begins",
    "process_termination ends",
]


@pytest.fixture
def watched(programs: Programs, tmp_path: Path) -> Watched:
    return Watched(programs, tmp_path)


def pass_by(recorder: Recorder) -> None:
    """Another program begins and ends: what had happened before has been taken by some worker by then."""
    before = len(recorder.of("process_termination"))
    assert run_checked(recorder, ["true"])[0] == 0
    wait_until(lambda: len(recorder.of("process_termination")) > before, LIMIT_S, "its end is told")


def run_and_wait(recorder: Recorder, watched: Watched) -> subprocess.Popen[bytes]:
    process = recorder.filter.popen(["sh", "-c", f"{watched.program} & wait $!; exit 0"])
    assert watched.is_held.wait(LIMIT_S)
    return process


def test_killed_while_it_is_held(watched: Watched) -> None:
    with recording(decide=watched.decide) as recorder:
        process = run_and_wait(recorder, watched)
        subprocess.run(["kill", "-KILL", str(watched.process_id)], check=True)
        assert process.wait(LIMIT_S) == 0
        pass_by(recorder)
        assert watched.calls == IN_ORDER[:1]
        assert recorder.filter.statistics().queued == 1
        watched.may_go_on.set()
        wait_until(lambda: len(watched.calls) == 4, LIMIT_S, "its end is told")
    assert watched.calls == IN_ORDER


def test_decided_by_a_rule(watched: Watched) -> None:
    """Nobody waits for the handler: it has ended by the time that its creation is told to have begun."""
    with recording(decide=watched.decide) as recorder:
        recorder.filter.add_rule(name=watched.program, action="allow", include_children=True)
        process = run_and_wait(recorder, watched)
        assert process.wait(LIMIT_S) == 0
        wait_until(lambda: not is_alive(watched.process_id), LIMIT_S, "its end")
        pass_by(recorder)
        assert watched.calls == IN_ORDER[:1]
        watched.may_go_on.set()
        wait_until(lambda: len(watched.calls) == 4, LIMIT_S, "its end is told")
    assert watched.calls == IN_ORDER


def test_a_handler_that_does_not_return(watched: Watched) -> None:
    """Its deadline is the limit: then what follows is told."""
    with recording(timeout_ms=3000, decide=watched.decide) as recorder:
        process = run_and_wait(recorder, watched)
        wait_until(lambda: IN_ORDER[3] in watched.calls, LIMIT_S, "its end is told")
        assert process.wait(LIMIT_S) == 0
        watched.may_go_on.set()
    assert watched.calls == [IN_ORDER[0], *IN_ORDER[2:], IN_ORDER[1]]
    assert recorder.filter.statistics().lost == 0


def test_stopped_while_something_waits(watched: Watched) -> None:
    """What has not had its turn when the filter stops is let go as everything else."""
    with recording(decide=watched.decide) as recorder:
        process = run_and_wait(recorder, watched)
        subprocess.run(["kill", "-KILL", str(watched.process_id)], check=True)
        assert process.wait(LIMIT_S) == 0
        pass_by(recorder)
        stopping = threading.Thread(target=recorder.filter.stop_filter)
        stopping.start()
        wait_until(lambda: not recorder.filter.active, LIMIT_S, "it stops")
        watched.may_go_on.set()
        stopping.join(LIMIT_S)
    assert watched.calls == IN_ORDER[:2]


# The program waits for both: at its end a thread that was not let go yet would be told as an end.
TWO_THREADS = """
import _thread
done = [_thread.allocate_lock() for _ in range(2)]
for lock in done:
    lock.acquire()
    _thread.start_new_thread(lock.release, ())
for lock in done:
    lock.acquire()
"""


def test_threads_do_not_wait_for_one_another(watched: Watched) -> None:
    """The first one's handler returns when the second one's has been called."""
    both = threading.Barrier(2, timeout=LIMIT_S)

    def decide(kind: str, event: Any) -> None:
        if kind == "thread_creation" and event.creating_process_id == event.process_id:
            both.wait()

    with recording(events=cbprocess.PROC_EVT_THREAD_CREATION, decide=decide) as recorder:
        status, _, errors = run_checked(recorder, [sys.executable, "-c", TWO_THREADS])
    assert (status, errors) == (0, "")
    assert not both.broken
