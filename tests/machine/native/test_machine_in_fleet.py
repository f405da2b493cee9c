"""The whole machine in a fleet: what `cbprocess monitor` spools goes by an agent to a real server, and is all
there. It only looks."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from fleet.shop import Shop, opened
from machine.native.monitor_tools import Starting, read_lines, run_marked, run_marked_shells, wait_until
from machine.native.monitor_tools import monitor as monitor

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("nats") is None, reason="the extra fleet is not installed"
)

HOST = "machine"


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    folder = tmp_path / "shop"
    folder.mkdir()
    with opened(folder) as found:
        yield found


def test_the_whole_machine_is_in_the_fleet(monitor: Starting, shop: Shop) -> None:
    shop.agent(HOST)
    # The agent gives the spool its host's name; a session from before is another host's.
    wait_until((shop.folder / HOST / "host").exists, 30, "the agent has begun")
    watching = monitor("--spool", str(shop.folder / HOST))
    marks = run_marked_shells(50)
    watching.wait_for(marks[-1])
    watching.wait_for(run_marked())
    assert watching.stop() == 0
    watched = shop.until("session_end", "watch", "--once", "--format", "cbprocess")
    found = read_lines(watched)
    # They are printed in the order of their times. Several threads give numbers, not always in that order.
    assert sorted(row["number"] for row in found) == list(range(1, len(found) + 1))
    created = {row["arguments"][3]: row for row in found if len(row.get("arguments", [])) == 4}
    ends = {
        (row["process_id"], row["start_time"]): row["exit_status"]
        for row in found
        if row["event"] == "process_termination"
    }
    for number, mark in enumerate(marks):
        row = created[mark]
        assert row["creating_process_id"] == os.getpid()
        assert ends[row["process_id"], row["start_time"]] == number
    assert json.loads(watched.splitlines()[-1])["last_number"] == len(found)
