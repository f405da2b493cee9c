"""What name patterns mean, written twice from the definition and not from the code: a table of which
beginnings match, and a translation for `re`. Names and patterns are text of characters; how bytes and UTF-16
units become characters stands here too."""

from __future__ import annotations

import re
from typing import NamedTuple

BYTES = 1
UTF16 = 2


class Meaning(NamedTuple):
    """One of the two comparisons, and how its texts are written."""

    comparison: int
    separators: str
    encoding_errors: str

    def can_encode(self, text: str) -> bool:
        """Not if the text was made for the other comparison: each has surrogates of its own."""
        try:
            return self.units(text) is not None
        except UnicodeEncodeError:
            return False

    def encode(self, text: str) -> bytes:
        """A text as the public functions take it."""
        return text.encode("utf-8", self.encoding_errors)

    def decode(self, content: bytes) -> str:
        """The text of what encode() gave, or of any bytes that it could give."""
        return content.decode("utf-8", self.encoding_errors)

    def units(self, text: str) -> bytes:
        """A text as a compiled rule set takes a name: bytes, or UTF-16 units."""
        return text.encode("utf-16-le", "surrogatepass") if self.comparison == UTF16 else self.encode(text)

    def pieces(self, text: str) -> str:
        """Gives the text with each byte or unit on its own, so that it can be cut inside a character."""
        if self.comparison == BYTES:
            return "".join(chr(byte if byte < 0x80 else 0xDC00 + byte) for byte in self.encode(text))
        units = text.encode("utf-16-le", "surrogatepass")
        return "".join(chr(low | high << 8) for low, high in zip(units[::2], units[1::2]))

    def characters(self, text: str) -> str:
        """The text with each character in the form in which characters are compared."""
        if self.comparison == BYTES:
            # What stands for stray bytes may have become a character between its neighbours.
            return self.encode(text).decode("utf-8", "surrogateescape")
        joined = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
        return "".join(upper(character) for character in joined).replace("/", "\\")


LINUX = Meaning(BYTES, "/", "surrogateescape")
WINDOWS = Meaning(UTF16, "/\\", "surrogatepass")
MEANINGS = [LINUX, WINDOWS]


def upper(character: str) -> str:
    """The simple upper-case mapping, within the plane that one UTF-16 unit reaches."""
    if ord(character) > 0xFFFF:
        return character
    for candidate in (character.upper(), character.title()):
        if len(candidate) == 1:
            return candidate
    return character


def held_against(meaning: Meaning, pattern: str, name: str) -> str:
    """The part of the name that counts for this pattern."""
    if any(separator in pattern for separator in meaning.separators):
        return name
    return re.split(f"[{re.escape(meaning.separators)}]", name)[-1]


def matches(meaning: Meaning, pattern: str, name: str) -> bool:
    """By a table: reached[i] says whether the pattern so far matches the first i characters."""
    characters = meaning.characters(held_against(meaning, pattern, name))
    reached = [True] + [False] * len(characters)
    for symbol in meaning.characters(pattern):
        if symbol == "*":
            for position in range(1, len(reached)):
                reached[position] = reached[position] or reached[position - 1]
        else:
            reached = [False] + [
                reached[position] and symbol in ("?", character)
                for position, character in enumerate(characters)
            ]
    return reached[-1]


def matches_by_re(meaning: Meaning, pattern: str, name: str) -> bool:
    """By a regular expression."""
    expression = "".join(
        {"*": ".*", "?": "."}.get(symbol, re.escape(symbol))
        for symbol in re.sub(r"\*+", "*", meaning.characters(pattern))
    )
    characters = meaning.characters(held_against(meaning, pattern, name))
    return re.fullmatch(expression, characters, re.DOTALL) is not None
