"""H6: a snapshot of a thousand running processes as Python objects, against psutil's in the same run.

Both give the id, the name and the arguments of every process, and all of these are read. Ours has the
executable's path for a name, and the parent, the user, the threads and the start time besides. What counts
is wall-clock time on all processors, of which the way through /proc uses several; the processors' time stands
beside it. Each is taken twice in a row, and the second one counts: the first one pays for memory that the one
before has pushed out of the processor's caches.

The way through /proc is measured as an ordinary user, the one by programs in the kernel as root."""

from __future__ import annotations

import importlib
import json
import os
import statistics
import subprocess
import sys
import time
from typing import Any, Callable, NamedTuple

from harness import BenchmarkError, progress
from table import Row

import cbprocess

PROCESS_COUNT = 1000
FIRST_CALL_COUNT = 5
NOBODY = 65534


class Spent(NamedTuple):
    """Milliseconds of one listing."""

    wall: float
    cpu: float


class Way(NamedTuple):
    source: str
    target: float
    what: str
    is_roots: bool


WAYS = (
    Way("proc", 3.5, "through /proc, as an ordinary user", False),
    Way("bpf", 25, "by programs in the kernel, as root", True),
)


def read(processes: list[cbprocess.RunningProcess]) -> list[Any]:
    return [(process.process_id, process.process_name, process.arguments) for process in processes]


def psutils() -> list[Any]:
    psutil = importlib.import_module("psutil")
    return [process.info for process in psutil.process_iter(["pid", "name", "cmdline"])]


def listings(source: str) -> dict[str, Callable[[], list[Any]]]:
    found: dict[str, Callable[[], list[Any]]] = {
        "ours": lambda: read(cbprocess.snapshot(source=source)),
        "unread": lambda: cbprocess.snapshot(source=source),
        "short": lambda: cbprocess.snapshot(False, source=source),
    }
    try:
        importlib.import_module("psutil")
    except ImportError:
        return found
    return {**found, "psutil": psutils}


def spent_ms(call: Callable[[], list[Any]]) -> Spent:
    begin, begin_cpu = time.perf_counter_ns(), time.process_time_ns()
    listed = call()
    wall, cpu = time.perf_counter_ns() - begin, time.process_time_ns() - begin_cpu
    if len(listed) < PROCESS_COUNT:
        raise BenchmarkError(f"a listing has {len(listed)} processes of more than {PROCESS_COUNT}")
    return Spent(wall / 1e6, cpu / 1e6)


def measure(source: str, repetitions: int) -> dict[str, list[Spent]]:
    samples: dict[str, list[Spent]] = {name: [] for name in listings(source)}
    children = [subprocess.Popen(["sleep", "600"]) for _ in range(PROCESS_COUNT)]
    try:
        for _ in range(repetitions):
            for name, call in listings(source).items():
                call()
                samples[name].append(spent_ms(call))
    finally:
        for child in children:
            child.kill()
        for child in children:
            child.wait()
    return samples


def measure_as(user_id: int, source: str, repetitions: int) -> dict[str, list[Spent]]:
    """Measures in a process of that user's, and of its children. Modules are imported before: the user need
    not be able to read them."""
    listings(source)
    reader, writer = os.pipe()
    process_id = os.fork()
    if process_id == 0:
        try:
            os.setgroups([])
            os.setresgid(user_id, user_id, user_id)
            os.setresuid(user_id, user_id, user_id)
            with open(writer, "w") as results:
                json.dump(measure(source, repetitions), results)
            os._exit(0)
        finally:
            os._exit(1)
    os.close(writer)
    with open(reader) as lines:
        text = lines.read()
    if os.waitpid(process_id, 0)[1] != 0:
        raise BenchmarkError("the snapshots of an ordinary user could not be measured")
    return {name: [Spent(*spent) for spent in each] for name, each in json.loads(text).items()}


def first_call_ms(source: str) -> float:
    """Wall-clock time of the first snapshot in a process."""
    code = (
        "import time, cbprocess; cbprocess.probe_driver('ptrace'); begin = time.perf_counter(); "
        f"cbprocess.snapshot(source={source!r}); print((time.perf_counter() - begin) * 1000)"
    )
    taken = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
        for _ in range(FIRST_CALL_COUNT)
    ]
    return statistics.median(taken)


def is_possible(source: str) -> bool:
    try:
        cbprocess.snapshot(source=source)
    except cbprocess.CBProcessError:
        return False
    return True


def row(way: Way, repetitions: int) -> Row:
    progress(f"snapshot: {PROCESS_COUNT} processes, {repetitions} repetitions, {way.what}")
    if way.is_roots or os.geteuid() != 0:
        samples = measure(way.source, repetitions)
    else:
        samples = measure_as(NOBODY, way.source, repetitions)
    ms = {name: statistics.median(spent.wall for spent in each) for name, each in samples.items()}
    cpu_ms = statistics.median(spent.cpu for spent in samples["ours"])
    ratio = ratio_unread = 0.0
    peers = "psutil is not installed"
    if "psutil" in samples:
        ratio, ratio_unread = (
            statistics.median(their.wall / our.wall for their, our in zip(samples["psutil"], samples[name]))
            for name in ("ours", "unread")
        )
        peers = f"psutil {ms['psutil']:.1f} ms"
    return Row(
        "H6",
        f"snapshot of {PROCESS_COUNT} processes as Python objects, {way.what}",
        f">= {way.target:g}x faster than psutil",
        f"{ratio:.2f}x" if ratio else f"{ms['ours']:.1f} ms",
        ratio >= way.target,
        f"{ms['ours']:.2f} ms ({cpu_ms:.2f} ms of processors); texts not read {ms['unread']:.2f} ms "
        f"({ratio_unread:.1f}x); no arguments {ms['short']:.2f} ms; first call "
        f"{first_call_ms(way.source):.0f} ms; {peers}",
    )


def snapshot_rows(repetitions: int, cpus: set[int]) -> list[Row]:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        return [row(way, repetitions) for way in WAYS if is_possible(way.source)]
    finally:
        os.sched_setaffinity(0, before)
