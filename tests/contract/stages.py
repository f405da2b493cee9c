"""Where the contract suite plays: for each driver, something that performs operations which the driver sees,
and tells whether they were let through.

A stage has an actor, a process that lives as long as it does and whose operations are watched: it runs
programs and signals processes. Everything else is done through the public class."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Callable, Optional

import pytest
from machine import own_place

from cbprocess import CBProcess, CBProcessError, constants, probe_driver, script
from cbprocess.testing import Simulator

GUID = "{8A2C35C1-52BE-43C5-8C9B-2A4C60D3D9E7}"
LIMIT_S = 60.0
PIPES: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
ACTOR = Path(__file__).with_name("actor.py")


def wait_for(condition: Callable[[], object], limit_s: float = LIMIT_S) -> None:
    limit = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < limit, "not within its time"
        time.sleep(0.002)


class Run:
    """A program that the actor runs, or tries to."""

    def __init__(self, process_id: int) -> None:
        self.process_id = process_id
        self.executes = threading.Event()
        self._ended = threading.Event()
        self._refused = False

    def end(self, refused: bool) -> None:
        self._refused = refused
        self._ended.set()

    @property
    def has_ended(self) -> bool:
        return self._ended.is_set()

    def refused(self) -> bool:
        """Whether it was refused; waits until it has ended."""
        assert self._ended.wait(LIMIT_S), "the program does not end"
        return self._refused


class Stage:
    """A filter that is active, with one driver, and an actor under it. No rule is in force at first."""

    driver: str
    forks = True  # a process has a life before its program
    settings: tuple[str, ...] = ()  # of each instance
    kills = False  # what is refused is what it would have become, and is killed

    def __init__(self, folder: Path, program: Optional[Path]) -> None:
        self.folder = folder
        self.program = program
        self.process = CBProcess()
        self.configure(self.process)

    def configure(self, process: CBProcess) -> None:
        """Prepares an instance for this stage, the first or another one."""
        process.initialize(GUID)
        process.config(f"Driver={self.driver}")
        process.config("EventsToFire=-1")
        for setting in self.settings:
            process.config(setting)

    def path(self, name: str) -> str:
        """A program of that name: it ends at once with status 0 (a name with "lasting": after a signal)."""
        path = self.folder / name
        if self.program is not None and not path.exists():
            shutil.copy(self.program, path)
        return str(path)

    def start(self, timeout: int = 0) -> None:
        raise NotImplementedError

    def restart(self, timeout: int = 0) -> None:
        """Stops the filter and starts it again."""
        self.process.stop_filter()
        self.start(timeout)

    @property
    def actor_id(self) -> int:
        raise NotImplementedError

    def begin(self, name: str) -> Run:
        """Lets the actor run a program, and does not wait for it."""
        raise NotImplementedError

    def run(self, name: str) -> Run:
        """Lets the actor run a program, and waits until it has ended or was refused."""
        run = self.begin(name)
        run.refused()
        return run

    def begin_lasting(self, name: str) -> Run:
        """Lets the actor run a program that lasts, and waits until it has been executed."""
        raise NotImplementedError

    def signal(self, process_id: int) -> bool:
        """Lets the actor end that process; whether it may."""
        raise NotImplementedError

    def bind_thread(self, process_id: int) -> bool:
        """Lets the actor say on which processors that process's main thread runs; whether it may."""
        raise NotImplementedError

    def become(self, name: str) -> None:
        """Lets the actor execute, in its own place, what goes by that name; it obeys afterwards as before."""
        raise NotImplementedError

    def close(self) -> None:
        self.process.stop_filter()


