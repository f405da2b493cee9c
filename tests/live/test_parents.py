"""`parent_process_id` is the parent that the process itself sees, which need not be its creator."""

from __future__ import annotations

import errno
import subprocess
from typing import Any

import pytest
from live_tools import Programs, Recorder, recording, wait_until

from cbprocess.running import running_processes


def run_teller(recorder: Recorder, program: str, how: str) -> tuple[int, int, int, dict[int, int], int]:
    """Gives the creator, the process that tells, the parent that it sees, all parents by a snapshot taken
    while it lives, and the root's id."""
    child = recorder.filter.popen([program, how], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None and child.stdin is not None
        first = child.stdout.readline()
        second = child.stdout.readline()
        if not second and child.wait(60) == errno.ENOSYS:
            pytest.skip("this kernel has no clone3")
        process_id, parent = map(int, second.split())
        listed = {each.process_id: each.parent_process_id for each in running_processes(False)}
        child.stdin.close()
        assert child.wait(60) == 0
        return int(first), process_id, parent, listed, child.pid
    finally:
        child.kill()
        child.wait(60)
        child.stdout.close()


def creation_of(recorder: Recorder, process_id: int) -> dict[str, Any]:
    found = [event for event in recorder.of("process_creation") if event["process_id"] == process_id]
    assert len(found) == 1, found
    return found[0]


@pytest.mark.parametrize(("how", "mode"), [("clone", "errno"), ("clone", "kill"), ("clone3", "kill")])
def test_a_child_made_for_the_parent(how: str, mode: str, programs: Programs) -> None:
    with recording(f"RefuseWith={mode}") as recorder:
        creator, process_id, parent, listed, root = run_teller(recorder, programs["parents"], how)
        event = creation_of(recorder, process_id)
    assert parent == root != creator  # the program's own view
    assert event["creating_process_id"] == creator
    assert event["parent_process_id"] == parent == listed[process_id]


@pytest.mark.parametrize("how", ["orphan", "adopted"])
@pytest.mark.parametrize("mode", ["errno", "kill"])
def test_an_orphan_has_its_reaper(how: str, mode: str, programs: Programs) -> None:
    with recording(f"RefuseWith={mode}") as recorder:
        creator, process_id, parent, listed, root = run_teller(recorder, programs["parents"], how)
        event = creation_of(recorder, process_id)
        wait_until(lambda: not recorder.filter.statistics().queued, 60, "all is told")
    assert parent != creator
    assert (parent == root) == (how == "adopted")
    assert event["creating_process_id"] == creator
    assert event["parent_process_id"] == parent == listed[process_id]
