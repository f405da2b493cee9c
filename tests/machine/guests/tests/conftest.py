"""Fixtures of the tests that hold the whole machine. They run in guests, where no other program is harmed,
and are skipped anywhere else."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "live"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from live_fixtures import programs as programs
from live_fixtures import system_path as system_path

HERE = Path(__file__).resolve().parent
SHOWN_SIZE = 2000
RESULTS = Path("/run/results")  # what a guest sends at its end


def is_guest() -> bool:
    """The kernel was started for these tests alone: a variable that somebody has set is not enough."""
    words = Path("/proc/cmdline").read_text(encoding="ascii").split()
    return os.environ.get("CBPROCESS_TEST_GUEST") == "1" and "cbprocess.guest=1" in words


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if is_guest():
        return
    mark = pytest.mark.skip(
        reason="holds the whole machine: tests/machine/guests/run_guests.py runs it in guests"
    )
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(mark)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """A guest that is ended has said why, too."""
    if report.failed and is_guest():
        with open("/dev/console", "w", encoding="utf-8", errors="replace") as console:
            console.write(f"\nFAILED {report.nodeid}\n{report.longreprtext[-SHOWN_SIZE:]}\n")


@pytest.fixture
def results() -> Iterator[Path]:
    yield RESULTS
