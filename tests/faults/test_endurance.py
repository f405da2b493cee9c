"""Many events, and many starts and stops: nothing is lost and nothing grows."""

from __future__ import annotations

import gc
import os
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from live_tools import GUID, Orphans, Programs, descriptors, recording, run_checked, wait_until

import cbprocess


def test_a_hundred_thousand_events(programs: Programs) -> None:
    """Exact counts, and a sequence without a gap, of 50,000 threads made and ended."""
    counts: Counter[str] = Counter()
    sequences = bytearray(200_000)
    lock = threading.Lock()
    instance = cbprocess.CBProcess()
    instance.initialize(GUID)
    instance.config("EventsToFire=-1")

    def counting(name: str) -> Any:
        def handler(event: Any) -> None:
            with lock:
                counts[name] += 1
                sequences[event.sequence - first] += 1

        return handler

    first = 0
    for name in ("process_creation", "process_termination", "thread_creation", "thread_termination"):
        setattr(instance, "on_" + name, counting(name))
    instance.start_filter(0)
    try:
        assert instance.popen([programs["threads"], "run", "50000"]).wait(150) == 0
        wait_until(lambda: counts["process_termination"] == 1, 20, "the last event")
        statistics = instance.statistics()
    finally:
        instance.stop_filter()
    assert counts["process_creation"] == counts["process_termination"] == 1
    assert counts["thread_creation"] in (50000, 50001) and counts["thread_termination"] == 50001
    total = sum(counts.values())
    assert (statistics.delivered, statistics.lost, statistics.timed_out) == (total, 0, 0)
    assert statistics.malformed == statistics.late == statistics.failed_in_handler == 0
    seen = bytes(sequences).strip(b"\0")
    assert len(seen) == total and set(seen) == {1}


def resident_size() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def usage() -> tuple[int, int]:
    """Descriptors and threads of this process."""
    return len(descriptors()), len(list(Path("/proc/self/task").iterdir()))


@pytest.mark.parametrize("kind", ["one instance", "an instance each"])
def test_two_hundred_starts_and_stops(kind: str, programs: Programs, orphans: Orphans) -> None:
    instance = cbprocess.CBProcess()
    instance.initialize(GUID)
    instance.config("EventsToFire=-1")
    seen: list[int] = []
    instance.on_process_termination = lambda event: seen.append(event.exit_status)

    def cycle() -> None:
        nonlocal instance
        if kind != "one instance":
            instance = cbprocess.CBProcess()
            instance.initialize(GUID)
            instance.config("EventsToFire=-1")
            instance.on_process_termination = lambda event: seen.append(event.exit_status)
        instance.start_filter(0)
        assert instance.popen([programs["status"], "3"]).wait(20) == 3
        instance.stop_filter()

    for _ in range(20):
        cycle()
    gc.collect()
    before, size = usage(), resident_size()
    for _ in range(200):
        cycle()
    gc.collect()
    wait_until(lambda: usage() == before, 10, f"the usage to be as before: {before}, now {usage()}")
    assert resident_size() - size < 2 << 20
    assert seen == [3] * len(seen) and len(seen) <= 220
    wait_until(lambda: orphans.left() == [], 20, "the end of all helpers")


def test_many_instances(programs: Programs) -> None:
    """As many as can be active at once, one more is an error, and all of them work."""
    with recording() as recorder:
        others: list[Any] = []
        try:
            with pytest.raises(cbprocess.CBProcessError) as raised:
                for _ in range(cbprocess.SESSION_MAX):
                    instance = cbprocess.CBProcess()
                    instance.initialize(GUID)
                    instance.config("EventsToFire=-1")
                    instance.start_filter(0)
                    others.append(instance)
            assert raised.value.code == cbprocess.ERROR_NO_SYSTEM_RESOURCES
            assert len(others) == cbprocess.SESSION_MAX - 1
            for instance in others:
                assert instance.popen([programs["status"], "2"]).wait(20) == 2
            assert run_checked(recorder, [programs["status"], "3"])[0] == 3
        finally:
            for instance in others:
                instance.stop_filter()
