"""What an agent says in a journal is bounded, and what was left out is told."""

from __future__ import annotations

import pytest

from cbprocess.cli import fleet_agent
from cbprocess.cli.fleet_agent import LINES_MAX, LINES_S, Teller


def test_a_server_that_comes_and_goes_fills_no_journal(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    now = {"time": 1000.0}
    monkeypatch.setattr(fleet_agent.time, "monotonic", lambda: now["time"])
    teller = Teller()
    for number in range(1000):
        teller.say(f"line {number}")
    first = capfd.readouterr().err.splitlines()
    assert first == [f"cbprocess: line {number}" for number in range(LINES_MAX)]
    # The next minute begins with their number, also where nothing is said any more.
    now["time"] += LINES_S
    teller.look()
    assert capfd.readouterr().err == f"cbprocess: {1000 - LINES_MAX} lines were left out\n"
    teller.say("another")
    assert capfd.readouterr().err == "cbprocess: another\n"
    now["time"] += LINES_S
    teller.look()
    assert capfd.readouterr().err == ""
