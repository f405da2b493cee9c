"""`cbprocess run` with a console: that prints escape sequences unless it is told to carry them out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

# Runs a command with a console, and writes down the modes that this has before and afterwards.
RUN = """
import ctypes, msvcrt, sys
from cbprocess.cli import main

def mode():
    found, console = ctypes.c_uint32(), ctypes.c_void_p(msvcrt.get_osfhandle(2))
    assert ctypes.WinDLL("kernel32").GetConsoleMode(console, ctypes.byref(found))
    return found.value

before = mode()
status = main(["run", *sys.argv[2:], "--", "cmd", "/c", "exit 4"])
with open(sys.argv[1], "w") as file:
    file.write(f"{status} {before} {mode()}")
"""
ESCAPES = 0x4
NO_WINDOW = 0x08000000


def modes(folder: Path, *options: str, **environment: str) -> tuple[bool, bool]:
    """Whether escape sequences were carried out before the command, and afterwards."""
    path = folder / "modes"
    variables = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TERM")}
    line = [sys.executable, "-c", RUN, str(path), *options]
    # A console without a window: no standard stream leads elsewhere.
    child = subprocess.Popen(line, creationflags=NO_WINDOW, env={**variables, **environment})
    assert child.wait(100) == 0
    status, before, after = map(int, path.read_text().split())
    assert status == 4
    return bool(before & ESCAPES), bool(after & ESCAPES)


def test_colours_are_carried_out(tmp_path: Path) -> None:
    assert modes(tmp_path)[1]


@pytest.mark.parametrize("way", ["option", "environment"])
def test_a_console_without_colours_stays_as_it_is(tmp_path: Path, way: str) -> None:
    options = ["--color", "never"] if way == "option" else []
    before, after = modes(tmp_path, *options, **({} if options else {"NO_COLOR": "1"}))
    assert before == after
