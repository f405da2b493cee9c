"""H15: what `cbprocess run` adds to a command that does nothing, beside bare Python, and what an instance
that is ready costs.

Every figure is a process of its own, by the clock from its start to its end. Knows the package by its command
and its name."""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import sysconfig
import time
from collections.abc import Sequence
from pathlib import Path

from harness import BenchmarkError, progress
from startup import INITIALIZED
from table import Row

RUN_TARGET = 2.33  # 28 ms where Python takes 12
READY_TARGET = 0.42  # 5 ms where Python takes 12

BARE = "bare Python"
RUN = "run"
MODULE = "`python -m cbprocess run`"
READY = "initialize()"
STRACE = "`strace -f`"


def ways() -> dict[str, list[str]]:
    true = shutil.which("true") or "true"
    program = str(Path(sysconfig.get_path("scripts"), "cbprocess"))
    found = {
        BARE: [sys.executable, "-c", "pass"],
        RUN: [program, "run", "--", true],
        MODULE: [sys.executable, "-m", "cbprocess", "run", "--", true],
        READY: [sys.executable, "-c", INITIALIZED],
    }
    strace = shutil.which("strace")
    if strace:
        found[STRACE] = [strace, "-f", "-o", os.devnull, true]
    return found


def milliseconds(command: list[str]) -> float:
    begun = time.perf_counter()
    quiet = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_WRONLY, 0) for fd in (1, 2)]
    process_id = os.posix_spawn(command[0], command, os.environ, file_actions=quiet)
    status = os.waitpid(process_id, 0)[1]
    spent = time.perf_counter() - begun
    if status != 0:
        raise BenchmarkError(f"{' '.join(command)}: status {status}")
    return spent * 1e3


def measure(repetitions: int) -> dict[str, list[float]]:
    """The times of each way, in turn."""
    commands = ways()
    for command in commands.values():
        milliseconds(command)  # compiled and in the page cache from here on
    samples: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(repetitions):
        for name, command in commands.items():
            samples[name].append(milliseconds(command))
    return samples


def ratios(samples: dict[str, list[float]], name: str) -> list[float]:
    return [spent / bare for spent, bare in zip(samples[name], samples[BARE])]


def command_rows(repetitions: int, cpus: set[int]) -> list[Row]:
    progress(f"H15: {repetitions} repetitions on one CPU, then on all")
    samples = measure(repetitions)
    pinned = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        on_all = measure(repetitions)
    finally:
        os.sched_setaffinity(0, pinned)
    bare_ms = statistics.median(samples[BARE])
    run, ready = ratios(samples, RUN), [ratio - 1 for ratio in ratios(samples, READY)]
    others = [f"{name} {statistics.median(ratios(samples, name)):.2f}x" for name in samples if name[0] == "`"]
    others.append(f"on all CPUs {statistics.median(ratios(on_all, RUN)):.2f}x")
    times = f"Python {bare_ms:.1f} ms, `run` {statistics.median(samples[RUN]):.1f} ms"
    return [
        Row(
            "H15",
            "`cbprocess run -- true`, from its start to its end",
            f"<= {RUN_TARGET:.2f}x bare Python",
            described(run),
            statistics.median(run) <= RUN_TARGET,
            "; ".join([times, *others]),
        ),
        Row(
            "H15",
            "`import cbprocess` and `initialize()`, over bare Python",
            f"<= {READY_TARGET:.2f}x bare Python",
            described(ready),
            statistics.median(ready) <= READY_TARGET,
            f"{statistics.median(ready) * bare_ms:.1f} ms",
        ),
    ]


def described(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f}x ({min(values):.2f}-{max(values):.2f})"
