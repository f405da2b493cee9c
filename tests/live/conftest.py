"""Fixtures of the live tests. The modules beside this file are imported by their plain names."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

import live_tools
from live_fixtures import no_helper_stays as no_helper_stays
from live_fixtures import programs as programs
from live_fixtures import system_path as system_path
from sleepers import sleeper


@pytest.fixture(scope="session")
def environment(programs: live_tools.Programs) -> dict[str, str]:
    return live_tools.environment(programs)


@pytest.fixture(scope="session")
def undisturbed(programs: live_tools.Programs, tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """How the calls end without anybody who supervises."""
    with sleeper(programs, tmp_path_factory.mktemp("undisturbed") / "sleeper") as alone:
        alone.bring_about()
        found = alone.results()
    assert found["epoll_wait"] == found["recv"] == found["sigtimedwait"] == 0 and len(found) == 12
    return found
