"""Reads JSON Lines of records again. A line may be anybody's: it has to be strict JSON, and its texts come
out as Unicode. Knows files; nothing of what is in a record but its schema number."""

from __future__ import annotations

import json
import os
from math import isfinite

from ..constants import ERROR_BAD_FORMAT, ERROR_INVALID_DATA
from ..errors import CBProcessError
from .strict import made_strict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any, BinaryIO, Union

    Source = Union[str, os.PathLike[str], BinaryIO]

SCHEMA = 1
# A record is flat, and a summary is not much deeper. What is much deeper stops the tools that read it.
DEPTH_MAX = 64


def read_lines(source: Source, *, torn: bool = True) -> Iterator[dict[str, Any]]:
    """The records of a file of JSON Lines, one at a time. source: a path, or an open binary file, which is
    read from where it stands and left open. torn: whether a last line without its end is left out, as a
    writer leaves it that was killed; with False it has to be whole. Empty lines do not count.

    Errors: CBProcessError 13 with the number of a line that is no JSON object; 11 for a record of a later
    schema, or of none; those of open() for a path."""
    if isinstance(source, (str, os.PathLike)):
        with open(source, "rb") as file:
            yield from _records(file, torn)
    else:
        yield from _records(source, torn)


def _records(lines: Iterable[bytes], torn: bool) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(lines, 1):
        if torn and not line.endswith(b"\n"):
            return
        if not line.strip():
            continue
        try:
            record = parsed(line)
        except ValueError as error:
            raise CBProcessError(ERROR_INVALID_DATA, f"line {number} is not JSON: {error}") from None
        if not isinstance(record, dict):
            raise CBProcessError(ERROR_INVALID_DATA, f"line {number} is no JSON object")
        schema = record.get("schema")
        if schema != SCHEMA or isinstance(schema, bool):
            known = f"its schema is {schema!r:.20}, and {SCHEMA} is the one that is known here"
            raise CBProcessError(ERROR_BAD_FORMAT, f"line {number} is no record: {known}")
        yield record


def parsed(line: bytes) -> Any:
    """The value of one line of JSON, which may be anybody's. Texts that are not Unicode are made so.
    ValueError for what strict readers refuse (NaN, a number beyond all, bytes that are not UTF-8), and for
    what is nested deeper than a record is."""
    try:
        value = json.loads(line.decode("utf-8-sig"), parse_constant=_no_constant, parse_float=_finite)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    if line.count(b"[") + line.count(b"{") > DEPTH_MAX and _is_deep(value):
        raise ValueError("it is nested too deep")
    # Half of a surrogate pair can only be written so.
    is_doubtful = b"\\ud" in line or b"\\uD" in line
    return made_strict(value) if is_doubtful and isinstance(value, dict) else value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _finite(digits: str) -> float:
    value = float(digits)
    if not isfinite(value):
        raise ValueError(f"{digits:.40} is beyond all numbers")
    return value


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(DEPTH_MAX):
        level = [
            inner
            for outer in level
            if isinstance(outer, (list, dict))
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return False
    return True