class SimulatedStage(Stage):
    """The actor and its programs are a script that is made up as it is played."""

    driver = "simulated"

    def __init__(self, folder: Path, program: Optional[Path]) -> None:
        super().__init__(folder, None)
        self._simulator = Simulator(self.process)
        self._actor_id = self._simulator.new_id()
        self._threads: list[threading.Thread] = []

    def start(self, timeout: int = 0) -> None:
        self.process.start_filter(timeout)
        name = script.process_creation(process_id=self._actor_id, process_name="/usr/bin/actor", held=False)
        self._simulator.fire(name)

    @property
    def actor_id(self) -> int:
        return self._actor_id

    def begin(self, name: str) -> Run:
        run = Run(self._simulator.new_id())
        thread = threading.Thread(target=self._live, args=(run, self.path(name), name))
        self._threads.append(thread)
        thread.start()
        return run

    def _live(self, run: Run, path: str, name: str) -> None:
        """What the processes of a tree driver do too: fork, execute, end."""
        own = {"process_id": run.process_id, "start_time": run.process_id}
        thread = dict(own, thread_id=run.process_id)
        creator = {"creating_process_id": self._actor_id}
        # Once the filter is stopped a script's process goes on unseen, as others do.
        refused = False
        with contextlib.suppress(CBProcessError):
            self._simulator.fire(script.thread_creation(**thread, **creator))
            creation = script.process_creation(process_name=path, **own, **creator)
            refused = self._simulator.fire(creation)[0].refused
            run.executes.set()
            if not refused and "lasting" in name:
                return
            status = 100 if refused else 0
            end = script.thread_termination(exit_status=status, **thread) + script.process_termination(
                process_name="/usr/bin/actor" if refused else path, exit_status=status, **own
            )
            self._simulator.fire(end)
        run.end(refused)

    def begin_lasting(self, name: str) -> Run:
        run = self.begin(name)
        assert run.executes.wait(LIMIT_S)
        return run

    def signal(self, process_id: int) -> bool:
        wanted = constants.PROCESS_TERMINATE
        verdict = self._simulator.process_handle_operation(
            process_id=process_id,
            start_time=process_id,
            originator_process_id=self._actor_id,
            desired_access=wanted,
        )
        return not verdict.refused and verdict.desired_access == wanted

    def bind_thread(self, process_id: int) -> bool:
        wanted = constants.THREAD_SET_INFORMATION
        verdict = self._simulator.thread_handle_operation(
            process_id=process_id,
            thread_id=process_id,
            start_time=process_id,
            originator_process_id=self._actor_id,
            desired_access=wanted,
        )
        return not verdict.refused and verdict.desired_access == wanted

    def become(self, name: str) -> None:
        own = {"process_id": self._actor_id, "creating_process_id": self._actor_id}
        self._simulator.process_creation(process_name=self.path(name), **own)

    def close(self) -> None:
        super().close()
        for thread in self._threads:
            thread.join(LIMIT_S)
            assert not thread.is_alive()
        self._simulator.close(check=False)


