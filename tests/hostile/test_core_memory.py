"""Allocations that fail in the core, in a session with every kind of operation: each run ends, nothing is
left stopped, and the error is told. The helper's own are test_memory.py's."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Callable, NamedTuple

import pytest

from cbprocess._binding import library

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 40
ALL_RIGHT = 7  # the job's status
# The program that is killed says first that it runs. Killed in its execution, it would rightly be an error.
JOB = """\
/bin/true
( exit 3 )
./refused
./denied
/bin/sh -c 'echo $$; while :; do :; done' | { read pid; kill -URG $pid; kill -KILL $pid; }
/bin/true "$1"
exit 7
"""


class Outcome(NamedTuple):
    """What a controller says: see programs/short_of_memory.c."""

    called: int
    failed: int
    told: int
    statuses: list[int]
    places: list[str]


class Short:
    """The controller, and the job that it runs."""

    def __init__(self, program: str, folder: Path) -> None:
        self._program, self._folder = program, folder
        for name in ("refused", "denied"):
            shutil.copy("/bin/true", folder / name)
        (folder / "job.sh").write_text(JOB)

    def run(self, fail_at: int, fail_count: int = 1) -> Outcome:
        # The last argument makes an event that is larger than a worker's own memory.
        line = [self._program, str(fail_at), str(fail_count), "recording", "/bin/sh", "job.sh", "x" * 40000]
        done = subprocess.run(
            line,
            cwd=self._folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            timeout=LIMIT_S,
        )
        assert done.returncode == 0, (fail_at, done.returncode)
        called, failed, told, first, second, _ = done.stdout.splitlines()[0].split()
        places = done.stdout.splitlines()[1:]
        return Outcome(int(called), int(failed), int(told), [int(first), int(second)], places)

    def check(self, fail_at: int, fail_count: int = 1) -> None:
        outcome = self.run(fail_at, fail_count)
        assert (outcome.told > 0) == (outcome.failed > 0), (fail_at, outcome)
        # A launch that could not be made has not run; one that was has run to its end.
        assert set(outcome.statuses) <= {ALL_RIGHT, -1}, (fail_at, outcome)
        assert self._left_behind() == [], fail_at

    def _left_behind(self) -> list[str]:
        """The job's processes that are there still."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and os.readlink(entry / "cwd") == str(self._folder):
                    found.append((entry / "cmdline").read_bytes().decode("ascii", "replace")[:80])
            except OSError:
                continue
        return found


@pytest.fixture
def short(attack: Callable[..., str], tmp_path: Path) -> Iterator[Short]:
    folder = library.native_folder()
    includes = [f"-I{ROOT / 'native' / 'include'}", f"-I{ROOT / 'driver' / 'protocol'}"]
    yield Short(
        attack("short_of_memory", *includes, f"-L{folder}", "-lcbprocess", f"-Wl,-rpath,{folder}"),
        tmp_path.resolve(),
    )


def test_one_at_each_place_of_the_core(short: Short) -> None:
    """The first allocation that each line of the core makes."""
    whole = short.run(0)
    assert (whole.failed, whole.told, whole.statuses) == (0, 0, [ALL_RIGHT, ALL_RIGHT])
    firsts = {place: number for number, place in reversed(list(enumerate(whole.places, 1)))}
    assert len(firsts) > 20
    for number in sorted(firsts.values()):
        short.check(number)


def test_no_memory_from_some_moment_on(short: Short) -> None:
    called = short.run(0).called
    for number in range(1, called, called // 6):
        short.check(number, 1_000_000)


@pytest.mark.slow
@pytest.mark.limit(1800)
def test_each_one(short: Short) -> None:
    for number in range(1, short.run(0).called + 1):
        short.check(number)
