"""What the BPF programs tell of many processes at a time, against what the storms say themselves: all of
it, or a count of what is lost. Nothing is held here, and no guard and no controller takes part."""

from __future__ import annotations

import collections
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from machine.programs import records
from machine.programs.programs_tools import loaded as loaded
from machine.programs.programs_tools import programs as programs
from machine.programs.programs_tools import run
from machine.programs.records import EXEC, EXIT, FORK, LAST, Programs, Record

pytestmark = pytest.mark.skipif(bool(records.obstacle()), reason=records.obstacle() or "runs")

STORM = """
import os, sys, threading
count = int(sys.argv[1])
for number in range(count):
    child = os.fork()
    if child == 0:
        if number % 2:
            os.execv("/bin/true", ["true", str(number)])
        threads = [threading.Thread(target=int) for _ in range(2)]
        [thread.start() for thread in threads]
        os._exit(number % 256)
    os.waitpid(child, 0)
"""


def test_a_storm_is_told_completely(programs: Programs) -> None:
    count = 500
    processes = [subprocess.Popen([sys.executable, "-c", STORM, str(count)]) for _ in range(2)]
    told: list[Record] = []
    while any(process.poll() is None for process in processes):
        told += programs.read()
        time.sleep(0.01)
    told += programs.read()
    assert programs.lost == [0] * records.LOST_COUNT
    for process in processes:
        # Ids come again during a storm, so a process is an id and a start.
        children = {
            (record.process_id, record.start_ns)
            for record in told
            if record.type == FORK and record.fork()[0] == process.pid and not record.fork()[3] & 0x10000
        }
        assert len(children) == count
        kinds = collections.Counter(
            (record.type, bool(record.flags & LAST))
            for record in told
            if (record.process_id, record.start_ns) in children
        )
        assert kinds[(EXEC, False)] == count // 2
        assert kinds[(EXIT, True)] == count, "each process ends once"
        assert kinds[(FORK, False)] == kinds[(EXIT, True)] + kinds[(EXIT, False)]
        entries = ((key, programs.task(key)) for key in list(programs.tasks.keys()))
        left = {(key, entry["start"]) for key, entry in entries if entry}
        assert not children & left, "no entry stays"


def test_what_is_lost_is_counted_exactly() -> None:
    count = 800
    with Programs(ring_size=16 * 4096) as programs:
        process = subprocess.Popen([sys.executable, "-c", STORM, str(count)])
        while process.poll() is None:
            time.sleep(0.01)
        # Others on this machine are told as well, so only sums of all can be compared.
        told = collections.Counter(record.type for record in programs.read())
        assert told[FORK] + programs.lost[FORK] >= 2 * count
        assert told[EXEC] + programs.lost[EXEC] >= count // 2
        assert programs.lost[FORK] > 0
        assert programs.lost[0] == 0
        run(["/bin/true"])
        assert len([record for record in programs.read() if record.type == EXEC]) >= 1, "it goes on"


def test_a_full_ring_wakes(programs: Programs) -> None:
    """A quarter of the ring is enough for that."""
    pad = "x" * 120_000
    for _ in range(3 * (16 << 20) // 4 // 240_000):
        run(["/bin/true", pad, pad])
    assert programs.setting("waked") > 0


@pytest.mark.parametrize("thread_count", [1, 6, 40])
def test_the_end_of_a_process_is_told_behind_those_of_its_threads(
    programs: Programs, compile_c: Callable[..., Path], thread_count: int
) -> None:
    """Where no task of a process was alive any more, the first one that came to its end told that of the
    process. Where a machine stood still at that moment, the ends of other threads were told behind it."""
    count = 4000 // (thread_count + 1)
    program = compile_c(Path(__file__).with_name("dying.c"))
    process = subprocess.Popen([program, str(count), str(thread_count)], stdout=subprocess.PIPE, text=True)
    told: list[Record] = []
    while process.poll() is None:
        told += programs.read()
        time.sleep(0.01)
    told += programs.read()
    assert (process.communicate()[0], process.returncode) == ("preempts\n", 0)
    ends: dict[tuple[int, int], list[Record]] = {}
    threads: collections.Counter[tuple[int, int]] = collections.Counter()
    for record in told:
        key = (record.process_id, record.start_ns)
        if record.type == FORK and record.fork()[3] & 0x10000:
            threads[key] += 1
        elif record.type == FORK and record.fork()[0] == process.pid:
            ends[key] = []
        elif record.type == EXIT and key in ends:
            ends[key].append(record)
    whole_count = 0
    for of_process in (ends[key] for key in ends if threads[key]):
        is_last = [bool(record.flags & LAST) for record in of_process]
        assert not any(is_last[:-1])
        whole_count += is_last == [False] * thread_count + [True]
        assert not any(is_last) or os.waitstatus_to_exitcode(of_process[-1].exit_status) == 7
    # Others on this machine can fill the ring meanwhile; and a kernel with preemptible tracepoints skips all
    # copies of a program when each of them has been interrupted.
    is_complete = programs.lost == [0] * records.LOST_COUNT and not programs.setting("has_copies")
    assert count * 0.9 < whole_count <= count and (whole_count == count or not is_complete)
