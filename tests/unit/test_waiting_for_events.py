"""The end of a command waits for the events that are still on their way: neither a delivery that no worker
has taken nor one that comes meanwhile is missed, and a worker that takes none is given up. Processes that go
on keep nobody waiting."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from unit.event_blocks import dispatch_once, make_event

from cbprocess import cli, constants
from cbprocess.cli import printer
from cbprocess.cli.output import Output


class Counting:
    """A process whose counts, as (delivered, queued), come one after the other; the last one stays."""

    def __init__(self, *counts: tuple[int, int]) -> None:
        self.left = list(counts)

    def statistics(self) -> Any:
        delivered, queued = self.left.pop(0) if len(self.left) > 1 else self.left[0]
        return SimpleNamespace(delivered=delivered, queued=queued)


@pytest.fixture
def output(tmp_path: Path) -> Iterator[Output]:
    yield Output(str(tmp_path / "lines"))


def wait(process: Any, output: Output) -> None:
    made = printer.Printer(cli.parse(["run", "--", "true"]), output, process)
    made.wait_for_quiet()


def test_an_event_that_waits_for_a_worker_is_awaited(output: Output) -> None:
    process = Counting((0, 1), (0, 1), (0, 1), (1, 0), (1, 0))
    wait(process, output)
    assert process.left == [(1, 0)]


def test_an_event_that_comes_meanwhile_is_awaited(output: Output) -> None:
    process = Counting((0, 0), (1, 0), (2, 0), (2, 0))
    wait(process, output)
    assert process.left == [(2, 0)]


def test_a_worker_that_takes_nothing_is_given_up(output: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(printer, "LAST_EVENT_LIMIT_S", 0.2)
    wait(Counting((3, 7)), output)


class Busy:
    """A process with events at any moment; the printer is told of each as it comes."""

    handle: Any

    def __init__(self) -> None:
        self.count = 0

    def statistics(self) -> Any:
        self.count += 1
        age_ns = 3_000_000_000 if self.count < 5 else 0
        event = make_event(
            constants.PROC_EVT_THREAD_TERMINATION, sequence=self.count, time_ns=time.time_ns() - age_ns
        )
        dispatch_once(event, self.handle)
        return SimpleNamespace(delivered=self.count, queued=1)


def test_a_machine_that_never_rests_keeps_nobody_waiting(output: Output) -> None:
    """What was delayed is awaited, and what has happened meanwhile is not."""
    busy = Busy()
    made = printer.Printer(cli.parse(["run", "-q", "--", "true"]), output, busy)  # type: ignore[arg-type]
    busy.handle = made.handler("thread_termination")
    made.wait_for_quiet()
    assert busy.count == 5


HOUR_NS = 3600 * 10**9


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The nanoseconds by which the clock has been set."""
    set_by, real = [0], time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + set_by[0])
    yield set_by


def test_a_clock_that_was_set_back_before_ends_no_wait(output: Output, clock: list[int]) -> None:
    """Events from before it was set have later times than the call. Nothing was awaited then."""
    process = Counting((1, 1), (1, 1), (1, 1), (2, 0), (2, 0))
    made = printer.Printer(cli.parse(["run", "-q", "--", "true"]), output, process)  # type: ignore[arg-type]
    event = make_event(constants.PROC_EVT_THREAD_TERMINATION, sequence=1, time_ns=time.time_ns())
    dispatch_once(event, made.handler("thread_termination"))
    clock[0] = -HOUR_NS
    made.wait_for_quiet()
    assert process.left == [(2, 0)]


@pytest.mark.parametrize("set_by", [-HOUR_NS, HOUR_NS])
def test_a_clock_that_is_set_meanwhile_prolongs_no_wait(
    output: Output, clock: list[int], set_by: int
) -> None:
    class Setting(Busy):
        def statistics(self) -> Any:
            clock[0] = set_by if self.count > 2 else 0
            return super().statistics()

    busy = Setting()
    made = printer.Printer(cli.parse(["run", "-q", "--", "true"]), output, busy)  # type: ignore[arg-type]
    busy.handle = made.handler("thread_termination")
    made.wait_for_quiet()
    assert busy.count == 5
