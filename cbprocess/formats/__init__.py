"""Formats of other programs for records: `--format ecs`, `ocsf` and `otel`.

Each format is a module with a function document_of(record). Knows records as dicts; nothing of events as
objects, of files and of the command line."""

from __future__ import annotations

from .._checks import wrong
from ._fields import entity_id, event_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

__all__ = ("NAMES", "converter", "encoder", "entity_id", "event_id")

OWN = "cbprocess"
REPLACED = b"\\ufffd"
NAMES = (OWN, "ecs", "ocsf", "otel")


def converter(name: str) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """Gives the function that makes a document of the format from a record. It leaves the record as it is,
    takes any record of schema 1, and can be called in any thread.

    name: "cbprocess" (the record itself), "ecs", "ocsf" or "otel". Error 87 for any other."""
    if name == OWN:
        return dict
    if name not in NAMES:
        raise wrong(f"format must be one of {', '.join(NAMES)}, not {name!r:.100}")
    from importlib import import_module

    convert: Callable[[Mapping[str, Any]], dict[str, Any]] = import_module(f".{name}", __name__).document_of
    return convert


def encoder(name: str) -> Callable[[dict[str, Any]], bytes]:
    """Like converter(), but the function gives the document as one line of JSON, with its end of line, in
    ASCII. Error 87 as there; the function's, for a value that JSON does not have."""
    from .._records.strict import line_of, made_strict

    if name == OWN:
        return line_of
    convert = converter(name)

    def encode(record: dict[str, Any]) -> bytes:
        line = line_of(convert(record))
        # Text that is no Unicode is told beside it, and only the record has a place for that.
        return line_of(convert(made_strict(record))) if REPLACED in line else line

    return encode
