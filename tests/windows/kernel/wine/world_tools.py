"""What the tests in the world share: filters of the kernel driver, programs whose operations are watched, the
machine's calls for handles."""

from __future__ import annotations

import contextlib
import ctypes
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any, Callable

from cbprocess import CBProcess

GUID = "{0F5D9C5B-6B8F-4B9C-9E59-0B8C8A3B6B10}"
LIMIT_S = 60.0
EVENTS = (
    "process_creation",
    "process_termination",
    "thread_creation",
    "thread_termination",
    "process_handle_operation",
    "thread_handle_operation",
)
PROCESS_ALL_ACCESS = THREAD_ALL_ACCESS = 0x1FFFFF
DUPLICATE_SAME_ACCESS = 2
# Programs say what they need of this with a line of their own.
PRELUDE = """
import ctypes, json, os, subprocess, sys, threading, time
kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
for name in ("OpenProcess", "OpenThread", "CreateRemoteThread", "GetCurrentProcess", "GetCurrentThread"):
    getattr(kernel32, name).restype = ctypes.c_void_p
def tell(*values): print(json.dumps(values), flush=True)
def duplicate(handle, access=0, options=0, source=-1, target=-1):
    made = ctypes.c_void_p()
    done = kernel32.DuplicateHandle(ctypes.c_void_p(source), ctypes.c_void_p(handle), ctypes.c_void_p(target),
                                    ctypes.byref(made), access, 0, options)
    return made.value if done else 0
def error_of(done): return 0 if done else ctypes.get_last_error()
"""
# Runs its arguments, and tells the process's id and status or the error of the creation.
SPAWN = """
try:
    child = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
    tell(child.pid, child.wait())
except OSError as error:
    tell(error.winerror)
"""


def wait_for(condition: Callable[[], object], limit_s: float = LIMIT_S) -> None:
    limit = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < limit, "not within its time"
        time.sleep(0.005)


class Watch:
    """A filter for all processes, and what it has seen."""

    def __init__(self, *settings: str, **handlers: Callable[[Any], None]) -> None:
        self.seen: list[tuple[str, Any]] = []
        self.errors: list[int] = []
        self._lock = threading.Lock()
        self.process = CBProcess()
        self.process.initialize(GUID)
        for setting in ("Driver=kernel", "EventsToFire=-1", *settings):
            self.process.config(setting)
        self.process.on_error = lambda params: self.errors.append(params.error_code)
        for name in EVENTS:
            setattr(self.process, f"on_{name}", self._handler(name, handlers.get(name)))
        self.process.add_filtered_process_by_id(-1, False)

    def _handler(self, name: str, answer: Callable[[Any], None] | None) -> Callable[[Any], None]:
        def handle(event: Any) -> None:
            if answer is not None:
                answer(event)
            with self._lock:
                self.seen.append((name, event))

        return handle

    def of(self, process_id: int, *names: str) -> list[Any]:
        return [event for name, event in list(self.seen) if name in names and event.process_id == process_id]

    def names(self, process_id: int) -> list[str]:
        return [name for name, event in list(self.seen) if event.process_id == process_id]


@contextlib.contextmanager
def watch(*settings: str, timeout: int = 0, **handlers: Callable[[Any], None]) -> Iterator[Watch]:
    made = Watch(*settings, **handlers)
    made.process.start_filter(timeout)
    try:
        yield made
    finally:
        made.process.stop_filter()


class Program:
    """A Python whose operations are watched: a child of the tests', which are the controller."""

    def __init__(self, text: str, *arguments: str) -> None:
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.child = subprocess.Popen([sys.executable, "-S", "-c", PRELUDE + text, *arguments], **pipes)

    def line(self) -> Any:
        assert self.child.stdout is not None
        return json.loads(self.child.stdout.readline())

    def say(self, *words: object) -> None:
        assert self.child.stdin is not None
        self.child.stdin.write(json.dumps(words) + "\n")
        self.child.stdin.flush()

    def end(self) -> int:
        self.child.communicate(timeout=LIMIT_S)
        return self.child.returncode


def run(text: str, *arguments: str) -> tuple[list[Any], int, int]:
    """The values that the program tells with each line, its process id and its status."""
    program = Program(text, *arguments)
    output, _ = program.child.communicate(timeout=LIMIT_S)
    return [json.loads(line) for line in output.splitlines()], program.child.pid, program.child.returncode


def machine() -> Any:
    library: Any = ctypes.WinDLL("kernel32", use_last_error=True)  # type: ignore[attr-defined]
    library.OpenProcess.restype = ctypes.c_void_p
    return library
