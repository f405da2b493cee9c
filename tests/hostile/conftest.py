"""Fixtures of the hostile tests: programs in the tree that do not want to be controlled.

Each attack is a program under programs/, in C or Python, whose first lines say what it tries. A test runs it
as a member of a supervised tree and looks at what it achieved. Knows the public Python surface only; modules
of tests/live are imported by their plain names."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "live"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from hostile_tools import FOLDER, SETTINGS, Setting
from live_fixtures import no_helper_stays as no_helper_stays
from live_fixtures import system_path as system_path


@pytest.fixture(params=SETTINGS, ids=lambda setting: setting.name.replace(" ", "-"))
def setting(request: pytest.FixtureRequest) -> Setting:
    """Each of the three ways in which a tree can be supervised."""
    chosen: Setting = request.param
    return chosen


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can enter; pytest's own is its user's."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@pytest.fixture(scope="session")
def attack(compile_c: Callable[..., Path]) -> Callable[[str], str]:
    """attack(name) -> the path of the compiled attack programs/name.c."""

    def compiled(name: str, *arguments: str) -> str:
        return str(compile_c(FOLDER / "programs" / f"{name}.c", "-D_GNU_SOURCE", *arguments))

    return compiled
