"""Programs that sleep in many system calls at once (tests/programs/asleep.c), and whether anybody has
disturbed them. Knows nothing of cbprocess."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

from live_tools import Programs, wait_until


class Sleeper:
    """A run of `asleep`: many threads, each in a system call that waits for something."""

    def __init__(self, program: str, folder: Path, start: Callable[[list[str]], Any]) -> None:
        folder.mkdir(exist_ok=True)
        self.wake, self.report = folder / "wake", folder / "report"
        self.report.touch()
        self.process = start([program, str(self.wake), str(self.report)])
        wait_until(lambda: "asleep" in self.lines(), 60, "all its threads sleep")

    def lines(self) -> list[str]:
        return self.report.read_text().splitlines()

    def bring_about(self) -> None:
        """What the calls wait for happens."""
        self.wake.touch()

    def results(self) -> dict[str, int]:
        """Each call's errno, or 0, once all of them are over."""
        wait_until(lambda: "end" in self.lines(), 60, "all its calls are over")
        return {name: int(error) for name, error in map(str.split, self.lines()[1:-1])}

    @property
    def pid(self) -> int:
        return int(self.process.pid)


@contextlib.contextmanager
def sleeper(programs: Programs, folder: Path) -> Iterator[Sleeper]:
    """One outside of any filter."""
    found = Sleeper(programs["asleep"], folder, subprocess.Popen)
    try:
        yield found
    finally:
        found.bring_about()
        found.process.send_signal(signal.SIGCONT)
        try:
            found.process.wait(30)
        finally:
            found.process.kill()
            found.process.wait(30)


def assert_undisturbed(found: Sleeper, undisturbed: dict[str, int]) -> None:
    """They sleep still, and end as they would have."""
    assert found.lines() == ["asleep"]
    found.bring_about()
    assert found.results() == undisturbed
