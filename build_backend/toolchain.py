"""Finds the build tools, of this machine or out of packages from PyPI: CMake, ninja, a C compiler and a
compiler of BPF programs.

A tool counts only if it has been seen to work: a compiler without libc's headers, or a version manager's
shim that runs nothing, is on PATH as well. Knows nothing of setuptools nor of what is built.

Environment:
  CC                     a C compiler to try first, arguments allowed
  CBPROCESS_BUILD_ZIG    not empty: build with the compiler of the ziglang package although there is another
  CBPROCESS_TARGET       win_amd64: build for Windows with mingw-w64 (Debian: gcc-mingw-w64-x86-64)
  CBPROCESS_WITHOUT_BPF  not empty: fetch no compiler of BPF programs, without which Driver=bpf is missing
  CBPROCESS_CARRY_LIBBPF a folder that tools/carry_libbpf.sh has filled, with libraries that the wheel carries
  CBPROCESS_CMAKE_ARGS   further arguments for CMake, as a shell would split them
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

CMAKE_MINIMUM = (3, 20)
CMAKE_REQUIREMENT = "cmake>=3.20"
NINJA_REQUIREMENT = "ninja>=1.10"
ZIG_REQUIREMENT = "ziglang>=0.13,<0.18"
CROSS_TOOLCHAINS = {"win_amd64": "mingw-x86_64.cmake"}
ZIG_NOTICE = (
    "No C compiler works on this machine: taking the one in the ziglang package from PyPI "
    "(for this build only; a download of 100 MB, which unpacks to some 400 MB in the temporary folder)."
)

BPF_NOTICE = (
    "No clang on this machine compiles BPF programs: taking the one in the ziglang package from PyPI (for "
    "this build only; a download of 100 MB). CBPROCESS_WITHOUT_BPF=1 builds without them, and so without the "
    "driver for the whole machine."
)

_BPF_PROBE_SOURCE = "int probe(void *context) { return context != (void *) 0; }\n"
_PROBE_SOURCE = """\
#include <pthread.h>
#include <stdio.h>
#include <sys/types.h>
int main(void) { return puts("") < 0 || !pthread_self(); }
"""


def _version_output(path: str) -> str | None:
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout


def _works(name: str, path: str) -> bool:
    output = _version_output(path)
    if output is None:
        return False
    if name != "cmake":
        return True
    found = re.search(r"version (\d+)\.(\d+)", output)
    return found is not None and (int(found[1]), int(found[2])) >= CMAKE_MINIMUM


def _system_program(name: str) -> str | None:
    path = shutil.which(name)
    return path if path and _works(name, path) else None


def _packaged_program(name: str) -> str | None:
    """The program inside its own PyPI package; pip's isolated environment need not have it on PATH."""
    if importlib.util.find_spec(name) is None:
        return None
    module = importlib.import_module(name)
    folder = getattr(module, "CMAKE_BIN_DIR", None) or getattr(module, "BIN_DIR", None)
    path = shutil.which(name, path=folder) if folder else None
    return path if path and _works(name, path) else None


def program(name: str) -> str:
    """The path of a working cmake or ninja; ends the build with a sentence if there is none."""
    found = _system_program(name) or _packaged_program(name)
    if found is None:
        sys.exit(f"{name} does not work here and its package is not installed (pip install {name})")
    return found


def _links(command: list[str]) -> bool:
    with tempfile.TemporaryDirectory(prefix="cbprocess-probe-") as folder:
        source = Path(folder, "probe.c")
        source.write_text(_PROBE_SOURCE, encoding="ascii")
        target = str(Path(folder, "probe"))
        try:
            done = subprocess.run([*command, str(source), "-o", target, "-pthread"], capture_output=True)
        except OSError:
            return False
        return done.returncode == 0


def c_compiler() -> str | None:
    """The command of a C compiler that can link a program here, or None."""
    if os.environ.get("CBPROCESS_BUILD_ZIG"):
        return None
    for command in (os.environ.get("CC"), "cc", "gcc", "clang"):
        if command and _links(shlex.split(command)):
            return command
    return None


def _compiles_bpf(command: list[str]) -> bool:
    with tempfile.TemporaryDirectory(prefix="cbprocess-probe-") as folder:
        source = Path(folder, "probe.c")
        source.write_text(_BPF_PROBE_SOURCE, encoding="ascii")
        target = str(Path(folder, "probe.o"))
        try:
            done = subprocess.run(
                [*command, "-O2", "-g", "-c", str(source), "-o", target], capture_output=True
            )
        except OSError:
            return False
        return done.returncode == 0


