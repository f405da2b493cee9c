"""The SQLite table of events: each event once, its place with it, and whatever a host may have written."""

from __future__ import annotations

import json
import sqlite3
import stat
from pathlib import Path
from typing import Any

import pytest

from cbprocess.fleet.table import COLUMNS, Table


def record(number: int = 1, **fields: Any) -> dict[str, Any]:
    made = {
        "schema": 1,
        "host": "h",
        "boot": "b",
        "session": "s",
        "number": number,
        "event": "process_creation",
    }
    return {**made, "time_ns": "1796017031511947608", **fields}


def rows(path: Path, what: str = "*") -> list[tuple[Any, ...]]:
    database = sqlite3.connect(path)
    try:
        return database.execute(f"SELECT {what} FROM event ORDER BY number").fetchall()
    finally:
        database.close()


def test_an_event_is_there_once_and_with_all_that_it_says(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    table = Table(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    table.add("acme", [record(1, command_line="first"), record(2)], ("made", 7))
    table.add("acme", [record(1, command_line="second"), record(3)], ("made", 9))
    assert (table.position("acme"), table.position("other")) == (("made", 9), (None, 0))
    # SQLite's own files beside it have command lines, too.
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    assert modes == dict.fromkeys(("events.db", "events.db-wal", "events.db-shm"), 0o600)
    table.close()
    assert rows(path, "number, command_line, time_ns") == [
        (1, "first", 1796017031511947608),
        (2, None, 1796017031511947608),
        (3, None, 1796017031511947608),
    ]
    assert json.loads(rows(path, "record")[0][0]) == record(1, command_line="first")
    again = Table(path)
    assert again.position("acme") == ("made", 9)
    again.close()


def test_rows_and_place_come_together_or_not_at_all(tmp_path: Path) -> None:
    """As where the process is killed in the middle: a place without its events would lose them."""
    table = Table(tmp_path / "events.db")

    def events() -> Any:
        yield record(1)
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        table.add("acme", events(), ("made", 5))
    assert table.position("acme") == (None, 0)
    table.close()
    assert rows(tmp_path / "events.db") == []


@pytest.mark.parametrize("key", [name for name, _ in COLUMNS[4:]])
@pytest.mark.parametrize(
    "value",
    [None, True, 2**70, -(2**63), 1.5, float("inf"), "\ud800", "\0", "9" * 40, [], {"a": [1]}],
    ids=repr,
)
def test_whatever_a_host_writes_is_stored(tmp_path: Path, key: str, value: Any) -> None:
    table = Table(tmp_path / "events.db")
    table.add("acme", [record(1, **{key: value})])
    table.close()
    assert len(rows(tmp_path / "events.db")) == 1


def test_what_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database, but a text that is long enough to be looked at\n" * 20)
    with pytest.raises(sqlite3.Error):
        Table(tmp_path / "text")


def test_a_record_that_is_no_json_breaks_no_query(tmp_path: Path) -> None:
    """Infinity in one row of one host, and json_extract() fails for all rows."""
    table = Table(tmp_path / "events.db")
    deep: Any = []
    for _ in range(5000):
        deep = [deep]
    table.add("acme", [record(1, x=float("inf")), record(2, x=deep), record(3, command_line="a \ud800")])
    table.close()
    looks = ", ".join(f"json_extract(record, '$.{key}')" for key in ("number", "strange"))
    found = rows(tmp_path / "events.db", looks)
    assert found == [(1, 1), (2, 1), (3, None)]
    for (text,) in rows(tmp_path / "events.db", "record"):
        json.loads(text, parse_constant=pytest.fail)


def test_sessions_go_on_behind_what_is_there(tmp_path: Path) -> None:
    table = Table(tmp_path / "events.db")
    table.add("acme", [record(1), record(7), record(3, session="half \ud800")])
    assert table.begin_of(("h", "b", "s")) == 8
    assert table.begin_of(("h", "b", "half \ud800")) == 4
    assert table.begin_of(("h", "b", "another")) == 0
    table.close()
