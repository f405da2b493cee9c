"""The one table that the benchmark prints."""

from __future__ import annotations

from typing import NamedTuple


class Row(NamedTuple):
    identifier: str
    what: str
    target: str
    measured: str
    reached: bool
    peers: str


HEAD = ("", "what", "target", "measured", "verdict", "in the same run")


def format_table(rows: list[Row]) -> str:
    lines = [f"| {' | '.join(HEAD)} |", f"|{' --- |' * len(HEAD)}"]
    for row in rows:
        verdict = "reached" if row.reached else "missed"
        cells = (row.identifier, row.what, row.target, row.measured, verdict, row.peers)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
