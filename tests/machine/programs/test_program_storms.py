"""What the BPF programs tell of many processes at a time, against what the storms say themselves: all of
it, or a count of what is lost. Nothing is held here, and no guard and no controller takes part."""

from __future__ import annotations

import collections
import subprocess
import sys
import time

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


def test_one_end_of_each_process_with_many_threads(programs: Programs) -> None:
    code = (
        "import os, threading, time\n"
        "for _ in range(200):\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        [threading.Thread(target=time.sleep, args=(9,), daemon=True).start() for _ in range(8)]\n"
        "        os._exit(1)\n"
        "    os.waitpid(child, 0)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    process.wait()
    told = programs.read_until(
        lambda r: r.type == EXIT and r.process_id == process.pid and r.flags & LAST > 0
    )
    children = {(r.process_id, r.start_ns) for r in told if r.type == FORK and r.fork()[0] == process.pid}
    ends = [r for r in told if r.type == EXIT and (r.process_id, r.start_ns) in children]
    last = collections.Counter((r.process_id, r.start_ns) for r in ends if r.flags & LAST)
    assert last == collections.Counter(children)
    late = sum(
        not r.flags & LAST
        for at, r in enumerate(ends)
        if any(e.process_id == r.process_id and e.flags & LAST for e in ends[:at])
    )
    assert late <= len(children) // 20, "threads that come after the process's end are rare"
