"""Controllers in processes of their own, victims that are held, and what must be left of both: nothing."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import re
import select
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, Optional

SCRIPT = Path(__file__).resolve().parent / "guard_controller.py"


class Lines:
    """Lines of a pipe, each waited for no longer than told. A file object would keep lines that select() does
    not know of."""

    def __init__(self, fd: int) -> None:
        self.fd, self.kept = fd, b""

    def next(self, timeout_s: float) -> Optional[str]:
        """None: there is none in time. "": the other side has ended."""
        until = time.monotonic() + timeout_s
        while b"\n" not in self.kept:
            if not select.select([self.fd], [], [], max(0.0, until - time.monotonic()))[0]:
                return None
            read = os.read(self.fd, 65536)
            if not read:
                return ""
            self.kept += read
        line, self.kept = self.kept.split(b"\n", 1)
        return line.decode() + "\n"


class Controller:
    """A process with a guard of its own, which tells by lines what it has done."""

    def __init__(self, native: Path, place: Path, **options: Any) -> None:
        options = {"native": str(native), "root": str(place), "place": str(place), **options}
        self.process = subprocess.Popen(
            [sys.executable, str(SCRIPT), json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout
        self.lines = Lines(self.process.stdout.fileno())
        started = self.line("guard")
        self.guard = int(started["guard"])
        self.second = int(started["second"])
        self.guard_fd = os.pidfd_open(self.guard)
        self.line("holds")
        self.links = link_ids(self.guard)
        assert self.links

    @property
    def pid(self) -> int:
        return self.process.pid

    def line(self, key: str, timeout_s: float = 60) -> dict[str, Any]:
        """The next line that tells this; others are skipped."""
        until = time.monotonic() + timeout_s
        while True:
            text = self.lines.next(max(0.0, until - time.monotonic()))
            assert text is not None, f"the controller has not told {key!r} in {timeout_s} s"
            assert text, "the controller has ended"
            told: dict[str, Any] = json.loads(text)
            if key in told:
                return told

    def ask(self, command: str, key: str) -> dict[str, Any]:
        assert self.process.stdin
        self.process.stdin.write(command.encode() + b"\n")
        self.process.stdin.flush()
        return self.line(key)

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGCONT)
            os.kill(self.pid, signal.SIGKILL)
        self.process.wait()
        assert self.process.stdout and self.process.stdin
        self.process.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()


class Controllers:
    def __init__(self, native: Path, place: Path) -> None:
        self.native, self.place = native, place
        self.all: list[Controller] = []

    def start(self, **options: Any) -> Controller:
        self.all.append(Controller(self.native, self.place, **options))
        return self.all[-1]

    def end_all(self) -> None:
        for controller in self.all:
            controller.end()


class Victims:
    """Processes that execute a program; each is forked before, so that nothing else of this test waits."""

    def __init__(self, program: Path, count: int) -> None:
        self.pids = [self._start(program) for _ in range(count)]
        self.results: dict[int, int] = {}

    @staticmethod
    def _start(program: Path) -> int:
        pid = os.fork()
        if pid == 0:
            try:
                os.execv(program, [str(program)])
            except OSError as error:
                os._exit(error.errno or 255)
        return pid

    def left(self) -> list[int]:
        for pid in self.pids:
            if pid not in self.results:
                done, status = os.waitpid(pid, os.WNOHANG)
                if done:
                    self.results[pid] = status
        return [pid for pid in self.pids if pid not in self.results]

    def wait(self, limit_s: float) -> float:
        """Waits for all of them, and gives the seconds that it took."""
        began = time.monotonic()
        while self.left():
            if time.monotonic() - began > limit_s:
                states = [state_of(pid) for pid in self.left()[:3]]
                raise AssertionError(f"{len(self.left())} still held after {limit_s} s: {states}")
            time.sleep(0.001)
        return time.monotonic() - began

    def kill(self) -> None:
        for pid in self.left():
            os.kill(pid, signal.SIGKILL)


class Parent:
    """A process that forks when it is told to, so that its children's starts can be held in the gate."""

    CODE = """
import os, sys
print(os.getpid(), flush=True)
for line in sys.stdin:
    children = []
    for _ in range(int(line)):
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        children.append(pid)
    print(" ".join(map(str, children)), flush=True)
    print(" ".join(str(os.waitpid(pid, 0)[1]) for pid in children), flush=True)
"""

    def __init__(self, user: Optional[int] = None) -> None:
        self.process = subprocess.Popen(
            ["/usr/bin/env", "python3", "-c", self.CODE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            user=user,
        )
        assert self.process.stdout
        self.lines = Lines(self.process.stdout.fileno())
        self.pid = int(self._line(20))

    def _line(self, limit_s: float) -> str:
        text = self.lines.next(limit_s)
        assert text is not None, f"children are still held after {limit_s} s"
        return text

    def fork(self, count: int) -> list[int]:
        assert self.process.stdin
        self.process.stdin.write(b"%d\n" % count)
        self.process.stdin.flush()
        return [int(pid) for pid in self._line(20).split()]

    def wait(self, limit_s: float) -> tuple[float, list[int]]:
        """(seconds, wait statuses) once all children have ended."""
        began = time.monotonic()
        statuses = [int(status) for status in self._line(limit_s).split()]
        return time.monotonic() - began, statuses

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


def state_of(pid: int) -> str:
    with contextlib.suppress(OSError):
        stat = Path(f"/proc/{pid}/stat").read_text()
        return f"{stat.rsplit(')', 1)[1].split()[0]} {Path(f'/proc/{pid}/wchan').read_text()}"
    return "gone"


def wait_until(condition: Callable[[], bool], limit_s: float, what: str) -> None:
    until = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < until, f"not within {limit_s} s: {what}"
        time.sleep(0.005)


def is_alive(pid: int) -> bool:
    return state_of(pid).split()[0] not in ("gone", "Z")


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def link_ids(pid: int) -> set[int]:
    """Programs that a process has attached."""
    found = set()
    for path in Path(f"/proc/{pid}/fdinfo").iterdir():
        with contextlib.suppress(OSError):
            found |= {int(number) for number in re.findall(r"^link_id:\s*(\d+)", path.read_text(), re.M)}
    return found


def attached_ids() -> set[int]:
    """All programs that are attached on this machine, by whom it may be: bpf(BPF_LINK_GET_NEXT_ID)."""
    library, number = ctypes.CDLL(None, use_errno=True), {"x86_64": 321, "aarch64": 280}[os.uname().machine]
    found: set[int] = set()
    last = 0
    while True:
        attribute = ctypes.create_string_buffer(struct.pack("=II", last, 0), 128)
        if library.syscall(number, 31, attribute, 128) != 0:
            assert ctypes.get_errno() == errno.ENOENT
            return found
        last = struct.unpack_from("=II", attribute)[1]
        found.add(last)


def has_capability(number: int) -> bool:
    text = Path("/proc/self/status").read_text()
    return bool(int(re.findall(r"^CapEff:\s*(\w+)", text, re.M)[0], 16) >> number & 1)


def assert_nothing_is_left(controllers: Controllers, place: Path) -> None:
    """No process of a guard, no attached program, no entry among neighbours."""
    for controller in controllers.all:
        for pid in (controller.guard, controller.second):
            wait_until(lambda pid=pid: not is_alive(pid), 5, f"the guard's process {pid} has ended")  # type: ignore[misc]
        links = controller.links
        wait_until(lambda links=links: not links & attached_ids(), 5, "its programs are detached")  # type: ignore[misc]
        os.close(controller.guard_fd)
    assert not (place / "run/cbprocess").exists()
