"""Name rules against an oracle: a table over characters, which shares nothing with the matcher under test."""

from __future__ import annotations

import re
from ctypes import byref, c_uint32

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cbprocess import CBProcessError, constants
from cbprocess._binding import library

# Few different characters, so that patterns and names meet; of every encoded length, and bytes that are none.
CHARACTERS = ["a", "b", ".", "/", "é", "日", "😀", "\n", "[", "\\"]
NOT_TEXT = [b"\xff", b"\xc3", b"\xa9", b"\xe6\x97", b"\xed\xa0\x80", b"\xc0\x80", b"\xf5\x80\x80\x80"]
TEXTS = st.text(st.sampled_from(CHARACTERS), max_size=12)
PATTERNS = st.text(st.sampled_from([*CHARACTERS, "*", "*", "?"]), min_size=1, max_size=10)
NAMES = st.lists(
    st.one_of(st.sampled_from(CHARACTERS).map(str.encode), st.sampled_from(NOT_TEXT)), max_size=12
).map(b"".join)


def matches(pattern: bytes, name: bytes) -> bool:
    result = c_uint32(7)
    library.load().cbp_pattern_match(pattern, len(pattern), name, len(name), byref(result))
    assert result.value in (0, 1)
    return result.value == 1


def oracle(pattern: str, name: bytes) -> bool:
    """Whether pattern matches name, character by character; a byte that is part of no character is one."""
    characters = name.decode("utf-8", "surrogateescape")
    if "/" not in pattern:
        characters = characters.rpartition("/")[2]
    # reached[j]: the pattern so far matches the first j characters.
    reached = [True] + [False] * len(characters)
    for symbol in pattern:
        if symbol == "*":
            for position in range(1, len(reached)):
                reached[position] = reached[position] or reached[position - 1]
            continue
        reached = [False] + [
            reached[position] and symbol in ("?", character) for position, character in enumerate(characters)
        ]
    return reached[-1]


@settings(max_examples=3000, deadline=None)
@given(PATTERNS, NAMES)
@example("*", b"")
@example("?", "é".encode())
@example("??", "é".encode())
@example("*?é", "日é".encode())
@example("/*", b"/")
@example("a*b*a", b"abba/abba")
def test_patterns_match_as_the_oracle_says(pattern: str, name: bytes) -> None:
    assert matches(pattern.encode(), name) == oracle(pattern, name)


@settings(max_examples=1500, deadline=None)
@given(TEXTS, st.data())
def test_a_pattern_made_from_a_name_matches_it(name: str, data: st.DataObject) -> None:
    """Any part of a name may become *, any character ?."""
    _, slash, file_name = name.rpartition("/")
    whole = data.draw(st.booleans(), "whole path") and bool(slash)
    pattern = ""
    for character in name if whole else file_name:
        choice = data.draw(st.sampled_from(["same", "?", "*", "**"]), "place")
        pattern += character if choice == "same" or character == "/" else choice
    pattern += data.draw(st.sampled_from(["", "*"]), "end")
    if pattern:
        assert matches(pattern.encode(), name.encode())


@settings(max_examples=1500, deadline=None)
@given(NAMES.filter(lambda name: re.search(rb"[*?]", name) is None and len(name) > 0))
def test_without_wildcards_only_the_same_bytes_match(name: bytes) -> None:
    if b"/" in name:
        assert matches(name, name)
    assert matches(name.rpartition(b"/")[2] or b"*", name)
    assert not matches(name + b"x", name)


@settings(max_examples=1000, deadline=None)
@given(st.binary(min_size=1, max_size=60), st.binary(max_size=60))
def test_any_bytes_give_an_answer(pattern: bytes, name: bytes) -> None:
    try:
        matches(pattern, name)
    except CBProcessError as error:
        assert error.code == constants.ERROR_INVALID_PARAMETER and b"\0" in pattern


def test_many_stars_take_no_longer_than_pattern_times_name() -> None:
    pattern = b"*a" * 2000 + b"b"
    assert not matches(pattern, b"/" + b"a" * 4000)


@pytest.mark.parametrize("pattern", [b"", b"x" * (constants.PATTERN_SIZE_MAX + 1)])
def test_patterns_that_no_rule_can_have(pattern: bytes) -> None:
    with pytest.raises(CBProcessError) as raised:
        matches(pattern, b"x")
    assert raised.value.code == constants.ERROR_INVALID_PARAMETER
