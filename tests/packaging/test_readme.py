"""The README's programs run as they stand there, and do what their comments say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).resolve().parents[2] / "README.md"
PLAIN_LOOP, HANDLER, HANDLE_HANDLER, ASYNC_LOOP, RULE = range(5)


def python_block(number: int) -> str:
    return README.read_text(encoding="utf-8").split("```python\n")[number + 1].split("```")[0]


def run(text: str, *options: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, *options, "-c", text]
    return subprocess.run(line, cwd="/", capture_output=True, text=True, timeout=30)


def test_the_loop_comes_before_the_handler() -> None:
    """A reader who begins at the top needs no GUID for the first program."""
    text = README.read_text(encoding="utf-8")
    assert 0 < text.index("import monitor") < text.index("initialize(")


@pytest.mark.parametrize("name", ["curl", "wget", "nc"])
def test_examples_need_nothing_that_a_machine_may_lack(name: str) -> None:
    """Of every page, of every sentence that help() says, of every example."""
    root = README.parent
    texts = [
        README,
        *root.glob("docs/*.md"),
        *root.glob("cbprocess/**/*.py"),
        *root.glob("native/include/*.h"),
    ]
    texts += [path for path in root.glob("examples/**/*.[a-z]*") if path.is_file()]
    assert len(texts) > 80
    # This one hides the passwords that are given to such a program.
    texts.remove(root / "cbprocess/_records/redaction.py")
    for path in texts:
        text = path.read_text(encoding="utf-8", errors="replace")
        assert not re.search(rf"(?<![\w.-]){name}(?![\w.-])", text), path


@pytest.mark.parametrize("number", [PLAIN_LOOP, ASYNC_LOOP])
def test_loop_refuses_one_program(number: int) -> None:
    done = run(python_block(number), "-X", "dev")
    assert done.returncode == 0, done.stderr
    assert "ermission denied" in done.stderr and "Warning" not in done.stderr
    assert "boot" in done.stdout.split()  # what ls shows of the root folder


def test_handler_sees_programs_and_refuses_one() -> None:
    done = run(python_block(HANDLER))
    assert done.returncode == 0, done.stderr
    lines = [line.split(" ", 1) for line in done.stdout.splitlines() if line[:1].isdigit()]
    commands = [text for _process_id, text in lines]
    shell = "sh -c 'ls; cat /etc/hostname'"
    assert shell in commands and "ls" in commands and "cat /etc/hostname" in commands
    assert "ended with 0" in done.stdout
    assert "ermission denied" in done.stderr  # what the shell says of a refused execve


def test_rule_is_as_the_api_takes_it() -> None:
    text = (
        "from cbprocess import CBProcess\nprocess = CBProcess()\n"
        "process.initialize('{0f7cd5b4-8a3e-4e8c-9d57-6f5bd1a1c0de}')\n" + python_block(RULE)
    )
    done = run(text)
    assert (done.returncode, done.stderr) == (0, "")


def test_handle_handler_protects() -> None:
    done = run(python_block(HANDLE_HANDLER))
    assert done.returncode == 0, done.stderr
    assert "not permitted" in done.stderr  # what the shell says of a kill() with EPERM
    lines = [line.split() for line in done.stdout.splitlines()]
    assert len(lines) == 1 and lines[0][1:4] == ["wants", "0x1", "to"], done.stdout


@pytest.mark.parametrize(
    ("badge", "setting"),
    [
        ("python", r'^requires-python = ">=([\d.]+)"$'),
        ("license", r'^license = "(\S+)"$'),
        ("state", r'"Development Status :: \d - (\w+)"'),
    ],
)
def test_a_badge_says_what_the_package_says(badge: str, setting: str) -> None:
    """The badges are files of ours, because a picture from elsewhere tells that host who reads the page."""
    found = re.search(setting, README.with_name("pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None
    picture = f"docs/pictures/badge-{badge}.svg"
    assert f"({picture})" in README.read_text(encoding="utf-8")
    assert found[1].lower() in (README.parent / picture).read_text(encoding="utf-8").lower()
