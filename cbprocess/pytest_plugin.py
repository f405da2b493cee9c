"""The pytest plugin: the fixture `cbprocess_simulator`. pytest imports this wherever the package is
installed. So it does nothing, and imports nothing of the package, before a test asks for the fixture."""

from __future__ import annotations

import pytest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator

    from .testing import Simulator


@pytest.fixture
def cbprocess_simulator() -> Generator[Simulator, None, None]:
    """A cbprocess.testing.Simulator: fires made-up operations at handlers. An exception of a handler fails
    the test, unless the test looks at it (`verdict.raised`)."""
    from .testing import Simulator

    simulator = Simulator()
    yield simulator
    simulator.close()
