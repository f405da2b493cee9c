"""H14: whole builds of two Debian packages, bare, under `cbprocess run`, under `strace -f` and under a
tracer that does nothing, by the clock and on all CPUs.

The sources are those of the tests, or those in the folders that CBPROCESS_BENCH_SOURCES names (unpacked, with
a colon between them). Knows the package by its command alone."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import NamedTuple

from harness import BenchmarkError, Series, progress
from peers import only_stops
from table import Row

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
from package_source import RULES, write_source

RUN, DENY, STRACE, STOPS = "`run`", "`run --deny`", "`strace -f`", "stops alone"
TARGETS = {RUN: 1.05, DENY: 1.08}
NEEDED = ("dpkg-buildpackage", "fakeroot", "make", "gcc", "dh")
TIMEOUT_S = 600


class Source(NamedTuple):
    name: str
    folder: Path


def sources(folder: Path) -> list[Source]:
    given = [Path(name) for name in os.environ.get("CBPROCESS_BENCH_SOURCES", "").split(":") if name]
    if given:
        return [Source(path.name, path) for path in given]
    found = []
    for name, rules in RULES.items():
        path = folder / "sources" / name
        write_source(path, rules, "sh -c 'exit 3'")
        found.append(Source(name, path))
    return found


def ways(folder: Path) -> dict[str, list[str]]:
    run = [str(Path(sysconfig.get_path("scripts"), "cbprocess")), "run", "--output", os.devnull]
    found = {"bare": [], RUN: [*run, "--"], DENY: [*run, "--deny", "*/no-such-program", "--"]}
    found[STOPS] = only_stops(folder, "executions").command(["/usr/bin/env"])  # which searches PATH
    strace = shutil.which("strace")
    if strace:
        found[STRACE] = [strace, "-f", "-o", os.devnull]
    return found


def seconds(source: Source, front: list[str], folder: Path) -> float:
    """Builds a fresh copy."""
    place = folder / "build"
    shutil.copytree(source.folder, place / "source", symlinks=True)
    command = [*front, "dpkg-buildpackage", "-us", "-uc", "-b", "-d", f"-j{os.cpu_count()}"]
    begun = time.perf_counter()
    done = subprocess.run(
        command, cwd=place / "source", capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    taken = time.perf_counter() - begun
    packages = list(place.glob("*.deb"))
    shutil.rmtree(place)
    if done.returncode != 0 or not packages:
        raise BenchmarkError(f"{' '.join(command)}: status {done.returncode}\n{done.stderr[-2000:]}")
    return taken


def measure(source: Source, folder: Path, repetitions: int) -> dict[str, Series]:
    """The ratios to the bare build of that round, and nanoseconds of each build."""
    fronts = ways(folder)
    seconds(source, [], folder)  # its files and tools are in the page cache from here on
    series: dict[str, Series] = {name: Series([], []) for name in fronts}
    for repetition in range(repetitions):
        progress(f"H14: {source.name}, repetition {repetition + 1} of {repetitions}")
        bare = seconds(source, [], folder)
        for name, front in fronts.items():
            taken = seconds(source, front, folder) if front else bare
            series[name].ratios.append(taken / bare)
            series[name].operation_ns.append(taken * 1e9)
    return series


def lacking() -> set[str]:
    """What cannot be measured here."""
    return {"H14"} if any(shutil.which(program) is None for program in NEEDED) else set()


def build_rows(folder: Path, repetitions: int, cpus: set[int]) -> list[Row]:
    if lacking():
        raise BenchmarkError(f"H14 needs {', '.join(NEEDED)}")
    pinned = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        found = {source.name: measure(source, folder, repetitions) for source in sources(folder)}
    finally:
        os.sched_setaffinity(0, pinned)
    bare_s = ", ".join(
        f"{statistics.median(series['bare'].operation_ns) / 1e9:.1f} s" for series in found.values()
    )
    peers = [f"bare {bare_s}"]
    for peer in (STOPS, STRACE):
        peers += [f"{peer} {series[peer]}" for series in found.values() if peer in series]
    return [
        Row(
            "H14",
            f"builds of Debian packages ({', '.join(found)}) under {way}",
            f"<= {target:.2f}x",
            ", ".join(f"{series[way]}x" for series in found.values()),
            all(series[way].ratio <= target for series in found.values()),
            "; ".join(peers),
        )
        for way, target in TARGETS.items()
    ]
