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


@pytest.fixture(scope="session")
def environment(programs: live_tools.Programs) -> dict[str, str]:
    return live_tools.environment(programs)
