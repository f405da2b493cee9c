"""statistics() is true at any moment: also where nothing stops that could make somebody count."""

from __future__ import annotations

import subprocess

from live_tools import recording, wait_until


def test_supervised_while_nothing_happens() -> None:
    """Who is attached sleeps, and makes no stop; whose end has been waited for is nobody's count."""
    with recording() as recorder:

        def count() -> int:
            return recorder.filter.statistics().supervised

        sleepers: list[subprocess.Popen[bytes]] = []
        try:
            for _ in range(5):
                sleepers.append(subprocess.Popen(["sleep", "1000"]))
                recorder.filter.add_filtered_process_by_id(sleepers[-1].pid, True)
                wait_until(lambda: count() == len(sleepers), 60, "it is counted")
            recorder.filter.popen(["true"]).wait(60)
            wait_until(lambda: count() == len(sleepers), 60, "whoever has ended is not counted")
        finally:
            for sleeper in sleepers:
                sleeper.kill()
                sleeper.wait(60)
        wait_until(lambda: count() == 0, 60, "nobody is left")
