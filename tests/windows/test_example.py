"""The C example for Windows, on the debug driver and, with a recording, on the simulated one."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from windows.windows_tools import STATUS_ACCESS_DENIED, compiled

LINE = re.compile(r"(created|refused|ended) +(\d+) (.*?)(?: \(by (\d+)\)|: status (\d+))?$")


def run(*arguments: str) -> tuple[int, list[tuple[str, ...]], str]:
    """Its status, its lines, its programs' output."""
    done = subprocess.run([compiled("monitor.exe"), *arguments], capture_output=True, timeout=60)
    lines = done.stderr.decode().splitlines()
    found = [match.groups(default="") for match in map(LINE.match, lines) if match]
    assert len(found) == len(lines) or "monitor:" in done.stderr.decode(), done.stderr
    return done.returncode, found, done.stdout.decode()


def test_it_sees_the_tree() -> None:
    status, lines, output = run("cmd", "/c", "echo hello & cmd /c exit 4 & exit 9")
    assert (status, output.strip()) == (9, "hello")
    assert [line[0] for line in lines] == ["created", "created", "ended", "ended"]
    root, child = lines[0][1], lines[1][1]
    assert lines[1][3] == root
    assert [(line[1], line[4]) for line in lines[2:]] == [(child, "4"), (root, "9")]
    assert all(line[2].lower().endswith(r"\cmd.exe") for line in lines)


def test_arguments_arrive_whole() -> None:
    program = "import sys; print(ascii(sys.argv[1:]))"
    arguments = ["a b", 'quo"te', "back\\slash\\", 'b\\\\"c d\\', "", "\u00e9\U0001f600"]
    status, _lines, output = run("--", sys.executable, "-c", program, *arguments)
    assert (status, output.strip()) == (0, ascii(arguments))


def test_it_refuses() -> None:
    program = "import subprocess, sys; print(subprocess.call(['hostname']) & 0xffffffff)"
    status, lines, output = run("--deny", "*\\HOSTNAME.exe", "--deny", "x", sys.executable, "-c", program)
    assert (status, int(output)) == (0, STATUS_ACCESS_DENIED)
    assert [line[0] for line in lines] == ["created", "refused", "ended"]
    status, lines, _output = run("--deny", "*\\hostname.exe", "hostname")
    assert (status, [line[0] for line in lines]) == (126, ["refused"])


def test_what_cannot_be_started() -> None:
    assert run("no-such-program")[0] == 127
    assert subprocess.call([compiled("monitor.exe"), "--no-such-option"], stderr=subprocess.DEVNULL) == 125


def test_it_replays(tmp_path: Path) -> None:
    """A recording of the debug driver, on the simulated one: the same lines, and a refusal that is new."""
    recording = tmp_path / "tree.rec"
    command = [sys.executable, "-m", "cbprocess", "run", "--record", str(recording), "--output", "out"]
    done = subprocess.run([*command, "--", "cmd", "/c", "hostname & exit 9"], stdout=subprocess.PIPE)
    assert done.returncode == 9
    status, lines, _output = run("--replay", str(recording))
    assert status == 0
    assert [line[0] for line in lines] == ["created", "created", "ended", "ended"]
    assert lines[1][2].lower().endswith(r"\hostname.exe") and lines[-1][4] == "9"
    status, lines, _output = run("--deny", "*\\hostname.exe", "--replay", str(recording))
    # What the recording goes on with was decided when it was made.
    assert (status, [line[0] for line in lines]) == (0, ["created", "refused", "ended", "ended"])
    assert run("--replay", str(tmp_path / "none.rec"))[:2] == (125, [])
