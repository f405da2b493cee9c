"""The lines that have told of losses. A line can be lost, too, and then its tale has to be told again: by its
own session, or by the one that removes it.

Knows numbers and fields of records, and their lines; nothing of files and threads."""

from __future__ import annotations

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    Fields = dict[str, Any]

# So many tales of other sessions are told again by name, by the size of segments. Of older ones only the
# counts are: otherwise a small spool of short sessions would hold nothing but tales of those before. A
# quarter of a segment has room for all, so that they bring about no look at the bound that removes such
# tales.
NAMED_MAX = 1000
NAMED_BYTES = 4 * 512
MARK = b'"event":"lost"'
NONE = type(None)
# The fields of a tale, and those that only some have.
TYPES = {"reason": (str,), "count": (int,), "first_number": (int, NONE), "last_number": (int, NONE)}
MORE_TYPES = {"lost_boot": str, "lost_session": str, "lost_sessions": int}


class Tales:
    """The fields of `lost` records, by the number of the line that told of them.

    share: the bytes of a segment; whoever looks at the bound sets it."""

    def __init__(self, share: int) -> None:
        self._lines: dict[int, Fields] = {}
        self.share = share

    def told(self, number: int, fields: Fields) -> None:
        """Line `number` tells of this loss."""
        self._lines[number] = fields

    def forget(self, acked: int) -> None:
        """Lines up to this number are safe, or others tell what they said."""
        for number in [number for number in self._lines if number <= acked]:
            del self._lines[number]

    def again(self, first: int, last: int, *, is_covered: bool) -> list[Fields]:
        """The tales of lines `first` to `last`, which have gone, to be told again. is_covered: a new tale
        names all these numbers, so that older ones of this session say nothing more."""
        gone = [self._lines.pop(number) for number in list(self._lines) if first <= number <= last]
        if is_covered:
            gone = [fields for fields in gone if "lost_session" in fields or not _is_of_numbers(fields)]
        return self.together(gone)

    def together(self, tales: Iterable[Fields]) -> list[Fields]:
        """These tales in as few as say all of it: ranges that touch are one, counts without numbers are added
        up, and the oldest tales of other sessions beyond a limit lose their names."""
        return together(tales, min(NAMED_MAX, self.share // NAMED_BYTES))


def tales_in(data: bytes, acked: int) -> list[Fields]:
    """What the lines of a segment that goes tell of other sessions, and of losses without numbers. Of its
    own session whoever removes it tells. Lines up to the number `acked` are safe."""
    found = []
    at = data.find(MARK)
    while at >= 0:
        begin, end = data.rfind(b"\n", 0, at) + 1, data.find(b"\n", at)
        at = -1 if end < 0 else data.find(MARK, end)
        fields = _tale_of(data[begin:end], acked) if end >= 0 else None
        if fields is not None:
            found.append(fields)
    return found


def _tale_of(line: bytes, acked: int) -> Fields | None:
    try:
        record = json.loads(line)
        fields = {key: record[key] for key in TYPES}
        is_tale = record["event"] == "lost" and all(isinstance(fields[key], TYPES[key]) for key in TYPES)
        fields.update({key: record[key] for key in MORE_TYPES if record.get(key) is not None})
        number, boot, session = record["number"], record["boot"], record["session"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    # A program may have added any record of this name. A killed session's has no count, and is about its end.
    is_tale = is_tale and all(isinstance(fields.get(key, kind()), kind) for key, kind in MORE_TYPES.items())
    if not is_tale or not isinstance(number, int) or number <= acked:
        return None
    if "lost_session" not in fields and "lost_sessions" not in fields:
        if _is_of_numbers(fields):
            return None
        # The driver's losses are those of this session.
        fields.update(lost_boot=boot, lost_session=session)
    return fields


def together(tales: Iterable[Fields], named_max: int) -> list[Fields]:
    """Tales.together()."""
    groups: dict[object, list[Fields]] = {}
    for fields in tales:
        whose = *map(fields.get, ("reason", "lost_boot", "lost_session")), _is_of_numbers(fields)
        kind = (*whose, "lost_sessions" in fields)
        # The session that was told of last stands at the end.
        groups[kind] = [*groups.pop(kind, []), fields]
    found = [
        fields
        for every in groups.values()
        for fields in (_ranges(every) if _is_of_numbers(every[0]) else [_sum(every)])
    ]
    named = [fields for fields in found if "lost_session" in fields]
    if len(named) <= named_max:
        return found
    nameless = [fields for fields in found if "lost_session" not in fields]
    return together([*nameless, *map(_without_name, named[:-named_max])], named_max) + named[-named_max:]


def _is_of_numbers(fields: Fields) -> bool:
    return isinstance(fields["first_number"], int) and isinstance(fields["last_number"], int)


def _ranges(tales: list[Fields]) -> list[Fields]:
    """Tales of one session, whose ranges neither touch nor overlap."""
    result: list[Fields] = []
    for fields in sorted(tales, key=lambda each: (each["first_number"], each["last_number"])):
        if result and fields["first_number"] <= result[-1]["last_number"] + 1:
            first = result[-1]["first_number"]
            last = max(result[-1]["last_number"], fields["last_number"])
            result[-1] = {**fields, "count": last - first + 1, "first_number": first, "last_number": last}
        else:
            result.append(fields)
    return result


def _sum(tales: list[Fields]) -> Fields:
    total = {**tales[-1], "count": sum(fields["count"] for fields in tales)}
    if "lost_sessions" in total:
        total["lost_sessions"] = sum(fields["lost_sessions"] for fields in tales)
    return total


def _without_name(fields: Fields) -> Fields:
    numbers = {"first_number": None, "last_number": None}
    return {"reason": fields["reason"], "count": fields["count"], **numbers, "lost_sessions": 1}
