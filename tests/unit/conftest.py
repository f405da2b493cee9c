"""An initialized instance for the tests that need one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from unit.instances import GUID

from cbprocess import CBProcess


@pytest.fixture
def process() -> Iterator[CBProcess]:
    instance = CBProcess()
    instance.initialize(GUID)
    with instance:
        yield instance
