"""docs/limits.md: each row of its tables is held, by a test that exists, or not held, for a reason."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest
from page_tables import table_rows

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "limits.md"
REASON_LENGTH_MIN = 30


class Row(NamedTuple):
    line: int
    attempt: str
    state: str
    proof: str


ROWS = [Row(number, *cells) for number, cells in table_rows(PAGE, 3, behind="## The table")]


def test_there_are_rows_for_both_drivers() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for heading in re.findall(r"^#{2,3} .*$", text[text.index("## The table") :], re.MULTILINE):
        section = text[text.index(heading) :].split("\n#", 1)[0]
        if "| what the program tries" in section:
            assert re.search(r"^\| (?!what the|---)", section, re.MULTILINE), f"{heading}: no row"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"line-{row.line}")
def test_a_row_is_held_or_not_held(row: Row) -> None:
    assert row.state in ("held", "not held"), row
    if row.state == "not held":
        assert len(row.proof) >= REASON_LENGTH_MIN, f"no reason: {row}"
        return
    named = re.findall(r"`(tests/[\w/]+\.(?:py|c))(?:::(\w+))?[^`]*`", row.proof)
    assert named, f"no test is named: {row}"
    for path, name in named:
        source = ROOT / path
        assert source.is_file(), row
        assert not name or re.search(rf"\b{name}\b", source.read_text(encoding="utf-8")), row
