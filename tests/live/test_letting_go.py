"""Who is let go, or attached to, does not notice: no system call that sleeps is interrupted for it. A task is
let go when it next stops by itself, or at the helper's end; until then nothing is told of it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
import supervised
from attach_tools import END_STATUS, assert_makers_let_go, running, task_status, tracers_of
from live_tools import (
    GUID,
    LIFETIMES,
    PROGRAMS,
    Programs,
    Task,
    helpers,
    is_alive,
    recording,
    tracer_of,
    wait_until,
)
from sleepers import Sleeper, assert_undisturbed, sleeper

import cbprocess


@contextlib.contextmanager
def another_supervised(recorder: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A program under the filter, so that the helper is needed."""
    process = recorder.filter.popen(["sleep", "600"])
    try:
        yield process
    finally:
        process.kill()
        process.wait(30)


# ---- Attaching, and letting go, while all sleep ----


def by_stop_filter(process_id: int) -> None:
    with recording() as recorder:
        recorder.filter.add_filtered_process_by_id(process_id, True)
        assert tracers_of(process_id) - {0}


def by_removing_the_rule(process_id: int) -> None:
    with recording() as recorder:
        recorder.filter.add_filtered_process_by_id(process_id, True)
        recorder.filter.remove_filtered_process_by_id(process_id)


def by_the_end_of_one_instance(process_id: int) -> None:
    with recording() as other, another_supervised(other):
        by_stop_filter(process_id)


def by_a_signal_to_attach(process_id: int) -> None:
    line = [*supervised.COMMAND_LINE, "attach", str(process_id)]
    with subprocess.Popen(line, stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: tracer_of(process_id), 60, "attached")
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 128 + signal.SIGINT


def by_the_death_of_the_controller(process_id: int) -> None:
    line = [sys.executable, str(PROGRAMS / "controller_attach.py"), str(process_id), "children"]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(line, **pipes) as controller:
        assert controller.stdout is not None and controller.stdout.readline().startswith("attached")
        controller.kill()


@pytest.mark.parametrize(
    "let_go",
    [
        by_stop_filter,
        by_removing_the_rule,
        by_the_end_of_one_instance,
        by_a_signal_to_attach,
        by_the_death_of_the_controller,
    ],
)
def test_nobody_is_interrupted(
    let_go: Callable[[int], None], undisturbed: dict[str, int], programs: Programs, tmp_path: Path
) -> None:
    """Attached to and let go in the middle of system calls, which end as they would have without that."""
    with sleeper(programs, tmp_path / "sleeper") as found:
        let_go(found.pid)
        wait_until(lambda: tracers_of(found.pid) == {0}, 60, "nobody traces it")
        assert_undisturbed(found, undisturbed)


@pytest.mark.parametrize("refuse_with", ["errno", "kill"])
def test_what_a_command_leaves_behind(
    refuse_with: str, undisturbed: dict[str, int], programs: Programs, tmp_path: Path
) -> None:
    """A tree that goes on after the filter's end, with the filter of system calls and without."""
    started: list[cbprocess.CBProcess] = []

    def start(line: list[str]) -> Any:
        instance = cbprocess.CBProcess()
        instance.initialize(GUID)
        instance.config(f"EventsToFire={LIFETIMES}")
        instance.config(f"RefuseWith={refuse_with}")
        instance.on_process_creation = lambda event: None
        instance.start_filter(0)
        started.append(instance)
        return instance.popen(line)

    before = helpers()
    try:
        found = Sleeper(programs["asleep"], tmp_path / "sleeper", start)
        try:
            started[0].stop_filter()
            if refuse_with == "kill":
                wait_until(lambda: tracers_of(found.pid) == {0}, 60, "nobody traces it")
                wait_until(lambda: not helpers() - before, 60, "nobody needs the helper")
            assert_undisturbed(found, undisturbed)
            assert found.process.wait(60) == 0
        finally:
            found.process.kill()
            found.process.wait(30)
    finally:
        started[0].stop_filter()


def test_what_run_leaves_behind(undisturbed: dict[str, int], programs: Programs, tmp_path: Path) -> None:
    def start(line: list[str]) -> Any:
        shell = ["sh", "-c", 'exec 2>/dev/null; "$@" & exit 3', "sh"]
        command = [*supervised.COMMAND_LINE, "run", "--", *shell, *line]
        done = subprocess.run(command, stderr=subprocess.DEVNULL, timeout=60)
        assert done.returncode == 3
        return done

    found = Sleeper(programs["asleep"], tmp_path / "sleeper", start)
    try:
        assert_undisturbed(found, undisturbed)
    finally:
        found.bring_about()


