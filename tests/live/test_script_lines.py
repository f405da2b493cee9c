"""`arguments` of a script are those that its caller gave (decision 3), whatever its first line says: the
script's own path, too. And the names at a program's end are those of its beginning."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import supervised
from live_tools import recording, wait_until

LONGEST_LINE = 256  # what the kernel looks at

# OWN stands for the script's path.
LINES = {
    "own path": b"#!/bin/echo OWN\n",
    "own path, twice": b"#! /bin/echo \tOWN OWN\t \n",
    "own path, no end of line": b"#!/bin/echo OWN",
    "own path, a return": b"#!/bin/echo OWN\r\n",
    "own path, then NUL": b"#!/bin/echo OWN\0OWN\n",
    "NUL for an argument": b"#!/bin/echo \0OWN\n",
    "NUL and an end of line": b"#!/bin/echo \0\n",
    "NUL after the interpreter": b"#!/bin/echo\0OWN\n",
    "a blank at the end": b"#!/bin/echo ",
    "blanks at the end": b"#!/bin/echo \t ",
    "a blank and an end of line": b"#!/bin/echo \t\n",
    "nothing": b"#!/bin/echo\n",
}


@pytest.fixture
def scripts(tmp_path: Path) -> dict[str, Path]:
    made = {}
    for number, (what, line) in enumerate(LINES.items()):
        path = made[what] = tmp_path / f"s{number}"
        line = line.replace(b"OWN", os.fsencode(path))
        path.write_bytes(line)
        path.chmod(0o755)
    for size in (LONGEST_LINE - 2, LONGEST_LINE - 1, LONGEST_LINE, LONGEST_LINE + 1):
        for end in (b"\n", b"  ", b"  \n"):
            path = made[f"{size} bytes, then {end!r}"] = tmp_path / f"l{size}{end.hex()}"
            path.write_bytes(
                b"#!/bin/echo ".ljust(size - len(os.fsencode(path)), b"/")[: -len(end)]
                + os.fsencode(path)
                + end
            )
            path.chmod(0o755)
    # A chain, each line of which carries the path of its own file.
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text(f"#!/bin/echo {first}\n")
    second.write_text(f"#!{first} {second}\n")
    for path in (first, second):
        path.chmod(0o755)
    return {**made, "a chain": second}


@pytest.mark.parametrize("mode", ["errno", "kill"])
def test_arguments(mode: str, scripts: dict[str, Path]) -> None:
    with recording(f"RefuseWith={mode}") as recorder:
        for what, path in scripts.items():
            for given in ([str(path), "a"], ["zero", str(path), ""], [str(path)] * 3):
                told = len(recorder.of("process_creation"))
                child = recorder.filter.popen(given, executable=str(path), stdout=subprocess.DEVNULL)
                assert child.wait(60) == 0
                wait_until(lambda: not recorder.filter.statistics().queued, 60, "all is told")
                # Without the filter the kernel has replaced the first argument by then.
                expected = given if mode == "errno" else [str(path), *given[1:]]
                assert recorder.executed()[told:] == [expected], what


def test_names_at_the_end(tmp_path: Path) -> None:
    """By a link, by a script, and by its own name."""
    program = os.path.realpath("/bin/true")
    link, script = tmp_path / "by-link", tmp_path / "by-script"
    link.symlink_to(program)
    script.write_text(f"#!{program}\n")
    script.chmod(0o755)
    for path in (str(link), str(script), program):
        events, done = supervised.run([path], tmp_path / "events")
        (begin,) = [event for event in events if event["event"] == "process_creation"]
        (end,) = [event for event in events if event["event"] == "process_termination"]
        assert done.returncode == 0
        for name in ("process_name", "image_file_name"):
            assert end[name] == begin[name]
        assert (end["process_name"], end["image_file_name"]) == (program, path)
        line = [*supervised.COMMAND_LINE, "run", "--events", "process,thread", "--", path]
        told = subprocess.run(line, capture_output=True, text=True, timeout=60).stderr.splitlines()
        (text,) = [row for row in told if "process_termination" in row]
        name, other = os.path.basename(path), os.path.basename(program)
        assert text.endswith(f"exit 0  {name}" if name == other else f"exit 0  {name} ({other})")
