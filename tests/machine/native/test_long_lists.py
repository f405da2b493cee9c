"""Argument lists of megabytes, of processes that have ended before anybody could look at them: they are told
whole up to what execve takes, and never at the cost of other events."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from typing import Any

import pytest
from live_tools import Programs, wait_until
from machine import own_place
from machine.native.machine_tools import in_shell, observing, run, wait_for_ends

import cbprocess

LONGEST = """
import os, resource, sys
status, count, mark, times = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
resource.setrlimit(resource.RLIMIT_STACK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
parts = [str(i % 10) * 100_000 for i in range(count // 100_001)]
last = "z" * (count - 100_001 * len(parts))
while times > 0:
    child = os.fork()
    if child == 0:
        try:
            os.execve(status, [status, "0", mark, *parts, last], {})
        except OSError:
            os._exit(1)
    if os.waitpid(child, 0)[1] == 0:
        times -= 1
    else:
        last = last[64:]  # the kernel counts names and pointers, too
print(len(last))
"""


def longest(status: str, size: int, mark: str, times: int = 1) -> list[str]:
    """What executes the program with nearly that much, and prints how many letters the last argument has."""
    return [sys.executable, "-c", LONGEST, status, str(size), mark, str(times)]


@pytest.fixture
def status(programs: Programs) -> str:
    return own_place.program(programs["status"], "status")


@pytest.mark.parametrize("size", [1 << 20, 2 << 20, cbprocess.ARGUMENTS_SIZE_MAX])
def test_a_long_list_of_a_short_life_is_whole(status: str, size: int) -> None:
    """Up to the most that execve takes. The program has ended long before anybody could look at it."""
    times = 5
    with observing() as recorder:
        recorder.filter.add_rule(process_id=-1, action="allow")
        lasts = [int(run(longest(status, size, "long")).stdout) for _ in range(times)]
        wait_for_ends(recorder, "long", times)
        counts = recorder.filter.statistics()
    assert (counts.lost, recorder.errors) == (0, [])
    rows = [row for row in recorder.of("process_creation") if "long" in row["arguments"][:3]]
    parts = [str(i % 10) * 100_000 for i in range(size // 100_001)]
    for row, last in zip(rows, lasts):
        assert not row["flags"] & cbprocess.EVENT_FLAG_ARGUMENTS_TRUNCATED
        assert row["arguments"] == [status, "0", "long", *parts, "z" * last]


def test_long_lists_take_no_room_of_others(status: str) -> None:
    """Six at a time, of 6 MiB: more than the ring has room for. What is not whole says so."""
    size = cbprocess.ARGUMENTS_SIZE_MAX
    with observing() as recorder:
        recorder.filter.add_rule(process_id=-1, action="allow")
        line = longest(status, size, "storm")
        storm = [subprocess.Popen(line, stdout=subprocess.PIPE) for _ in range(6)]
        in_shell(f"for i in $(seq 300); do {status} 3 short $i; done")
        lengths = {int(process.communicate(timeout=60)[0]) for process in storm}
        wait_for_ends(recorder, "short", 300)
        wait_for_ends(recorder, "storm", len(storm))
        counts = recorder.filter.statistics()
    assert (counts.lost, recorder.errors) == (0, [])
    rows = [row for row in recorder.of("process_creation") if "short" in row["arguments"]]
    assert sorted(int(row["arguments"][-1]) for row in rows) == list(range(1, 301))
    rows = [row for row in recorder.of("process_creation") if "storm" in row["arguments"][:3]]
    whole = [row for row in rows if not row["flags"] & cbprocess.EVENT_FLAG_ARGUMENTS_TRUNCATED]
    assert {len(row["arguments"][-1]) for row in whole} <= lengths
    assert all(len(row["command_line"]) >= 16384 for row in rows), "the beginning is there"


def test_long_lists_take_no_room_of_others_in_a_queue(status: str) -> None:
    """A handler stands still while more comes than its queue may take."""
    go_on, times = threading.Event(), 40

    def of_queue() -> list[Any]:
        found = [row for row in recorder.of("process_creation") if "queue" in row["arguments"][:3]]
        return sorted(found, key=lambda row: row["sequence"])

    with observing() as recorder:
        recorder.decide = lambda kind, event: go_on.wait(60) and None
        recorder.filter.add_rule(process_id=-1, action="allow")
        assert run(longest(status, cbprocess.ARGUMENTS_SIZE_MAX, "queue", times)).returncode == 0
        in_shell(f"for i in $(seq 100); do {status} 3 short $i; done")
        time.sleep(0.5)
        go_on.set()
        wait_for_ends(recorder, "short", 100)
        wait_until(lambda: len(of_queue()) == times, 20, "the events of the queue")
        counts = recorder.filter.statistics()
    assert (counts.lost, recorder.errors) == (0, [])
    rows = of_queue()
    cut = [bool(row["flags"] & cbprocess.EVENT_FLAG_ARGUMENTS_TRUNCATED) for row in rows]
    assert not cut[0] and any(cut)
    # What is cut may lack little: the ring has had no room for the last of many parts.
    sizes = [len(row["command_line"]) for row in rows]
    assert {size for size, is_cut in zip(sizes, cut) if not is_cut} == {sizes[0]}
    assert sizes[0] > 6_000_000 and all(size < sizes[0] for size, is_cut in zip(sizes, cut) if is_cut)
