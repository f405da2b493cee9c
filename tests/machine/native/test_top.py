"""`cbprocess top` of the whole machine: what runs already, what begins and ends, and what is left afterwards.
It only looks."""

from __future__ import annotations

import subprocess
import termios
import uuid
from collections.abc import Iterator

import pytest
from live_terminal import Terminal
from machine import own_place
from machine.native.machine_tools import attached
from machine.native.monitor_tools import wait_until

pytest.importorskip("rich", reason="the extra tui is not installed")

ROWS = 2000  # for all that runs on this machine


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    monkeypatch.delenv(own_place.ONLY_DESCENDANTS, raising=False)
    made = Terminal(ROWS, 200)
    yield made
    made.close()


def test_top_of_the_whole_machine(terminal: Terminal) -> None:
    marks = [uuid.uuid4().hex for _ in range(2)]
    script = "read line; exit 3"
    with subprocess.Popen(["/bin/sh", "-c", script, marks[0]], stdin=subprocess.PIPE) as older:
        top = terminal.start("top")
        for wanted in (b"the whole machine", b"[ksoftirqd/0]", marks[0].encode()):
            terminal.wait_for(wanted)
        found = attached(top.pid)
        assert found.processes and found.links and not found.marks
        with subprocess.Popen(["/bin/sh", "-c", script, marks[1]], stdin=subprocess.PIPE) as newer:
            terminal.wait_for(marks[1].encode())
            newer.communicate(b"\n", 60)
        older.communicate(b"\n", 60)
    terminal.type(b"q")
    assert terminal.wait_for_end() == 0
    assert termios.tcgetattr(terminal.slave) == terminal.modes
    wait_until(lambda: not found.left(), 40, "all of it has gone")
