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
