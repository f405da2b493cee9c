"""Where the documentation names the test that proves a sentence, that test exists; and the table of handle
operations has a row for every system call that the driver holds."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# A test in backticks, maybe of a class; * stands for any text. In a table the column's head names the file.
NAMED = re.compile(r"`(?:(tests/[\w/]+\.py)::)?((?:Test\w+::)?test_\w+(?:\[[^`\]]+\])?)`")
FILE = re.compile(r"`(tests/[\w/]+\.py)`")


def documents() -> list[Path]:
    return sorted(ROOT.glob("docs/**/*.md"))


def named_tests() -> list[tuple[str, str, str]]:
    """Document, file and test of each test that a document names."""
    found = []
    for document in documents():
        file = ""
        for line in document.read_text(encoding="utf-8").splitlines():
            heads = FILE.findall(line)
            file = heads[-1] if heads else file
            found += [(document.name, own or file, test) for own, test in NAMED.findall(line)]
    return found


def collected(files: set[str]) -> dict[str, set[str]]:
    """The tests of each file, as pytest names them; of one that is for Windows, the functions."""
    elsewhere = {file for file in files if file.startswith("tests/windows/")}
    tests = {
        file: set(re.findall(r"^ *def (test_\w+)", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE))
        for file in elsewhere
    }
    line = [sys.executable, "-m", "pytest", "--collect-only", "-q", *sorted(files - elsewhere)]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    for row in done.stdout.splitlines():
        file, separator, test = row.partition("::")
        if separator:
            tests.setdefault(file, set()).add(test)
    return tests


def test_named_tests_exist() -> None:
    named = named_tests()
    assert named, "the documentation names no tests: is this expression still right?"
    tests = collected({file for _, file, _ in named})
    for document, file, test in named:
        pattern = re.compile(re.escape(test).replace(r"\*", ".*"))
        whole = [name for name in tests[file] if pattern.fullmatch(name) or name.startswith(test + "[")]
        assert whole, f"{document} names {file}::{test}, which is no test"


def test_every_held_system_call_has_a_row() -> None:
    header = (ROOT / "driver/linux/facts/syscall_list.h").read_text(encoding="utf-8")
    calls = {name.lower() for name in re.findall(r"^    X\((\w+), HANDLES,", header, re.MULTILINE)}
    assert len(calls) >= 20, "the list of system calls was not found"
    rows = [
        line.split("|")
        for document in documents()
        for line in document.read_text(encoding="utf-8").splitlines()
        if line.startswith("| `") and NAMED.search(line)
    ]
    documented = {call for cells in rows for call in re.findall(r"`(\w+)`", cells[1])}
    assert not calls - documented, f"without a row that names its test: {sorted(calls - documented)}"


def test_a_wrong_name_would_be_noticed() -> None:
    """The expressions find a test in a row like those of the documentation."""
    line = "| `call` | process | `test_verdicts[kill-*]`, `tests/live/test_x.py::test_y` |"
    assert NAMED.findall(line) == [("", "test_verdicts[kill-*]"), ("tests/live/test_x.py", "test_y")]
    with pytest.raises(AssertionError):
        collected({"tests/no_such_file.py"})
