"""The stages, one for each driver that can run here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from contract.stages import STAGES, Stage

import cbprocess


@pytest.fixture(params=sorted(STAGES, reverse=True))
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    report = cbprocess.probe_driver(request.param)
    if not report.runs:
        pytest.skip(f"the {request.param} driver cannot run here: {report.reason}")
    program = None
    if request.param != "simulated":
        compile_c: Any = request.getfixturevalue("compile_c")
        checkout: Path = request.getfixturevalue("checkout")
        program = compile_c(checkout / "tests" / "programs" / "contract_program.c")
    made = STAGES[request.param](tmp_path, program)
    yield made
    made.close()
