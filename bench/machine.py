"""H1, H4, H9 and the gate: what the bpf driver costs the programs of the machine, with the peers in one run.

Natively it holds only what the measured controllers start, on a file system of their own. Knows the package's
public interface, nothing of its insides."""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import own_mounts
from harness import BenchmarkError, Monitor, Series, Workload, interleave
from machine_peers import OWN_KIND, fapolicyd, observers
from peers import nobody
from table import Row
from tree import (
    EVENTS_ALL_FOUR,
    EVENTS_CREATION,
    EVENTS_NONE,
    EVENTS_THREAD,
    HELD,
    check_counts,
    expected_counts,
    python_controller,
)

CONTROLLER = Path(__file__).resolve().parent / "controller.py"
TRACING = Path("/sys/kernel/tracing")  # bpftrace needs it

CREATIONS = "creations held, Python handler"
OBSERVED = "everything observed, Python handler"
ANOTHER_OBSERVED = "another process observed"
ANOTHER_HELD = "another process's creations held"
GATE = "gate, Python handler"
GATE_ERRNO = "gate and fanotify, Python handler"

H1_TARGET = 1.35
H4_TARGET = 1.10
H9_OBSERVED_TARGET = 1.03
H9_HELD_TARGET = 1.22
GATE_TARGET = 1.5  # times the ptrace driver's ratio
CROWD_COUNT = 1000
FLAT = 0.03  # what a crowd may add to a ratio: more than the spread of a quiet machine


def obstacle() -> str:
    """Why nothing of this can be measured here, or ""."""
    from cbprocess import probe_driver

    report = probe_driver("bpf")
    return "" if report.runs else f"the bpf driver cannot run here: {report.reason}"


def has_gate() -> bool:
    from cbprocess import CAP_HOLD_PROCESS_TERMINATION, probe_driver

    return bool(probe_driver("bpf").capabilities & CAP_HOLD_PROCESS_TERMINATION)


def machine_controller(
    name: str, events: int, action: str, *options: str, refuse_with: str = "errno"
) -> Monitor:
    """A controller in Python; each operation of the workload has to reach it, if the rule is about that."""

    def command(workload: list[str]) -> list[str]:
        line = ["--events", str(events), "--refuse-with", refuse_with, "--action", action, "--driver", "bpf"]
        return [sys.executable, str(CONTROLLER), *line, *options, "--", *workload]

    def check(output: str, kind: str, count: int) -> None:
        seen = json.loads(output)
        is_concerned = not action.endswith("-other")
        told = events if is_concerned else EVENTS_NONE
        check_counts(name, seen, expected_counts(kind, count, told))
        if kind == "spawn" and told & EVENTS_CREATION and seen["right_command_lines"] != count:
            raise BenchmarkError(f"{name}: {seen['right_command_lines']} of {count} command lines were right")
        if not is_concerned and any(seen.values()):
            raise BenchmarkError(f"{name}: events were told: {seen}")

    return Monitor(name, command, check)


def quartiles(series: Series) -> str:
    low, middle, high = statistics.quantiles(series.ratios, n=4)
    return f"{middle:.2f} ({low:.2f}-{high:.2f})"


def describe(series: dict[str, Series], but: str) -> str:
    return "; ".join(f"{name} {quartiles(each)}" for name, each in series.items() if name != but)


def row(
    identifier: str, what: str, target: float, series: dict[str, Series], name: str, note: str = ""
) -> Row:
    return Row(
        identifier,
        what,
        f"<= {target:.2f}x",
        f"{quartiles(series[name])}x",
        series[name].ratio <= target,
        "; ".join(text for text in (describe(series, name), note) if text),
    )


def held_rows(folder: Path, place: Path, count: int, repetitions: int, selected: set[str]) -> list[Row]:
    """H1 and H9, from one interleaved run of `spawn` on the file system that is marked."""
    hold = ("--hold-path", str(place))
    monitors = [
        machine_controller(ANOTHER_OBSERVED, EVENTS_ALL_FOUR, "allow-other"),
        machine_controller(ANOTHER_HELD, EVENTS_CREATION, "ask-other", *hold),
        nobody(),
    ]
    if "H1" in selected:
        monitors.append(machine_controller(CREATIONS, EVENTS_CREATION, "ask", *hold))
    with fapolicyd(folder) as (peers, notes):
        series = interleave(Workload(place, "spawn", count), [*monitors, *peers], repetitions)
    rows = []
    if "H1" in selected:
        what = "`bpf`: each execution held by fanotify in a Python handler, `spawn`"
        rows.append(row("H1", what, H1_TARGET, series, CREATIONS, "; ".join(notes)))
    if "H9" in selected:
        what = "`bpf`: a process that no rule concerns, `spawn`, while {}"
        rows.append(row("H9", what.format(ANOTHER_OBSERVED), H9_OBSERVED_TARGET, series, ANOTHER_OBSERVED))
        rows.append(row("H9", what.format(ANOTHER_HELD), H9_HELD_TARGET, series, ANOTHER_HELD))
    return rows


