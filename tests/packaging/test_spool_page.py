"""docs/spool.md: its programs run and print what stands below them, and its tables are those of the code."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cbprocess import records, sinks
from cbprocess._spool import layout

CHECKOUT = Path(__file__).resolve().parents[2]
TEXT = (CHECKOUT / "docs/spool.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_program_prints_what_stands_below_it(number: int, tmp_path: Path) -> None:
    assert len(EXAMPLES) == TEXT.count("```python") == 2
    program, expected = EXAMPLES[number]
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, expected), done.stderr
    assert "Warning" not in done.stderr


def test_every_reason_is_told() -> None:
    table = TEXT[TEXT.index("| reason |") :]
    told = set(re.findall(r"^\| `(\w+)` \|", table[: table.index("\n\n")], re.MULTILINE))
    pattern = re.compile(
        r'"reason": "(\w+)"|_lose(?:_next)?\((?:\w+, )?"(\w+)"\)|^KILLED = "(\w+)"|reason: str = "(\w+)"',
        re.MULTILINE,
    )
    texts = [path.read_text(encoding="utf-8") for path in (CHECKOUT / "cbprocess/_spool").glob("*.py")]
    found = {name for text in texts for names in pattern.findall(text) for name in names if name}
    assert told == found


def test_the_record_is_one(tmp_path: Path) -> None:
    (text,) = re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)
    record = json.loads(text)
    made = records.made("lost", reason="", count=1, first_number=1, last_number=1)
    assert record.keys() == made.keys() and record["schema"] == records.SCHEMA
    assert record["count"] == record["last_number"] - record["first_number"] + 1
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.validate(record, records.schema())


def test_every_sink_stands_there() -> None:
    own = set(sinks.OWN)
    assert own == set(re.findall(r"`(file|kafka|nats|tls|otlp\+https?):", TEXT))
    assert own <= set(sinks.schemes())


def test_every_file_stands_there() -> None:
    shown = TEXT[TEXT.index("SPOOL/  ") : TEXT.index("A line is a")]
    for name in (layout.HEAD, layout.ACKED, layout.END, layout.LOCK, layout.HOST, layout.SHIPPER_LOCK):
        assert re.search(rf"^ +{re.escape(name)} ", shown, re.MULTILINE), name
    assert layout.segment_name(1) in shown and layout.segment_name(12301) in shown
