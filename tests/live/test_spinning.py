"""The helper looks for the next stop for a moment before it sleeps. That moment has an end: a tree in which
nothing happens, or little, costs no processor."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
from live_tools import GUID, tracer_of

from cbprocess import CBProcess, CBProcessProcessTerminationEventParams

WATCHED_S = 1.0
# What is left beside the spins are wake-ups, and programs that start; sanitizers make them ten times as dear.
SHARE_MAX = 0.1


def processor_s(process_id: int) -> float:
    return int(Path(f"/proc/{process_id}/schedstat").read_text().split()[0]) / 1e9


@pytest.mark.parametrize(
    "program",
    [
        "import time; time.sleep(60)",
        "while True: pass",
        "import subprocess, time\nwhile True: subprocess.run(['true']); time.sleep(0.2)",
    ],
    ids=["sleeps", "computes", "starts a program now and then"],
)
@pytest.mark.parametrize("is_held", [False, True], ids=["told", "held"])
def test_a_quiet_tree_costs_no_processor(program: str, is_held: bool) -> None:
    with CBProcess() as process:
        process.initialize(GUID)
        process.config("EventsToFire=-1")
        if is_held:
            process.on_process_creation = lambda event: None
        process.start_filter(0)
        child = process.popen([sys.executable, "-c", program])
        try:
            time.sleep(0.5)
            helper = tracer_of(child.pid)
            begin_s, begun_s = processor_s(helper), time.monotonic()
            time.sleep(WATCHED_S)
            spent_s = processor_s(helper) - begin_s
            assert spent_s < SHARE_MAX * (time.monotonic() - begun_s)
        finally:
            child.kill()
            child.wait()


def test_a_long_decision_costs_no_processor() -> None:
    spent_s = []

    def decide(event: CBProcessProcessTerminationEventParams) -> None:
        helper = tracer_of(event.process_id)
        begin_s = processor_s(helper)
        time.sleep(WATCHED_S)
        spent_s.append(processor_s(helper) - begin_s)

    with CBProcess() as process:
        process.initialize(GUID)
        process.config("EventsToFire=-1")
        process.on_process_termination = decide
        process.start_filter(0)
        assert process.popen(["true"]).wait() == 0
    assert max(spent_s) < SHARE_MAX * WATCHED_S, spent_s
