"""Texts for people: what a name may do to a line or to a terminal is made visible. Knows nothing else."""

from __future__ import annotations


def printable(text: str) -> str:
    """The text with everything that could end a line or steer a terminal as an escape sequence."""
    if text.isprintable():
        return text
    return "".join(part if part.isprintable() else _escaped(part) for part in text)


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        # A byte of a name that is not UTF-8.
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")