# ---- What waits to be let go while others are supervised ----


def thread_count(process_id: int) -> int:
    return sum(state not in "ZX" for state, _ in task_status(process_id).values())


def test_nothing_is_told_of_it(undisturbed: dict[str, int], programs: Programs, tmp_path: Path) -> None:
    """It is in no count, later rules do not mean it, and its ends are nobody's business."""
    with sleeper(programs, tmp_path / "sleeper") as found:
        with recording() as recorder, another_supervised(recorder) as other:
            instance = recorder.filter
            instance.add_filtered_process_by_id(found.pid, True)
            wait_until(
                lambda: instance.statistics().supervised == thread_count(found.pid) + 1, 60, "all are counted"
            )
            instance.remove_filtered_process_by_id(found.pid)
            wait_until(lambda: instance.statistics().supervised == 1, 60, "it is counted no more")
            assert tracers_of(found.pid) - {0}, "it has been let go, and there is nothing to test"
            with pytest.raises(cbprocess.CBProcessError) as raised:
                instance.get_process_capabilities(found.pid)
            assert raised.value.code == cbprocess.ERROR_NOT_FOUND
            instance.add_rule(name="*", action="ask")
            assert_undisturbed(found, undisturbed)
            assert found.process.wait(60) == 0
            assert instance.statistics().supervised == 1
            other.kill()
            wait_until(lambda: recorder.of("process_termination"), 60, "the end of the other one")
        assert {event["process_id"] for event in recorder.events} == {other.pid}


@pytest.mark.parametrize("by", ["id", "name"])
def test_it_is_taken_back(by: str, undisturbed: dict[str, int], programs: Programs, tmp_path: Path) -> None:
    """Attached to again, all of it is told again."""
    unique = programs.copy("asleep", tmp_path / f"asleep-{os.getpid()}")
    with recording() as recorder, another_supervised(recorder):
        instance = recorder.filter
        found = Sleeper(unique, tmp_path / "sleeper", subprocess.Popen)
        try:
            threads = set(task_status(found.pid))
            assert len(threads) > len(undisturbed) - 3, "it has one for each call that this system has"
            instance.add_filtered_process_by_id(found.pid, False)
            instance.remove_filtered_process_by_id(found.pid)
            if by == "id":
                instance.add_filtered_process_by_id(found.pid, False)
            else:
                instance.add_filtered_process_by_name(unique, False)
            count = len(threads) + 1
            wait_until(lambda: instance.statistics().supervised == count, 60, "all are counted")
            assert_undisturbed(found, undisturbed)
            assert found.process.wait(60) == 0
            wait_until(lambda: recorder.of("process_termination"), 60, "its end")
            assert [row["process_id"] for row in recorder.of("process_termination")] == [found.pid]
            assert {row["thread_id"] for row in recorder.of("thread_termination")} == threads
        finally:
            found.process.kill()
            found.process.wait(30)


def test_some_of_its_threads_were_let_go(programs: Programs, tmp_path: Path) -> None:
    """Whoever stops by himself goes at once; taken back, these are as supervised as those that slept on."""
    with (
        recording() as recorder,
        another_supervised(recorder),
        running(programs, tmp_path, "threads", "2", "2000", ready=2) as churning,
    ):
        instance = recorder.filter
        for _ in range(3):
            instance.add_filtered_process_by_id(churning.pid, True)
            # A thread that is ending is let go at its last stop, and is still listed for a moment.
            wait_until(lambda: 0 not in tracers_of(churning.pid), 60, "all are traced")
            wait_until(lambda: recorder.of("thread_creation"), 60, "a thread")
            instance.remove_filtered_process_by_id(churning.pid)
            assert tracer_of(churning.pid) != 0, "the first thread sleeps and has not stopped"
            assert_makers_let_go(churning.pid)
            del recorder.events[:]
        count = churning.account.created
        wait_until(lambda: churning.account.created > count + 20, 60, "it goes on")
        assert recorder.of("thread_creation") == []
        assert churning.end() == END_STATUS


def test_a_group_stop_is_no_sleep(programs: Programs, tmp_path: Path) -> None:
    """A stopped process is let go at once, and stays stopped."""
    with recording() as recorder, another_supervised(recorder), sleeper(programs, tmp_path / "s") as found:
        os.kill(found.pid, signal.SIGSTOP)
        wait_until(lambda: Task(found.pid).state == "T", 60, "the stop")
        recorder.filter.add_filtered_process_by_id(found.pid, False)
        assert 0 not in tracers_of(found.pid)
        recorder.filter.remove_filtered_process_by_id(found.pid)
        stopped = {("T", 0)}
        wait_until(lambda: set(task_status(found.pid).values()) == stopped, 60, "all stand, nobody traces it")
        os.kill(found.pid, signal.SIGCONT)
        wait_until(lambda: Task(found.pid).state == "S", 60, "it goes on")


