"""The README's handler runs as it stands there, and does what its comments say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).resolve().parents[2] / "README.md"


def python_block(number: int) -> str:
    return README.read_text(encoding="utf-8").split("```python\n")[number + 1].split("```")[0]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a program called curl that leaves a file behind if it ever runs."""
    curl = tmp_path / "curl"
    curl.write_bytes(Path("/bin/ls").resolve().read_bytes())
    curl.chmod(0o755)
    return tmp_path


def test_handler_sees_programs_and_refuses_one(folder: Path) -> None:
    environment = {**os.environ, "PATH": f"{folder}:/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", python_block(0)],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    lines = [line.split(" ", 1) for line in done.stdout.splitlines() if line[:1].isdigit()]
    commands = [text for _process_id, text in lines]
    assert "sh -c 'ls; curl --version'" in commands and "ls" in commands and "curl --version" in commands
    assert "ended with 0" in done.stdout
    assert "ermission denied" in done.stderr  # what the shell says of a refused execve


def test_rule_is_as_the_api_takes_it() -> None:
    text = (
        "from cbprocess import CBProcess\nprocess = CBProcess()\n"
        "process.initialize('{0f7cd5b4-8a3e-4e8c-9d57-6f5bd1a1c0de}')\n" + python_block(1)
    )
    done = subprocess.run([sys.executable, "-c", text], cwd="/", capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")


def test_handle_handler_protects() -> None:
    done = subprocess.run(
        [sys.executable, "-c", python_block(2)], cwd="/", capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    assert "not permitted" in done.stderr  # what the shell says of a kill() with EPERM
    lines = [line.split() for line in done.stdout.splitlines()]
    assert len(lines) == 1 and lines[0][1:4] == ["wants", "0x1", "to"], done.stdout


def test_loop_refuses_one_program(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", python_block(3)],
        env={**os.environ, "PATH": f"{folder}:/usr/bin:/bin"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.returncode, done.stdout) == (0, "curl\n"), done.stderr
    assert "ermission denied" in done.stderr and "Warning" not in done.stderr
