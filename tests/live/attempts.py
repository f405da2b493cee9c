"""Says which attempt at a test this is, where tests that fail are run again. What several tests judge is
observed anew then: a machine that stood still would else fail all attempts at once."""

from __future__ import annotations

import pytest


def attempt_of(request: pytest.FixtureRequest) -> int:
    """1, or more with pytest-rerunfailures."""
    return int(getattr(request.node, "execution_count", 1))
