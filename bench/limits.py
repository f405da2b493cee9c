#!/usr/bin/env python3
"""What the worst that one tree can do costs the helper: the worst execve, the longest line of living
processes, the greatest number of them. Prints a table; not part of the usual run, because it makes thousands
of processes: `python bench/limits.py [--count N]`. docs/limits.md has the bounds.

Knows the package's public interface and /proc."""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import tempfile
import time
from pathlib import Path

from harness import PROGRAMS, REPOSITORY, BenchmarkError, compiler, progress, run
from table import format_columns

import cbprocess

GUID = "{0D7A6C44-97C5-4B1B-8F52-3C1B7F8B7A10}"
COSTLY = REPOSITORY / "tests/hostile/programs/costly.c"
RULE = "*/limits"  # the program of all that live
HEAD = ("what", "without", "supervised", "the helper's time", "its memory", "a new rule")


def build(source: Path, target: Path) -> str:
    run([compiler(source.name), "-O2", "-D_GNU_SOURCE", "-o", str(target), str(source)])
    return str(target)


class Watched:
    """A filter whose handlers look at nothing, and its helper as /proc shows it."""

    def __init__(self) -> None:
        self.filter = cbprocess.CBProcess()
        self.filter.initialize(GUID)
        events = cbprocess.PROC_EVT_PROCESS_CREATION | cbprocess.PROC_EVT_THREAD_CREATION
        self.filter.config(f"EventsToFire={events}")
        self.filter.on_process_creation = lambda event: None
        self.filter.on_thread_creation = lambda event: None
        self.filter.start_filter(0)
        probe = self.filter.popen(["sleep", "10"])
        status = Path(f"/proc/{probe.pid}/status").read_text().split("TracerPid:")[1]
        self.helper = int(status.split()[0])
        probe.kill()
        probe.wait()

    def seconds(self) -> float:
        fields = Path(f"/proc/{self.helper}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> int:
        text = Path(f"/proc/{self.helper}/status").read_text()
        return int(text.split("RssAnon:")[1].split()[0]) // 1024


def finish(process: subprocess.Popen[str]) -> str:
    output = process.communicate(timeout=600)[0]
    if process.returncode != 0:
        raise BenchmarkError(f"{process.args}: status {process.returncode}, {output}")
    return output


def worst_execution(watched: Watched, program: str) -> tuple[str, ...]:
    line = [program, "far", "650000", "/bin/true"]
    start = time.monotonic()
    finish(subprocess.Popen(line, stdout=subprocess.PIPE, text=True))
    bare, before = time.monotonic() - start, watched.seconds()
    start = time.monotonic()
    finish(watched.filter.popen(line, stdout=subprocess.PIPE, text=True))
    took, spent = time.monotonic() - start, watched.seconds() - before
    cells = (f"{bare:.2f} s", f"{took:.2f} s", f"{spent:.2f} s", f"{watched.memory()} MiB", "")
    return ("an execve with 650,000 pointers to and fro", *cells)


def many(watched: Watched, program: str, kind: str, count: int, what: str) -> tuple[str, ...]:
    """The time of a fork and wait, among so many living processes, and of a rule that matches them all."""
    line = [program, kind, str(count)]
    medians, spent, memory, change_ms = [], 0.0, 0, 0.0
    for start in (subprocess.Popen, watched.filter.popen):
        before = watched.seconds()
        process = start(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        words = process.stdout.readline().split()
        if words[:1] != ["ready"]:
            raise BenchmarkError(f"{kind} of {count}: {words}; RLIMIT_NPROC or pids.max may be lower")
        medians.append(int(words[1]) / 1000)
        if start is not subprocess.Popen:
            spent, memory = watched.seconds() - before, watched.memory()
            begun = time.monotonic()
            watched.filter.add_rule(name=RULE, action="allow", include_children=True)
            change_ms = (time.monotonic() - begun) * 1000
            watched.filter.remove_rule(name=RULE, action="allow")
        finish(process)
    bare, supervised = medians
    cells = (f"{bare:.0f} us", f"{supervised:.0f} us", f"{spent:.1f} s in all", f"{memory} MiB")
    return (what, *cells, f"{change_ms:.1f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--count", type=int, default=20_000, help="living processes; half of them for the depth"
    )
    count = parser.parse_args().count
    hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    resource.setrlimit(resource.RLIMIT_NPROC, (hard, hard))
    with tempfile.TemporaryDirectory() as name:
        costly = build(COSTLY, Path(name) / "costly")
        limits = build(PROGRAMS / "limits.c", Path(name) / "limits")
        watched = Watched()
        try:
            progress("the worst execve")
            rows = [worst_execution(watched, costly)]
            progress("depth")
            what = f"a fork at the end of a line of {count // 2:,} living processes"
            rows.append(many(watched, limits, "depth", count // 2, what))
            progress("crowd")
            rows.append(many(watched, limits, "crowd", count, f"a fork among {count:,} living processes"))
        finally:
            watched.filter.stop_filter()
    print(format_columns(HEAD, rows))


if __name__ == "__main__":
    main()
