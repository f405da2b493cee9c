"""The page of --timeline: the processes as bars over time, in one file that needs nothing else. Its data is
made here; timeline.html draws it."""

from __future__ import annotations

import json
import os

from .._checks import printable
from .output import end_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .chronicle import Chronicle, Life

TEMPLATE = os.path.join(os.path.dirname(__file__), "timeline.html")
PLACE = "/*the data*/null"

# A link of a large program has a command line of a hundred thousand characters, which is too long to read.
COMMAND_SIZE_MAX = 4000


def timeline_page(chronicle: Chronicle, started_ns: int, ended_ns: int, lost: int) -> str:
    """The page. Times count from started_ns; processes that have not ended reach to ended_ns. lost is the
    number of missing events."""
    rows: list[dict[str, object]] = []
    numbers: dict[int, int] = {}
    for depth, life in chronicle.lives():
        numbers[id(life)] = len(rows)
        parent = -1 if life.creator is None else numbers[id(life.creator)]
        rows.append(_row(life, depth, parent, started_ns))
    data = {
        "command": printable(_cut(chronicle.title())),
        "started": started_ns // 1000000,
        "length": max(ended_ns - started_ns, 1000) / 1000,
        "lost": lost,
        "rows": rows,
    }
    text = json.dumps(data, separators=(",", ":"))
    # Nothing in it may look like the end of the script that it stands in.
    text = text.replace("<", "\\u003c")
    with open(TEMPLATE, encoding="utf-8") as file:
        before, _, after = file.read().partition(PLACE)
    return before + text + after


def _row(life: Life, depth: int, parent: int, started_ns: int) -> dict[str, object]:
    """One process; times are microseconds."""

    def offset(time_ns: int) -> float:
        return (time_ns - started_ns) / 1000

    return {
        "depth": depth,
        "parent": parent,
        "pid": life.process_id,
        "start": offset(life.started_ns),
        "end": None if life.ended_ns is None else offset(life.ended_ns),
        "status": end_text(life.status, life.ended_ns is not None),
        "failed": bool(life.status),
        "stages": [
            [offset(stage.time_ns), printable(stage.program), printable(_cut(stage.command)), stage.executed]
            for stage in life.stages
        ],
        "refusals": [
            [offset(refusal.time_ns), refusal.code, printable(_cut(refusal.command))]
            for refusal in life.refusals
        ],
        "late": [offset(time_ns) for time_ns in life.timed_out_ns],
    }


def _cut(command: str) -> str:
    if len(command) <= COMMAND_SIZE_MAX:
        return command
    return f"{command[:COMMAND_SIZE_MAX]} ... ({len(command)} characters)"