class TreeStage(Stage):
    """The actor is a real process, and so are its programs."""

    actor = ACTOR
    refused_status = 100  # of a program that was refused

    def __init__(self, folder: Path, program: Optional[Path]) -> None:
        super().__init__(folder, program)
        self._child: Optional[subprocess.Popen[str]] = None
        self._reader: Optional[threading.Thread] = None
        self._numbers = itertools.count(1)
        self._changed = threading.Condition()
        self._started: dict[int, Run] = {}
        self._done: dict[int, int] = {}
        self._became: set[int] = set()

    def start(self, timeout: int = 0) -> None:
        self._end_actor()
        self.process.start_filter(timeout)
        self._child = self.start_program([sys.executable, "-S", str(self.actor)])
        assert self._child.stdout is not None
        assert self._child.stdout.readline() == "ready\n"
        self._reader = threading.Thread(target=self._read, args=(self._child,))
        self._reader.start()

    def start_program(self, command: list[str]) -> subprocess.Popen[str]:
        # Without the rule that popen() would add.
        child: subprocess.Popen[str] = self.process._popen(False, command, **PIPES)
        return child

    @property
    def actor_id(self) -> int:
        assert self._child is not None
        return self._child.pid

    def begin(self, name: str) -> Run:
        number = self._command("run", self.path(name), "lasting" if "lasting" in name else "0")
        with self._changed:
            assert self._changed.wait_for(lambda: number in self._started, LIMIT_S)
            return self._started[number]

    def begin_lasting(self, name: str) -> Run:
        run = self.begin(name)
        wait_for(lambda: os.readlink(f"/proc/{run.process_id}/exe") == self.path(name))
        return run

    def signal(self, process_id: int) -> bool:
        return self._may("signal", process_id)

    def bind_thread(self, process_id: int) -> bool:
        return self._may("bind", process_id)

    def _may(self, command: str, process_id: int) -> bool:
        number = self._command(command, str(process_id))
        with self._changed:
            assert self._changed.wait_for(lambda: number in self._done, LIMIT_S)
            return self._done[number] == 0

    def become(self, name: str) -> None:
        link = self.folder / name
        if not link.exists():
            link.symlink_to(os.path.realpath(sys.executable))
        number = self._command("become", str(link))
        with self._changed:
            assert self._changed.wait_for(lambda: number in self._became, LIMIT_S)

    def close(self) -> None:
        super().close()
        self._end_actor()

    def _command(self, command: str, *arguments: str) -> int:
        number = next(self._numbers)
        assert self._child is not None
        assert self._child.stdin is not None
        self._child.stdin.write(" ".join([command, str(number), *arguments]) + "\n")
        self._child.stdin.flush()
        return number

    def _read(self, child: subprocess.Popen[str]) -> None:
        assert child.stdout is not None
        for line in child.stdout:
            what, number, value = line.split()[0], int(line.split()[1]), int(line.split()[2])
            with self._changed:
                if what == "started":
                    self._started[number] = Run(value)
                elif what == "ended":
                    self._started[number].end(value == self.refused_status)
                elif what == "became":
                    self._became.add(number)
                else:
                    self._done[number] = value
                self._changed.notify_all()

    def _end_actor(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.close()
        child.wait(LIMIT_S)
        if self._reader is not None:
            self._reader.join(LIMIT_S)
        child.stdout.close()


class PtraceStage(TreeStage):
    driver = "ptrace"


class DebugStage(TreeStage):
    driver = "debug"
    forks = False
    actor = ACTOR.with_name("actor_windows.py")


class KernelStage(TreeStage):
    """Windows' kernel driver in the world that tests/windows/kernel/wine makes: there its callbacks fire for
    what the actor really does."""

    driver = "kernel"
    forks = False
    actor = ACTOR.with_name("actor_kernel.py")

    def begin_lasting(self, name: str) -> Run:
        run = self.begin(name)
        number = next(number for number, started in self._started.items() if started is run)
        with self._changed:
            assert self._changed.wait_for(lambda: number in self._done, LIMIT_S)
        return run

    def become(self, name: str) -> None:
        pytest.skip("no process of Windows executes another program in its own place")


class BpfStage(TreeStage):
    """Executions are held by fanotify on a file system of the stage's own, and refused by errno; starts and
    ends wait in the gate, where the kernel has one."""

    driver = "bpf"

    def __init__(self, folder: Path, program: Optional[Path]) -> None:
        own_place.install(GUID)
        self.settings = (*self.settings, f"HoldPaths={own_place.own_place()}")
        super().__init__(Path(tempfile.mkdtemp(dir=own_place.own_place())), program)

    def start_program(self, command: list[str]) -> subprocess.Popen[str]:
        return subprocess.Popen(command, **PIPES)


class BpfGateStage(BpfStage):
    """Executions wait in the gate, too: whoever is refused is killed before its first instruction."""

    settings = ("RefuseWith=kill",)
    kills = True
    refused_status = -9  # SIGKILL, which the module signal of Windows lacks


STAGES: dict[str, type[Stage]] = {
    "simulated": SimulatedStage,
    "ptrace": PtraceStage,
    "debug": DebugStage,
    "kernel": KernelStage,
    "bpf": BpfStage,
    "bpf-gate": BpfGateStage,
}


def obstacle(name: str) -> str:
    """Why that stage cannot be had here, or ""."""
    driver = STAGES[name].driver
    report = probe_driver(driver)
    if not report.runs:
        return f"the {driver} driver cannot run here: {report.reason}"
    if driver == "kernel" and "CBPROCESS_TEST_WORLD" not in os.environ:
        return "the actor of the kernel driver needs the world of tests/windows/kernel/wine"
    if name == "bpf-gate" and not report.capabilities & constants.CAP_KILL_PROCESS_CREATION:
        return "the bpf driver has no gate on this kernel"
    return ""
