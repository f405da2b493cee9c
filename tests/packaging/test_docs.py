"""The Python programs in docs/ run as they stand there, and the links in the documentation lead somewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(path for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*.md")])
# What stands in backticks: a path from the root of the checkout, or the bare name of a source.
FOLDERS = "driver|native|cbprocess|tests|tools|bench|build_backend|examples|docs|cmake"
NAMED_PATH = re.compile(rf"`((?:{FOLDERS})/[^`\s:]*)[^`]*`")
NAMED_SOURCE = re.compile(r"`([a-z]\w*\.(?:c|h))`")
SOURCES = {path.name for folder in ("driver", "native", "tests") for path in ROOT.glob(f"{folder}/**/*.[ch]")}


class Program(NamedTuple):
    page: Path
    line: int
    text: str


def programs() -> list[Program]:
    """Each ```python block of the pages under docs/; the README has a test of its own."""
    found = []
    for page in sorted(ROOT.glob("docs/**/*.md")):
        text = page.read_text(encoding="utf-8")
        for block in re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            line = text.count("\n", 0, block.start()) + 1
            found.append(Program(page, line, block[1]))
    return found


def name_of(program: Program) -> str:
    return f"{program.page.name}:{program.line}"


PROGRAMS = programs()


def run(program: Program, folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "program.py").write_text(program.text, encoding="utf-8")
    line = [sys.executable, "program.py"]
    return subprocess.run(line, cwd=folder, capture_output=True, text=True, timeout=60)


def record(path: Path) -> None:
    """The recording that a page makes by its command lines and then has a program read."""
    line = [
        sys.executable,
        "-m",
        "cbprocess",
        "run",
        "--output",
        os.devnull,
        "--record",
        path.name,
        "--",
        "ls",
    ]
    subprocess.run(line, cwd=path.parent, stdout=subprocess.DEVNULL, check=True, timeout=60)


@pytest.mark.parametrize("program", PROGRAMS, ids=name_of)
def test_a_program_runs(program: Program, tmp_path: Path) -> None:
    if "build.cbpr" in program.text:
        record(tmp_path / "build.cbpr")
    done = run(program, tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_program_written_for_the_reference(tmp_path: Path) -> None:
    """What the page on migrating claims of its first program: it sees, refuses and reports."""
    program = next(item for item in PROGRAMS if item.page.name == "migrating.md")
    done = run(program, tmp_path)
    created = re.findall(r"^created (\d+) by \d+ (.*)$", done.stdout, re.MULTILINE)
    assert "sh -c 'true; touch file; true'" in [command for _, command in created], done.stdout
    assert "touch file" in [command for _, command in created]
    assert "ermission denied" in done.stderr
    ended = re.findall(r"^ended (\d+) /", done.stdout, re.MULTILINE)
    assert created[0][0] in ended


def test_the_file_for_who_relies_on_names_that_leaked(tmp_path: Path) -> None:
    shim = next(item for item in PROGRAMS if item.text.startswith("# cbfsfilter.py"))
    (tmp_path / "cbfsfilter.py").write_text(shim.text, encoding="utf-8")
    text = (
        "from cbfsfilter import *\n"
        "print(os.getpid() > 0, sys.version_info >= (3,), datetime.datetime.now().year > 2000)\n"
        "print(cbfsfilter.CBProcess is CBProcess, ERROR_ACCESS_DENIED, CBFSFilterError.__name__)\n"
    )
    done = run(Program(shim.page, 0, text), tmp_path)
    assert (done.returncode, done.stdout) == (0, "True True True\nTrue 5 CBProcessError\n"), done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_a_page_names_are_there(page: Path) -> None:
    """By their whole path, or by their name alone. A name with * or {} stands for several."""
    text = page.read_text(encoding="utf-8")
    for path in NAMED_PATH.findall(text):
        assert (ROOT / path).exists() or re.search(r"[*{]", path), path
    for name in NAMED_SOURCE.findall(text):
        assert name in SOURCES, name


def test_architecture_names_files_for_a_stranger() -> None:
    """The expression finds what it is to find: the page's questions are answered by files."""
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    answers = text.split("\n## Where to look\n")[1]
    rows = [line for line in answers.splitlines() if line.startswith("| ") and line.count("?") == 1]
    assert len(rows) >= 8 and all(NAMED_PATH.search(row) for row in rows)
    for file in ("driver/policy/decide.c", "driver/helper/slots.c", "cmake/linux.cmake"):
        assert file in NAMED_PATH.findall(answers)


def anchors(text: str) -> set[str]:
    """As GitHub makes them of headings."""
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?:|mailto:", link):
            continue
        target, _, anchor = link.partition("#")
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), link
        if anchor:
            assert anchor in anchors(path.read_text(encoding="utf-8")), link
