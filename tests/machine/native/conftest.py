"""Fixtures of the bpf driver's tests on this machine; they share the tools of the live tests. Where the
driver cannot run, all of them are skipped, and say why."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from machine import own_place

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "live"))

from live_fixtures import orphans as orphans
from live_fixtures import programs as programs
from live_fixtures import system_path as system_path


@pytest.fixture(scope="session", autouse=True)
def place() -> Path:
    """The file system on which executions may be held."""
    reason = own_place.obstacle()
    if reason:
        pytest.skip(reason)
    return own_place.own_place()
