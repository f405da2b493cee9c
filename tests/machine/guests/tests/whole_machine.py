"""What the tests share that hold a whole guest: a controller that can be hurt, storms of programs that are
none of its children, and filters of this process's own. Knows the public surface of the package, and
/proc."""

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
from typing import Any, Callable

from handle_tools import Outcome, outcome_of
from live_tools import LIFETIMES, Recorder, wait_until

import cbprocess

CONTROLLER = Path(__file__).with_name("controller.py")
FANOTIFY, GATE = "RefuseWith=errno", "RefuseWith=kill"
CREATIONS = cbprocess.PROC_EVT_PROCESS_CREATION
HANDLES = cbprocess.PROC_EVT_PROCESS_HANDLE_OPERATION | cbprocess.PROC_EVT_THREAD_HANDLE_OPERATION
# Of the live tests' table of calls: those that LSM has a hook for.
ENFORCED_CALLS = ["kill-TERM", "tkill-TERM", "tgkill-TERM", "rt_sigqueueinfo-TERM", "rt_tgsigqueueinfo-USR1"]
ENFORCED_CALLS += ["pidfd_send_signal-TERM", "pidfd_getfd", "ptrace-attach", "process_vm_readv"]
ENFORCED_CALLS += ["process_vm_writev", "prlimit64-both", "setpriority", "ioprio_set", "sched_setaffinity"]
ENFORCED_CALLS += ["kcmp", "move_pages-set"]
NO_PRODUCT = "{00000000-0000-0000-0000-000000000000}"


def has(capability: int) -> bool:
    return bool(cbprocess.probe_driver("bpf").capabilities & capability)


def has_gate() -> bool:
    return has(cbprocess.CAP_HOLD_PROCESS_TERMINATION)


def is_enforced() -> bool:
    """BPF LSM is active: operations on other processes can be refused."""
    return has(cbprocess.CAP_STRIP_PROCESS_HANDLE)


class Controller:
    """A running controller.py; none of the processes that it holds is its child."""

    def __init__(self, setting: str, timeout_ms: int, events: int) -> None:
        line = [sys.executable, "-X", "faulthandler", str(CONTROLLER), setting, str(timeout_ms), str(events)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            line, stdin=pipe, stdout=pipe, stderr=pipe, text=True, bufsize=1, start_new_session=True
        )
        self.child = 0
        self._expect("ready")

    @property
    def pid(self) -> int:
        return self.process.pid

    def _expect(self, word: str) -> list[str]:
        assert self.process.stdout is not None
        words = self.process.stdout.readline().split()
        if words[:1] != [word]:
            raise AssertionError(f"{words}; {self.process.communicate(timeout=30)}")
        return words[1:]

    def order(self, word: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        if word == "fork":
            self.child = int(self._expect("child")[0])
        elif word == "descriptors":
            self._expect("done")

    def await_held(self) -> None:
        """Until an operation waits for a handler that sleeps."""
        self._expect("held")

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(30)

    def finish(self) -> dict[str, Any]:
        output, errors = self.process.communicate(timeout=60)
        assert (self.process.returncode, errors) == (0, ""), errors
        told: dict[str, Any] = json.loads(output.splitlines()[-1])
        return told

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate(timeout=30)


class Storm:
    """Very many executions, each of which writes down when it was over, and how it ended."""

    def __init__(self, line: list[str], output: Path) -> None:
        self._output = output
        with output.open("wb") as stream:
            self.process = subprocess.Popen(line, stdout=stream)

    def rows(self) -> list[tuple[int, int]]:
        """Time and status of each execution that is over; the last row may be half written."""
        lines = self._output.read_text().split("\n")[:-1]
        return [(int(line.split()[0]), int(line.split()[1])) for line in lines if line != "end"]

    def await_rows(self, count: int) -> None:
        wait_until(lambda: len(self.rows()) >= count, 60, f"{count} executions")

    def released_after(self, moment_ns: int) -> float:
        """Seconds from the moment to the first execution that was over after it."""
        wait_until(lambda: any(when > moment_ns for when, _ in self.rows()), 60, "an execution after that")
        return (min(when for when, _ in self.rows() if when > moment_ns) - moment_ns) / 1e9

    def finish(self, count: int, seconds: float) -> None:
        """Waits for its end: every execution went as it does without a filter."""
        assert self.process.wait(seconds) == 0
        assert [status for _, status in self.rows()] == [0] * count

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(30)


def seconds_of(line: list[str], status: int = 0) -> float:
    """How long the machine takes for a program."""
    began = time.monotonic()
    assert subprocess.run(line, timeout=100).returncode == status
    return time.monotonic() - began


def run_call(line: list[str]) -> Outcome:
    done = subprocess.run(line, stdout=subprocess.PIPE, text=True, timeout=100)
    return outcome_of(done.stdout, done.returncode)


def rows_of(recorder: Recorder, outcome: Outcome) -> list[dict[str, Any]]:
    """What was told of a run of `handles`."""
    return [row for row in recorder.handle_operations() if row["originator_process_id"] == outcome["process"]]


@contextlib.contextmanager
def filtering(
    *settings: str,
    events: int = LIFETIMES,
    timeout_ms: int = 20000,
    decide: Callable[[str, Any], None] = lambda kind, event: None,
    everything: bool = True,
) -> Iterator[Recorder]:
    """A started recorder of the whole machine, which holds all of it unless everything is False."""
    recorder = Recorder()
    recorder.filter.initialize(NO_PRODUCT)
    for setting in ("Driver=bpf", f"EventsToFire={events}", *settings):
        recorder.filter.config(setting)
    recorder.decide = decide
    if everything:
        recorder.filter.add_filtered_process_by_id(-1, True)
    recorder.filter.start_filter(timeout_ms)
    try:
        yield recorder
    finally:
        recorder.filter.stop_filter()
