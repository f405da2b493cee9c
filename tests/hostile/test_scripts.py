"""Rules by name hold for every file that an execution goes through: each script by its true path and as it
was given, each interpreter likewise, however they are reached."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hostile_tools import FOLDER, SETTINGS, Setting
from live_tools import Recorder, recording, run_checked, wait_until

import cbprocess

WAYS = [
    "as_given",
    "by_link",
    "by_link_of_a_folder",
    "by_descriptor",
    "by_proc",
    "by_link_to_proc",
    "by_dev_fd",
    "by_its_folder",
    "by_another_script",
    "by_a_script_that_names_a_link",
    "without_a_slash",
    "by_a_thread",
]
KILL = SETTINGS[0].config
PYTHON = str(Path(sys.executable).resolve())


class Place:
    """A folder with the script that is denied; what it writes when it runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "work"
        self.folder.mkdir()
        self.mark = folder / "ran"
        self.script = folder / "deploy.sh"
        self.script.write_text(f"#!/bin/sh\necho ran > {self.mark}\n")
        self.script.chmod(0o755)

    def attack(self, recorder: Recorder, way: str) -> tuple[int, str]:
        program = str(FOLDER / "programs" / "by_script.py")
        line = [PYTHON, program, way, str(self.script), str(self.folder)]
        status, output, errors = run_checked(recorder, line)
        assert way == "by_a_thread" or errors == ""
        return status, output

    def denied(self) -> str:
        return "*" + str(self.script)[1:]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    yield Place(tmp_path)


@pytest.mark.parametrize("way", WAYS)
def test_the_way_works_when_nothing_is_denied(way: str, place: Place) -> None:
    """Otherwise nothing would be proved below."""
    with recording() as recorder:
        recorder.filter.add_rule(name="no program has this name", action="deny")
        place.attack(recorder, way)
    assert place.mark.exists() and recorder.filter.statistics().refused == 0


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("chosen", SETTINGS[:2], ids=["kill", "errno"])
def test_a_denied_script(way: str, chosen: Setting, place: Place) -> None:
    with recording(*chosen.config, events=chosen.events) as recorder:
        recorder.filter.add_rule(name=place.denied(), action="deny")
        status, output = place.attack(recorder, way)
        assert recorder.filter.statistics().refused == 1
    assert not place.mark.exists()
    if chosen.config == KILL:
        assert (status, output) == (-9, "")
    elif way != "by_a_thread":
        assert (status, output) == (0, f"errno {errno.EACCES}\n")


@pytest.mark.parametrize("chosen", SETTINGS[:2], ids=["kill", "errno"])
@pytest.mark.parametrize("pattern", ["*/python3", "*/python3.*"])
def test_a_denied_interpreter(chosen: Setting, pattern: str, place: Place) -> None:
    """As the script names it, which may be a link, and by its true path."""
    link = place.folder / "python3"
    link.symlink_to("/usr/bin/python3")
    if "3." not in str(link.resolve()):
        pytest.skip("/usr/bin/python3 is no link here")
    place.script.write_text(f"#!{link}\nopen({str(place.mark)!r}, 'w')\n")
    with recording(*chosen.config, events=chosen.events) as recorder:
        recorder.filter.add_rule(name=pattern, action="deny")
        status, output, _ = run_checked(recorder, ["sh", "-c", f"{place.script}; echo $?"])
        assert recorder.filter.statistics().refused == 1
    assert (status, output) == (0, "137\n" if chosen.config == KILL else "126\n")
    assert not place.mark.exists()


@pytest.mark.parametrize("chosen", SETTINGS[:2], ids=["kill", "errno"])
def test_a_denied_script_in_the_middle(chosen: Setting, place: Place) -> None:
    """The rule names neither what was executed nor what runs."""
    outer = place.folder / "outer"
    outer.write_text(f"#!{place.script}\n")
    outer.chmod(0o755)
    with recording(*chosen.config, events=chosen.events) as recorder:
        recorder.filter.add_rule(name="deploy.sh", action="deny")
        run_checked(recorder, ["sh", "-c", f"{outer}; true"])
        assert recorder.filter.statistics().refused == 1
    assert not place.mark.exists()


@pytest.mark.parametrize("by", ["rule", "handler"])
def test_renamed_over_while_it_is_decided_about(by: str, place: Place) -> None:
    """The names are looked at again after execve, and the execution is asked about again if they differ."""
    changed: list[tuple[str, bool]] = []

    def decide(kind: str, event: Any) -> None:
        if kind != "process_creation" or event.image_file_name != str(place.folder / "link"):
            return
        changed.append((event.image_file_name, bool(event.flags & cbprocess.EVENT_FLAG_CHANGED)))
        if len(changed) == 2 and by == "handler":
            event.result_code = cbprocess.ERROR_ACCESS_DENIED
        if len(changed) == 1:
            (place.folder / "deciding").touch()
            wait_until((place.folder / "changed").exists, 10, "the link is changed")

    with recording(decide=decide) as recorder:
        if by == "rule":
            recorder.filter.add_rule(name="deploy.sh", action="deny")
        status, _ = place.attack(recorder, "renamed_over")
    assert status == -9 and not place.mark.exists()
    assert [flag for _, flag in changed] == [False, True]


