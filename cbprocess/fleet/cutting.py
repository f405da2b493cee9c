"""Lines that are longer than a server takes, cut so that each is still a record of the schema.

Knows records; nothing of the network."""

from __future__ import annotations

import json

from .._records.strict import BYTES
from ..records import line_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CUT_TEXT_SIZE = 4096
# These say which event it was, and are never cut.
KEPT = ("schema", "host", "boot", "session", "number", "event", "time", "time_ns", "cut")


def fitting(data: bytes, limit: int) -> tuple[bytes, int]:
    """The lines of a batch, each no longer than the server takes, and how many were cut."""
    if len(data) <= limit:
        return data, 0
    lines = data.splitlines(keepends=True)
    share = max(CUT_TEXT_SIZE, limit // len(lines))
    cut = sum(len(line) > share for line in lines)
    return b"".join(line if len(line) <= share else cut_line(line, share) for line in lines), cut


def cut_line(line: bytes, limit: int) -> bytes:
    """A record's line in at most so many bytes: its longest texts and lists are cut, and `cut` names their
    keys. Numbers and identity stay, and every key keeps its type. The exact bytes beside a text that is cut
    are left out, because they are those of another text, or of the whole one."""
    record: dict[str, Any] = json.loads(line)
    record["cut"] = []
    size = CUT_TEXT_SIZE
    while True:
        made = line_of(record)
        if len(made) <= limit:
            return made
        able = [name for name in record if name not in KEPT and _can_be_cut(name, record[name])]
        if not able:
            # Nothing is left that is long: what remains is the shortest that says which event it was.
            return made
        key = max(able, key=lambda name: len(json.dumps(record[name])))
        value = record[key]
        if key.endswith(BYTES):
            key = key[: -len(BYTES)]
        elif isinstance(value, str):
            record[key] = value[: min(size, len(value) // 2)]
        else:
            record[key] = _cut_list(value) if isinstance(value, list) else {}
        record.pop(key + BYTES, None)
        if key not in record["cut"]:
            record["cut"].append(key)


def _can_be_cut(key: str, value: object) -> bool:
    if isinstance(value, str):
        return len(value) > 64 or (key.endswith(BYTES) and value != "")
    return isinstance(value, (list, dict)) and bool(value)


def _cut_list(items: list[Any]) -> list[Any]:
    """Half of a list; of a list of one text, half of the text."""
    if len(items) > 1:
        return items[: len(items) // 2]
    return [items[0][: len(items[0]) // 2]] if isinstance(items[0], str) and len(items[0]) > 64 else []