PASS_THROUGH = """
import os, signal, subprocess, sys
import cbprocess
instance = cbprocess.CBProcess()
instance.initialize("{5ABD3A8B-6A3F-4C52-9F0C-5E1F0A1C7D16}")
instance.config(f"EventsToFire={cbprocess.PROC_EVT_PROCESS_CREATION}")
instance.on_process_creation = lambda event: None
instance.start_filter(0)
member = instance.popen(["cat"], stdin=0, stdout=subprocess.DEVNULL)
instance.add_filtered_process_by_id(int(sys.argv[1]), False)
print(member.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@contextlib.contextmanager
def tree_without_controller(attached_id: int) -> Iterator[tuple[int, Callable[[], None]]]:
    """A dead controller's tree with the filter, whose helper had attached to a process as well: that helper,
    and what ends the tree."""
    reading, writing = os.pipe()
    try:
        line = [sys.executable, "-c", PASS_THROUGH, str(attached_id)]
        done = subprocess.run(line, stdin=reading, stdout=subprocess.PIPE, text=True, timeout=60)
        assert done.returncode == -signal.SIGKILL
        helper = tracer_of(int(done.stdout))
        assert helper != 0
        yield helper, lambda: os.close(writing)
    finally:
        os.close(reading)
        with contextlib.suppress(OSError):
            os.close(writing)


def test_the_helper_ends_when_nobody_needs_it(
    undisturbed: dict[str, int], programs: Programs, tmp_path: Path
) -> None:
    """It stays for a tree with the filter, and not for one that sleeps."""
    with sleeper(programs, tmp_path / "sleeper") as found:
        with tree_without_controller(found.pid) as (helper, end_tree):
            assert is_alive(helper) and tracers_of(found.pid) == {helper}
            end_tree()
            wait_until(lambda: not is_alive(helper), 60, "the helper has ended")
        assert tracers_of(found.pid) == {0}
        assert_undisturbed(found, undisturbed)


def test_another_controller_gets_it(programs: Programs, tmp_path: Path) -> None:
    """What a helper has let go and still traces is let go at once when another controller attaches to it."""
    with sleeper(programs, tmp_path / "sleeper") as found, tree_without_controller(found.pid) as (helper, _):
        assert tracers_of(found.pid) == {helper}
        with recording() as recorder:
            recorder.filter.add_filtered_process_by_id(found.pid, False)
            assert tracers_of(found.pid).isdisjoint({0, helper})
            found.bring_about()
            assert found.process.wait(60) == 0
            wait_until(lambda: recorder.of("process_termination"), 60, "its end is told")
        assert is_alive(helper)


EXECUTES = """
import os, signal, sys, threading
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})  # under a tracer it wakes who ignores it
def act():
    sys.stdin.read(1)
    if os.fork() == 0:
        os._exit(0)
    os.wait()
    sys.stdin.read(1)
    os.execv("/bin/sleep", ["sleep", "600"])
threading.Thread(target=act).start()
print(flush=True)
threading.Event().wait()
"""


def test_it_has_executed_something_meanwhile(programs: Programs) -> None:
    """A thread that was let go executes a program; the sleeping one, which was still traced, ends for that.
    What is there then can be attached to as any other."""
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with recording() as recorder, another_supervised(recorder):
        with subprocess.Popen([sys.executable, "-c", EXECUTES], **pipes) as process:
            assert process.stdin is not None and process.stdout is not None
            process.stdout.readline()
            instance = recorder.filter
            try:
                instance.add_filtered_process_by_id(process.pid, False)
                instance.remove_filtered_process_by_id(process.pid)
                process.stdin.write(b"x")
                process.stdin.flush()
                wait_until(lambda: 0 in tracers_of(process.pid), 60, "the thread has forked and gone")
                assert tracer_of(process.pid) != 0
                process.stdin.write(b"x")
                process.stdin.flush()
                wait_until(lambda: Task(process.pid).name == "sleep", 60, "the program")
                assert tracer_of(process.pid) == 0
                del recorder.events[:]
                instance.add_filtered_process_by_id(process.pid, False)
                assert tracer_of(process.pid) != 0
            finally:
                process.kill()
            wait_until(lambda: recorder.of("process_termination"), 60, "its end is told")
        (end,) = recorder.of("process_termination")
        assert end["process_id"] == process.pid and end["process_name"].rpartition("/")[2] == "sleep"
