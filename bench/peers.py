"""What cbprocess is compared with on the same workloads: strace, python-ptrace, and nobody at all.

Each is checked to have seen every program, so that a fast peer is not a blind one. Knows nothing of
cbprocess."""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
from pathlib import Path
from typing import Callable

from harness import PROGRAMS, BenchmarkError, Monitor, compile_program


def count_programs(log: Path) -> int:
    return len(set(re.findall(r"tag-\d+", log.read_text(errors="replace"))))


def make_check(log: Path, new_thread: str) -> Callable[[str, str, int], None]:
    """A check of the peer's log: each program by its argument, each thread by a line with NEW_THREAD."""

    def check(_output: str, kind: str, count: int) -> None:
        if kind == "spawn":
            seen = count_programs(log)
        else:
            seen = len(re.findall(new_thread, log.read_text(errors="replace"), re.MULTILINE))
        if seen < count:
            raise BenchmarkError(f"{log.name} shows {seen} of {count} operations ({kind})")

    return check


def strace(folder: Path) -> Monitor:
    log = folder / "strace.log"

    def command(workload: list[str]) -> list[str]:
        return ["strace", "-f", "-qq", "-e", "trace=process", "-o", str(log), *workload]

    return Monitor("strace -f", command, make_check(log, r"clone3?\(|clone3? resumed"))


def python_ptrace(folder: Path) -> Monitor:
    log = folder / "python-ptrace.log"

    def command(workload: list[str]) -> list[str]:
        return [sys.executable, str(PROGRAMS / "python_ptrace.py"), str(log), *workload]

    return Monitor("python-ptrace", command, make_check(log, r"^new "), share=0.1)


def nobody() -> Monitor:
    """The bare workload once more: how far its ratio lies from 1 is how far the others can be trusted."""
    return Monitor("bare again", lambda workload: workload, lambda output, kind, count: None)


def stops_name(which: str) -> str:
    return f"stops alone ({which})"


def only_stops(folder: Path, which: str) -> Monitor:
    """A tracer in C that does nothing at its stops, or nothing but asking: what the kernel's part of any
    tracer costs."""
    program = folder / "stops"
    if not program.exists():
        compile_program(folder, "stops.c", program.name)

    def command(workload: list[str]) -> list[str]:
        return [str(program), which, *workload]

    return Monitor(stops_name(which), command, lambda output, kind, count: None)


def available_peers(folder: Path) -> tuple[list[Monitor], list[str]]:
    """The bare workload, the peers that this machine has, and a note for each that it has not."""
    peers: list[Monitor] = [nobody()]
    notes: list[str] = []
    if shutil.which("strace"):
        peers.append(strace(folder))
    else:
        notes.append("strace is not installed")
    if importlib.util.find_spec("ptrace"):
        peers.append(python_ptrace(folder))
    else:
        notes.append("python-ptrace is not installed")
    return peers, notes
