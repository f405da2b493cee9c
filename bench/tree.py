"""H2, H2e, H3, H10, H11 and H16: what the ptrace driver costs the programs under it, with the peers in the
same run.

Knows the package's public interface and the public C header, nothing of their insides."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from harness import BenchmarkError, Monitor, Series, Workload, compile_program, interleave
from peers import available_peers, only_stops, stops_name
from table import Row

EVENTS_NONE = 0
EVENTS_ALL = -1
EVENTS_THREAD = 0x08 | 0x10
EVENTS_CREATION, EVENTS_TERMINATION = 0x01, 0x02
EVENTS_ALL_FOUR = EVENTS_CREATION | EVENTS_TERMINATION | EVENTS_THREAD
CONTROLLER = Path(__file__).resolve().parent / "controller.py"

HELD = "held, Python handler"
HELD_ERRNO = "held, Python handler, RefuseWith=errno"
HELD_C = "held, C handler"
HELD_ERRNO_C = "held, C handler, RefuseWith=errno"
BY_RULE = "allowed by rule, Python handler afterwards"
NOTHING_FIRES = "supervised, nothing fires"
PROTECTED = "protected by a rule"
PROTECTED_ASKED = "protected by a rule, handle events asked for"

# What a tracer costs that does nothing, and one that asks another process at each creation and end.
STOPS = ("none", "holds")
STOPS_EXECUTIONS = ("executions", "executions,holds")

H2_TARGET = 2.0
H2E_TARGET = 2.2
H3_TARGET = 3.3
H11_TARGET = 1.02
H16_TARGET = 1.6


def native_folder() -> Path:
    """Where the installed package keeps its library and helper programs."""
    from cbprocess._binding import library

    return Path(library.native_folder())


def expected_counts(kind: str, count: int, events: int) -> dict[str, int]:
    """At least this many events of each type; the workload's own process adds a few."""
    programs = count if kind == "spawn" else 0
    return {
        "process_creation": programs if events & EVENTS_CREATION else 0,
        "process_termination": programs if events & EVENTS_TERMINATION else 0,
        "thread_creation": count if events & EVENTS_THREAD else 0,
        "thread_termination": count if events & EVENTS_THREAD else 0,
    }


def check_counts(name: str, seen: dict[str, int], expected: dict[str, int]) -> None:
    missed = [f"{seen[key]} of {least} {key}" for key, least in expected.items() if seen[key] < least]
    if missed or seen["lost"]:
        raise BenchmarkError(f"{name}: {', '.join(missed)}; lost {seen['lost']}")


def python_controller(name: str, events: int, refuse_with: str, action: str = "ask") -> Monitor:
    def command(workload: list[str]) -> list[str]:
        options = ["--events", str(events), "--refuse-with", refuse_with, "--action", action]
        return [sys.executable, str(CONTROLLER), *options, "--", *workload]

    def check(output: str, kind: str, count: int) -> None:
        seen = json.loads(output)
        check_counts(name, seen, expected_counts(kind, count, events))
        if kind == "spawn" and seen["right_command_lines"] != count:
            raise BenchmarkError(f"{name}: {seen['right_command_lines']} of {count} command lines were right")

    return Monitor(name, command, check)


def c_controller(folder: Path, name: str, events: int, refuse_with: str = "kill") -> Monitor:
    native = native_folder()
    program = folder / "controller"
    if not program.exists():
        library = [f"-L{native}", "-l:libcbprocess.so", f"-Wl,-rpath,{native}"]
        compile_program(folder, "controller.c", program.name, *library)

    def command(workload: list[str]) -> list[str]:
        return [str(program), str(events), refuse_with, "ask", str(native / "cbprocess-launch"), *workload]

    def check(output: str, kind: str, count: int) -> None:
        keys = ("process_creation", "process_termination", "thread_creation", "thread_termination", "lost")
        seen = dict(zip(keys, map(int, output.split())))
        check_counts(name, seen, expected_counts(kind, count, events))

    return Monitor(name, command, check)


def describe(series: dict[str, Series], names: Sequence[str]) -> str:
    shown = [f"{name} {series[name].ratio:.2f}" for name in names if name in series]
    control = [f"bare again {series['bare again']}"] if "bare again" in series else []
    return "; ".join(shown + control)


def least_limit(series: dict[str, Series]) -> float:
    """The target of H2e: no more than that, and no more than strace, where that is installed."""
    return min([H2E_TARGET, *(series[name].ratio for name in ("strace -f",) if name in series)])


