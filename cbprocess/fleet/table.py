"""Events in a SQLite table, each once, with the place of the stream up to which they are there.

Knows records and one file; nothing of the network."""

from __future__ import annotations

import json
import os
import sqlite3

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

    def position(self, tenant: str) -> tuple[str | None, int]:
        """The stream's identity and the place behind which to go on; (None, 0) for a new table."""
        row = self._db.execute("SELECT created, sequence FROM place WHERE tenant = ?", (tenant,)).fetchone()
        return (row[0], row[1]) if row else (None, 0)

    def add(
        self, tenant: str, records: Iterable[dict[str, Any]], position: tuple[str | None, int] | None = None
    ) -> None:
        """Adds records and the place behind them, or nothing of both. Records that are there already, by
        host, boot, session and number, stay as they are."""
        with self._db:
            self._db.executemany(INSERT, (_row(record) for record in records))
            if position is not None:
                self._db.execute("INSERT OR REPLACE INTO place VALUES (?, ?, ?)", (tenant, *position))

    def close(self) -> None:
        self._db.close()


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
            # Half of a surrogate pair is no text for SQLite.
            value = value.encode("utf-8", "replace").decode()
        elif not isinstance(value, (float, type(None))) and not _is_storable(value):
            value = json.dumps(value)
        values.append(value)
    return (*values, json.dumps(record, separators=(",", ":")))
