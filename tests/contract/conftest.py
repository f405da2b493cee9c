"""The stages, one for each driver that can run here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from contract.stages import STAGES, Stage, obstacle


def contract_program(request: pytest.FixtureRequest) -> Path:
    """Compiled here, or where these tests were prepared for a machine without a compiler."""
    made = os.environ.get("CBPROCESS_TEST_PROGRAM")
    if made:
        return Path(made)
    compile_c: Any = request.getfixturevalue("compile_c")
    checkout: Path = request.getfixturevalue("checkout")
    program: Path = compile_c(checkout / "tests" / "programs" / "contract_program.c")
    return program


@pytest.fixture(params=sorted(STAGES, reverse=True))
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    reason = obstacle(request.param)
    if reason:
        pytest.skip(reason)
    program = None
    if request.param != "simulated":
        program = contract_program(request)
    made = STAGES[request.param](tmp_path, program)
    yield made
    made.close()
