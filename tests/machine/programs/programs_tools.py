"""What the tests of the BPF programs share that watch processes: the loaded programs, programs that run and
wait, and what was told of them. Knows records."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from machine.programs.records import EXEC, Programs, Record

TRUE = os.path.realpath("/bin/true")


@pytest.fixture(scope="module")
def loaded() -> Iterator[Programs]:
    with Programs() as made:
        yield made


@pytest.fixture
def programs(loaded: Programs) -> Programs:
    loaded.reset()
    return loaded


def run(arguments: list[Any], **more: Any) -> int:
    """The process id of a program that has ended."""
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, **more)
    process.wait()
    return process.pid


def exec_of(programs: Programs, process_id: int) -> Record:
    found = [record for record in programs.read_process(process_id) if record.type == EXEC]
    return found[-1]


def start_ticks(process_id: int) -> int:
    text = Path(f"/proc/{process_id}/stat").read_text(encoding="ascii", errors="replace")
    return int(text.rpartition(")")[2].split()[19])


PIPES: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}


def ask(process: subprocess.Popen[bytes], wanted: bytes = b"") -> bytes:
    assert process.stdin and process.stdout
    process.stdin.write(b"\n" + wanted)
    process.stdin.flush()
    return process.stdout.readline()


def start(script: str) -> subprocess.Popen[bytes]:
    """A shell that has begun and goes on with the script when it gets a line."""
    process = subprocess.Popen(["/bin/sh", "-c", f"echo; read a; {script}"], **PIPES)
    assert process.stdout
    process.stdout.readline()
    return process


def exec_record_of(programs: Programs, process_id: int) -> Record:
    return programs.read_until(lambda record: record.type == EXEC and record.process_id == process_id)[-1]


def own_threads(programs: Programs) -> set[int]:
    return {int(path.name) for path in Path("/proc/self/task").iterdir()} & set(programs.tasks.keys())
