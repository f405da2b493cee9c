"""What one installed build takes for a thing that bench/run.py measures: prints one number.

    figures.py NAME FOLDER

compare.py runs it with the Python of each build, in a folder of the build's own. FIGURES has the names. Knows
the package's public surface only, but for what binding.py knows."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable, NamedTuple

import awaited
import binding
import snapshot
import startup
import tree
from harness import Monitor, Workload, compile_program

SPAWN_COUNT, THREAD_COUNT, EVENT_COUNT = 300, 600, 10_000
EVENT_RUNS, START_COUNT, SNAPSHOT_COUNT = 9, 5, 5
RUN = [str(Path(sys.executable).parent / "cbprocess"), "run", "--", "/bin/true"]


class Figure(NamedTuple):
    what: str
    unit: str
    measure: Callable[[Path], float]
    is_pinned: bool = True
    needs_crowd: bool = False  # a thousand processes run meanwhile


def spawned_us(folder: Path, monitor: Monitor | None) -> float:
    return Workload(folder, "spawn", SPAWN_COUNT).run(monitor) / 1000


def held_us(folder: Path, refuse_with: str, action: str = "ask") -> float:
    return spawned_us(folder, tree.python_controller(tree.HELD, tree.EVENTS_ALL_FOUR, refuse_with, action))


def threads_us(folder: Path) -> float:
    monitor = tree.python_controller(tree.HELD, tree.EVENTS_THREAD, "kill")
    return Workload(folder, "threads", THREAD_COUNT).run(monitor) / 1000


def event_ns(folder: Path, handler: binding.Handler) -> float:
    library = folder / "loop.so"
    if not library.exists():
        compile_program(folder, "loop.c", library.name, "-shared", "-fPIC", "-pthread")
    loop = binding.Loop(library)
    return statistics.median(loop.measure(handler, EVENT_COUNT) for _ in range(EVENT_RUNS))


def snapshot_ms(folder: Path) -> float:
    take = snapshot.listings("proc")["ours"]
    take()
    return statistics.median(snapshot.spent_ms(take).wall for _ in range(SNAPSHOT_COUNT))


def import_ms(statement: str) -> float:
    return statistics.median(startup.probe(statement)[0] for _ in range(START_COUNT))


def run_ms(folder: Path) -> float:
    taken = []
    for _ in range(START_COUNT):
        begin = time.perf_counter()
        subprocess.run(RUN, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        taken.append((time.perf_counter() - begin) * 1000)
    return statistics.median(taken)


FIGURES = {
    "bare": Figure("`spawn` alone: what the comparison itself is worth", "us", lambda f: spawned_us(f, None)),
    "H2": Figure("`spawn`, all held in Python, without a filter", "us", lambda f: held_us(f, "kill")),
    "H2e": Figure("`spawn`, all held in Python, default mode", "us", lambda f: held_us(f, "errno")),
    "H3": Figure("`threads`, creation and end held in Python", "us", threads_us),
    "H5": Figure(
        "a handler that reads two fields and sets one",
        "ns",
        lambda f: event_ns(f, binding.read_and_allow),
    ),
    "H5-empty": Figure("an empty handler", "ns", lambda f: event_ns(f, binding.do_nothing)),
    "H6": Figure(
        f"snapshot of {snapshot.PROCESS_COUNT} processes through `/proc`, texts read",
        "ms",
        snapshot_ms,
        is_pinned=False,
        needs_crowd=True,
    ),
    "H8": Figure("`import cbprocess`", "ms", lambda f: import_ms(startup.PACKAGE)),
    "H8-init": Figure("`import` and `initialize()`", "ms", lambda f: import_ms(startup.INITIALIZED)),
    "H10": Figure("`spawn`, allowed by a rule, told afterwards", "us", lambda f: held_us(f, "kill", "allow")),
    "H12": Figure(
        "`spawn`, creations held until a coroutine returns",
        "us",
        lambda f: spawned_us(f, awaited.controller("coroutine")),
    ),
    "H15": Figure("`cbprocess run -- /bin/true`", "ms", run_ms, is_pinned=False),
}


if __name__ == "__main__":
    print(FIGURES[sys.argv[1]].measure(Path(sys.argv[2])))
