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


@pytest.mark.parametrize("stamp", ["1", None])
def test_a_host_that_is_always_earlier_delays_nobody(stamp: str | None) -> None:
    """It sends on and on: the earliest record is always one that has just come."""
    merger = Merger(0.05)
    began = time.monotonic()
    merger.add(record(str(time.time_ns()), "true"))
    came: list[Any] = []
    while "true" not in came and time.monotonic() - began < 5:
        time.sleep(0.01)
        merger.add(record(stamp, "earlier"))
        came += [found["name"] for found in merger.ready()]
    assert time.monotonic() - began < 2
    # It is held for its time nevertheless, and what is earlier goes before it.
    assert time.monotonic() - began >= 0.05
    assert stamp is None or came[-1] == "true"


def test_a_record_without_a_time_stays_behind_the_one_before_it() -> None:
    merger = Merger(60)
    for stamp, name in (("20", "a"), (None, "b"), ("10", "c"), ("x", "d"), ("20", "e")):
        merger.add(record(stamp, name))
    assert [found["name"] for found in merger.ready(is_end=True)] == ["c", "d", "a", "b", "e"]
    assert len(merger) == 0 and merger.wait() is None


def test_order_and_heap_agree_whatever_comes() -> None:
    import random

    draw = random.Random(3)
    merger = Merger(0.002)
    came: list[int] = []
    for number in range(3000):
        merger.add({"time_ns": str(draw.randrange(1, 50)), "number": number})
        if draw.random() < 0.2:
            came += [found["number"] for found in merger.ready()]
    came += [found["number"] for found in merger.ready(is_end=True)]
    assert sorted(came) == list(range(3000))
    assert len(merger) == 0 and merger.wait() is None and not merger._left


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
