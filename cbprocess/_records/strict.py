"""Texts and records that every reader of JSON takes.

A name of the system is bytes, and a str of it may hold what is not Unicode. Many readers refuse a whole file
for one such character. Here it becomes U+FFFD, and the exact bytes stand beside the text. Knows nothing of
events."""

from __future__ import annotations

import json

from .._checks import TEXT_ERRORS, wrong

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Union

    Bytes = Union[bytes, list[bytes]]

BYTES = "_bytes"

_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
# Half of a surrogate pair is written so. A whole pair is, too, and is looked at in vain.
HALF = "\\ud"


def put(record: dict[str, Any], key: str, text: str) -> None:
    """Adds a text; with its bytes, in base64, under KEY_bytes where it is not Unicode."""
    if text.isascii() or _is_unicode(text):
        record[key] = text
        return
    record[key], record[key + BYTES] = _replaced(text), _exact(text)


def put_list(record: dict[str, Any], key: str, texts: list[str]) -> None:
    """Adds a list of texts. KEY_bytes is a list of equal length then, with None for an exact text."""
    if all(text.isascii() or _is_unicode(text) for text in texts):
        record[key] = texts
        return
    record[key] = [text if _is_unicode(text) else _replaced(text) for text in texts]
    record[key + BYTES] = [None if _is_unicode(text) else _exact(text) for text in texts]


def text_of(record: dict[str, Any]) -> str:
    """The record as one line of JSON in ASCII, without its end. What is not Unicode is told as in line_of().
    Error 87 for a value that JSON does not have."""
    try:
        text = _encode(record)
        return _encode(made_strict(record)) if HALF in text else text
    except (TypeError, ValueError, RecursionError) as error:
        raise wrong(f"a record cannot be written as JSON: {error}") from None


def line_of(record: dict[str, Any]) -> bytes:
    """The record as one line of JSON Lines: ASCII, with a newline at its end. Text that is not Unicode is
    written with U+FFFD, and its exact bytes under KEY_bytes. The record itself stays as it is. Error 87 for a
    value that JSON does not have (a set, NaN)."""
    return text_of(record).encode("ascii") + b"\n"


def made_strict(record: dict[str, Any]) -> dict[str, Any]:
    """A copy of the record in which all texts are Unicode, at any depth."""
    result: dict[str, Any] = {}
    for key, value in record.items():
        name = key if not isinstance(key, str) or _is_unicode(key) else _replaced(key)
        if isinstance(value, str):
            put(result, name, value)
        elif isinstance(value, list) and value and all(isinstance(item, str) for item in value):
            put_list(result, name, value)
        else:
            result[name] = _strict_value(value)
    return result


def _strict_value(value: Any) -> Any:
    if isinstance(value, dict):
        return made_strict(value)
    if isinstance(value, (list, tuple)):
        return [_strict_value(item) for item in value]
    if isinstance(value, str) and not _is_unicode(value):
        return _replaced(value)
    return value


def exact(record: dict[str, Any], key: str) -> Bytes:
    """The exact bytes of a text of a record, of a list of texts a list of bytes. Error 87 if there is no
    such text, 13 if the bytes beside it are damaged, or if a fleet has cut the text."""
    value = record.get(key)
    beside = record.get(key + BYTES)
    cut = record.get("cut")
    if isinstance(cut, list) and key in cut:
        raise _invalid(f"{key} was cut")
    if isinstance(value, str):
        return value.encode("utf-8", TEXT_ERRORS) if beside is None else _decoded(beside, key)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        rows = [None] * len(value) if beside is None else beside
        if not isinstance(rows, list) or len(rows) != len(value):
            raise _damaged(key)
        return [
            text.encode("utf-8", TEXT_ERRORS) if data is None else _decoded(data, key)
            for text, data in zip(value, rows)
        ]
    raise wrong(f"the record has no text {key!r:.100}")


def _decoded(data: object, key: str) -> bytes:
    from base64 import b64decode

    try:
        return b64decode(data, validate=True)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise _damaged(key) from None


def _damaged(key: str) -> Exception:
    return _invalid(f"{key}{BYTES} is damaged")


def _invalid(text: str) -> Exception:
    from ..constants import ERROR_INVALID_DATA
    from ..errors import CBProcessError

    return CBProcessError(ERROR_INVALID_DATA, text)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _bytes_of(text: str) -> bytes:
    try:
        return text.encode("utf-8", TEXT_ERRORS)
    except UnicodeEncodeError:
        # This is no name of the system: any program can make such a str.
        return text.encode("utf-8", "surrogatepass")


def _replaced(text: str) -> str:
    return _bytes_of(text).decode("utf-8", "replace")


def _exact(text: str) -> str:
    from base64 import b64encode

    return b64encode(_bytes_of(text)).decode("ascii")
