"""Building the benchmark's programs, pinning, and running a workload with and without a monitor.

Knows nothing of cbprocess: a monitor is a command that runs another command."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import Callable, NamedTuple

PROGRAMS = Path(__file__).resolve().parent / "programs"
REPOSITORY = PROGRAMS.parent.parent
WARM_UP_COUNT = 20  # as in programs/workload.c
COMMAND_TIMEOUT_S = 120


class BenchmarkError(Exception):
    """A measurement that would be wrong: a program failed, or a monitor did not see what happened."""


class Missing(Exception):
    """A peer that this machine does not have."""


class Monitor(NamedTuple):
    """Who watches the workload, and how many of the usual operations it can bear."""

    name: str
    command: Callable[[list[str]], list[str]]
    check: Callable[[str, str, int], None]  # (its standard output, kind of workload, operations)
    share: float = 1.0


class Series(NamedTuple):
    """Ratios of one monitor to the bare workload that ran just before it, and its time for an operation."""

    ratios: list[float]
    operation_ns: list[float]

    @property
    def ratio(self) -> float:
        return statistics.median(self.ratios)

    def __str__(self) -> str:
        return f"{self.ratio:.2f} ({min(self.ratios):.2f}-{max(self.ratios):.2f})"


def pin_to_one_cpu() -> int:
    """Keeps this process and all that it starts on the last CPU that it may use."""
    cpu = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cpu})
    return cpu


def progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def run(command: Sequence[str]) -> str:
    """Runs a command to its end and returns its standard output."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=COMMAND_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise BenchmarkError(f"{' '.join(command)}: still running after {COMMAND_TIMEOUT_S} s") from None
    if done.returncode != 0:
        raise BenchmarkError(f"{' '.join(command)}: status {done.returncode}\n{done.stderr.strip()}")
    return done.stdout


def compiler(source: str) -> str:
    if source.endswith(".cc"):
        found = next((name for name in ("c++", "g++", "clang++") if shutil.which(name)), None)
        if found is None:
            raise Missing("no C++ compiler here")
        return found
    for name in ("cc", "gcc", "clang"):
        if shutil.which(name):
            return name
    raise BenchmarkError("the benchmark's programs need a C compiler: cc, gcc or clang")


def compile_program(folder: Path, source: str, output: str, *options: str) -> Path:
    """Compiles programs/SOURCE into folder/OUTPUT; options come after the source, libraries included."""
    target = folder / output
    headers = [f"-I{REPOSITORY / 'native/include'}", f"-I{REPOSITORY / 'driver/protocol'}"]
    run([compiler(source), "-O2", *headers, "-o", str(target), str(PROGRAMS / source), *options])
    return target


def compile_extension(folder: Path) -> Path:
    include = sysconfig.get_paths()["include"]
    if not Path(include, "Python.h").exists():
        raise Missing("C extension: no Python headers here")
    return compile_program(folder, "cext.c", "cext.so", "-shared", "-fPIC", "-pthread", f"-I{include}")


class Workload:
    """The compiled workload of one kind, `spawn` or `threads`."""

    def __init__(self, folder: Path, kind: str, count: int) -> None:
        self.kind = kind
        self.count = count
        self._out = folder / "elapsed"
        self._program = folder / "workload"
        self._tiny = folder / "tiny"
        if not self._program.exists():
            compile_program(folder, "workload.c", "workload", "-pthread")
            compile_program(folder, "tiny.c", "tiny", "-static", "-nostdlib")

    def run(self, monitor: Monitor | None = None) -> float:
        """Nanoseconds of one operation. The monitor must have seen every one of them."""
        count = max(1, int(self.count * monitor.share)) if monitor else self.count
        command = [str(self._program), self.kind, str(count), str(self._out), str(self._tiny)]
        self._out.unlink(missing_ok=True)
        output = run(monitor.command(command) if monitor else command)
        if monitor:
            monitor.check(output, self.kind, count + WARM_UP_COUNT)
        return float(self._out.read_text())


def interleave(workload: Workload, monitors: Sequence[Monitor], repetitions: int) -> dict[str, Series]:
    """Runs bare and monitored workloads in turn, so that a change of the machine's pace meets all of them."""
    series = {monitor.name: Series([], []) for monitor in monitors}
    for repetition in range(repetitions):
        progress(f"{workload.kind}: repetition {repetition + 1} of {repetitions}")
        for monitor in monitors:
            bare_ns = workload.run()
            operation_ns = workload.run(monitor)
            series[monitor.name].ratios.append(operation_ns / bare_ns)
            series[monitor.name].operation_ns.append(operation_ns)
    return series