def spawn_rows(folder: Path, count: int, repetitions: int, selected: set[str]) -> list[Row]:
    """H2, H2e and H10, from one interleaved run of `spawn`."""
    monitors = [
        c_controller(folder, HELD_C, EVENTS_ALL_FOUR),
        c_controller(folder, NOTHING_FIRES, EVENTS_NONE),
    ]
    notes: list[str] = []
    if selected & {"H2", "H2e"}:
        monitors.append(python_controller(HELD, EVENTS_ALL_FOUR, "kill"))
        monitors.append(python_controller(HELD_ERRNO, EVENTS_ALL_FOUR, "errno"))
        monitors.append(c_controller(folder, HELD_ERRNO_C, EVENTS_ALL_FOUR, "errno"))
        peers, notes = available_peers(folder)
        monitors += [only_stops(folder, which) for which in (*STOPS, *STOPS_EXECUTIONS)]
        monitors += peers
    if "H10" in selected:
        monitors.append(python_controller(BY_RULE, EVENTS_ALL_FOUR, "kill", "allow"))
    series = interleave(Workload(folder, "spawn", count), monitors, repetitions)
    rows: list[Row] = []
    if selected & {"H2", "H2e"}:
        names = (NOTHING_FIRES, HELD_C, *map(stops_name, STOPS), "strace -f", "python-ptrace")
        rows.append(
            Row(
                "H2",
                "`ptrace`: creation, first thread, exit of a process, all held in Python, no filter, `spawn`",
                f"<= {H2_TARGET:.1f}x",
                f"{series[HELD]}x",
                series[HELD].ratio <= H2_TARGET,
                "; ".join([describe(series, names), *notes]),
            )
        )
        rows.append(
            Row(
                "H2e",
                "`ptrace`: as H2, in the default mode (refusal by errno), `spawn`",
                f"<= {H2E_TARGET:.1f}x and `strace -f`",
                f"{series[HELD_ERRNO]}x",
                series[HELD_ERRNO].ratio <= least_limit(series),
                describe(series, (HELD_ERRNO_C, *map(stops_name, STOPS_EXECUTIONS), "strace -f")),
            )
        )
    if "H10" in selected:
        limit = series[HELD_C].ratio
        rows.append(
            Row(
                "H10",
                "`ptrace`: a creation allowed by a rule, told to Python afterwards, `spawn`",
                f"<= {limit:.2f}x (held, C handler)",
                f"{series[BY_RULE]}x",
                series[BY_RULE].ratio <= limit,
                describe(series, (NOTHING_FIRES, HELD_C)),
            )
        )
    return rows


def thread_rows(folder: Path, count: int, repetitions: int) -> list[Row]:
    peers, notes = available_peers(folder)
    monitors = [
        python_controller(HELD, EVENTS_THREAD, "kill"),
        c_controller(folder, HELD_C, EVENTS_THREAD),
        c_controller(folder, NOTHING_FIRES, EVENTS_NONE),
        *(only_stops(folder, which) for which in STOPS),
        *peers,
    ]
    series = interleave(Workload(folder, "threads", count), monitors, repetitions)
    names = (NOTHING_FIRES, HELD_C, *map(stops_name, STOPS), "strace -f", "python-ptrace")
    return [
        Row(
            "H3",
            "`ptrace`: thread creation and exit, both held in Python, `threads`",
            f"<= {H3_TARGET:.1f}x",
            f"{series[HELD]}x",
            series[HELD].ratio <= H3_TARGET,
            "; ".join([describe(series, names), *notes]),
        )
    ]


def unpinned_rows(folder: Path, count: int, repetitions: int, cpus: set[int]) -> list[Row]:
    """H16: as people run it, on all of these processors."""
    pinned = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        peers, notes = available_peers(folder)
        monitors = [
            python_controller(HELD_ERRNO, EVENTS_ALL_FOUR, "errno"),
            c_controller(folder, HELD_ERRNO_C, EVENTS_ALL_FOUR, "errno"),
            *(only_stops(folder, which) for which in STOPS_EXECUTIONS),
            *peers,
        ]
        series = interleave(Workload(folder, "spawn", count), monitors, repetitions)
    finally:
        os.sched_setaffinity(0, pinned)
    names = (HELD_ERRNO_C, *map(stops_name, STOPS_EXECUTIONS), "strace -f", "python-ptrace")
    return [
        Row(
            "H16",
            f"`ptrace`: as H2e, on {len(cpus)} processors, `spawn`",
            f"<= {H16_TARGET:.1f}x",
            f"{series[HELD_ERRNO]}x",
            series[HELD_ERRNO].ratio <= H16_TARGET,
            "; ".join([describe(series, names), *notes]),
        )
    ]


def preempt_rows(folder: Path, count: int, repetitions: int) -> list[Row]:
    """H11: a protected program whose threads signal one another as fast as runtimes with preemption do."""

    def unchecked(output: str, kind: str, number: int) -> None:
        check_counts(PROTECTED, json.loads(output), {})

    monitors = [
        monitor._replace(check=unchecked)
        for monitor in (
            python_controller(PROTECTED, EVENTS_NONE, "kill", "protect"),
            python_controller(PROTECTED_ASKED, EVENTS_ALL, "kill", "protect"),
        )
    ]
    series = interleave(Workload(folder, "preempt", count), monitors, repetitions)
    return [
        Row(
            "H11",
            "`ptrace`: a protected program's own threads preempt one another, `preempt`",
            f"<= {H11_TARGET:.2f}x",
            f"{series[PROTECTED]}x",
            series[PROTECTED].ratio <= H11_TARGET,
            describe(series, (PROTECTED_ASKED,)),
        )
    ]
