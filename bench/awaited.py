"""H12: what an event costs that is answered in an event loop or in an iterator, against a plain handler.

Knows the package's public interface only, through iterating.py."""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path

from harness import BenchmarkError, Monitor, Workload, interleave
from table import Row

CONTROLLER = Path(__file__).resolve().parent / "iterating.py"
TARGET = 2.0
WAYS = {
    "handler": "plain handler",
    "coroutine": "coroutine handler",
    "iterator": "`for`",
    "async_for": "`async for`",
}


def controller(way: str) -> Monitor:
    def command(workload: list[str]) -> list[str]:
        return [sys.executable, str(CONTROLLER), "--way", way, "--", *workload]

    def check(output: str, kind: str, count: int) -> None:
        seen = json.loads(output)
        if seen["process_creation"] < count or seen["lost"]:
            raise BenchmarkError(
                f"{way}: {seen['process_creation']} of {count} creations; lost {seen['lost']}"
            )

    return Monitor(way, command, check)


def awaited_rows(folder: Path, count: int, repetitions: int) -> list[Row]:
    series = interleave(Workload(folder, "spawn", count), [controller(way) for way in WAYS], repetitions)
    plain = series["handler"]
    bare_ns = statistics.median(
        spent_ns / ratio
        for each in series.values()
        for spent_ns, ratio in zip(each.operation_ns, each.ratios)
    )
    others = [f"plain handler {plain.ratio:.2f}x bare ({bare_ns / 1000:.0f} us)"]
    for way, name in WAYS.items():
        if way != "handler":
            more_us = (series[way].ratio - plain.ratio) * bare_ns / 1000
            others.append(f"{name} {series[way].ratio:.2f}x bare, {more_us:.0f} us more")
    ratio = series["coroutine"].ratio / plain.ratio
    return [
        Row(
            "H12",
            "`ptrace`: a creation held until a coroutine returns, `spawn`",
            f"<= {TARGET:.1f}x a plain handler",
            f"{ratio:.2f}x",
            ratio <= TARGET,
            "; ".join(others),
        )
    ]
