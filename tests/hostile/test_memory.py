"""Allocations fail in the helper: each one alone, a span of them, and all from one on, while nothing may
keep it waiting and while everything might. A session with every kind of operation ends, nothing is left
stopped, nothing runs that is refused, and what could not be done is told."""

from __future__ import annotations

import json
import os
import queue
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable, NamedTuple

import pytest
from hostile_tools import FOLDER
from live_tools import helper_is_sanitized

from cbprocess._binding.library import native_folder

SEED = int(os.environ.get("CBPROCESS_MEMORY_SEED", "0")) or time.time_ns() % 1_000_000
WORKER_COUNT = 4  # a session waits most of its time
WIDTH = 150  # more children at once than the reserve has room for
SAMPLE_SIZE = 8
PART_COUNT = 11  # of the whole range; odd, because every other session has rules
SPAN, FOREVER = 20, 10**9
COUNTS = {"one": 1, "span": SPAN, "all": FOREVER}
RISKS = {"no risk": 0, "at risk": 1}
INTERPOSED = {"malloc", "calloc", "realloc", "aligned_alloc"}
ALLOCATING = INTERPOSED | {"memalign", "posix_memalign", "valloc", "pvalloc", "brk", "sbrk"}


class Point(NamedTuple):
    fail_at: int
    fail_count: int
    at_risk: int


class Sessions:
    """A few processes that run sessions, one after the other each."""

    def __init__(self, command: list[str], folder: Path) -> None:
        self._command, self._folder, self._started = command, folder, 0
        self._free: queue.SimpleQueue[subprocess.Popen[str]] = queue.SimpleQueue()
        for _ in range(WORKER_COUNT):
            self._free.put(self._start())

    def _start(self) -> subprocess.Popen[str]:
        self._started += 1
        folder = self._folder / str(self._started)
        folder.mkdir()
        return subprocess.Popen(
            [*self._command, str(folder), str(WIDTH)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, point: Point) -> dict[str, Any]:
        worker = self._free.get()
        assert worker.stdin is not None and worker.stdout is not None
        worker.stdin.write(f"{point.fail_at} {point.fail_count} {point.at_risk}\n")
        worker.stdin.flush()
        line = worker.stdout.readline()
        if line:
            self._free.put(worker)
            found: dict[str, Any] = json.loads(line)
            return found
        status = worker.wait(10)
        self._free.put(self._start())
        return {"fault": f"the controller ended with {status}", "called": 0, "failed": 0}

    def check(self, points: list[Point]) -> None:
        with ThreadPoolExecutor(WORKER_COUNT) as pool:
            results = list(pool.map(self.run, points))
        faults = [f"{point}: {result['fault']}" for point, result in zip(points, results) if result["fault"]]
        assert faults == [], f"seed {SEED}: {faults}"
        assert any(result["failed"] > 0 for result in results)

    def allocation_count(self, at_risk: int) -> int:
        found = self.run(Point(0, 0, at_risk))
        assert found["fault"] is None, found
        count: int = found["called"]
        return count

    def end(self) -> None:
        while not self._free.empty():
            self._free.get().communicate(timeout=60)


@pytest.fixture(scope="module")
def preloaded(compile_c: Callable[..., Path]) -> str:
    if helper_is_sanitized():
        pytest.skip("the helper's allocations are a sanitizer's")
    return str(compile_c(FOLDER / "programs" / "failing_memory.c", "-D_GNU_SOURCE", "-shared", "-fPIC"))


@pytest.fixture
def sessions(preloaded: str, attack: Callable[..., str], tmp_path: Path) -> Iterator[Sessions]:
    program = str(FOLDER / "programs" / "memory_sessions.py")
    made = Sessions(
        [sys.executable, program, preloaded, attack("every_operation"), attack("leave_mark")], tmp_path
    )
    yield made
    made.end()


@pytest.mark.skipif(shutil.which("nm") is None, reason="needs nm")
def test_the_helper_allocates_by_nothing_else(preloaded: str) -> None:
    """What it calls itself; its C library calls those, too."""
    program = str(Path(native_folder()) / "cbprocess-ptrace")
    symbols = subprocess.check_output(["nm", "-D", "--undefined-only", program], text=True)
    used = {line.split()[-1].partition("@")[0] for line in symbols.splitlines()}
    assert used & ALLOCATING - INTERPOSED == set()
    assert {"calloc", "realloc", "aligned_alloc"} <= used


@pytest.mark.parametrize("at_risk", RISKS.values(), ids=RISKS)
@pytest.mark.parametrize("fail_count", COUNTS.values(), ids=COUNTS)
def test_some_allocations_fail(fail_count: int, at_risk: int, sessions: Sessions) -> None:
    """Spread over the whole range, each at a random place of its part."""
    total = sessions.allocation_count(at_risk)
    assert total > 500
    numbers = random.Random(SEED)
    part = total // SAMPLE_SIZE
    sessions.check(
        [Point(i * part + numbers.randint(1, part), fail_count, at_risk) for i in range(SAMPLE_SIZE)]
    )


@pytest.mark.slow
@pytest.mark.limit(3600)
@pytest.mark.parametrize("at_risk", RISKS.values(), ids=RISKS)
@pytest.mark.parametrize("fail_count", COUNTS.values(), ids=COUNTS)
@pytest.mark.parametrize("part", range(PART_COUNT))
def test_every_allocation_fails(part: int, fail_count: int, at_risk: int, sessions: Sessions) -> None:
    total = sessions.allocation_count(at_risk)
    sessions.check([Point(number, fail_count, at_risk) for number in range(1 + part, total + 1, PART_COUNT)])
