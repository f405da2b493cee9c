"""The compiled rule set against two oracles: the library's own sets of patterns, the engine as programs have
it, and the engine without libc as a kernel driver has it give the same answer."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from property import rule_engines, rule_oracles
from property.rule_engines import (
    MATCH_ALL,
    MATCH_NAME,
    MATCH_PROCESS,
    Block,
    Builder,
    Engine,
    LibrarySet,
    Matches,
    SourceRule,
    Text,
)
from property.rule_oracles import LINUX, MEANINGS, UTF16, WINDOWS, Meaning
from property.rule_strategies import pattern_sets

from cbprocess import CBProcessError, constants

ASK, IGNORE, ALLOW, DENY, STRIP = range(5)
# The library that tools/ruleset_coverage.py has built: it looks for each kind of case, not for many of each.
COVERED_BUILD = os.environ.get("CBPROCESS_RULESET_BUILD")
both_meanings = pytest.mark.parametrize("meaning", MEANINGS, ids=["linux", "windows"])


def examples(count: int) -> settings:
    return settings(max_examples=count // 4 if COVERED_BUILD else count, deadline=None)


class Builds:
    """The engine with the core's builder, and the one that stands alone."""

    def __init__(self, hosted: Path, freestanding: Path) -> None:
        self.core = Builder(hosted)
        self.engines: list[Engine] = [self.core, Engine(freestanding)]

    def block(self, meaning: Meaning, rules: Sequence[SourceRule]) -> Block:
        error, block = self.core.build(meaning.comparison, rules)
        assert error == 0 and block is not None
        assert all(engine.is_valid(block) for engine in self.engines)
        return block


@pytest.fixture(scope="module")
def builds(checkout: Path, compile_c: object) -> Builds:
    rules, core = checkout / "driver/rules", checkout / "native/src/core"
    sources = [str(rules / name) for name in rule_engines.RULES_SOURCES]
    others = ("driver/protocol", "native/src/seams", "native/include")
    folders = (rules, core, *(checkout / name for name in others))
    shared = ["-shared", "-fPIC", *(f"-I{folder}" for folder in folders)]
    hosted = COVERED_BUILD
    if hosted is None:
        others = [str(core / name) for name in rule_engines.CORE_SOURCES[1:]]
        hosted = compile_c(core / rule_engines.CORE_SOURCES[0], *others, *sources, *shared)  # type: ignore
    alone = compile_c(Path(sources[0]), *sources[1:], *shared, *rule_engines.FREESTANDING)  # type: ignore
    return Builds(Path(hosted), alone)


def unit_size(meaning: Meaning) -> int:
    return 2 if meaning.comparison == UTF16 else 1


def name_rules(meaning: Meaning, patterns: Sequence[str]) -> list[SourceRule]:
    return [SourceRule(i + 1, pattern=meaning.encode(pattern)) for i, pattern in enumerate(patterns)]


@both_meanings
@examples(250)
@given(data=st.data())
def test_every_route_says_what_the_oracles_say(builds: Builds, meaning: Meaning, data: st.DataObject) -> None:
    patterns, names = data.draw(pattern_sets(meaning))
    block = builds.block(meaning, name_rules(meaning, patterns))
    with LibrarySet(meaning, patterns) as in_library:
        for name in names:
            wanted = [i for i, pattern in enumerate(patterns) if rule_oracles.matches(meaning, pattern, name)]
            by_re = [
                i for i, pattern in enumerate(patterns) if rule_oracles.matches_by_re(meaning, pattern, name)
            ]
            assert by_re == wanted
            assert in_library.matches(name, len(patterns)) == (len(wanted), wanted)
            assert in_library.matches(name, 1) == (len(wanted), wanted[:1])
            for engine in builds.engines:
                matches = engine.matches(block)
                assert matches.add_name(meaning.units(name), unit_size(meaning)) == len(wanted)
                assert matches.indices() == wanted
                assert matches.add_name(meaning.units(name), unit_size(meaning)) == 0


@pytest.mark.parametrize(
    ("meaning", "symbols"),
    [(LINUX, "a/\udcc3\udca9"), (WINDOWS, "A\\\ud83d\ude00")],
    ids=["linux", "windows"],
)
def test_everything_that_is_short(builds: Builds, meaning: Meaning, symbols: str) -> None:
    """Every pattern of up to three symbols, wildcards and parts of one character among them, against every
    name of up to four."""
    patterns = ["".join(some) for size in (1, 2, 3) for some in product("*?" + symbols, repeat=size)]
    block = builds.block(meaning, name_rules(meaning, patterns))
    for name in ("".join(some) for size in range(5) for some in product(symbols, repeat=size)):
        wanted = [i for i, pattern in enumerate(patterns) if rule_oracles.matches(meaning, pattern, name)]
        for engine in builds.engines:
            matches = engine.matches(block)
            matches.add_name(meaning.units(name), unit_size(meaning))
            assert matches.indices() == wanted, name


