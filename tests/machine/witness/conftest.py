"""Fixtures of the tests in which independent witnesses watch the same machine as the bpf driver.

Nothing is held here, and only processes of these tests' own are started or ended.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from machine import own_place

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "live"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import bpftrace_witness
import lives
import ours
from live_fixtures import programs as programs
from live_fixtures import system_path as system_path

HERE = Path(__file__).resolve().parent
MARGIN_S = 0.5  # between a mark and what is to be compared: more than records of two processors can be apart


@pytest.fixture(scope="session")
def driver() -> None:
    """Nothing, where the driver runs."""
    reason = own_place.obstacle()
    if reason:
        pytest.skip(reason)


@pytest.fixture(scope="session")
def child(compile_c: Callable[..., Path]) -> str:
    return str(compile_c(HERE / "programs" / "child.c", "-static"))


@pytest.fixture(scope="session")
def storm(compile_c: Callable[..., Path]) -> str:
    return str(compile_c(HERE / "programs" / "storm.c"))


class Both:
    """Two observers of the machine, and the marks between which they are compared."""

    def __init__(self, monitor: ours.Monitor, witness: bpftrace_witness.Witness, child: str) -> None:
        self._monitor, self._witness, self._child = monitor, witness, child
        self.events: list[ours.Event] = []
        self._marks = [f"mark-{os.getpid()}-{time.monotonic_ns()}-{which}" for which in ("first", "last")]

    def _mark(self, which: int) -> None:
        time.sleep(MARGIN_S)
        subprocess.run([self._child, self._marks[which]], timeout=60)
        time.sleep(MARGIN_S)

    @contextlib.contextmanager
    def marks(self) -> Iterator[None]:
        self._mark(0)
        yield
        self._mark(1)

    def assert_same(self) -> int:
        """Both have seen the same, and cbprocess has lost nothing. Gives the number of processes."""
        self._witness.stop()
        self.events, words = self._monitor.stop()
        ours.assert_nothing_lost(self.events, words)
        seen = self._witness.observed()
        # What the monitor itself starts is not told.
        own = {self._monitor.process.pid, self._witness.process.pid}
        count = lives.assert_same(ours.observed(self.events), seen, *self._marks, own)
        print(f"{count} processes, {len(self.events)} events")
        return count


@pytest.fixture
def both(driver: None, tmp_path: Path, child: str) -> Iterator[Any]:
    reason = bpftrace_witness.obstacle()
    if reason:
        pytest.skip(reason)
    watching = bpftrace_witness.watching(tmp_path / "bpftrace")
    with watching as witness, ours.monitoring(tmp_path / "events") as monitor:
        yield Both(monitor, witness, child)
