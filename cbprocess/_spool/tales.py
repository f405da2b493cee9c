"""The lines that have told of losses. A line can be lost, too, and then its tale has to be told again.

Knows numbers and fields of records; nothing of files and threads."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Fields = dict[str, Any]


class Tales:
    """The fields of `lost` records, by the number of the line that told of them."""

    def __init__(self) -> None:
        self._lines: dict[int, Fields] = {}

    def told(self, number: int, fields: Fields) -> None:
        """Line `number` tells of this loss."""
        self._lines[number] = fields

    def forget(self, acked: int) -> None:
        """Lines up to this number are safe."""
        for number in [number for number in self._lines if number <= acked]:
            del self._lines[number]

    def again(self, first: int, last: int, *, is_covered: bool) -> list[Fields]:
        """The tales of lines `first` to `last`, which have gone, to be told again. is_covered: a new tale
        names all these numbers, so that older ones of this session say nothing more. Of another session the
        longest tale has all; counts without numbers are added up."""
        gone = [number for number in self._lines if first <= number <= last]
        others: dict[object, Fields] = {}
        tales: list[Fields] = []
        for number in gone:
            fields = self._lines.pop(number)
            if "lost_session" in fields:
                whose = fields["lost_boot"], fields["lost_session"]
                if whose not in others or others[whose]["last_number"] < fields["last_number"]:
                    others[whose] = fields
            elif fields["first_number"] is None:
                before = others.get(fields["reason"])
                count = fields["count"] + (before["count"] if before else 0)
                others[fields["reason"]] = {**fields, "count": count}
            elif not is_covered:
                tales.append(fields)
        return tales + list(others.values())