def _clangs() -> list[str]:
    """The names on PATH by which clang goes, the newest of those with a number first."""
    found = set()
    for folder in os.get_exec_path():
        with contextlib.suppress(OSError):
            found |= {name for name in os.listdir(folder) if re.fullmatch(r"clang-\d+", name)}
    return ["clang", *sorted(found, key=lambda name: -int(name[6:]))]


def bpf_compiler() -> str | None:
    """The command of a clang of this machine that compiles BPF programs, or None."""
    if os.environ.get("CBPROCESS_BUILD_ZIG"):
        return None
    for name in _clangs():
        command = [name, "-target", "bpf"]
        if _compiles_bpf(command):
            return shlex.join(command)
    return None


def wants_bpf() -> bool:
    """Whether a compiler of BPF programs is to be found, or fetched: for Linux."""
    return sys.platform == "linux" and not cross_target() and not os.environ.get("CBPROCESS_WITHOUT_BPF")


def cross_target() -> str | None:
    """The wheel's platform tag, where it is not this machine's; ends the build for one that is unknown."""
    target = os.environ.get("CBPROCESS_TARGET")
    if target and target not in CROSS_TOOLCHAINS:
        sys.exit(f"CBPROCESS_TARGET is {target}; possible: {', '.join(CROSS_TOOLCHAINS)}")
    return target or None


def missing_tools() -> list[str]:
    """Requirements, for pip, of the tools that this machine lacks."""
    missing = []
    if _system_program("cmake") is None:
        missing.append(CMAKE_REQUIREMENT)
    if _system_program("ninja") is None:
        missing.append(NINJA_REQUIREMENT)
    if cross_target() is None and c_compiler() is None:
        print(ZIG_NOTICE, file=sys.stderr)
        missing.append(ZIG_REQUIREMENT)
    elif wants_bpf() and bpf_compiler() is None:
        print(BPF_NOTICE, file=sys.stderr)
        missing.append(ZIG_REQUIREMENT)
    return missing


def _packaged_zig() -> str | None:
    spec = importlib.util.find_spec("ziglang")
    path = Path(spec.origin).with_name("zig") if spec and spec.origin else None
    return str(path) if path is not None and path.is_file() else None


def _zig_program() -> str:
    path = _packaged_zig()
    if path is None:
        sys.exit("no C compiler works here and the ziglang package is not installed (pip install ziglang)")
    return path


def _bpf_arguments(source: Path) -> list[str]:
    """What tells CMake the compiler of BPF programs, and the libraries that the wheel carries for them."""
    arguments = []
    zig = _packaged_zig()
    command = bpf_compiler()
    if command is None and zig is not None:
        # -fno-sanitize: zig looks for undefined behaviour otherwise, which takes a library.
        command = shlex.join([zig, "cc", "-target", "bpfel-freestanding", "-fno-sanitize=undefined"])
    if command is not None:
        arguments.append(f"-DCBP_BPF_CLANG={command}")
    carried = os.environ.get("CBPROCESS_CARRY_LIBBPF")
    if carried:
        arguments.append(f"-DCBP_CARRY_LIBBPF={source / carried}")
    return arguments


def cmake_arguments(source: Path) -> list[str]:
    """The arguments of a CMake configuration of the source folder that choose generator and compiler."""
    arguments = ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={program('ninja')}"]
    target = cross_target()
    compiler = None if target else c_compiler()
    if target:
        arguments.append(f"-DCMAKE_TOOLCHAIN_FILE={source / 'cmake' / CROSS_TOOLCHAINS[target]}")
    elif compiler is None:
        arguments.append(f"-DCMAKE_TOOLCHAIN_FILE={source / 'cmake' / 'zig.cmake'}")
        arguments.append(f"-DZIG={_zig_program()}")
    else:
        # A list, as CMake takes a compiler with arguments.
        arguments.append("-DCMAKE_C_COMPILER=" + ";".join(shlex.split(compiler)))
    if wants_bpf():
        arguments += _bpf_arguments(source)
    return arguments + shlex.split(os.environ.get("CBPROCESS_CMAKE_ARGS", ""))
