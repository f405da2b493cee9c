"""Fixtures of the bpf driver's tests on this machine; they share the tools of the live tests. Where the
driver cannot run, all of them are skipped, and say why."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from machine import own_place

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "live"))

import live_tools
from live_fixtures import programs as programs
from live_fixtures import system_path as system_path

_PR_SET_CHILD_SUBREAPER = 36


@pytest.fixture(scope="session", autouse=True)
def place() -> Path:
    """The file system on which executions may be held."""
    reason = own_place.obstacle()
    if reason:
        pytest.skip(reason)
    return own_place.own_place()


@pytest.fixture
def orphans() -> Iterator[live_tools.Orphans]:
    library = ctypes.CDLL(None, use_errno=True)
    assert library.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    found = live_tools.Orphans()
    try:
        yield found
        live_tools.wait_until(lambda: not found.left(), 10, "every orphan has ended")
    finally:
        library.prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
