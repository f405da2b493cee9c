"""The helper shares the terminal of its controller with the tree. A program of the tree can make the helper's
group the foreground: what is typed then reaches it, and changes nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from live_tools import PROGRAMS, wait_until
from terminals import open_terminal

# Puts the helper into the foreground, waits for a word on a pipe, and starts another program.
TREE = """
import os, signal, subprocess, sys
status = open("/proc/self/status").read()
helper = int(status.partition("TracerPid:")[2].split()[0])
os.tcsetpgrp(0, os.getpgid(helper))
open(sys.argv[1], "w").write(f"{helper} {os.getpgid(helper)} {os.getsid(helper)}")
open(sys.argv[2]).read()
subprocess.run(["true", "afterwards"], check=True)
sys.exit(7)
"""


@pytest.mark.parametrize("key", [b"\x03", b"\x1a", b"\x1c"], ids=["Ctrl-C", "Ctrl-Z", "Ctrl-backslash"])
def test_what_is_typed_does_not_reach_the_helper(key: bytes, tmp_path: Path) -> None:
    told, word, lines = tmp_path / "told", tmp_path / "word", tmp_path / "lines"
    os.mkfifo(word)
    master, slave = open_terminal()
    run = [sys.executable, "-m", "cbprocess", "run", "--deny", "*/no-such-program", "--output", str(lines)]
    line = [sys.executable, str(PROGRAMS / "at_terminal.py"), *run, "--"]
    line += [sys.executable, "-c", TREE, str(told), str(word)]
    command = subprocess.Popen(line, stdin=slave, stdout=slave, stderr=slave)
    try:
        wait_until(lambda: told.exists() and told.read_text().count(" ") == 2, 30, "the tree is ready")
        helper, group, _ = map(int, told.read_text().split())
        assert group == helper, "the helper has a group of its own"
        assert os.tcgetpgrp(master) == helper
        os.write(master, key)
        # The line discipline has handled the key before this is read back.
        os.write(master, b"\n")
        word.write_text("go on")
        assert command.wait(30) == 7
        assert "afterwards" in lines.read_text()
    finally:
        if command.poll() is None:
            command.kill()
        command.wait(10)
        os.close(master)
        os.close(slave)
