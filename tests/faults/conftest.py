"""Fixtures of the fault tests; they share the tools of the live tests."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "live"))

import live_tools
from live_fixtures import no_helper_stays as no_helper_stays
from live_fixtures import programs as programs
from live_fixtures import system_path as system_path

_PR_SET_CHILD_SUBREAPER = 36


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
