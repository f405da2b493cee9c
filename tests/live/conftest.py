"""Fixtures of the live tests. The modules beside this file are imported by their plain names."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

import live_tools


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


@pytest.fixture(scope="session")
def environment(programs: live_tools.Programs) -> dict[str, str]:
    return live_tools.environment(programs)
