"""Fixtures of the fault tests; they share the tools of the live tests."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "live"))

import live_tools

_PR_SET_CHILD_SUBREAPER = 36


@pytest.fixture(autouse=True)
def no_helper_stays() -> Iterator[None]:
    """After every test no helper that it started is alive."""
    with live_tools.no_helper_stays():
        yield


@pytest.fixture(scope="session", autouse=True)
def system_path() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", live_tools.SYSTEM_PATH)
        yield


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> live_tools.Programs:
    if live_tools.c_compiler() is None:
        pytest.skip("this machine has no C compiler for the helper programs")
    return live_tools.Programs(tmp_path_factory.mktemp("programs"))


@pytest.fixture
def orphans() -> Iterator[live_tools.Orphans]:
    library = ctypes.CDLL(None, use_errno=True)
    assert library.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    found = live_tools.Orphans()
    try:
        yield found
        # A supervisor needs a moment to leave; later tests must not find it among this process's children.
        live_tools.wait_until(lambda: not found.left(), 10, "every orphan has ended")
    finally:
        library.prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
