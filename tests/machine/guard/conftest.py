"""Fixtures of the guard's tests: a private mount namespace with a tmpfs, on which alone executions are held,
and programs to be executed there. The guard is tested without the core, so nothing is installed."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from machine.guard import guard_tools
from machine.guard.raw_guard import GuardError, RawGuard

from cbprocess._binding.library import find_folder

CLONE_NEWNS, MS_PRIVATE, MS_REC, MNT_DETACH = 0x00020000, 1 << 18, 1 << 14, 2


@pytest.fixture(scope="session")
def native() -> Path:
    folder = Path(find_folder())
    if not (folder / "cbprocess-guard").exists() or os.geteuid() != 0:
        pytest.skip("the guard is not built, or this is not root")
    return folder


@pytest.fixture(scope="session")
def abilities(native: Path, place: Path) -> int:
    try:
        guard = RawGuard(native, root=place)
    except GuardError as error:
        pytest.skip(f"the guard cannot run here: {error}")
    guard.close()
    return guard.abilities


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A tmpfs that only this process and its children see."""
    if os.geteuid() != 0:
        pytest.skip("this needs root")
    libc = ctypes.CDLL(None, use_errno=True)
    folder = tmp_path_factory.mktemp("held")
    assert libc.unshare(CLONE_NEWNS) == 0, os.strerror(ctypes.get_errno())
    assert libc.mount(b"none", b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None) == 0
    assert libc.mount(b"held", os.fsencode(folder), b"tmpfs", ctypes.c_ulong(0), None) == 0
    yield folder
    libc.umount2(os.fsencode(folder), MNT_DETACH)


@pytest.fixture(scope="session")
def program(place: Path) -> Path:
    """A program that ends at once, where its execution can be held."""
    target = place / "true"
    shutil.copy(shutil.which("true") or "/bin/true", target)
    assert subprocess.run([target], check=False).returncode == 0
    return target


@pytest.fixture
def controllers(native: Path, place: Path, abilities: int) -> Iterator[guard_tools.Controllers]:
    found = guard_tools.Controllers(native, place)
    try:
        yield found
    finally:
        found.end_all()
    guard_tools.assert_nothing_is_left(found, place)
