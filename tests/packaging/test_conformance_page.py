"""docs/conformance.md: each row names tests that exist, or a reason, and every member has a row."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest
from page_tables import table_rows
from unit.reference import EVENTS, METHODS, PROPERTIES, SETTINGS

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "conformance.md"
REASON_LENGTH_MIN = 30


class Row(NamedTuple):
    line: int
    member: str
    statement: str
    here: str
    proof: str


ROWS = [Row(number, *cells) for number, cells in table_rows(PAGE, 4)]


def is_test(path: str, name: str) -> bool:
    source = ROOT / path
    keyword = "def" if path.endswith(".py") else "void"
    return source.is_file() and bool(re.search(rf"\b{keyword} {name}\(", source.read_text(encoding="utf-8")))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"line-{row.line}")
def test_a_row_is_held_by_tests_or_says_why_not(row: Row) -> None:
    assert row.statement and row.here
    if row.proof == "—":
        assert len(row.here) >= REASON_LENGTH_MIN, row
        return
    for part in row.proof.split(", "):
        match = re.fullmatch(r"`(tests/[\w/]+\.(?:py|c))::(?:Test\w+::)?(\w+)`", part)
        assert match, part
        assert is_test(match.group(1), match.group(2)), part


@pytest.mark.parametrize(
    "name",
    [name for name in (*METHODS, *PROPERTIES, *EVENTS, *SETTINGS) if not name.startswith("get_running")],
)
def test_every_member_has_a_row(name: str) -> None:
    assert any(f"`{name}`" in row.member for row in ROWS)


def test_the_check_itself_tells_tests_that_are_there_from_others() -> None:
    assert is_test("tests/unit/test_process.py", "test_tag")
    assert not is_test("tests/unit/test_process.py", "test_ta")
    assert not is_test("tests/unit/test_no_such_file.py", "test_tag")