@contextlib.contextmanager
def crowd() -> Iterator[None]:
    """A thousand processes that do nothing, and that no rule concerns."""
    sleepers = [subprocess.Popen(["sleep", "600"]) for _ in range(CROWD_COUNT)]
    try:
        yield
    finally:
        for sleeper in sleepers:
            sleeper.kill()
        for sleeper in sleepers:
            sleeper.wait()


def crowded_rows(place: Path, count: int, repetitions: int) -> list[Row]:
    """H9 with a crowd beside it: both workloads run among them."""
    hold = ("--hold-path", str(place))
    monitors = [
        machine_controller(ANOTHER_OBSERVED, EVENTS_ALL_FOUR, "allow-other"),
        machine_controller(ANOTHER_HELD, EVENTS_CREATION, "ask-other", *hold),
        nobody(),
    ]
    with crowd():
        series = interleave(Workload(place, "spawn", count), monitors, repetitions)
    what = f"`bpf`: the same among {CROWD_COUNT} processes that no rule concerns, while {{}}"
    return [
        row("H9", what.format(ANOTHER_OBSERVED), H9_OBSERVED_TARGET, series, ANOTHER_OBSERVED),
        row("H9", what.format(ANOTHER_HELD), H9_HELD_TARGET, series, ANOTHER_HELD),
    ]


def observed_row(folder: Path, place: Path, kind: str, count: int, repetitions: int) -> Row:
    peers, notes = observers(folder, kind)
    events = EVENTS_ALL_FOUR if kind == "spawn" else EVENTS_THREAD
    monitors = [machine_controller(OBSERVED, events, "allow", "--observed", "machine"), *peers]
    series = interleave(Workload(place, kind, count), monitors, repetitions)
    what = f"`bpf`: the whole machine observed, nothing missed, Python handler, `{kind}`"
    return row("H4", what, H4_TARGET, series, OBSERVED, "; ".join(notes))


def gate_rows(place: Path, count: int, repetitions: int) -> list[Row]:
    """A process's first thread, its execution and its end, held by the gate and by the ptrace driver."""
    monitors = [
        machine_controller(GATE, EVENTS_ALL_FOUR, "ask", refuse_with="kill"),
        machine_controller(GATE_ERRNO, EVENTS_ALL_FOUR, "ask", "--hold-path", str(place)),
        python_controller(HELD, EVENTS_ALL_FOUR, "kill"),
        nobody(),
    ]
    series = interleave(Workload(place, "spawn", count), monitors, repetitions)
    limit = GATE_TARGET * series[HELD].ratio
    what = (
        f"`bpf`: creation, first thread, exit of a process, all held in Python, `spawn`, to `ptrace` ({HELD})"
    )
    return [row("GATE", what, limit, series, GATE)]


def machine_rows(folder: Path, effort: tuple[int, int, int], selected: set[str]) -> list[Row]:
    """The rows of those measurements that are selected; effort: programs, threads, repetitions."""
    reason = obstacle()
    if reason:
        raise BenchmarkError(reason)
    own_mounts.leave_the_mounts_of_others()
    place = folder / "own"
    place.mkdir()
    with own_mounts.mounted("tracefs", TRACING), own_mounts.mounted(OWN_KIND, place):
        return rows_of_own_place(folder, place, effort, selected)


def rows_of_own_place(
    folder: Path, place: Path, effort: tuple[int, int, int], selected: set[str]
) -> list[Row]:
    spawn_count, thread_count, repetitions = effort
    rows: list[Row] = []
    if selected & {"H1", "H9"}:
        rows += held_rows(folder, place, spawn_count, repetitions, selected)
    if "H9" in selected:
        rows += crowded_rows(place, spawn_count, repetitions)
    if "H4" in selected:
        rows.append(observed_row(folder, place, "spawn", spawn_count, repetitions))
        rows.append(observed_row(folder, place, "threads", thread_count, repetitions))
    if "GATE" in selected and has_gate():
        rows += gate_rows(place, spawn_count, repetitions)
    return rows
