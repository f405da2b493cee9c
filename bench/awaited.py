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
TARGET = 1.5
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
    plain_ns = statistics.median(series["handler"].operation_ns)
    ratio = series["coroutine"].ratio / series["handler"].ratio
    others = [
        f"plain handler {series['handler'].ratio:.2f}x bare, {plain_ns / 1000:.0f} us for each creation"
    ]
    for way, name in WAYS.items():
        if way != "handler":
            more_us = (statistics.median(series[way].operation_ns) - plain_ns) / 1000
            others.append(f"{name} {series[way].ratio:.2f}x bare, {more_us:+.0f} us")
    return [
        Row(
            "H12",
            "`ptrace`: a creation held until a coroutine returns, `spawn`",
            f"<= {TARGET}x a plain handler",
            f"{ratio:.2f}x",
            ratio <= TARGET,
            "; ".join(others),
        )
    ]
