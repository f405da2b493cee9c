"""A program changes its root, or its mounts, and executes a path that means another file there. The refusal
of that file is an errno, as everywhere, and no event tells of the file that the path means to the helper."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any, Callable

import pytest
from hostile_tools import SETTINGS, Setting
from live_tools import recording, refuse, run_checked

import cbprocess

WAYS = (
    "chroot",
    "chroot-by-thread",
    "chroot-by-sharer",
    "chroot-i386",
    "chroot-x32",
    "pivot_root",
    "unshare",
    "unshare-empty",
    "clone",
    "setns",
)
OUTSIDE = ("nothing", "another")


class Roots:
    """A root below the helper's own, with the victim at a path that means nothing, or another program, in
    the helper's."""

    def __init__(self, folder: Path, program: str, outside: str) -> None:
        self.program = program
        self.folder = folder / "at"
        self.root = folder / "root"
        inner = Path(f"{self.root}{self.folder}")
        inner.mkdir(parents=True)
        self.folder.mkdir()
        shutil.copy(program, inner / "victim")
        (inner / "name").symlink_to("victim")
        if outside == "another":
            shutil.copy(program, self.folder / "other")
            (self.folder / "name").symlink_to("other")

    def command(self, way: str) -> list[str]:
        return [self.program, way, str(self.root), str(self.folder), "name"]


@pytest.fixture(params=OUTSIDE)
def roots(request: pytest.FixtureRequest, attack: Callable[..., str], open_folder: Path) -> Roots:
    # Static: in a root of its own there are no libraries.
    return Roots(open_folder.resolve(), attack("other_roots", "-static"), request.param)


def told(recorder: Any) -> list[str]:
    """The files, by their last names, whose execution was told after that of the attack itself."""
    return [os.path.basename(event["process_name"]) for event in recorder.of("process_creation")][1:]


def skip_if_impossible(output: str, way: str) -> None:
    if output == "impossible\n":
        pytest.skip(f"this machine, or this user, has no {way}")


@pytest.mark.parametrize("way", WAYS)
def test_the_way_leads_to_the_victim(way: str, roots: Roots, setting: Setting) -> None:
    """Otherwise nothing would be proved below."""
    with recording(*setting.config, events=setting.events) as recorder:
        status, output, errors = run_checked(recorder, roots.command(way))
    skip_if_impossible(output, way)
    assert (status, output, errors, recorder.errors) == (0, "ran\n", "", [])
    # A task that was created in between is told of once more, as the copy of its creator that it is.
    assert [name for name in told(recorder) if name != "other_roots"] == ["victim"]
    changed = cbprocess.EVENT_FLAG_CHANGED
    assert [event for event in recorder.events if event["flags"] & changed] == []


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("chosen", SETTINGS[1:], ids=["errno", "handles"])
def test_a_refusal_is_an_errno(way: str, chosen: Setting, roots: Roots) -> None:
    with recording(*chosen.config, events=chosen.events, decide=refuse("victim")) as recorder:
        status, output, errors = run_checked(recorder, roots.command(way))
    skip_if_impossible(output, way)
    assert (status, output, errors, recorder.errors) == (0, f"errno {errno.EACCES}\n", "", [])
    assert [name for name in told(recorder) if name != "other_roots"] == ["victim"]
    assert recorder.filter.statistics().refused == 1


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("chosen", SETTINGS[1:], ids=["errno", "handles"])
def test_a_deny_rule_is_an_errno(way: str, chosen: Setting, roots: Roots) -> None:
    with recording(*chosen.config, events=chosen.events) as recorder:
        recorder.filter.add_rule(name="*/victim", action="deny")
        status, output, errors = run_checked(recorder, roots.command(way))
        assert output == "impossible\n" or recorder.filter.statistics().refused == 1
    skip_if_impossible(output, way)
    assert (status, output, errors, recorder.errors) == (0, f"errno {errno.EACCES}\n", "", [])