@pytest.mark.parametrize("way", ["by_link", "by_descriptor", "by_another_script"])
def test_named_and_ignored(way: str, place: Place) -> None:
    """Rules that only choose whose events are wanted go by the names, too."""
    for action, seen in (("ask", 1), ("ignore", 0)):
        with recording() as recorder:
            recorder.filter.add_rule(name="deploy.sh", action=action)
            before = len(recorder.of("thread_termination"))
            place.attack(recorder, way)
        assert before == 0 and place.mark.exists()
        ends = [event for event in recorder.of("process_termination") if event["process_name"].endswith("sh")]
        assert len(ends) == seen, action
        place.mark.unlink()
        for path in place.folder.iterdir():
            path.unlink()


@pytest.mark.parametrize("way", ["link", "outer"])
def test_protected(way: str, place: Place) -> None:
    """A strip rule for a script's name holds however the script was started."""
    link, outer, alive = place.folder / "link", place.folder / "outer", place.folder / "alive"
    alive.touch()
    place.script.write_text(f"#!/bin/sh\necho > {alive}.too\nwhile test -e {alive}; do sleep 0.02; done\n")
    link.symlink_to(place.script)
    outer.write_text(f"#!{link}\n")
    outer.chmod(0o755)
    text = f"{place.folder / way} & while ! test -e {alive}.too; do sleep 0.02; done; kill -9 $!; echo $?"
    with recording(events=SETTINGS[2].events) as recorder:
        recorder.filter.add_rule(name="*/deploy.sh", action="strip", access=cbprocess.PROCESS_TERMINATE)
        status, output, _ = run_checked(recorder, ["sh", "-c", f"{text}; rm {alive}; wait $!; echo $?"])
    assert (status, output) == (0, "1\n0\n")


class TestAllowed:
    """What allows opens a way, so every file has to be allowed, by its true path."""

    @staticmethod
    def asked(place: Place, *allowed: str, way: str = "as_given") -> bool:
        """Whether a handler was asked about the script."""
        with recording() as recorder:
            for pattern in allowed:
                recorder.filter.add_rule(name=pattern, action="allow")
            place.attack(recorder, way)
        events = recorder.of("process_creation")[1:]
        assert len(events) == 1 and place.mark.exists()
        return not events[0]["decided_by_rule"]

    def test_with_its_interpreter(self, place: Place) -> None:
        shell = str(Path("/bin/sh").resolve())
        assert not self.asked(place, str(place.script), shell)

    def test_by_a_name_that_the_process_chooses(self, place: Place) -> None:
        assert self.asked(place, "harmless", "dash", "bash", way="by_link")

    def test_without_its_interpreter(self, place: Place) -> None:
        assert self.asked(place, str(place.script))

    def test_without_the_script(self, place: Place) -> None:
        assert self.asked(place, "*sh/dash", "*/bash", "/bin/*")

    def test_a_link_out_of_an_allowed_folder(self, place: Place) -> None:
        """Whoever may write into a folder that is allowed by a pattern may put a program there; but a path
        that only passes through the folder is none of it."""
        pattern = str(place.folder) + "/*"
        with recording() as recorder:
            recorder.filter.add_rule(name=pattern, action="allow")
            crooked = f"{place.folder}/../{place.script.name}"
            run_checked(recorder, ["sh", "-c", f"{crooked}; {place.folder}/../../../../../bin/true; true"])
        events = [e for e in recorder.of("process_creation") if e["image_file_name"].count("..")]
        assert events and not any(event["decided_by_rule"] for event in events)


@pytest.mark.parametrize("chosen", SETTINGS[:2], ids=["kill", "errno"])
def test_what_cannot_be_read_is_refused(chosen: Setting, place: Place) -> None:
    """Of a program that may be executed but not read, an ordinary user's tracer learns nothing after execve:
    neither its name nor its arguments. With a deny rule by name in force that is a refusal."""
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    program = place.folder / "unreadable"
    program.write_bytes(Path("/bin/true").read_bytes())
    program.chmod(0o111)
    with recording(*chosen.config, events=chosen.events) as recorder:
        run = ["sh", "-c", f"{program}; echo $?"]
        assert run_checked(recorder, run)[1] == "0\n"
        recorder.filter.add_rule(name="no program has this name", action="deny")
        assert run_checked(recorder, run)[1] == ("137\n" if chosen.config == KILL else "126\n")


def test_a_check_fires_nothing(attack: Any, place: Place) -> None:
    """execveat with AT_EXECVE_CHECK, of Linux 6.14, executes nothing."""
    with recording() as recorder:
        status, output, _ = run_checked(recorder, [attack("check"), str(place.script)])
    assert (status, output) in [(0, "0\n"), (0, f"{errno.EINVAL}\n")]
    assert len(recorder.of("process_creation")) == 1 and not place.mark.exists()
    assert recorder.filter.statistics().failed_after == 0
