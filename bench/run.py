"""Measures cbprocess and its peers, and prints one table with the targets.

    python bench/run.py [--quick] [--only LIST]    (LIST: such as H2,H2e; some of H1 to H16, SIZE, GATE)

Run it with the Python that cbprocess is installed in; it needs a C compiler, and uses strace, python-ptrace,
psutil, bpftrace and forkstat where they are installed. Without --only it measures H1, H4, H9 and the gate
where the bpf driver can run. Everything runs pinned to one CPU; what is quoted are medians of the
ratios to the bare workload that ran just before, with the smallest and the largest in parentheses. Exits with
1 if something could not be measured; a missed target is not a failure."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import awaited
import binding
import builds
import commands
import footprint
import machine
import rule_changes
import rules
import snapshot
import spooled
import startup
import tree
from harness import BenchmarkError, pin_to_one_cpu, progress
from table import Row, format_table

MACHINE = ("H1", "H4", "H9", "GATE")  # of the bpf driver: as root, where it can run
# Those that this process may use, before it keeps to one.
CPUS = os.sched_getaffinity(0)
MEASUREMENTS = (
    *("H1", "H2", "H2e", "H3", "H4", "H5", "H6", "H7", "H8", "H9", "H10", "H11", "H12", "H13", "H14"),
    *("H15", "H16", "SIZE", "GATE"),
)


class Effort(NamedTuple):
    """How long to measure: operations of one run, and repetitions of each run."""

    spawn_count: int
    thread_count: int
    slice_count: int
    event_count: int
    repetitions: int
    startup_repetitions: int
    crowd_count: int
    change_count: int
    living_count: int
    build_repetitions: int


FULL = Effort(1000, 2000, 100, 100_000, 9, 21, 5000, 21, 20_000, 7)
QUICK = Effort(200, 400, 30, 20_000, 3, 5, 300, 5, 300, 1)


def parse_selection(text: str) -> set[str]:
    names = {name.upper(): name for name in MEASUREMENTS}
    wanted = {name.strip().upper() for name in text.split(",")}
    unknown = wanted - set(names)
    if unknown:
        raise argparse.ArgumentTypeError(
            f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(MEASUREMENTS)}"
        )
    return {names[name] for name in wanted}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measures cbprocess and its peers, and prints one table.")
    parser.add_argument(
        "--quick", action="store_true", help="few repetitions: shows that it runs, not how fast"
    )
    parser.add_argument(
        "--only",
        type=parse_selection,
        default=set(MEASUREMENTS) - (set(MACHINE) if machine.obstacle() else set()) - builds.lacking(),
        metavar="LIST",
        help=f"some of {','.join(MEASUREMENTS)}",
    )
    return parser.parse_args()


def measure(selected: set[str], effort: Effort, folder: Path) -> list[Row]:
    rows: list[Row] = []
    if selected & {"H2", "H2e", "H10"}:
        rows += tree.spawn_rows(folder, effort.spawn_count, effort.repetitions, selected)
    if "H3" in selected:
        rows += tree.thread_rows(folder, effort.thread_count, effort.repetitions)
    if "H16" in selected:
        rows += tree.unpinned_rows(folder, effort.spawn_count, effort.repetitions, CPUS)
    if "H11" in selected:
        rows += tree.preempt_rows(folder, effort.slice_count, effort.repetitions)
    if "H5" in selected:
        rows += binding.binding_rows(folder, effort.event_count, effort.repetitions)
    if "H6" in selected:
        rows += snapshot.snapshot_rows(effort.repetitions, CPUS)
    if "H7" in selected:
        rows += rules.rule_rows(folder, effort.repetitions)
        rows += rule_changes.change_rows(folder, effort.crowd_count, effort.change_count)
    if "SIZE" in selected:
        rows += footprint.footprint_rows(folder, effort.living_count)
    if "H12" in selected:
        rows += awaited.awaited_rows(folder, effort.spawn_count, effort.repetitions)
    if "H13" in selected:
        rows += spooled.spooled_rows(folder, effort.spawn_count, effort.repetitions, CPUS)
    if "H8" in selected:
        rows += startup.startup_rows(effort.startup_repetitions)
    if "H14" in selected:
        rows += builds.build_rows(folder, effort.build_repetitions, CPUS)
    if "H15" in selected:
        rows += commands.command_rows(effort.startup_repetitions, CPUS)
    if selected & set(MACHINE):
        rows += machine.machine_rows(
            folder, (effort.spawn_count, effort.thread_count, effort.repetitions), selected
        )
    return sorted(rows, key=lambda row: MEASUREMENTS.index(row.identifier))


def processor_name() -> str:
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def describe_machine(cpu: int, effort: Effort) -> str:
    from cbprocess import __version__

    return (
        f"cbprocess {__version__}, Python {platform.python_version()}, Linux {platform.release()}, "
        f"{processor_name()}, {os.cpu_count()} CPUs, pinned to CPU {cpu}; "
        f"medians of {effort.repetitions} interleaved repetitions."
    )


def main() -> int:
    options = parse_arguments()
    effort = QUICK if options.quick else FULL
    cpu = pin_to_one_cpu()
    try:
        with tempfile.TemporaryDirectory(prefix="cbprocess-bench-") as folder:
            rows = measure(options.only, effort, Path(folder))
            rule_counts = rules.rule_count_table(Path(folder), 3) if "H7" in options.only else ""
    except BenchmarkError as error:
        progress(f"bench: {error}")
        return 1
    print(f"{describe_machine(cpu, effort)}\n")
    print(format_table(rows))
    if rule_counts:
        print("\nThe number of rules, for names of which each second one was made to be met:\n")
        print(rule_counts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
