"""Reads JSON Lines of records again. Knows files; nothing of what is in a record but its schema number."""

from __future__ import annotations

import json
import os

from ..constants import ERROR_BAD_FORMAT, ERROR_INVALID_DATA
from ..errors import CBProcessError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any, BinaryIO, Union

    Source = Union[str, os.PathLike[str], BinaryIO]

SCHEMA = 1


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
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise CBProcessError(ERROR_INVALID_DATA, f"line {number} is not JSON: {error}") from None
        if not isinstance(record, dict):
            raise CBProcessError(ERROR_INVALID_DATA, f"line {number} is no JSON object")
        schema = record.get("schema")
        if schema != SCHEMA or isinstance(schema, bool):
            known = f"its schema is {schema!r:.20}, and {SCHEMA} is the one that is known here"
            raise CBProcessError(ERROR_BAD_FORMAT, f"line {number} is no record: {known}")
        yield record
