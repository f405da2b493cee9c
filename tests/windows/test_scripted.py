"""The debug helper against a scripted debugger (scripted/): orders of debug events that Wine hides and that
Windows may choose, names and facts that cannot be had, exceptions. Each case in a process of its own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from windows.windows_tools import compiled


def cases() -> list[str]:
    """As the program tells them."""
    program = os.environ.get("CBPROCESS_TEST_PROGRAM")
    scripted = Path(program).with_name("scripted.exe") if program else None
    if scripted is None or not scripted.exists():
        return []
    return subprocess.check_output([scripted], text=True).split()


def test_there_are_cases() -> None:
    compiled("scripted.exe")
    assert len(cases()) >= 20


@pytest.mark.parametrize("case", cases())
def test_the_scripted_debugger(case: str) -> None:
    done = subprocess.run([compiled("scripted.exe"), case], stdout=subprocess.PIPE, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")
