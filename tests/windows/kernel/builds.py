"""Builds cbprocess.sys for the storeys that need the file: with mingw-w64 for x64 and, where the zig program
is found, with clang for x64 and ARM64. A build stays, so that the next storey finds it.

CBPROCESS_KERNEL_BUILDS names the folder for them (else build/kernel), CBPROCESS_ZIG the zig program (else
that of the ziglang package, or one in PATH)."""

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple, Optional

ROOT = Path(__file__).resolve().parents[3]


class Build(NamedTuple):
    """One compiler's file."""

    name: str
    machine: str  # x64 or arm64
    has_guard: bool  # the compiler has Control Flow Guard
    driver: Path


def folder() -> Path:
    return Path(os.environ.get("CBPROCESS_KERNEL_BUILDS", ROOT / "build" / "kernel"))


def zig() -> Optional[Path]:
    named = os.environ.get("CBPROCESS_ZIG")
    if named:
        return Path(named)
    package = importlib.util.find_spec("ziglang")
    if package and package.origin:
        return Path(package.origin).with_name("zig")
    found = shutil.which("zig")
    return Path(found) if found else None


def _build(name: str, machine: str, has_guard: bool, options: list[str]) -> Build:
    where = folder() / name
    command = ["cmake", "-G", "Ninja", "-S", str(ROOT), "-B", str(where), "-DCMAKE_BUILD_TYPE=Release"]
    environment = {**os.environ, "ZIG_GLOBAL_CACHE_DIR": str(folder() / "zig-cache")}
    for step in (
        [*command, "-DCBP_WERROR=ON", *options],
        ["cmake", "--build", str(where), "--target", "cbprocess-kernel"],
    ):
        done = subprocess.run(step, capture_output=True, text=True, env=environment)
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(step)}\n{done.stdout}\n{done.stderr}")
    return Build(name, machine, has_guard, where / "_native" / "cbprocess.sys")


def mingw() -> Build:
    """The file that ships."""
    return _build("mingw-x64", "x64", False, [f"-DCMAKE_TOOLCHAIN_FILE={ROOT}/cmake/mingw-x86_64.cmake"])


def every_build() -> list[Build]:
    builds = [mingw()]
    program = zig()
    if not program:
        print("no zig on this machine: the files for ARM64 and with Control Flow Guard are not looked at")
        return builds
    toolchain = [f"-DCMAKE_TOOLCHAIN_FILE={ROOT}/cmake/zig.cmake", f"-DZIG={program}"]
    for machine, target in (("x64", "x86_64"), ("arm64", "aarch64")):
        options = [*toolchain, f"-DZIG_TARGET={target}-windows-gnu"]
        builds.append(_build(f"zig-{machine}", machine, True, options))
    return builds
