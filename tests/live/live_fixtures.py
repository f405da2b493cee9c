"""Fixtures that the live, the fault and the hostile tests have in common; their conftest.py files take them
from here."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

import compilers
import live_tools
import pytest

_PR_SET_CHILD_SUBREAPER = 36


@pytest.fixture(autouse=True)
def no_helper_stays() -> Iterator[None]:
    """After every test no helper that it started is alive."""
    count = len(live_tools.Recorder.made)
    with live_tools.no_helper_stays():
        yield
        live_tools.Recorder.stop_those_after(count)


@pytest.fixture(scope="session", autouse=True)
def system_path() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", live_tools.SYSTEM_PATH)
        yield


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> live_tools.Programs:
    compilers.c_compiler()
    made = os.environ.get("CBPROCESS_TEST_PROGRAMS")
    return live_tools.Programs(Path(made) if made else tmp_path_factory.mktemp("programs"))


@pytest.fixture
def orphans() -> Iterator[live_tools.Orphans]:
    library = ctypes.CDLL(None, use_errno=True)
    assert library.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    found = live_tools.Orphans()
    try:
        yield found
        # A helper needs a moment to leave; later tests must not find it among this process's children.
        live_tools.wait_until(lambda: not found.left(), 10, "every orphan has ended")
    finally:
        library.prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
