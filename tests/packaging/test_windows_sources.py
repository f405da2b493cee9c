"""tools/windows_sources.py finds what it looks for. What clang says of the real sources, .ci/run asks it."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def tool(checkout: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("windows_sources", checkout / "tools/windows_sources.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "code",
    [
        "__attribute__((packed)) int a;",
        "int a = ({ 1; });",
        "typeof(a) b;",
        "__typeof__(a) b;",
        "__builtin_expect(a, 0);",
        "__atomic_load_n(&a, 0);",
        "unsigned __int128 a;",
        '__asm__("nop");',
        "int a[] = {[0 ... 3] = 1};",
        "case 1 ... 3:",
        "a = b ?: c;",
        "#include_next <stdio.h>",
    ],
)
def test_words_of_gnu_c_are_found(tool: ModuleType, code: str) -> None:
    assert [line for line, _kind in tool.gnu_words(f"/* typeof */\n\n{code}\n")] == [3]


@pytest.mark.parametrize(
    "code",
    [
        "int a[1];",
        'puts("typeof ({ ... })");',
        "// __attribute__",
        "/* a\n ?: */",
        "f((struct s){0});",
        "a[0];",
    ],
)
def test_c11_is_let_pass(tool: ModuleType, code: str) -> None:
    assert list(tool.gnu_words(code)) == []


def test_every_source_of_the_windows_build_is_looked_at(tool: ModuleType, checkout: Path) -> None:
    found = {path.relative_to(checkout).as_posix() for path in tool.files(".c")}
    assert {
        "native/src/core/session.c",
        "native/src/drivers/debug/debug_link.c",
        "driver/windows/debug/main.c",
    } <= found
    listed = (checkout / "cmake" / "windows.cmake").read_text(encoding="utf-8")
    libraries = (checkout / "cmake" / "driver.cmake").read_text(encoding="utf-8")
    for folder in tool.FOLDERS:
        name = folder.partition("/")[2]
        library = rf"^(cbp_driver_library\(\w+ {name}\b|add_library\({name} INTERFACE\))"
        is_library = re.search(library, libraries + listed, re.MULTILINE)
        in_core = f" {folder}" in listed or f" {folder.removeprefix('native/src/')}" in listed
        assert f"{folder}/*.c" in listed or in_core or is_library or folder == "native/include"


def test_the_sources_have_no_such_words(tool: ModuleType) -> None:
    assert tool.check_words() == []
