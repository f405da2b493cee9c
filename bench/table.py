"""The tables that the benchmark prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Row(NamedTuple):
    identifier: str
    what: str
    target: str
    measured: str
    reached: bool
    peers: str


HEAD = ("", "what", "target", "measured", "verdict", "in the same run")


def format_columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    lines += [f"| {' | '.join(cells)} |" for cells in rows]
    return "\n".join(lines)


def format_table(rows: list[Row]) -> str:
    verdicts = {True: "reached", False: "missed"}
    cells = [
        (row.identifier, row.what, row.target, row.measured, verdicts[row.reached], row.peers) for row in rows
    ]
    return format_columns(HEAD, cells)
