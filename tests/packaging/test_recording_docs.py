"""docs/recording.md: its examples run as they stand there, and its tables are those of the code."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cbprocess import script
from cbprocess._binding import layouts

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "recording.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def run(*line: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    return subprocess.run(line, cwd=cwd, env=environment, capture_output=True, text=True, timeout=100)


def test_the_example_of_a_test(tmp_path: Path) -> None:
    (tmp_path / "test_guard.py").write_text(blocks("python")[0])
    done = run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_guard.py", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


def test_the_example_of_a_recording_and_its_replay(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("all: a b\na b:\n\tcat Makefile > $@\n")
    done = run("sh", "-e", "-c", blocks("sh")[0], cwd=tmp_path)
    if "make: not found" in done.stderr or "make: No such file" in done.stderr:
        pytest.skip("this machine has no make")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a").exists()
    done = run(sys.executable, "-c", blocks("python")[1], cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    # Two handlers that print at once may share a line.
    assert "make -j4" in done.stdout
    assert done.stdout.count("cat Makefile") == 2 * len(("sh -c", "cat"))


def test_the_magic() -> None:
    assert script.MAGIC.hex(" ") in TEXT


def test_the_types_and_kinds() -> None:
    rows = dict(re.findall(r"^\| (\d+) \| (\w+) \|", TEXT, re.MULTILINE))
    kinds_of_messages = ("EVENT", "RECORDING", "RECORDING_END", "VERDICT", "SCRIPT_STEP")
    names = {getattr(layouts, f"MESSAGE_{kind}") for kind in kinds_of_messages}
    assert names <= set(map(int, rows))
    kinds = re.findall(r"^\| (\d+) ([\w' ]+?) \| (ms|count|) ?\|", TEXT, re.MULTILINE)
    steps = {value: name for name, value in vars(layouts).items() if name.startswith("SCRIPT_")}
    assert {int(number) for number, _, _ in kinds} == set(steps)
    for number, words, _ in kinds:
        assert words.split()[-1].split("'")[0] in steps[int(number)].lower()


def test_the_numbers_are_those_of_the_header() -> None:
    header = (ROOT / "driver" / "protocol" / "cbp_message.h").read_text(encoding="utf-8")
    listed = {name: int(value) for name, value in re.findall(r"X\(([A-Z_]+), (\d+)u,", header)}
    for name, value in vars(layouts).items():
        if re.match(r"(MESSAGE|VERDICT|SCRIPT)_[A-Z_]+$", name):
            assert listed[name] == value, name
    assert {n for n in listed if n.startswith("SCRIPT_")} == {
        n for n in vars(layouts) if n.startswith("SCRIPT_")
    }
