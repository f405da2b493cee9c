"""H15: what `cbprocess run` adds to a command that does nothing, beside bare Python, and what an instance
that is ready costs.

Every figure is a process of its own: by the clock from its start to its end, and its processor time, which
other work on the machine disturbs less (the helper's is not in it). Knows the package by its command and its
name."""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import sysconfig
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

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
    python = [sys.executable, "-I"]  # else a checkout that this runs in would be the package
    found = {
        BARE: [*python, "-c", "pass"],
        RUN: [program, "run", "--", true],
        MODULE: [*python, "-m", "cbprocess", "run", "--", true],
        READY: [*python, "-c", INITIALIZED],
    }
    strace = shutil.which("strace")
    if strace:
        found[STRACE] = [strace, "-f", "-o", os.devnull, true]
    return found


class Spent(NamedTuple):
    """Milliseconds."""

    clock: float
    processor: float


def spent_by(command: list[str]) -> Spent:
    begun = time.perf_counter()
    quiet = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_WRONLY, 0) for fd in (1, 2)]
    process_id = os.posix_spawn(command[0], command, os.environ, file_actions=quiet)
    _, status, usage = os.wait4(process_id, 0)
    clock = time.perf_counter() - begun
    if status != 0:
        raise BenchmarkError(f"{' '.join(command)}: status {status}")
    return Spent(clock * 1e3, (usage.ru_utime + usage.ru_stime) * 1e3)


def measure(repetitions: int) -> dict[str, list[Spent]]:
    """The times of each way, in turn."""
    commands = ways()
    for command in commands.values():
        spent_by(command)  # compiled and in the page cache from here on
    samples: dict[str, list[Spent]] = {name: [] for name in commands}
    for _ in range(repetitions):
        for name, command in commands.items():
            samples[name].append(spent_by(command))
    return samples


def clock_ratios(samples: dict[str, list[Spent]], name: str) -> list[float]:
    return [spent.clock / bare.clock for spent, bare in zip(samples[name], samples[BARE])]


def processor_ratio(samples: dict[str, list[Spent]], name: str) -> float:
    return statistics.median(
        spent.processor / bare.processor for spent, bare in zip(samples[name], samples[BARE])
    )


def clock_ms(samples: dict[str, list[Spent]], name: str) -> float:
    return statistics.median(spent.clock for spent in samples[name])


def command_rows(repetitions: int, cpus: set[int]) -> list[Row]:
    progress(f"H15: {repetitions} repetitions on one CPU, then on all")
    samples = measure(repetitions)
    pinned = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        on_all = measure(repetitions)
    finally:
        os.sched_setaffinity(0, pinned)
    run, ready = clock_ratios(samples, RUN), [ratio - 1 for ratio in clock_ratios(samples, READY)]
    others = [name for name in samples if name[0] == "`"]
    peers = [
        f"Python {clock_ms(samples, BARE):.1f} ms, `run` {clock_ms(samples, RUN):.1f} ms",
        f"processor time {processor_ratio(samples, RUN):.2f}x",
        f"on all CPUs {statistics.median(clock_ratios(on_all, RUN)):.2f}x",
        *(f"{name} {statistics.median(clock_ratios(samples, name)):.2f}x" for name in others),
    ]
    ready_ms = clock_ms(samples, READY) - clock_ms(samples, BARE)
    return [
        Row(
            "H15",
            "`cbprocess run -- true`, from its start to its end",
            f"<= {RUN_TARGET:.2f}x bare Python",
            described(run),
            statistics.median(run) <= RUN_TARGET,
            "; ".join(peers),
        ),
        Row(
            "H15",
            "`import cbprocess` and `initialize()`, over bare Python",
            f"<= {READY_TARGET:.2f}x bare Python",
            described(ready),
            statistics.median(ready) <= READY_TARGET,
            f"{ready_ms:.1f} ms; processor time {processor_ratio(samples, READY) - 1:.2f}x",
        ),
    ]


def described(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f}x ({min(values):.2f}-{max(values):.2f})"
