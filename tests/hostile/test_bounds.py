"""What one task costs the helper is bounded, in time and in memory."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest
from live_tools import GUID, helper_is_sanitized, is_alive, recording, run_checked, tasks, wait_until

import cbprocess

MIB = 1024 * 1024


def helper_of(watched: cbprocess.CBProcess) -> int:
    """The helper, as the tracer of a program that runs."""
    process = watched.popen(["sleep", "10"])
    try:
        for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
            if line.startswith("TracerPid:"):
                return int(line.split()[1])
    finally:
        process.kill()
        process.wait(10)
    raise AssertionError("nobody traces it")


def children_of(process_id: int) -> list[int]:
    return [task.process_id for task in tasks() if task.parent == process_id]


def states_of(process_id: int) -> list[str]:
    return [task.state for task in tasks() if task.parent == process_id]


def memory_of(process_id: int, what: str) -> int:
    for line in Path(f"/proc/{process_id}/status").read_text().splitlines():
        if line.startswith(what):
            return int(line.split()[1]) * 1024
    return 0


def cpu_seconds(process_id: int) -> float:
    """Of the tracer thread, whose id is the process's."""
    fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


@contextlib.contextmanager
def deciding(decide: Callable[[], None], timeout_ms: int = 0) -> Iterator[cbprocess.CBProcess]:
    """A filter that looks at no event's arguments, which are long, but calls decide for /bin/true."""
    watched = cbprocess.CBProcess()
    watched.initialize(GUID)
    watched.config(f"EventsToFire={cbprocess.PROC_EVT_PROCESS_CREATION}")
    watched.on_process_creation = lambda e: decide() if e.image_file_name == "/bin/true" else None
    watched.start_filter(timeout_ms)
    try:
        yield watched
    finally:
        watched.stop_filter()


def wait_for(done: threading.Event) -> None:
    done.wait(20)


def run(watched: cbprocess.CBProcess, *line: str) -> tuple[int, str]:
    process = watched.popen(line, stdout=subprocess.PIPE, text=True)
    output, _ = process.communicate(timeout=60)
    return process.returncode, output


COUNT = 60


@pytest.fixture
def honest_memory() -> None:
    if helper_is_sanitized():
        pytest.skip("the helper's memory is a sanitizer's, which keeps what is freed")


@pytest.mark.usefixtures("honest_memory")
def test_held_arguments_take_no_more_memory_than_their_bound(attack: Callable[[str], str]) -> None:
    """300 MB of arguments are held at a time; 8 of 5 MB fit into the channel."""
    program = attack("costly")
    all_wait = threading.Event()
    with deciding(lambda: wait_for(all_wait)) as watched:
        helper = helper_of(watched)
        process = watched.popen([program, "many", str(COUNT), "/bin/true"], stdout=subprocess.PIPE, text=True)
        wait_until(lambda: len(children_of(process.pid)) == COUNT, 20, "all have been forked")
        wait_until(lambda: set(states_of(process.pid)) == {"t"}, 20, "all of them wait")
        all_wait.set()
        assert process.communicate(timeout=60)[0] == "failed 0\n"
        statistics = watched.statistics()
        assert memory_of(helper, "VmHWM:") < 160 * MIB
    assert statistics.lost == statistics.timed_out == 0 and statistics.delivered >= COUNT


def test_deadlines_of_what_waits_for_memory(attack: Callable[[str], str]) -> None:
    """A deadline counts from the stop, whether there was memory to ask or not."""
    done = threading.Event()
    program = attack("costly")
    with deciding(lambda: wait_for(done), 3000) as watched:
        start = time.monotonic()
        assert run(watched, program, "many", str(COUNT), "/bin/true") == (0, "failed 0\n")
        passed = time.monotonic() - start
        timed_out = watched.statistics().timed_out
        done.set()
    assert 3 <= passed < 30 and timed_out == COUNT


def test_what_waits_for_memory_dies_and_goes_on(attack: Callable[[str], str]) -> None:
    """A kill is served at once; when the filter stops, everything that waits is executed."""
    done = threading.Event()
    program = attack("costly")
    with deciding(lambda: wait_for(done)) as watched:
        first = watched.popen([program, "many", str(COUNT), "/bin/true"], start_new_session=True)
        second = watched.popen([program, "many", str(COUNT), "/bin/true"], stdout=subprocess.PIPE, text=True)
        wait_until(lambda: len(children_of(second.pid)) == COUNT, 20, "all have been forked")
        children = wait_until(lambda: children_of(first.pid), 5, "it has children")
        time.sleep(0.2)
        os.killpg(first.pid, signal.SIGKILL)
        first.wait(10)
        wait_until(lambda: not any(is_alive(child) for child in children), 10, "they have ended")
        done.set()
        watched.stop_filter()
        assert second.communicate(timeout=20)[0] == "failed 0\n"


def memory_after_hops(watched: cbprocess.CBProcess, helper: int, hop: str, count: int) -> int:
    """What the helper has in memory while the last of them lives."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = watched.popen([hop, str(count), hop], **pipes)
    assert process.stdout.readline() == "arrived\n"
    memory = memory_of(helper, "RssAnon:")
    process.communicate(timeout=10)
    return memory


@pytest.mark.limit(300)
@pytest.mark.usefixtures("honest_memory")
@pytest.mark.parametrize("count", [20000, -1500], ids=["forks", "executions"])
def test_a_line_of_dead_ancestors_is_forgotten(count: int, attack: Callable[[str], str]) -> None:
    """One that forks and ends, again and again, also under other names each time; they are not kept."""
    hop = attack("hop")
    with deciding(lambda: None) as watched:
        helper = helper_of(watched)
        before = memory_after_hops(watched, helper, hop, count // 30)
        assert memory_after_hops(watched, helper, hop, count) - before < MIB // 2


def test_far_pointers(attack: Callable[[str], str]) -> None:
    """As many pointers as the kernel accepts, between two far places; took half a minute per million."""
    program = attack("costly")
    with recording() as recorder:
        helper = helper_of(recorder.filter)
        before = cpu_seconds(helper)
        status, output, _ = run_checked(recorder, [program, "far", "650000", "/bin/true"])
        spent = cpu_seconds(helper) - before
        told = [event for event in recorder.of("process_creation") if len(event["arguments"]) == 650000]
    assert (status, output) == (0, "") and len(told) == 1
    assert spent < 3


def test_too_many_pointers(attack: Callable[[str], str]) -> None:
    program = attack("costly")
    with recording() as recorder:
        helper = helper_of(recorder.filter)
        before = cpu_seconds(helper)
        status, output, _ = run_checked(recorder, [program, "far", "6200000", "/bin/true"])
        spent = cpu_seconds(helper) - before
    assert (status, output) == (0, "errno 7\n") and spent < 3
    assert not any(event["arguments"][0] == "" for event in recorder.of("process_creation"))


def test_what_the_kernel_will_refuse_fires_nothing(attack: Callable[[str], str]) -> None:
    """More arguments than the kernel accepts: nothing is asked, nothing is kept."""
    with recording() as recorder:
        status, output, _ = run_checked(recorder, [attack("costly"), "doomed", "20", "/bin/true"])
        statistics = recorder.filter.statistics()
    assert (status, output) == (0, "failed 20\n")
    assert len(recorder.of("process_creation")) == 1 and statistics.failed_after == 0
