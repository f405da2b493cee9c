"""The end of a command waits for the events that are still on their way: neither a delivery that no worker
has taken nor one that comes meanwhile is missed, and a worker that takes none is given up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cbprocess import cli
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
