"""Texts for people: makes characters visible that could end a line or steer a terminal. Knows nothing
else."""

from __future__ import annotations


def printable(text: str) -> str:
    """The text with escape sequences in place of characters that could end a line or steer a terminal."""
    if text.isprintable():
        return text
    return "".join(part if part.isprintable() else _escaped(part) for part in text)


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        # This is a byte of a name that is not UTF-8.
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")
