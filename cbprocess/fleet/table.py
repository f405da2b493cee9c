"""Events in a SQLite table, each once, with the place of the stream up to which they are there.

Knows records and one file; nothing of the network."""

from __future__ import annotations

import json
import os
import sqlite3

from ..errors import CBProcessError
from ..records import text_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

# What is asked for most stands in columns; `record` has everything, for json_extract().
COLUMNS = (
    ("host", "TEXT"),
    ("boot", "TEXT"),
    ("session", "TEXT"),
    ("number", "INTEGER"),
    ("time_ns", "INTEGER"),
    ("event", "TEXT"),
    ("process_id", "INTEGER"),
    ("start_time", "INTEGER"),
    ("parent_process_id", "INTEGER"),
    ("user_id", "INTEGER"),
    ("process_name", "TEXT"),
    ("command_line", "TEXT"),
    ("exit_status", "INTEGER"),
    ("result_code", "INTEGER"),
)
DIGITS_MAX = 19
IDENTITY = ("schema", "host", "boot", "session", "number", "event")
NUMBERS_IN_TEXT = ("time_ns", "start_time")
SCHEMA = f"""
CREATE TABLE IF NOT EXISTS event (
    {", ".join(f"{name} {kind}" for name, kind in COLUMNS)}, record TEXT,
    PRIMARY KEY (host, boot, session, number)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS event_time ON event (time_ns);
CREATE TABLE IF NOT EXISTS place (tenant TEXT PRIMARY KEY, created TEXT, sequence INTEGER);
"""
INSERT = f"INSERT OR IGNORE INTO event VALUES ({', '.join('?' * (len(COLUMNS) + 1))})"


class Table:
    """The tables `event` and `place` of a SQLite file, made where they are not. A new file has mode 0600:
    command lines hold secrets. sqlite3.Error for a file that is none, or a full disk."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        self._db = sqlite3.connect(os.fspath(path), timeout=30)
        self._db.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;" + SCHEMA)

    def position(self, reader: str) -> tuple[str | None, int]:
        """The stream's identity and the place behind which to go on; (None, 0) for a new table. reader: what
        is read: a tenant, or one host of it. Each has a place of its own."""
        row = self._db.execute("SELECT created, sequence FROM place WHERE tenant = ?", (reader,)).fetchone()
        return (row[0], row[1]) if row else (None, 0)

    def begin_of(self, key: tuple[str | None, str | None, str | None]) -> int:
        """The number behind the last one that is there of a session, by host, boot and session; 0 where
        nothing is."""
        line = "SELECT max(number) FROM event WHERE host = ? AND boot = ? AND session = ?"
        found = self._db.execute(line, [_storable(text) for text in key]).fetchone()[0]
        return int(found) + 1 if found else 0

    def add(
        self, reader: str, records: Iterable[dict[str, Any]], position: tuple[str | None, int] | None = None
    ) -> None:
        """Adds records and the place behind them, or nothing of both. Records that are there already, by
        host, boot, session and number, stay as they are."""
        with self._db:
            self._db.executemany(INSERT, (_row(record) for record in records))
            if position is not None:
                self._db.execute("INSERT OR REPLACE INTO place VALUES (?, ?, ?)", (reader, *position))

    def close(self) -> None:
        self._db.close()


def _storable(text: str | None) -> str | None:
    # Half of a surrogate pair is no text for SQLite.
    return None if text is None else text.encode("utf-8", "replace").decode()


def _is_storable(value: object) -> bool:
    """Whether SQLite's integers have this one."""
    return isinstance(value, int) and -(2**63) <= value < 2**63


def _row(record: dict[str, Any]) -> tuple[Any, ...]:
    values = []
    for name, _ in COLUMNS:
        value = record.get(name)
        # A host may have written anything.
        if name in NUMBERS_IN_TEXT and isinstance(value, str) and value.isascii() and value.isdigit():
            value = int(value[:DIGITS_MAX])
        if isinstance(value, str):
            value = _storable(value)
        elif not isinstance(value, (float, type(None))) and not _is_storable(value):
            value = json.dumps(value)
        values.append(value)
    return (*values, _text_of(record))


def _text_of(record: dict[str, Any]) -> str:
    """The record as JSON that every program reads: one line that is none would end each query that looks into
    records."""
    try:
        return text_of(record)
    except CBProcessError:
        return json.dumps({key: record.get(key) for key in IDENTITY} | {"strange": True})
