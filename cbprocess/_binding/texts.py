"""Texts for people and for shells: makes characters visible that could end a line or steer a terminal, and
quotes arguments. Knows nothing else."""

from __future__ import annotations

# A shell takes these characters as they are.
SAFE_CHARACTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@%+=:,./-"


def quoted(arguments: list[str]) -> str:
    """Arguments as one line that a shell would split into them again: what shlex.join() gives, at half the
    cost."""
    # Nothing is left of a word of safe characters.
    return " ".join(
        [
            word if word and not word.strip(SAFE_CHARACTERS) else "'" + word.replace("'", "'\"'\"'") + "'"
            for word in arguments
        ]
    )


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
