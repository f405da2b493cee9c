"""An initialized instance, or a simulator, for the tests that need one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from unit.instances import GUID

from cbprocess import CBProcess
from cbprocess.testing import Simulator


@pytest.fixture
def process() -> Iterator[CBProcess]:
    instance = CBProcess()
    instance.initialize(GUID)
    with instance:
        yield instance


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(timeout=3000) as made:
        yield made
