"""Patterns and names that hit each other often: both are made from the same few names and characters, and
each kind of key, short and long, comes up."""

from __future__ import annotations

from hypothesis import strategies as st
from property.rule_oracles import LINUX, WINDOWS, Meaning

# Of every encoded length; and what is no character: stray bytes, of which some make one together, and halves
# of surrogate pairs. Letters with a case, with one of another length, and with one out of a unit's reach.
CHARACTERS = {
    LINUX: [*"aAb.-/*?", *"é日😀", *"\udcc3\udca9\udce6\udc97\udcff\udcf4\udced", "\udca9" * 4],
    WINDOWS: [*"aAbB.-/\\*?", *"éÉßIS\u0131\u017fǆǅǄ日😀𐐨𐐀", *"\ud83d\ude00"],
}
WORDS = ["ls", "tool", "Tool", "python3.11", "-helper", "x" * 30, "abcdefgh" * 9]
FOLDERS = ["/", "/usr/bin/", "/opt/" + "long-" * 12 + "/", "", "C:\\bin\\"]


def characters(meaning: Meaning, *, wild: bool) -> st.SearchStrategy[str]:
    known = CHARACTERS[meaning]
    return st.sampled_from([*known, "*", "*", "*", "?", "?"] if wild else known)


def names(meaning: Meaning) -> st.SearchStrategy[str]:
    noise = st.lists(characters(meaning, wild=False), max_size=6).map("".join)
    words = st.lists(st.sampled_from(WORDS), max_size=3).map("".join)
    return st.one_of(
        st.builds(lambda *parts: "".join(parts), st.sampled_from(FOLDERS), words, noise),
        st.builds(lambda *parts: "".join(parts), noise, st.sampled_from(FOLDERS), words),
    )


@st.composite
def patterns_of_name(draw: st.DrawFn, meaning: Meaning, name: str) -> str:
    """A pattern that matches the name, or nearly: what it shows may be the file name only, parts have become
    wildcards, it may be cut inside a character, and one character may be another."""
    start = 0
    if draw(st.booleans()):
        start = 1 + max(name.rfind(separator) for separator in meaning.separators)
    text = name[start:]
    if draw(st.booleans()):
        text = meaning.pieces(text)
    for _ in range(draw(st.integers(0, 3))):
        first = draw(st.integers(0, len(text)))
        end = draw(st.integers(first, len(text)))
        text = text[:first] + draw(st.sampled_from(["*", "*", "?", "**"])) + text[end:]
    if text and draw(st.integers(0, 4)) == 0:
        at = draw(st.integers(0, len(text) - 1))
        text = text[:at] + draw(characters(meaning, wild=False)) + text[at + 1 :]
    return text or "*"


def patterns(meaning: Meaning, name: str) -> st.SearchStrategy[str]:
    noise = st.lists(characters(meaning, wild=True), min_size=1, max_size=8).map("".join)
    return st.one_of(patterns_of_name(meaning, name), patterns_of_name(meaning, name), noise)


@st.composite
def pattern_sets(draw: st.DrawFn, meaning: Meaning, most: int = 16) -> tuple[list[str], list[str]]:
    """Patterns and names to hold against them."""
    some = draw(st.lists(names(meaning), min_size=1, max_size=4))
    found = draw(st.lists(st.sampled_from(some).flatmap(lambda name: patterns(meaning, name)), max_size=most))
    near = [patterns(meaning, name) for name in some]
    others = draw(st.lists(st.one_of(names(meaning), *near), max_size=3))
    return [pattern for pattern in found if "\0" not in pattern], [*some, *others, ""]
