"""The library keeps what tests/abi/abi.txt promises to programs that were compiled against an earlier one."""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path
from types import ModuleType

import pytest
from abi.headers import header_text

from cbprocess._binding import library


@pytest.fixture(scope="module")
def tool(checkout: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("abi_list", checkout / "tools" / "abi_list.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def built(tool: ModuleType) -> list[str]:
    path = os.path.join(library.native_folder(), library.LIBRARY_NAME)
    lines: list[str] = tool.built_lines(Path(path).resolve())
    return lines


@pytest.fixture(scope="module")
def listed(tool: ModuleType) -> list[str]:
    lines: list[str] = tool.listed_lines(tool.LIST.read_text(encoding="ascii"))
    return lines


def test_the_list_is_what_is_built(listed: list[str], built: list[str]) -> None:
    """Something new belongs into the list (tools/abi_list.py); nothing ever leaves it."""
    assert listed == built


def test_only_our_own_names_are_exported(built: list[str]) -> None:
    symbols = [line.split() for line in built if line.startswith("symbol ")]
    assert len(symbols) >= 30
    for _, name, version in symbols:
        assert name.startswith("cbp_")
        assert re.fullmatch(r"LIBCBPROCESS_\d+\.\d+", version)


def test_the_exported_names_are_those_of_the_header(built: list[str], checkout: Path) -> None:
    text = re.sub(r"/\*.*?\*/", " ", header_text(checkout), flags=re.DOTALL)
    declared = re.findall(r"CBP_API[^;(]*?\bCBP_CALL (cbp_\w+)\(", text)
    assert sorted(declared) == [line.split()[1] for line in built if line.startswith("symbol ")]


@pytest.mark.parametrize(
    "line",
    [
        "symbol cbp_version LIBCBPROCESS_0.1",
        "struct event 128",
        "field event result_code 8 4",
        "const error ERROR_ACCESS_DENIED 0x5",
    ],
)
def test_a_line_that_is_gone_or_different_breaks_a_promise(
    tool: ModuleType, listed: list[str], line: str
) -> None:
    assert line in listed
    gone = [item for item in listed if item != line]
    assert tool.broken_promises(listed, gone) == [line]
    different = [item if item != line else line[:-1] + "0" for item in listed]
    assert tool.broken_promises(listed, different) == [line]


def test_a_structure_may_grow_and_something_may_come(tool: ModuleType, listed: list[str]) -> None:
    grown = ["struct event 136" if line.startswith("struct event ") else line for line in listed]
    assert tool.broken_promises(listed, [*grown, "field event more 128 8", "symbol cbp_more V"]) == []
