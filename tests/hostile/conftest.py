"""Fixtures of the hostile tests: programs in the tree that do not want to be controlled.

Each attack is a program under programs/, in C or Python, whose first lines say what it tries. A test runs it
as a member of a supervised tree and looks at what it achieved. Knows the public Python surface only; modules
of tests/live are imported by their plain names."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Callable, NamedTuple

import pytest

FOLDER = Path(__file__).resolve().parent
sys.path[:0] = [str(FOLDER), str(FOLDER.parent / "live")]

import live_tools

import cbprocess

HANDLES = cbprocess.PROC_EVT_PROCESS_HANDLE_OPERATION | cbprocess.PROC_EVT_THREAD_HANDLE_OPERATION


class Setting(NamedTuple):
    """What a tree is supervised with: arguments of live_tools.recording()."""

    name: str
    config: tuple[str, ...]
    events: int

    @property
    def has_filter(self) -> bool:
        return self.name != "no filter"


SETTINGS = [
    Setting("no filter", ("RefuseWith=kill",), live_tools.LIFETIMES),
    Setting("errno filter", (), live_tools.LIFETIMES),
    Setting("handle filter", (), live_tools.LIFETIMES | HANDLES),
]


@pytest.fixture(params=SETTINGS, ids=lambda setting: setting.name.replace(" ", "-"))
def setting(request: pytest.FixtureRequest) -> Setting:
    """Each of the three ways in which a tree can be supervised."""
    chosen: Setting = request.param
    return chosen


@pytest.fixture(scope="session", autouse=True)
def system_path() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", live_tools.SYSTEM_PATH)
        yield


@pytest.fixture(scope="session")
def attack(compile_c: Callable[..., Path]) -> Callable[[str], str]:
    """attack(name) -> the path of the compiled attack programs/name.c."""

    def compiled(name: str, *arguments: str) -> str:
        return str(compile_c(FOLDER / "programs" / f"{name}.c", "-D_GNU_SOURCE", *arguments))

    return compiled
