"""H7: what a change of one rule among many costs while many processes live under the filter, from the call in
Python until the rule is in force; and whether events flow meanwhile.

Knows the package's public interface only, through changer.py."""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any, NamedTuple

from harness import BenchmarkError, compile_program, progress, run
from rule_patterns import NAME_SIZE, Maker
from table import Row

CONTROLLER = Path(__file__).resolve().parent / "changer.py"
RULE_COUNT = 10_000
TARGET_MS = 20.0


class Slowest(NamedTuple):
    """The kind of change that takes longest."""

    kind: str
    median_ms: float
    largest_ms: float


def make_links(folder: Path, count: int) -> list[bytes]:
    """Links to the program, named so that some of the rules meet some of them."""
    program = compile_program(folder, "crowd.c", "crowd")
    links = folder / "crowd-links"
    links.mkdir()
    patterns = Maker(1).patterns(RULE_COUNT)
    made: dict[bytes, None] = {}
    for path in Maker(2).names(patterns, 4 * count):
        link = links / path.rpartition("/")[2]
        if len(made) < count and link.name and bytes(link) not in made:
            link.symlink_to(program)
            made[bytes(link)] = None
    if len(made) < count or max(map(len, made)) >= NAME_SIZE:
        raise BenchmarkError(f"H7: {len(made)} names of {count} for the processes, or one that is too long")
    return list(made)


def measure(folder: Path, process_count: int, change_count: int) -> dict[str, Any]:
    names = folder / "crowd-names"
    links = make_links(folder, process_count)
    names.write_bytes(b"".join(link.ljust(NAME_SIZE, b"\0") for link in links))
    options = ["--rules", str(RULE_COUNT), "--changes", str(change_count), "--names", str(names)]
    measured: dict[str, Any] = json.loads(
        run([sys.executable, str(CONTROLLER), *options, "--", str(folder / "crowd")])
    )
    busy = measured["busy"]["count"]
    if measured["status"] or measured["lost"] or measured["supervised"] < process_count:
        raise BenchmarkError(f"H7: a crowd of {process_count}: {measured}")
    if measured["handled"] < busy:
        raise BenchmarkError(f"H7: {measured['handled']} events of {busy} processes while rules changed")
    return measured


def find_slowest(changes_ms: dict[str, list[float]]) -> Slowest:
    kind = max(changes_ms, key=lambda each: statistics.median(changes_ms[each]))
    return Slowest(kind, statistics.median(changes_ms[kind]), max(changes_ms[kind]))


def change_rows(folder: Path, process_count: int, change_count: int) -> list[Row]:
    progress(f"rule changes: {process_count} processes")
    measured = measure(folder, process_count, change_count)
    slowest = find_slowest(measured["changes_ms"])
    others = "; ".join(f"{kind} {statistics.median(ms):.1f}" for kind, ms in measured["changes_ms"].items())
    quiet, busy = measured["quiet"], measured["busy"]
    return [
        Row(
            "H7",
            f"one rule among {RULE_COUNT} changed while {process_count} processes live: in force",
            f"<= {TARGET_MS:.0f} ms",
            f"{slowest.median_ms:.1f} ms, largest {slowest.largest_ms:.1f} ms ({slowest.kind})",
            slowest.median_ms <= TARGET_MS,
            f"{others}; meanwhile forks of one of them paused for at most {busy['longest_ms']:.0f} ms "
            f"(median {busy['median_us']:.0f} us), without changes {quiet['longest_ms']:.0f} ms "
            f"({quiet['median_us']:.0f} us); all rules added one by one in {measured['add_all_ms']:.0f} ms, "
            f"removed one by one in {measured['remove_each_ms']:.0f} ms and at once in "
            f"{measured['remove_all_ms']:.0f} ms, "
            f"filter started with them in {measured['start_ms']:.0f} ms",
        ),
    ]
