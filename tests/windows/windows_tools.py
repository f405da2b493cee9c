"""What the tests of Windows share: filters, waiting, the helper processes that run, the compiled programs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable

import pytest

from cbprocess import CBProcess
from cbprocess.running import running_processes

GUID = "{0F5D9C5B-6B8F-4B9C-9E59-0B8C8A3B6B10}"
LIMIT_S = 60.0
STATUS_ACCESS_DENIED = 0xC0000022
COMMAND = ["cmd.exe", "/c", "exit 3"]
# A Python that runs COMMAND and ends with its status.
CHILD = "import subprocess, sys; sys.exit(subprocess.call(['cmd.exe', '/c', 'exit 3']) & 0xff)"
PIPES: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}


def make(*settings: str, **handlers: Callable[[Any], None]) -> CBProcess:
    process = CBProcess()
    process.initialize(GUID)
    for setting in ("Driver=debug", "EventsToFire=-1", *settings):
        process.config(setting)
    for name, handler in handlers.items():
        setattr(process, name, handler)
    return process


def wait_for(condition: Callable[[], object], limit_s: float = LIMIT_S) -> None:
    limit = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < limit, "not within its time"
        time.sleep(0.01)


def helpers() -> list[int]:
    return [p.process_id for p in running_processes(False) if "cbprocess-debug" in p.process_name]


def living() -> set[int]:
    return {process.process_id for process in running_processes(False)}


def is_cmd(event: Any) -> bool:
    name: str = event.process_name
    return name.lower().endswith("cmd.exe")


def sleeper() -> subprocess.Popen[str]:
    """A Python that ends with status 0 when it gets a line."""
    return subprocess.Popen([sys.executable, "-c", "input()"], **PIPES)


def compiled(name: str) -> str:
    """The path of a program that was compiled for these tests; see tools/windows_test.sh."""
    program = os.environ.get("CBPROCESS_TEST_PROGRAM")
    if not program:
        pytest.skip("CBPROCESS_TEST_PROGRAM does not name the compiled programs")
    found = Path(program).with_name(name)
    if not found.exists():
        pytest.skip(f"there is no {name}: tools/windows_test.sh says what it needs")
    return str(found)
