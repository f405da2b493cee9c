"""Which build tools are asked of PyPI: those that do not work here, whatever lies on PATH."""

from __future__ import annotations

import importlib.util
import shlex
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def toolchain(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    for name in (
        "CC",
        "CBPROCESS_BUILD_ZIG",
        "CBPROCESS_CMAKE_ARGS",
        "CBPROCESS_WITHOUT_BPF",
        "CBPROCESS_TARGET",
    ):
        monkeypatch.delenv(name, raising=False)
    spec = importlib.util.spec_from_file_location(
        "toolchain_under_test", checkout / "build_backend" / "toolchain.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Machine:
    """A folder that is all of PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, name: str, script: str) -> None:
        path = self.folder / name
        path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        path.chmod(0o755)


LINKS = """while [ $# -gt 0 ]; do [ "$1" = -o ] && : > "$2"; shift; done"""
COMPILES = f"""case "$*" in *'-target bpf'*) {LINKS};; *) exit 1;; esac"""


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setenv("PATH", str(tmp_path))
    return Machine(tmp_path)


def names(requirements: list[str]) -> set[str]:
    return {requirement.split(">")[0].split("=")[0] for requirement in requirements}


def test_a_bare_machine_asks_for_all_three(
    toolchain: ModuleType, machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert names(toolchain.missing_tools()) == {"cmake", "ninja", "ziglang"}
    notice = capsys.readouterr().err
    assert notice.count("400 MB") == 1 and "download of 100 MB" in notice


def test_a_complete_machine_asks_for_none(toolchain: ModuleType, machine: Machine) -> None:
    machine.add("cmake", "echo cmake version 3.25.1")
    machine.add("ninja", "echo 1.11.1")
    machine.add("gcc", LINKS)
    machine.add("clang", COMPILES)
    assert toolchain.missing_tools() == []
    assert toolchain.c_compiler() == "gcc"


def test_tools_that_do_not_work_do_not_count(toolchain: ModuleType, machine: Machine) -> None:
    machine.add("cmake", "echo no such version is installed >&2; exit 127")
    machine.add("ninja", "exit 127")
    machine.add("cc", "echo stdio.h: No such file >&2; exit 1")
    assert names(toolchain.missing_tools()) == {"cmake", "ninja", "ziglang"}


@pytest.mark.parametrize(
    ("version", "enough"), [("3.19.8", False), ("3.20.0", True), ("4.1.2", True), ("2.99", False)]
)
def test_cmake_has_to_be_new_enough(
    toolchain: ModuleType, machine: Machine, version: str, enough: bool
) -> None:
    machine.add("cmake", f"echo cmake version {version}")
    assert ("cmake" not in names(toolchain.missing_tools())) is enough


def test_cc_comes_first_and_may_have_arguments(
    toolchain: ModuleType, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.add("gcc", LINKS)
    machine.add("wrapped", f'[ "$1" = --gcc ] || exit 1\n{LINKS}')
    monkeypatch.setenv("CC", "wrapped --gcc")
    assert shlex.split(toolchain.c_compiler()) == ["wrapped", "--gcc"]


def test_zig_can_be_asked_for(
    toolchain: ModuleType, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.add("gcc", LINKS)
    monkeypatch.setenv("CBPROCESS_BUILD_ZIG", "1")
    assert "ziglang" in names(toolchain.missing_tools())


@pytest.mark.skipif(sys.platform != "linux", reason="BPF programs are for Linux")
def test_a_machine_without_clang_asks_for_zig(
    toolchain: ModuleType,
    machine: Machine,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    machine.add("cmake", "echo cmake version 3.25.1")
    machine.add("ninja", "echo 1.11.1")
    machine.add("gcc", LINKS)
    machine.add("clang", "echo unable to create target: bpf >&2; exit 1")
    assert names(toolchain.missing_tools()) == {"ziglang"}
    assert "CBPROCESS_WITHOUT_BPF=1" in capsys.readouterr().err
    monkeypatch.setenv("CBPROCESS_WITHOUT_BPF", "1")
    assert toolchain.missing_tools() == [] and capsys.readouterr().err == ""
    monkeypatch.delenv("CBPROCESS_WITHOUT_BPF")
    monkeypatch.setenv("CBPROCESS_TARGET", "win_amd64")
    assert toolchain.missing_tools() == []


@pytest.mark.skipif(sys.platform != "linux", reason="BPF programs are for Linux")
def test_the_newest_clang_that_works_compiles_bpf_programs(toolchain: ModuleType, machine: Machine) -> None:
    assert toolchain.bpf_compiler() is None
    machine.add("clang-14", COMPILES)
    machine.add("clang-9", COMPILES)
    machine.add("clang-19", "exit 1")
    machine.add("clang-format-20", COMPILES)
    assert toolchain.bpf_compiler() == "clang-14 -target bpf"
    machine.add("clang", COMPILES)
    assert toolchain.bpf_compiler() == "clang -target bpf"


@pytest.mark.skipif(sys.platform != "linux", reason="BPF programs are for Linux")
def test_cmake_is_told_of_the_bpf_compiler_and_of_libraries(
    toolchain: ModuleType, machine: Machine, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, script in (("ninja", "echo 1.11.1"), ("gcc", LINKS), ("clang", COMPILES)):
        machine.add(name, script)
    arguments = toolchain.cmake_arguments(checkout)
    assert "-DCBP_BPF_CLANG=clang -target bpf" in arguments
    assert not any("CARRY" in argument for argument in arguments)
    monkeypatch.setenv("CBPROCESS_CARRY_LIBBPF", "build/carried")
    assert f"-DCBP_CARRY_LIBBPF={checkout / 'build/carried'}" in toolchain.cmake_arguments(checkout)
