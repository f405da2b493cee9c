"""A helper that is stopped or ended by a signal: the controller says so within a second, a stop fails instead
of claiming that all is well, and nobody hangs."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hostile_tools import assert_impossible_without_landlock
from live_tools import Recorder, recording, tracer_of, wait_until

import cbprocess

NOT_ANSWERING = cbprocess.ERROR_SERVICE_REQUEST_TIMEOUT


@contextlib.contextmanager
def stopped(recorder: Recorder) -> Iterator[int]:
    """A helper that stands while the block runs, with a program under it."""
    program = recorder.filter.popen(["sleep", "60"])
    helper = tracer_of(program.pid)
    assert helper != 0
    os.kill(helper, signal.SIGSTOP)
    try:
        yield helper
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(helper, signal.SIGCONT)
        program.kill()
        program.wait(20)


def test_a_stopped_helper_is_told_and_so_is_its_going_on() -> None:
    with recording("RefuseWith=kill") as recorder:
        with stopped(recorder) as helper:
            begin = time.monotonic()
            wait_until(lambda: recorder.errors, 5, "on_error")
            assert time.monotonic() - begin < 4  # a second, and what a busy machine takes
            os.kill(helper, signal.SIGCONT)
            wait_until(lambda: len(recorder.errors) == 2, 5, "on_error, again")
        assert [code for code, _ in recorder.errors] == [NOT_ANSWERING] * 2
        assert "has been stopped" in recorder.errors[0][1] and "runs again" in recorder.errors[1][1]
        assert str(helper) in recorder.errors[0][1]


def test_an_ended_helper_is_told() -> None:
    with recording("RefuseWith=kill") as recorder:
        program = recorder.filter.popen(["sleep", "60"])
        begin = time.monotonic()
        os.kill(tracer_of(program.pid), signal.SIGKILL)
        wait_until(lambda: recorder.errors, 5, "on_error")
        assert time.monotonic() - begin < 4
        assert [code for code, _ in recorder.errors] == [cbprocess.ERROR_BROKEN_PIPE]
        program.kill()
        program.wait(20)


def test_a_stop_says_that_the_helper_does_not_answer() -> None:
    recorder = Recorder()
    recorder.filter.start_filter(0)
    with stopped(recorder) as helper:
        begin = time.monotonic()
        with pytest.raises(cbprocess.CBProcessError) as raised:
            recorder.filter.stop_filter()
        assert time.monotonic() - begin < 6
        assert raised.value.code == NOT_ANSWERING
        assert "stopped by a signal" in raised.value.message and str(helper) in raised.value.message
        assert not recorder.filter.active
        recorder.filter.stop_filter()  # told once; it is stopped
    with recorder.filter:
        recorder.filter.start_filter(0)
        assert recorder.filter.popen(["true"]).wait(20) == 0


EXIT = """
import os, signal, subprocess, cbprocess
filter = cbprocess.CBProcess()
filter.initialize("{5ABD3A8B-6A3F-4C52-9F0C-5E1F0A1C7D13}")
filter.start_filter(0)
program = filter.popen(["sleep", "60"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
with open(f"/proc/{program.pid}/status") as status:
    helper = int(next(line for line in status if line.startswith("TracerPid:")).split()[1])
print(helper, program.pid, flush=True)
os.kill(helper, signal.SIGSTOP)
"""


def test_the_interpreter_ends_beside_a_stopped_helper(tmp_path: Path) -> None:
    begin = time.monotonic()
    with (tmp_path / "errors").open("w") as errors:  # no pipe: the helper has it, too
        line = [sys.executable, "-c", EXIT]
        done = subprocess.run(line, stdout=subprocess.PIPE, stderr=errors, text=True, timeout=30)
    took = time.monotonic() - begin
    helper, program = map(int, done.stdout.split())
    os.kill(program, signal.SIGKILL)
    os.kill(helper, signal.SIGCONT)
    wait_until(lambda: not Path(f"/proc/{helper}").exists(), 20, "the helper has left")
    assert done.returncode == 0 and took < 10, (done, took)
    assert "stopped by a signal" in (tmp_path / "errors").read_text()


def test_scoped_signals_where_the_kernel_cannot() -> None:
    assert_impossible_without_landlock("ScopeSignals=True")


LIMITED = """
import os, resource, cbprocess
for name, soft in [("NOFILE", 64), ("FSIZE", 1 << 30), ("CPU", 3000), ("AS", 2 << 30), ("STACK", 4 << 20)]:
    kind = getattr(resource, "RLIMIT_" + name)
    resource.setrlimit(kind, (soft, resource.getrlimit(kind)[1]))
filter = cbprocess.CBProcess()
filter.initialize("{5ABD3A8B-6A3F-4C52-9F0C-5E1F0A1C7D13}")
with filter:
    filter.start_filter(0)
    program = filter.popen(["sleep", "60"])
    with open(f"/proc/{program.pid}/status") as status:
        helper = int(next(line for line in status if line.startswith("TracerPid:")).split()[1])
    with open(f"/proc/{helper}/limits") as limits, open(f"/proc/{program.pid}/limits") as own:
        print(limits.read(), own.read(), sep="END")
    program.kill()
    program.wait()
"""
LIMITS = ["Max open files", "Max file size", "Max cpu time", "Max address space", "Max stack size"]


def soft_and_hard(text: str, name: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.startswith(name))
    return line[len(name) :].split()[:2]


def test_soft_limits_of_the_controller_are_not_the_helpers() -> None:
    done = subprocess.run([sys.executable, "-c", LIMITED], capture_output=True, text=True, timeout=60)
    helper, program = done.stdout.split("END")
    for name in LIMITS:
        soft, hard = soft_and_hard(helper, name)
        assert soft == hard, name
        soft, hard = soft_and_hard(program, name)
        assert soft != hard, f"{name}: the program has those of the controller"
