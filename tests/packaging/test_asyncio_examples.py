"""The programs of docs/asyncio.md run as they stand there, and print what stands below them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs/asyncio.md"
EXAMPLE = re.compile(r"```python\n(.*?)```\n\n```text\n(.*?)```", re.DOTALL)


def examples() -> list[tuple[str, str]]:
    text = PAGE.read_text(encoding="utf-8")
    found = EXAMPLE.findall(text)
    assert len(found) == text.count("```python") >= 4
    return found


@pytest.mark.parametrize("number", range(len(examples())))
def test_program_prints_what_stands_below_it(number: int, tmp_path: Path) -> None:
    program, expected = examples()[number]
    shell = Path("/bin/sh").resolve().name
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == expected.replace("dash", shell)
    # Python has nothing to complain of: no coroutine left, no thread that raised, no process forgotten.
    assert "Warning" not in done.stderr and "Traceback" not in done.stderr, done.stderr
