"""Running the programs that tests of the installed C library need."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest


def run_tool(*arguments: object, **environment: str) -> str:
    """What the program prints; it must succeed."""
    line = [str(argument) for argument in arguments]
    done = subprocess.run(
        line, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}"
    return done.stdout


def need(*programs: str) -> None:
    """Skips where this machine lacks one of the programs."""
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"this machine has no {program}")
