"""Faults while handle operations are held: whoever is killed or stopped then, nobody else hangs, and nothing
is done twice."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from handle_tools import bare, targets_of
from live_tools import (
    HANDLE_EVENTS,
    Orphans,
    Programs,
    Recorder,
    Task,
    is_alive,
    of_session,
    recording,
    start_controller,
    tracer_of,
    wait_until,
)

import cbprocess

Outcome = dict[str, Any]


class Holder:
    """A recorder whose handlers keep handle operations until they are told to let go."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.held: list[Any] = []
        self.after: Any = lambda event: None

    def decide(self, kind: str, event: Any) -> None:
        if kind in HANDLE_EVENTS:
            self.held.append((event.originator_process_id, event.originator_thread_id, event.process_id))
            self.go.wait(60)
            self.after(event)


@contextlib.contextmanager
def holding(timeout_ms: int = 0) -> Iterator[tuple[Recorder, Holder]]:
    holder = Holder()
    with recording(events=cbprocess.PROC_EVT_ALL, timeout_ms=timeout_ms, decide=holder.decide) as recorder:
        try:
            yield recorder, holder
        finally:
            holder.go.set()


def need_call(programs: Programs, call: tuple[str, ...]) -> None:
    """Skips the test where the machine has no namespaces for a call from one."""
    if "-n" in call:
        bare([programs["handles"], *call])


def start(recorder: Recorder, *line: str) -> subprocess.Popen[str]:
    process: subprocess.Popen[str] = recorder.filter.popen(line, stdout=subprocess.PIPE, text=True)
    return process


def result(process: subprocess.Popen[str]) -> Outcome:
    output, _ = process.communicate(timeout=30)
    found: Outcome = json.loads(output)
    return found


