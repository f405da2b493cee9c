"""H6: a snapshot of a thousand running processes as Python objects, against psutil's in the same run.

Both give the id, the name and the arguments of every process; ours has the executable's path for a name, the
parent, the threads and the start time besides. CPU time, not wall-clock time: both only make system calls."""

from __future__ import annotations

import importlib
import statistics
import subprocess
import time
from typing import Any, Callable

from harness import BenchmarkError, progress
from table import Row

import cbprocess

PROCESS_COUNT = 1000
TARGET = 2.5


def own() -> list[tuple[int, str, list[str]]]:
    processes = cbprocess.running_processes()
    return [(process.process_id, process.process_name, process.arguments) for process in processes]


def without_arguments() -> list[tuple[int, str]]:
    processes = cbprocess.running_processes(command_lines=False)
    return [(process.process_id, process.process_name) for process in processes]


def psutils(psutil: Any) -> list[Any]:
    return [process.info for process in psutil.process_iter(["pid", "name", "cmdline"])]


def cpu_ms(call: Callable[[], list[Any]]) -> float:
    begin = time.process_time_ns()
    listed = call()
    spent_ns = time.process_time_ns() - begin
    if len(listed) < PROCESS_COUNT:
        raise BenchmarkError(f"a listing has {len(listed)} processes of more than {PROCESS_COUNT}")
    return spent_ns / 1e6


def measure(repetitions: int, psutil: Any) -> tuple[list[float], list[float], list[float]]:
    """Milliseconds of each; without psutil the second list is empty."""
    samples: tuple[list[float], list[float], list[float]] = ([], [], [])
    children = [subprocess.Popen(["sleep", "600"]) for _ in range(PROCESS_COUNT)]
    try:
        for repetition in range(repetitions + 1):
            taken = (
                cpu_ms(own),
                cpu_ms(lambda: psutils(psutil)) if psutil else None,
                cpu_ms(without_arguments),
            )
            if repetition == 0:
                continue  # psutil keeps an object for each process from its first listing on
            for values, value in zip(samples, taken):
                if value is not None:
                    values.append(value)
    finally:
        for child in children:
            child.kill()
        for child in children:
            child.wait()
    return samples


def snapshot_rows(repetitions: int) -> list[Row]:
    progress(f"snapshot: {PROCESS_COUNT} processes, {repetitions} repetitions")
    try:
        psutil = importlib.import_module("psutil")
    except ImportError:
        psutil = None
    spent, theirs, short = measure(repetitions, psutil)
    ratio = statistics.median(their / our for their, our in zip(theirs, spent)) if theirs else 0.0
    peers = f"psutil {statistics.median(theirs):.1f} ms" if theirs else "psutil is not installed"
    return [
        Row(
            "H6",
            f"snapshot of {PROCESS_COUNT} processes as Python objects, through /proc",
            f">= {TARGET}x faster than psutil",
            f"{ratio:.2f}x" if theirs else f"{statistics.median(spent):.1f} ms",
            ratio >= TARGET,
            f"{statistics.median(spent):.1f} ms; no arguments {statistics.median(short):.1f} ms; {peers}",
        )
    ]