def test_what_bytes_are_one_character(builds: Builds) -> None:
    """Each first byte with seconds from both sides of every limit."""
    patterns = ["?", "??", "???", "????"]
    block = builds.block(LINUX, name_rules(LINUX, patterns))
    seconds = (0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0)
    rests = (b"", b"\x80", b"\x80\xbf", b"\x80a", b"a")
    for first, second, rest in product(range(0x80, 0x100), seconds, rests):
        text = bytes((first, second)) + rest
        name = LINUX.decode(text)
        wanted = [i for i, pattern in enumerate(patterns) if rule_oracles.matches(LINUX, pattern, name)]
        for engine in builds.engines:
            matches = engine.matches(block)
            matches.add_name(text, 1)
            assert matches.indices() == wanted, text


@both_meanings
@examples(150)
@given(data=st.data())
def test_one_pattern_against_one_name(builds: Builds, meaning: Meaning, data: st.DataObject) -> None:
    """A pattern alone says what the whole block says."""
    patterns, names = data.draw(pattern_sets(meaning, 4))
    block = builds.block(meaning, name_rules(meaning, patterns))
    size, comparison = unit_size(meaning), block.header().comparison
    for name in names:
        units = meaning.units(name)
        name_text = Text(units, len(units) // size, comparison)
        for pattern in patterns:
            wanted = rule_oracles.matches(meaning, pattern, name)
            text = meaning.units(pattern)
            for engine in builds.engines:
                assert engine.comparison(block.address) == comparison
                assert engine.matches_path(Text(text, len(text) // size, comparison), name_text) == wanted
        for engine in builds.engines:
            assert not engine.matches_path(Text(b"", 0, comparison), name_text)


@examples(50)
@given(count=st.integers(1, 300), chosen=st.sets(st.integers(0, 299), max_size=20))
def test_rules_are_marked_by_index(builds: Builds, count: int, chosen: set[int]) -> None:
    rules = [SourceRule(i + 1, MATCH_PROCESS, process_id=7, action=ASK) for i in range(count)]
    block = builds.block(LINUX, rules)
    for engine in builds.engines:
        matches = engine.matches(block)
        for index in chosen:
            if index < count:
                engine.mark(block.address, index, matches.words)
        assert matches.indices() == sorted(index for index in chosen if index < count)


@both_meanings
@examples(150)
@given(data=st.data())
def test_names_add_up(builds: Builds, meaning: Meaning, data: st.DataObject) -> None:
    """A process goes by two names; both mark the same bitmap."""
    patterns, names = data.draw(pattern_sets(meaning))
    block = builds.block(meaning, name_rules(meaning, patterns))
    matches = builds.core.matches(block)
    expected: set[int] = set()
    for name in names:
        found = {i for i, pattern in enumerate(patterns) if rule_oracles.matches(meaning, pattern, name)}
        assert matches.add_name(meaning.units(name), unit_size(meaning)) == len(found - expected)
        expected |= found
        assert matches.indices() == sorted(expected)


# ---- Rules of every kind ----

ACTIONS = st.one_of(
    st.tuples(st.sampled_from([ASK, IGNORE, ALLOW]), st.just(0)),
    st.tuples(st.just(DENY), st.sampled_from([2, 5, 8])),
    st.tuples(st.just(STRIP), st.sampled_from([1, 2, 3])),
)
PROCESSES = st.tuples(st.sampled_from([1, 2, 3, 2**32 - 1]), st.sampled_from([0, 1, 2, 2**64 - 1]))


@st.composite
def rule_lists(draw: st.DrawFn, meaning: Meaning, most: int = 16) -> tuple[list[SourceRule], list[str]]:
    patterns, names = draw(pattern_sets(meaning, most))
    subjects: list[tuple[int, object]] = [(MATCH_NAME, pattern) for pattern in patterns]
    subjects += [(MATCH_PROCESS, process) for process in draw(st.lists(PROCESSES, max_size=5))]
    subjects += [(MATCH_ALL, None)] * draw(st.integers(0, 2))
    some_id, count = st.integers(1, 2**32 - 1), len(subjects)
    ids = draw(st.lists(some_id, min_size=count, max_size=count, unique=True))
    rules = []
    for rule_id, (match, subject) in zip(ids, draw(st.permutations(subjects))):
        action, value = draw(ACTIONS)
        process = subject if isinstance(subject, tuple) else (0, 0)
        pattern = meaning.encode(subject) if isinstance(subject, str) else b""
        flags = draw(st.integers(0, 3))
        rules.append(SourceRule(rule_id, match, flags, action, value, *process, pattern))
    return rules, names


def stance_of(rules: Sequence[SourceRule]) -> tuple[int, ...]:
    """What rules, in the order of their ids, add up to: the first refusal's code, all rights together. Those
    for all stand apart."""
    actions = {rule.action for rule in rules}
    is_on_list = any(rule.action == ALLOW and rule.match != MATCH_ALL for rule in rules)
    denying = [rule for rule in rules if rule.action == DENY]
    denials = [(rule.action_value, rule.rule_id) for rule in denying if rule.match != MATCH_ALL]
    denials_for_all = [(rule.action_value, rule.rule_id) for rule in denying if rule.match == MATCH_ALL]
    mask = 0
    for rule in rules:
        mask |= rule.action_value if rule.action == STRIP else 0
    return (
        *(IGNORE in actions, ASK in actions, ALLOW in actions, is_on_list),
        *(denials[0] if denials else (0, 0)),
        *(denials_for_all[0] if denials_for_all else (0, 0)),
        mask,
    )


def check_retired(
    engine: Engine,
    block: Block,
    matches: Matches,
    rules: Sequence[SourceRule],
    wanted: Sequence[SourceRule],
    gone: SourceRule,
) -> None:
    """A rule that has been taken out of force is matched and found as before, and adds up to nothing."""
    rest = Block(block.content())
    engine.retire(rest.address, sorted(rules).index(gone))
    assert engine.find(rest.address, gone.rule_id) == sorted(rules).index(gone)
    assert engine.rule_at(rest.address, sorted(rules).index(gone))[0].flags == 0
    there = engine.matches(rest)
    for index in matches.indices():
        there.mark(index)
    assert there.stance() == stance_of([rule for rule in wanted if rule is not gone])


@both_meanings
@examples(150)
@given(data=st.data())
def test_rules_of_every_kind(builds: Builds, meaning: Meaning, data: st.DataObject) -> None:
    rules, names = data.draw(rule_lists(meaning))
    process = data.draw(PROCESSES)
    block = builds.block(meaning, rules)
    wanted = [
        rule
        for rule in sorted(rules)
        if rule.match == MATCH_ALL
        or (rule.match == MATCH_PROCESS and (rule.process_id, rule.start_time) == process)
        or (
            rule.match == MATCH_NAME and rule_oracles.matches(meaning, meaning.decode(rule.pattern), names[0])
        )
    ]
    for engine in builds.engines:
        matches = engine.matches(block)
        added = matches.add_process(*process) + matches.add_name(meaning.units(names[0]), unit_size(meaning))
        assert added == len(wanted) and matches.add_process(*process) == 0
        assert matches.rule_ids() == [rule.rule_id for rule in wanted]
        assert matches.stance() == stance_of(wanted)
        if rules:
            gone = data.draw(st.sampled_from(sorted(rules)), "gone")
            check_retired(engine, block, matches, rules, wanted, gone)
        others = [rule for rule in wanted if rule.action != ALLOW]
        assert matches.keep(allowing=False) == len(others)
        assert matches.rule_ids() == [rule.rule_id for rule in others]
        matches = engine.matches(block)
        matches.add_process(*process)
        matches.add_name(meaning.units(names[0]), unit_size(meaning))
        allowing = [rule for rule in wanted if rule.action == ALLOW]
        assert matches.keep(allowing=True) == len(allowing)
        assert matches.rule_ids() == [rule.rule_id for rule in allowing]
        for index, rule in enumerate(sorted(rules)):
            assert engine.find(block.address, rule.rule_id) == index
            record = engine.rule_at(block.address, index)[0]
            assert (record.rule_id, record.match, record.flags) == (rule.rule_id, rule.match, rule.flags)
            assert (record.action, record.action_value) == (rule.action, rule.action_value)
            assert engine.process_of_rule(block, index) == (rule.process_id, rule.start_time)
        assert engine.comparison(block.address) == meaning.comparison
        ids = {rule.rule_id for rule in rules}
        for other in (0, 1, 77, 2**32 - 1):
            if other not in ids:
                assert engine.find(block.address, other) == len(rules)


@examples(40)
@given(st.sets(st.integers(0, 9000), max_size=40), st.integers(8900, 9300))
def test_marks_in_large_sets(builds: Builds, chosen: set[int], count: int) -> None:
    """Bitmaps of more than one word, and more than one word of their summary."""
    patterns = [f"tool{i if i in chosen else 'x'}-{i % 7}*" for i in range(count)]
    block = builds.block(LINUX, name_rules(LINUX, patterns))
    for engine in builds.engines:
        matches = engine.matches(block)
        expected = {i for i in chosen if i < count}
        for i in chosen:
            matches.add_name(f"/bin/tool{i}-{i % 7}".encode(), 1)
        assert matches.indices() == sorted(expected)
        marked = engine.matches(block)
        for i in expected:
            marked.mark(i)
            marked.mark(i)
        assert marked.indices() == sorted(expected)


def test_every_unit_folds_to_its_simple_upper_case(builds: Builds) -> None:
    units = [unit for unit in range(1, 0x10000) if chr(unit) not in "*?/\\"]
    folded = sorted({rule_oracles.upper(chr(unit)) for unit in units})
    with LibrarySet(WINDOWS, folded) as in_library:
        for unit in units:
            count, indices = in_library.matches(chr(unit), 4)
            found = [folded[index] for index in indices]
            wanted = rule_oracles.upper(chr(unit))
            if unicodedata.unidata_version == "14.0.0" or wanted != chr(unit) != found[0]:
                assert (count, found) == (1, [wanted]), hex(unit)


def test_units_about_the_last_letter_fold(builds: Builds) -> None:
    names = [chr(unit) for unit in range(0xFF30, 0x10000)]
    folded = sorted({rule_oracles.upper(name) for name in names})
    block = builds.block(WINDOWS, name_rules(WINDOWS, folded))
    for engine in builds.engines:
        for name in names:
            matches = engine.matches(block)
            assert matches.add_name(WINDOWS.units(name), 2) == 1
            assert matches.indices() == [folded.index(rule_oracles.upper(name))], hex(ord(name))


# ---- What is no set of rules ----


@pytest.mark.parametrize(
    "rules",
    [
        [SourceRule(0, MATCH_ALL)],
        [SourceRule(1, MATCH_ALL), SourceRule(1, MATCH_ALL)],
        [SourceRule(1, 3)],
        [SourceRule(1, MATCH_ALL, flags=4)],
        [SourceRule(1, MATCH_ALL, action=5)],
        [SourceRule(1, MATCH_ALL, action=DENY)],
        [SourceRule(1, MATCH_ALL, action=ASK, action_value=1)],
        [SourceRule(1, pattern=b"")],
        [SourceRule(1, pattern=b"a\0b")],
        [SourceRule(1, pattern=b"x" * 4097)],
    ],
)
def test_what_no_rule_can_be(builds: Builds, rules: list[SourceRule]) -> None:
    error, _ = builds.core.build(LINUX.comparison, rules)
    assert error == constants.ERROR_INVALID_PARAMETER


@pytest.mark.parametrize("pattern", [b"\x80", b"\xc3", b"\xc0\xaf", b"\xe0\x80\x80", b"\xf5\x80\x80\x80"])
def test_patterns_that_are_no_text(builds: Builds, pattern: bytes) -> None:
    error, _ = builds.core.build(WINDOWS.comparison, [SourceRule(1, pattern=pattern)])
    assert error == constants.ERROR_INVALID_PARAMETER


@pytest.mark.parametrize(("meaning", "size"), [(LINUX, 4096), (WINDOWS, 32767)])
def test_the_longest_pattern(builds: Builds, meaning: Meaning, size: int) -> None:
    text = "/" + "a" * (size - 1)
    block = builds.block(meaning, name_rules(meaning, [text, "*b" + text[2:], text[:-1] + "*"]))
    for engine in builds.engines:
        matches = engine.matches(block)
        matches.add_name(meaning.units(text), unit_size(meaning))
        assert matches.indices() == [0, 2]
    error, _ = builds.core.build(meaning.comparison, [SourceRule(1, pattern=b"a" * (size + 1))])
    assert error == constants.ERROR_INVALID_PARAMETER


def test_the_library_refuses_what_no_pattern_can_be() -> None:
    for texts in ([""], ["a\0"], ["ok", "x" * 4097]):
        with pytest.raises(CBProcessError) as raised:
            LibrarySet(LINUX, texts)
        assert raised.value.code == constants.ERROR_INVALID_PARAMETER
