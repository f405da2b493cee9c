"""Finds the build tools: CMake, ninja and a C compiler, of this machine or out of packages from PyPI.

A tool counts only if it has been seen to work: a compiler without libc's headers, or a version manager's
shim that runs nothing, is on PATH as well. Knows nothing of setuptools nor of what is built.

Environment:
  CC                     a C compiler to try first, arguments allowed
  CBPROCESS_BUILD_ZIG    not empty: build with the compiler of the ziglang package although there is another
  CBPROCESS_TARGET       win_amd64: build for Windows with mingw-w64 (Debian: gcc-mingw-w64-x86-64)
  CBPROCESS_CMAKE_ARGS   further arguments for CMake, as a shell would split them
"""

from __future__ import annotations

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
    return missing


def _zig_program() -> str:
    spec = importlib.util.find_spec("ziglang")
    path = Path(spec.origin).with_name("zig") if spec and spec.origin else None
    if path is None or not path.is_file():
        sys.exit("no C compiler works here and the ziglang package is not installed (pip install ziglang)")
    return str(path)


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
    return arguments + shlex.split(os.environ.get("CBPROCESS_CMAKE_ARGS", ""))
