"""The C library as it is installed: its files, its headers in every dialect, pkg-config, CMake package."""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
from pathlib import Path

import pytest
from c_library.programs import need, run_tool

HEADERS = {
    "cbprocess.h",
    "cbp_api.h",
    "cbp_drivers.h",
    "cbp_pattern_set.h",
    "cbp_script.h",
    "cbp_snapshot.h",
    "cbp_constants.h",
    "cbp_message.h",
    "cbp_types.h",
}
STRICT = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-pedantic", "-Werror"]
DIALECTS = [
    *(("gcc", "c", name) for name in ("c99", "c11", "c17")),
    *(("clang", "c", name) for name in ("c99", "c11")),
    *(("g++", "c++", name) for name in ("c++11", "c++17", "c++20")),
    *(("clang++", "c++", name) for name in ("c++11", "c++20")),
]

# Starts the filter and tells what it runs with; 0 only if the helper was found and came up.
PROGRAM = r"""
#include <cbprocess.h>
#include <stdio.h>

static void CBP_CALL on_event(struct cbp_event *event)
{
    (void) event;
}

int main(void)
{
    struct cbp_session *session = NULL;
    struct cbp_callbacks callbacks = {0};
    char launcher[4096];
    uint64_t needed = 0;
    callbacks.size = (uint32_t) sizeof callbacks;
    callbacks.event = on_event;
    uint32_t code = cbp_launcher_path(launcher, sizeof launcher, &needed);
    if (code == 0)
        code = cbp_session_create("{2E9F6A7C-0E0B-4E57-A9B4-3C1B0B0E6A11}", &session);
    if (code == 0)
        code = cbp_session_set_callbacks(session, &callbacks);
    if (code == 0)
        code = cbp_session_start(session, 0);
    printf("%s\n%s\n%s\n", cbp_version(), launcher, code ? cbp_error_detail() : "started");
    cbp_session_destroy(session);
    return code != 0;
}
"""


@pytest.fixture
def program_source(tmp_path: Path) -> Path:
    source = tmp_path / "program.c"
    source.write_text(PROGRAM, encoding="ascii")
    return source


def check_program(program: Path, installation: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(
        [program], env={**os.environ, **environment}, capture_output=True, text=True, timeout=30
    )
    version, launcher, outcome = done.stdout.splitlines()
    assert (done.returncode, outcome) == (0, "started")
    assert Path(launcher).resolve() == installation / "libexec" / "cbprocess" / "cbprocess-launch"
    assert re.fullmatch(r"\d+\.\d+\.\d+", version)


def test_what_is_installed(installation: Path) -> None:
    files = {str(path.relative_to(installation)) for path in installation.rglob("*") if not path.is_dir()}
    libraries = {name for name in files if name.startswith("lib/libcbprocess")}
    version = ctypes.CDLL(str(installation / "lib" / "libcbprocess.so")).cbp_version
    version.restype = ctypes.c_char_p
    number = version().decode()
    names = ("", ".0", f".{number}")
    assert libraries == {f"lib/libcbprocess.so{end}" for end in names}
    assert {name for name in files if name.startswith("include/")} == {
        f"include/cbprocess/{name}" for name in HEADERS
    }
    programs = {f"libexec/cbprocess/cbprocess-{name}" for name in ("ptrace", "launch", "guard")}
    assert programs <= files
    assert all(os.access(installation / name, os.X_OK) for name in programs)
    # The bpf driver is installed for products from here.
    objects = {name for name in files if name.endswith(".bpf.o")}
    driver = {"libexec/cbprocess/cbprocess-driver.version", *objects}
    assert driver <= files and "libexec/cbprocess/processes.bpf.o" in objects
    rest = files - libraries - programs - driver - {f"include/cbprocess/{name}" for name in HEADERS}
    assert {name.split("/")[1] for name in rest} == {"cmake", "pkgconfig"}


def test_the_name_that_programs_are_linked_with(installation: Path) -> None:
    assert os.readlink(installation / "lib" / "libcbprocess.so") == "libcbprocess.so.0"
    data = (installation / "lib" / "libcbprocess.so").read_bytes()
    assert b"\0libcbprocess.so.0\0" in data


@pytest.mark.parametrize("header", sorted(HEADERS))
@pytest.mark.parametrize(("compiler", "language", "standard"), DIALECTS)
def test_headers_stand_alone(
    installation: Path, compiler: str, language: str, standard: str, header: str
) -> None:
    need(compiler)
    folder = installation / "include" / "cbprocess"
    line = [compiler, "-x", language, f"-std={standard}", *STRICT, f"-I{folder}", "-fsyntax-only", "-"]
    done = subprocess.run(line, input=f"#include <{header}>\n", capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_pkg_config(installation: Path, installed_environment: dict[str, str], program_source: Path) -> None:
    need("pkg-config")
    program = program_source.with_name("program")
    flags = run_tool("pkg-config", "--cflags", "--libs", "cbprocess", **installed_environment).split()
    run_tool("cc", "-std=c99", *STRICT, program_source, "-o", program, *flags)
    check_program(program, installation, installed_environment)
    version = run_tool("pkg-config", "--modversion", "cbprocess", **installed_environment).strip()
    assert (installation / "lib" / f"libcbprocess.so.{version}").exists()


CMAKE_PROJECT = """\
cmake_minimum_required(VERSION 3.20)
project(user LANGUAGES C)
find_package(cbprocess {version} REQUIRED CONFIG)
add_executable(program program.c)
target_link_libraries(program PRIVATE cbprocess::cbprocess)
"""


def configure(source: Path, version: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    (source / "CMakeLists.txt").write_text(CMAKE_PROJECT.format(version=version), encoding="ascii")
    line = ["cmake", "-S", str(source), "-B", str(source / "build"), "-DCMAKE_BUILD_TYPE=Release"]
    return subprocess.run(line, env={**os.environ, **environment}, capture_output=True, text=True, timeout=90)


def test_cmake_package(
    installation: Path, installed_environment: dict[str, str], program_source: Path
) -> None:
    folder = program_source.parent
    need("make")
    done = configure(folder, "0.1", installed_environment)
    assert done.returncode == 0, done.stderr
    run_tool("cmake", "--build", folder / "build")
    check_program(folder / "build" / "program", installation, {})  # by the path that CMake links it with


@pytest.mark.parametrize("version", ["0.0", "0.2", "1"])
def test_the_cmake_package_refuses_another_version(
    installed_environment: dict[str, str], program_source: Path, version: str
) -> None:
    need("make")
    done = configure(program_source.parent, version, installed_environment)
    assert done.returncode != 0
    assert "not accepted" in done.stderr or "compatible" in done.stderr, done.stderr


def test_a_library_without_its_programs_says_so(installation: Path, tmp_path: Path) -> None:
    alone = tmp_path / "libcbprocess.so"
    alone.write_bytes((installation / "lib" / "libcbprocess.so").read_bytes())
    library = ctypes.CDLL(str(alone))
    library.cbp_error_detail.restype = ctypes.c_char_p
    assert library.cbp_launcher_path(ctypes.create_string_buffer(4096), ctypes.c_uint64(4096), None) == 588
    detail = library.cbp_error_detail().decode()
    assert "cbprocess-launch" in detail and str(tmp_path) in detail
