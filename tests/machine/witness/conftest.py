"""Fixtures of the tests in which independent witnesses watch the same machine as the bpf driver.

Nothing is held here, and only processes of these tests' own are started or ended.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Callable

import pytest
from machine import own_place

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "live"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from live_fixtures import programs as programs
from live_fixtures import system_path as system_path

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="session")
def driver() -> None:
    """Nothing, where the driver runs."""
    reason = own_place.obstacle()
    if reason:
        pytest.skip(reason)


@pytest.fixture(scope="session")
def child(compile_c: Callable[..., Path]) -> str:
    return str(compile_c(HERE / "programs" / "child.c", "-static"))


@pytest.fixture(scope="session")
def storm(compile_c: Callable[..., Path]) -> str:
    return str(compile_c(HERE / "programs" / "storm.c"))
