"""The commands of docs/terminal.md print what stands there, but for numbers and the order of what runs at
once; and README's first output is of that form."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections import Counter
from pathlib import Path

import pytest
import supervised

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = re.findall(
    r"^```text\n\$ (cbprocess run .*)\n((?:.*\n)*?)```$",
    (ROOT / "docs/terminal.md").read_text(),
    re.MULTILINE,
)


def shape(text: str) -> Counter[str]:
    """The lines without times, durations and ids."""
    rows = []
    for row in text.splitlines():
        row = re.sub(r"^ *\d+\.\d{3}  ", "T  ", row)
        row = re.sub(r"\d+(\.\d+)? m?s\b", "D", row)
        row = re.sub(r"^(T  \S+(?: \S+)*?) +\d+  ", r"\1 N  ", row)
        rows.append(row)
    return Counter(rows)


def printed(command: str) -> str:
    words = shlex.split(command)
    line = [*supervised.COMMAND_LINE, *words[1:]]
    done = subprocess.run(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=60)
    return done.stderr


def test_there_are_examples() -> None:
    assert len(EXAMPLES) == 2


@pytest.mark.parametrize(("command", "shown"), EXAMPLES)
def test_an_example_of_the_page(command: str, shown: str) -> None:
    lines = "".join(line for line in shown.splitlines(keepends=True) if not line.strip().isdigit())
    assert shape(printed(command)) == shape(lines)


def test_the_first_output_of_the_readme() -> None:
    text = (ROOT / "README.md").read_text()
    shown = text.partition("<!-- output:begin -->")[2].partition("<!-- output:end -->")[0]
    lines = [line for line in shown.splitlines() if line and not line.startswith("```")]
    assert lines[0].isdigit()
    assert shape(printed("cbprocess run -- sh -c 'ls | wc -l'")) == shape("\n".join(lines[1:]))
