"""A tree that keeps its handler busy, so that the deadline of what it really wants passes."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from hostile_tools import SETTINGS, Setting
from live_tools import recording

DEADLINE_MS = 3000  # the shortest that there is
# Four executions, each held, take all workers; the one behind them is what the tree wants.
FLOOD = """
for i in 1 2 3 4; do /bin/true & done
i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done
cat wanted 2>&1; echo $?; wait
"""


def run_flood(folder: Path, *settings: str, rule: bool = False) -> tuple[str, Any]:
    """What a flooding tree has read, whose handler refuses cat but is kept busy by everything else, and the
    statistics."""
    (folder / "wanted").write_text("it was read\n")
    finished = threading.Event()

    def decide(kind: str, event: Any) -> None:
        if kind != "process_creation":
            return
        if event.process_name.endswith("/true") and not event.timed_out:
            finished.wait(DEADLINE_MS / 1000 + 0.5)
        elif event.process_name.endswith("/cat"):
            event.result_code = 5

    with recording("MaxWorkerThreadCount=2", *settings, timeout_ms=DEADLINE_MS, decide=decide) as recorder:
        if rule:
            recorder.filter.add_rule(name="*/cat", action="deny", code=5)
            threading.Timer(1, finished.set).start()
        process = recorder.filter.popen(["sh", "-c", FLOOD], cwd=folder, stdout=-1, stderr=-1)
        output = process.communicate(timeout=60)[0].decode()
        finished.set()
        return output, recorder.filter.statistics()


# Executions are held with the handle filter as with the errno filter.
HELD_SETTINGS = pytest.mark.parametrize("setting", SETTINGS[:2], ids=lambda setting: setting.name)


@HELD_SETTINGS
def test_a_deny_rule_needs_no_worker(setting: Setting, tmp_path: Path) -> None:
    output, _ = run_flood(tmp_path, *setting.config, rule=True)
    assert "it was read" not in output


def test_what_nobody_had_time_for_is_refused_if_so_wanted(tmp_path: Path) -> None:
    output, statistics = run_flood(tmp_path, "TimeoutAction=deny")
    assert "it was read" not in output and statistics.timed_out > 0


def test_what_nobody_had_time_for_goes_on_by_default_and_is_counted(tmp_path: Path) -> None:
    """Not held, as docs/limits.md says: an operation goes on at its deadline as if there were no handler."""
    output, statistics = run_flood(tmp_path)
    assert "it was read" in output and statistics.timed_out > 0
