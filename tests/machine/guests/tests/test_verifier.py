"""The verifier of each of the guests' kernels takes every program that is for that kernel, and how much work
it has with it stays in a table."""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[4] / "tools"))

import bpf_table

from cbprocess._binding.library import native_folder

MOST = 1_000_000  # what the verifier goes through at most, on any kernel since 5.2


def test_each_program_is_taken(results: Path) -> None:
    rows = list(bpf_table.rows(Path(native_folder())))
    refused = {name: numbers for name, _, _, numbers in rows if isinstance(numbers, str)}
    table = {f"{name} {program}": numbers for name, program, _, numbers in rows if name not in refused}
    (results / "programs.json").write_text(json.dumps(table), encoding="ascii")
    assert refused == {}
    assert any(name.startswith("processes") for name in table)
    if bpf_table.kernel_version() >= (6, 18):
        assert any(name.startswith("gate") for name in table), "no gate on this kernel"
    if bpf_table.kernel_version() >= (5, 16):
        assert all(0 < numbers["verified"] < MOST for numbers in table.values())


@pytest.mark.parametrize("name", ["processes", "lsm", "handles", "tasks"])
def test_each_object_is_there(name: str) -> None:
    """An object that the build left out would pass the test above."""
    assert (Path(native_folder()) / f"{name}.bpf.o").exists(), platform.release()
