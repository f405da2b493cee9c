"""Order by time within a short while, by the clock of whoever reads: wrong clocks delay nobody."""

from __future__ import annotations

import time
from typing import Any

import pytest

from cbprocess.fleet.merging import Merger, time_of


def record(stamp: object, name: str = "") -> dict[str, Any]:
    return {"time_ns": stamp, "name": name}


def test_records_come_in_the_order_of_their_times() -> None:
    merger = Merger(0.05)
    for stamp in (30, 10, 20):
        merger.add(record(str(stamp)))
    assert merger.ready() == []
    time.sleep(0.06)
    assert [found["time_ns"] for found in merger.ready()] == ["10", "20", "30"]
    assert len(merger) == 0 and merger.wait() is None


def test_a_clock_that_is_a_year_ahead_or_behind_is_held_no_longer() -> None:
    merger = Merger(0.05)
    now = time.time_ns()
    for shift in (365 * 86400 * 10**9, 0, -365 * 86400 * 10**9):
        merger.add(record(str(now + shift)))
    time.sleep(0.06)
    assert len(merger.ready()) == 3


def test_without_merging_the_order_is_that_of_coming() -> None:
    merger = Merger(0)
    for stamp in (3, 1, 2):
        merger.add(record(str(stamp)))
    assert [found["time_ns"] for found in merger.ready()] == ["3", "1", "2"]


def test_the_end_gives_all_and_a_flood_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cbprocess.fleet.merging.HELD_MAX", 10)
    merger = Merger(60)
    for stamp in range(100):
        merger.add(record(str(stamp)))
    assert len(merger.ready()) == 90
    assert len(merger.ready(is_end=True)) == 10


@pytest.mark.parametrize("nonsense", [None, 7, "", "x", "-1", "9" * 5000, [], "١٢"])
def test_a_time_that_is_none_is_zero(nonsense: object) -> None:
    assert time_of(record(nonsense)) == 0