class TestController:
    """The controller is a process of its own, with an operation held."""

    @pytest.fixture
    def held(self, programs: Programs, tmp_path: Path) -> Iterator[Any]:
        started: list[subprocess.Popen[str]] = []

        def begin(timeout: int, *call: str) -> tuple[subprocess.Popen[str], list[int], Path]:
            need_call(programs, call)
            output = tmp_path / "output"
            line = [str(timeout), str(output), programs["handles"], *call]
            started.append(start_controller("controller_handles.py", *line))
            stream = started[-1].stdout
            assert stream is not None
            words = stream.readline().split()
            assert words[0] == "held", started[-1].communicate(timeout=10)
            return started[-1], [int(word) for word in words[1:]], output

        yield begin
        for controller in started:
            for task in of_session(controller.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(task.process_id, signal.SIGKILL)
            controller.communicate(timeout=20)

    @pytest.mark.parametrize("timeout", [0, 60000])
    @pytest.mark.parametrize("call", [("kill", "15"), ("-t", "-n", "tgkill", "10"), ("process_vm_writev",)])
    def test_killed(self, timeout: int, call: tuple[str, ...], held: Any, orphans: Orphans) -> None:
        """The operation goes on, unrefused and soon, and the program ends as it would have."""
        controller, (helper, _, _), output = held(timeout, *call)
        time.sleep(0.1)
        assert output.read_text() == "", "the operation was not held"
        controller.kill()
        controller.wait(10)
        wait_until(lambda: output.read_text().endswith("}\n"), 10, "the end of the operation")
        outcome = json.loads(output.read_text())
        assert outcome["result"] >= 0 and outcome["errno"] == 0
        wait_until(lambda: not is_alive(helper), 20, "the end of the helper")
        wait_until(lambda: orphans.left() == [], 20, "the end of everything")

    def test_stopped(self, held: Any, orphans: Orphans) -> None:
        """The operation costs its deadline."""
        controller, _, output = held(3000, "kill", "10")
        begin = time.monotonic()
        controller.send_signal(signal.SIGSTOP)
        wait_until(lambda: output.read_text().endswith("}\n"), 30, "the end of the operation")
        assert time.monotonic() - begin > 2.0
        assert json.loads(output.read_text())["errno"] == 0
        controller.send_signal(signal.SIGCONT)
        assert controller.stdout is not None
        statistics = json.loads(controller.stdout.readline())
        assert (statistics["status"], statistics["refused"]) == (0, 0) and statistics["timed_out"] >= 1
        assert controller.wait(20) == 0

    def test_a_rule_ends_with_its_controller(
        self, programs: Programs, tmp_path: Path, orphans: Orphans
    ) -> None:
        """A protected process is protected as long as its controller lives, and not a moment longer."""
        output = tmp_path / "output"
        text = "sleep 92 & sleep 0.3; while ! kill -TERM $!; do sleep 0.02; done 2>/dev/null"
        text = f"{text}; echo ended >{output}"
        line = [sys.executable, "-m", "cbprocess", "run", "--protect", "sleep", "--", "sh", "-c", text]
        controller = subprocess.Popen(
            line, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
        )
        try:
            wait_until(lambda: any(t.name == "sleep" for t in of_session(controller.pid)), 20, "sleep")
            time.sleep(0.5)
            assert not output.exists()
            controller.kill()
            controller.wait(10)
            wait_until(output.exists, 10, "the end of what was protected")
        finally:
            for task in of_session(controller.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(task.process_id, signal.SIGKILL)
        wait_until(lambda: orphans.left() == [], 20, "the end of everything")


def test_helper_killed(programs: Programs) -> None:
    """The tree dies with it: without its tracer the filter would let nothing through."""
    with holding() as (recorder, holder):
        process = start(recorder, programs["handles"], "kill", "15")
        wait_until(lambda: holder.held, 10, "the operation")
        os.kill(tracer_of(process.pid), signal.SIGKILL)
        assert process.wait(20) == -signal.SIGKILL
        process.communicate()
        wait_until(lambda: recorder.errors, 10, "on_error")
        wait_until(lambda: not is_alive(holder.held[0][2]), 10, "the target died with it, too")
        holder.go.set()
        begin = time.monotonic()
        recorder.filter.stop_filter()
        assert time.monotonic() - begin < 5
    assert [code for code, _ in recorder.errors] == [cbprocess.ERROR_BROKEN_PIPE]


def test_helper_stopped(programs: Programs) -> None:
    """While it is stopped the operation waits, whatever the answer; then it goes on."""
    with holding() as (recorder, holder):
        process = start(recorder, programs["handles"], "kill", "10")
        wait_until(lambda: holder.held, 10, "the operation")
        helper = tracer_of(process.pid)
        os.kill(helper, signal.SIGSTOP)
        try:
            holder.go.set()
            time.sleep(0.3)
            assert process.poll() is None
        finally:
            os.kill(helper, signal.SIGCONT)
        assert result(process)["fates"] == [["running", "signal 10 x 1"]]


def test_who_waits_for_the_helper_is_not_taken_for_stopped(programs: Programs) -> None:
    """By the program that all these tests rely on: a task that stands before a signal goes on as soon as the
    helper, which may be busy, lets it."""
    with recording() as recorder:  # without a filter of system calls nothing else waits for it
        line = [programs["handles"], "-w", "kill", "0"]
        process = recorder.filter.popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        (target,) = targets_of(process.pid)
        helper = tracer_of(target)
        os.kill(helper, signal.SIGSTOP)
        try:
            os.kill(target, signal.SIGUSR1)
            wait_until(lambda: Task(target).state == "t", 10, "it stands before its signal")
            process.stdin.write("\n")
            process.stdin.flush()
            time.sleep(0.5)
        finally:
            os.kill(helper, signal.SIGCONT)
        assert result(process)["fates"] == [["running", "signal 10 x 1"]]


@pytest.mark.parametrize("verdict", ["allow", "refuse"])
@pytest.mark.parametrize("call", [("kill", "10"), ("tkill", "10"), ("process_vm_readv",), ("pidfd_getfd",)])
def test_target_killed(verdict: str, call: tuple[str, ...], programs: Programs) -> None:
    """The answer is the caller's all the same; a call that is let go on finds out by itself."""
    with holding() as (recorder, holder):
        if verdict == "refuse":
            holder.after = lambda event: setattr(event, "result_code", cbprocess.ERROR_NOT_ENOUGH_MEMORY)
        process = start(recorder, programs["handles"], *call)
        wait_until(lambda: holder.held, 10, "the operation")
        target = holder.held[0][2]
        os.kill(target, signal.SIGKILL)
        wait_until(lambda: not is_alive(target), 10, "the target's end")
        time.sleep(0.1)
        assert process.poll() is None
        holder.go.set()
        outcome = result(process)
        # The target is not reaped yet: a signal still finds it, its memory and descriptors are gone.
        expected = 0 if call[0] == "kill" else errno.ESRCH
        assert outcome["errno"] in ((expected, 0) if verdict == "allow" else (errno.ENOMEM,))
        assert outcome["fates"] == [["ended"]]
    assert recorder.errors == []


def test_caller_killed(programs: Programs) -> None:
    """Nothing happens to the target, and the answer comes too late for anybody."""
    call = ("-n", "kill", "15")
    need_call(programs, call)
    with holding() as (recorder, holder):
        process = start(recorder, programs["handles"], *call)
        wait_until(lambda: holder.held, 10, "the operation")
        caller, _, target = holder.held[0]
        assert caller != process.pid
        os.kill(caller, signal.SIGKILL)
        wait_until(lambda: not is_alive(caller), 10, "the end of the caller")
        process.communicate(timeout=20)
        holder.go.set()

        def ended(number: int) -> list[int]:
            rows = recorder.of("process_termination")
            return [row["exit_status"] for row in rows if row["process_id"] == number]

        wait_until(lambda: ended(caller) and ended(target), 10, "the ends")
        assert ended(caller) == [-signal.SIGKILL]
        assert ended(target) == [-signal.SIGKILL], "the signal was sent for a caller that had died"
    assert recorder.errors == []


def test_caller_gets_a_signal(programs: Programs) -> None:
    """One that does not end it waits until it is let go, and is not lost; so is a stop."""
    text = (
        "import os, signal, subprocess\n"
        "signal.signal(signal.SIGUSR1, lambda number, frame: print('caught', flush=True))\n"
        "child = subprocess.Popen(['sleep', '91'], stdout=-3)\n"
        "os.kill(child.pid, signal.SIGTERM)\n"
        "print(child.wait(), flush=True)\n"
    )
    with holding() as (recorder, holder):
        process = start(recorder, sys.executable, "-c", text)
        wait_until(lambda: holder.held, 10, "the operation")
        process.send_signal(signal.SIGUSR1)
        process.send_signal(signal.SIGSTOP)
        time.sleep(0.2)
        assert is_alive(holder.held[0][2])
        holder.go.set()
        wait_until(lambda: Task(process.pid).state in "Tt", 10, "the stop")
        process.send_signal(signal.SIGCONT)
        output, _ = process.communicate(timeout=20)
        assert sorted(output.split()) == ["-15", "caught"] and process.returncode == 0


def test_another_thread_executes_a_program(programs: Programs, tmp_path: Path) -> None:
    """The kernel ends the held thread; its operation is not done, and the new program runs."""
    text = (
        "import ctypes, os, subprocess, sys, threading, time\n"
        "child = subprocess.Popen(['sleep', '90'], stdout=-3)\n"
        "kill = ctypes.CDLL(None).kill\n"  # os.kill would keep the interpreter to itself
        "threading.Thread(target=kill, args=(child.pid, 15)).start()\n"
        "while not os.path.exists(sys.argv[1]): time.sleep(0.01)\n"
        "os.execv(sys.argv[2], [sys.argv[2], '3'])\n"
    )
    with holding() as (recorder, holder):
        flag = tmp_path / "flag"
        process = start(recorder, sys.executable, "-c", text, str(flag), programs["status"])
        wait_until(lambda: holder.held, 10, "the operation")
        caller, thread, target = holder.held[0]
        assert thread != caller == process.pid
        flag.touch()
        assert process.wait(20) == 3
        process.communicate()
        time.sleep(0.1)
        assert is_alive(target), "the operation of a thread that had ended was done"
        holder.go.set()
        os.kill(target, signal.SIGKILL)
    assert recorder.errors == []


def test_a_handler_that_raises(programs: Programs) -> None:
    def fail(event: Any) -> None:
        raise ValueError("no answer")

    with holding() as (recorder, holder):
        holder.after = fail
        holder.go.set()
        assert result(start(recorder, programs["handles"], "kill", "10"))["errno"] == 0
        wait_until(lambda: recorder.errors, 10, "on_error")
    assert [code for code, _ in recorder.errors] == [cbprocess.ERROR_UNHANDLED_EXCEPTION]


def test_filter_stopped(programs: Programs) -> None:
    """What is held goes on as without a filter, and so does what comes after the stop."""
    with holding() as (recorder, holder):
        process = start(recorder, programs["handles"], "kill", "10")
        wait_until(lambda: holder.held, 10, "the operation")
        threading.Timer(0.3, holder.go.set).start()
        recorder.filter.stop_filter()
        assert result(process)["fates"] == [["running", "signal 10 x 1"]]
        recorder.filter.start_filter(0)
        holder.held.clear()
        assert result(start(recorder, programs["handles"], "kill", "15"))["fates"] == [["ended"]]
        assert len(holder.held) == 1


def test_many_callers_killed_while_held(programs: Programs) -> None:
    """Again and again, at moments that differ: no operation stays behind, the next one works."""
    with holding() as (recorder, holder):
        for turn in range(20):
            process = start(recorder, programs["handles"], "-t", "tgkill", "10")
            if turn % 2:
                wait_until(lambda: len(holder.held) > 0, 10, "the operation")
            else:
                time.sleep(0.001 * turn)
            process.kill()
            wait_until(lambda process=process: not is_alive(process.pid), 10, "the end of the caller")
            holder.go.set()
            process.communicate(timeout=20)
            holder.go.clear()
            holder.held.clear()
        holder.go.set()
        assert result(start(recorder, programs["handles"], "kill", "10"))["errno"] == 0
    assert recorder.errors_but_guesses() == []
