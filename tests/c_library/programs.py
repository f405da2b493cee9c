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


def lack(what: str) -> None:
    """Skips for want of something; where everything has to be there, as in continuous integration, fails."""
    if os.environ.get("CBPROCESS_TEST_NO_SKIP"):
        pytest.fail(f"this machine has no {what}")
    pytest.skip(f"this machine has no {what}")


def need(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            lack(program)
