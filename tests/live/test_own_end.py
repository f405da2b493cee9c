"""The end of the program `cbprocess`, which does not wait until Python has taken itself apart: what others
have asked Python to do at its end is done all the same."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import sameness

AT_EXIT = """
import atexit, os
atexit.register(lambda: open(os.environ["MARK"], "w").write("done"))
"""
# Python waits for such a thread.
IN_A_THREAD = """
import os, threading, time
def work():
    time.sleep(1)
    open(os.environ["MARK"], "w").write("done")
if os.environ.pop("WORK", ""):
    threading.Thread(target=work).start()
"""
PRINTED = """
import atexit, sys
sys.stdout.write("first, ")
atexit.register(lambda: sys.stdout.write("last"))
"""


def run_with(customization: str, way: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    (tmp_path / "sitecustomize.py").write_text(customization)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "MARK": str(tmp_path / "mark"), "WORK": "1"}
    line = [*sameness.WAYS[way], "run", "-q", "--", "sh", "-c", "exit 3"]
    return subprocess.run(line, env=environment, capture_output=True, text=True, timeout=100)


@pytest.mark.parametrize("way", sorted(sameness.WAYS))
@pytest.mark.parametrize("customization", [AT_EXIT, IN_A_THREAD], ids=["at exit", "in a thread"])
def test_what_others_have_begun_is_finished(way: str, customization: str, tmp_path: Path) -> None:
    done = run_with(customization, way, tmp_path)
    assert (done.returncode, done.stderr) == (3, "")
    assert (tmp_path / "mark").read_text() == "done"


@pytest.mark.parametrize("way", sorted(sameness.WAYS))
def test_what_others_have_printed_is_written(way: str, tmp_path: Path) -> None:
    done = run_with(PRINTED, way, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (3, "first, last", "")
