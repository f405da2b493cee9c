"""statistics() is true at any moment: also where nothing stops that could make somebody count."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from live_tools import recording, wait_until

import cbprocess


@contextlib.contextmanager
def sleeper(program: str = "sleep") -> Iterator[subprocess.Popen[bytes]]:
    """A program that sleeps: no stop comes from it."""
    with subprocess.Popen([program, "1000"]) as process:
        try:
            yield process
        finally:
            process.kill()


def test_supervised_while_nothing_happens() -> None:
    """Who has been attached to counts when that call returns, though it makes no stop; and whoever has been
    waited for does not."""
    with contextlib.ExitStack() as stack, recording() as recorder:

        def count() -> int:
            return recorder.filter.statistics().supervised

        for number in range(1, 6):
            process = stack.enter_context(sleeper())
            recorder.filter.add_filtered_process_by_id(process.pid, True)
            assert count() == number
        for _ in range(5):
            assert recorder.filter.popen(["true"]).wait(60) == 0
            assert count() == 5
        stack.close()  # they are killed: the system tells us when the helper has let it
        wait_until(lambda: count() == 0, 60, "nobody is left")


def test_supervised_after_a_launch_and_after_the_end() -> None:
    with recording() as recorder:
        process = recorder.filter.popen(["cat"], stdin=subprocess.PIPE)
        assert recorder.filter.statistics().supervised == 1
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(60) == 0
        assert recorder.filter.statistics().supervised == 0


def test_supervised_after_a_removal_and_after_the_stop() -> None:
    """Whoever is let go sleeps on, and is nobody's count."""
    with sleeper() as one, sleeper() as other:
        with recording() as recorder:
            recorder.filter.add_filtered_process_by_id(one.pid, True)
            recorder.filter.add_filtered_process_by_id(other.pid, True)
            recorder.filter.remove_filtered_process_by_id(one.pid)
            assert recorder.filter.statistics().supervised == 1
        counts = recorder.filter.statistics()
        assert (counts.supervised, counts.workers, counts.queued) == (0, 0, 0)


@pytest.mark.parametrize("way", ["id", "name"])
@pytest.mark.parametrize("has_ended", [False, True])
def test_nobody_is_told_that_nobody_is_supervised(way: str, has_ended: bool, tmp_path: Path) -> None:
    """By a stop right after attaching to a process of which nothing is told, also if that has ended since."""
    program = tmp_path / f"sleeper-{tmp_path.name}"
    shutil.copy2(Path(shutil.which("sleep") or "sleep").resolve(), program)
    with warnings.catch_warnings():
        warnings.simplefilter("error", cbprocess.CBProcessWarning)
        with (
            sleeper(str(program)) as process,
            recording(events=cbprocess.PROC_EVT_THREAD_CREATION) as recorder,
        ):
            if way == "id":
                recorder.filter.add_filtered_process_by_id(process.pid, False)
            else:
                recorder.filter.add_filtered_process_by_name(str(program), False)
            if has_ended:
                process.kill()
                process.wait(60)
                wait_until(
                    lambda: recorder.filter.statistics().supervised == 0, 60, "it is known to have ended"
                )
