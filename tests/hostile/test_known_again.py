"""What was decided about a file at the entry of execve holds for that file alone. A program can make another
file get the number of one that it removes: meanwhile, the path leads to that one."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from pathlib import Path
from typing import Any, Callable

import pytest
from hostile_tools import SETTINGS
from live_tools import recording, run_checked

import cbprocess

TRIES = 2000
SETTLED_S = 2.5  # a file that has changed only just now is never known again


class Number:
    """A link to a file, and how to make the link lead to another one of the same number."""

    def __init__(self, folder: Path, program: str) -> None:
        self.folder = folder
        self.program = program
        self.first = folder / "first"
        self.link = folder / "link"
        shutil.copy2(program, self.first)
        self.link.symlink_to(self.first)
        self.was_passed_on = False

    def pass_on(self) -> None:
        """The first file is removed, and files are made until one has its number."""
        number = self.first.stat().st_ino
        self.first.unlink()
        for count in range(TRIES):
            other = self.folder / f"other{count}"
            other.touch()
            if other.stat().st_ino == number:
                shutil.copy2(self.program, other)
                other.rename(self.folder / "second")
                (self.folder / "new").symlink_to(self.folder / "second")
                (self.folder / "new").rename(self.link)
                self.was_passed_on = True
                return


@pytest.mark.parametrize("chosen", SETTINGS[1:], ids=["errno", "handles"])
def test_another_file_of_the_number(chosen: Any, tmp_path: Path, attack: Callable[..., str]) -> None:
    number = Number(tmp_path.resolve(), attack("other_roots"))
    seen: list[tuple[str, bool]] = []

    def decide(kind: str, event: Any) -> None:
        if kind == "process_creation" and event.image_file_name == str(number.link):
            name = os.path.basename(event.process_name)
            seen.append((name, bool(event.flags & cbprocess.EVENT_FLAG_CHANGED)))
            if name == "first":
                number.pass_on()
            else:
                event.result_code = cbprocess.ERROR_ACCESS_DENIED

    time.sleep(SETTLED_S)
    with (
        recording(*chosen.config, events=chosen.events, decide=decide) as recorder,
        contextlib.suppress(PermissionError),
    ):
        run_checked(recorder, [str(number.link)])
    if not number.was_passed_on:
        pytest.skip("this file system does not give a number to another file soon")
    assert seen == [("first", False), ("second", True)]
    assert recorder.filter.statistics().refused == 1


@pytest.mark.parametrize("settled", [True, False], ids=["old", "new"])
def test_one_that_stays_is_asked_about_once(
    settled: bool, tmp_path: Path, attack: Callable[..., str]
) -> None:
    number = Number(tmp_path.resolve(), attack("other_roots"))
    time.sleep(SETTLED_S if settled else 0)
    with recording() as recorder:
        status, _, _ = run_checked(recorder, [str(number.link)])
    told = [event["process_name"] for event in recorder.of("process_creation")]
    assert (status, told) == (0, [str(number.first)])
