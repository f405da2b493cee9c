"""What was decided about a file at the entry of execve holds for that file, as it was, under that name. A
program can make another file get the number of one that it removes, or give a file a second name. Meanwhile,
the path leads there."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from pathlib import Path
from typing import Any, Callable

import pytest
from hostile_tools import SETTINGS, Setting
from live_tools import recording, run_checked

import cbprocess

TRIES = 2000
FILTERED = pytest.mark.parametrize("chosen", SETTINGS[1:], ids=["errno", "handles"])
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

    def pass_on(self, name: str) -> None:
        """The first file is removed, and files are made until one has its number, which gets this name."""
        number = self.first.stat().st_ino
        self.first.unlink()
        for count in range(TRIES):
            other = self.folder / f"other{count}"
            other.touch()
            if other.stat().st_ino == number:
                shutil.copy2(self.program, other)
                other.rename(self.folder / name)
                self.lead_to(name)
                self.was_passed_on = True
                return

    def lead_to(self, name: str) -> None:
        (self.folder / "new").symlink_to(self.folder / name)
        (self.folder / "new").rename(self.link)


@pytest.fixture
def number(tmp_path: Path, attack: Callable[..., str]) -> Number:
    return Number(tmp_path.resolve(), attack("other_roots"))


def asked(
    chosen: Setting, link: Path, act: Callable[[], None], command: list[str] | None = None
) -> list[tuple[str, bool]]:
    """Executes the link, or a command that does. Acts while the handler decides first, and refuses what is
    asked about after that. Gives the names, and whether the event says that something has changed."""
    seen: list[tuple[str, bool]] = []

    def decide(kind: str, event: Any) -> None:
        if kind == "process_creation" and event.image_file_name == str(link):
            name = os.path.relpath(event.process_name, link.parent)
            seen.append((name, bool(event.flags & cbprocess.EVENT_FLAG_CHANGED)))
            if len(seen) == 1:
                act()
            else:
                event.result_code = cbprocess.ERROR_ACCESS_DENIED

    with (
        recording(*chosen.config, events=chosen.events, decide=decide) as recorder,
        contextlib.suppress(PermissionError),
    ):
        run_checked(recorder, command or [str(link)])
    assert recorder.filter.statistics().refused == max(len(seen) - 1, 0)
    return seen


@FILTERED
@pytest.mark.parametrize("name", ["second", "first"])
def test_another_file_of_the_number(name: str, chosen: Setting, number: Number) -> None:
    time.sleep(SETTLED_S)
    seen = asked(chosen, number.link, lambda: number.pass_on(name))
    if not number.was_passed_on:
        pytest.skip("this file system does not give a number to another file soon")
    assert seen == [("first", False), (name, True)]


@FILTERED
def test_another_name_of_the_file(chosen: Setting, number: Number) -> None:
    os.link(number.first, number.folder / "second")
    time.sleep(SETTLED_S)
    seen = asked(chosen, number.link, lambda: number.lead_to("second"))
    assert seen == [("first", False), ("second", True)]


@FILTERED
def test_another_name_since(chosen: Setting, number: Number) -> None:
    def act() -> None:
        os.link(number.first, number.folder / "second")
        number.lead_to("second")

    time.sleep(SETTLED_S)
    assert asked(chosen, number.link, act) == [("first", False), ("second", True)]


@FILTERED
def test_another_path_by_a_mount(chosen: Setting, tmp_path: Path, attack: Callable[..., str]) -> None:
    """In mounts of its own, the program has the folder at two places."""
    program, root, folder = attack("other_roots"), tmp_path.resolve() / "root", tmp_path.resolve() / "at"
    inner = Path(f"{root}{folder}")
    inner.mkdir(parents=True)
    folder.mkdir()
    shutil.copy2(program, inner / "victim")
    (inner / "link").symlink_to(inner / "victim")

    def act() -> None:
        (inner / "new").symlink_to(folder / "victim")
        (inner / "new").rename(inner / "link")

    time.sleep(SETTLED_S)
    command = [program, "unshare", str(root), str(folder), "link"]
    seen = asked(chosen, folder / "link", act, command)
    if not seen:
        pytest.skip("this user can make no mounts")
    assert seen == [(os.path.relpath(inner / "victim", folder), False), ("victim", True)]


@FILTERED
def test_a_rule_about_another_name(chosen: Setting, number: Number) -> None:
    os.link(number.first, number.folder / "second")
    time.sleep(SETTLED_S)

    def decide(kind: str, event: Any) -> None:
        if kind == "process_creation" and event.process_name == str(number.first):
            number.lead_to("second")

    with recording(*chosen.config, events=chosen.events, decide=decide) as recorder:
        recorder.filter.add_rule(name="*/second", action="deny")
        with contextlib.suppress(PermissionError):
            run_checked(recorder, [str(number.link)])
        assert recorder.filter.statistics().refused == 1


@FILTERED
def test_written_to_in_place(chosen: Setting, number: Number) -> None:
    def act() -> None:
        with number.first.open("r+b") as file:
            file.write(b"\x7fELF")

    time.sleep(SETTLED_S)
    assert asked(chosen, number.link, act) == [("first", False), ("first", True)]


@FILTERED
def test_a_script_that_is_written_to(chosen: Setting, number: Number) -> None:
    number.first.write_text(f"#!{number.program}\n")

    def act() -> None:
        number.first.write_text(f"#!{number.program}\n# more\n")

    time.sleep(SETTLED_S)
    program = os.path.relpath(number.program, number.folder)
    assert asked(chosen, number.link, act) == [(program, False), (program, True)]


@pytest.mark.parametrize("settled", [True, False], ids=["old", "new"])
def test_one_that_stays_is_asked_about_once(settled: bool, number: Number) -> None:
    time.sleep(SETTLED_S if settled else 0)
    with recording() as recorder:
        status, _, _ = run_checked(recorder, [str(number.link)])
    told = [event["process_name"] for event in recorder.of("process_creation")]
    assert (status, told) == (0, [str(number.first)])
