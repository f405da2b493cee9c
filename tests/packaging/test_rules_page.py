"""docs/rules.md says what the code does: its files are rule files, and its tables are those of the code."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from cbprocess import Rule, constants, rule_files
from cbprocess.rule_files import RuleSet

TEXT = (Path(__file__).resolve().parents[2] / "docs/rules.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def test_its_files() -> None:
    (text,) = blocks("json")
    cat = Rule(name="*/cat", action="deny", code=constants.ERROR_FILE_NOT_FOUND)
    assert list(RuleSet.from_text(text)) == [cat]
    if sys.version_info < (3, 11):
        pytest.importorskip("tomli")
    (text,) = blocks("toml")
    rights = constants.PROCESS_TERMINATE | constants.PROCESS_VM_READ | constants.PROCESS_VM_WRITE
    assert list(RuleSet.from_text(text, "toml")) == [
        cat,
        Rule(name="server", action="strip", access=rights),
        Rule(name="/usr/bin/make", action="ignore", include_children=True),
    ]


def test_its_keys_and_bounds() -> None:
    table = TEXT[TEXT.index("| key of a rule") :].partition("\n\n")[0]
    rows = [line.split("|")[1] for line in table.splitlines()[2:]]
    keys = re.findall(r"`(\w+)`", "".join(rows))
    assert keys == list(rule_files.RULE_KEYS)
    assert f"{rule_files.RULES_MAX:,} rules" in TEXT
    assert f"more than {rule_files.FILE_SIZE_MAX >> 20} MiB" in " ".join(TEXT.split())


def test_its_reasons() -> None:
    signing = pytest.importorskip("cbprocess.fleet.signing")
    rules = pytest.importorskip("cbprocess.fleet.rules")
    paragraph = TEXT[TEXT.index("A host refuses a document") :].partition("\n\n")[0]
    reasons = {
        value
        for name, value in vars(signing).items()
        if name.isupper() and isinstance(value, str) and name not in ("CONTEXT", "FORMAT", "TYPE_CHECKING")
    }
    assert set(re.findall(r"`([a-z ]+)`", paragraph)) == reasons
    assert f"(above {signing.SIZE_MAX:,} bytes)" in paragraph
    row = next(line for line in TEXT.splitlines() if line.startswith("| rules |"))
    assert f"{rules.FLEET_RULES_MAX:,}" in row
    assert re.findall(r"`(\w+)`", row) == list(rules.FLEET_ACTIONS)
