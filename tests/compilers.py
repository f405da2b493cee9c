"""The C compiler of the tests: this machine's, or where it has none the one that the build fetches there.

Knows which compiler works (as the build judges it, build_backend/toolchain.py); nothing of what is compiled.
"""

from __future__ import annotations

import atexit
import functools
import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
# What pip has downloaded for the build it does not download again: unpacking takes half a minute.
FETCH_LIMIT_S = 600


def _toolchain() -> Any:
    spec = importlib.util.spec_from_file_location("toolchain", ROOT / "build_backend" / "toolchain.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Found(NamedTuple):
    command: list[str]
    is_fetched: bool = False
    reason: str = ""  # why there is none


@functools.cache
def find() -> Found:
    """The compiler's command; an empty one where there is none."""
    toolchain = _toolchain()
    own = toolchain.c_compiler()
    if own is not None:
        return Found(shlex.split(own))
    try:
        folder = _packaged() or _fetched(toolchain.ZIG_REQUIREMENT)
    except (OSError, subprocess.SubprocessError) as error:
        reason = f"this machine has no C compiler, and the ziglang package cannot be had: {error}"
        return Found([], reason=reason)
    # Without -O it would put a sanitizer into what it makes.
    return Found([str(folder / "zig"), "cc", "-fno-sanitize=undefined"], is_fetched=True)


def c_compiler(*arguments: str) -> list[str]:
    """The command of the compiler for these further arguments; skips the test where there is none."""
    found = find()
    if not found.command:
        pytest.skip(found.reason)
    if found.is_fetched and "-static" in arguments:
        # It has no C library of GNU's to link statically with.
        return [*found.command, "-target", f"{platform.machine()}-linux-musl"]
    return found.command


def _packaged() -> Path | None:
    """The package's folder in this environment."""
    spec = importlib.util.find_spec("ziglang")
    return Path(spec.origin).parent if spec and spec.origin else None


def _fetched(requirement: str) -> Path:
    """The package's folder, in a folder of this run's own."""
    folder = Path(tempfile.mkdtemp(prefix="cbprocess-compiler-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    print(f"tests: no C compiler works here, so pip fetches {requirement}", file=sys.stderr)
    line = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder), requirement]
    done = subprocess.run(line, capture_output=True, text=True, timeout=FETCH_LIMIT_S)
    if done.returncode != 0:
        raise OSError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "pip failed")
    # What it compiles of its own libc, once for a machine, goes with it.
    os.environ.setdefault("ZIG_GLOBAL_CACHE_DIR", str(folder / "cache"))
    os.environ.setdefault("ZIG_LOCAL_CACHE_DIR", str(folder / "cache"))
    return folder / "ziglang"
