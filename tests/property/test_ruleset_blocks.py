"""Compiled rule sets that nobody has built: changed blocks and arbitrary bytes are rejected, or right all the
same."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Optional

from hypothesis import assume, example, given
from hypothesis import strategies as st
from property import rule_oracles
from property.rule_engines import MATCH_ALL, MATCH_NAME, MATCH_PROCESS, Block, SourceRule
from property.rule_oracles import LINUX, MEANINGS, Meaning
from property.test_ruleset import DENY, Builds, both_meanings, examples, name_rules, rule_lists, unit_size
from property.test_ruleset import builds as builds

from cbprocess import constants


def check_against_its_own_texts(builds: Builds, block: Block, names: Sequence[str]) -> None:
    """An accepted block means what its rules and texts say, however it came about."""
    meaning = MEANINGS[block.header().comparison - 1]
    rules, patterns = block.rules(), block.patterns()
    texts = [block.text_of(pattern) for pattern in patterns]
    processes = [(process.process_id, process.start_time) for process in block.processes()]
    for name in filter(meaning.can_encode, names):
        by_name = [rule_oracles.matches(meaning, text, name) for text in texts]
        for process in [*processes, (0, 0)]:
            wanted = [
                rule.rule_id
                for rule in rules
                if rule.match == MATCH_ALL
                or (rule.match == MATCH_PROCESS and processes[rule.owner] == process)
                or (rule.match == MATCH_NAME and by_name[rule.owner])
            ]
            for engine in builds.engines:
                matches = engine.matches(block)
                matches.add_process(*process)
                matches.add_name(meaning.units(name), unit_size(meaning))
                assert matches.rule_ids() == wanted


@st.composite
def changed_numbers(draw: st.DrawFn, value: int, bits: int) -> int:
    """Another number: near, far, or with one bit flipped."""
    near = st.sampled_from([value - 1, value + 1, value - 2, value + 2, 0, 1, 2, 3, 4, 5, 64, 2**bits - 1])
    flipped = st.integers(0, bits - 1).map(lambda bit: value ^ (1 << bit))
    return draw(st.one_of(near, flipped, st.integers(0, 2**bits - 1))) % 2**bits


def change_field(draw: st.DrawFn, record: ctypes.Structure) -> None:
    name, kind = draw(st.sampled_from([field[:2] for field in record._fields_]))  # type: ignore
    holder: object = record
    position: Optional[int] = None
    if issubclass(kind, ctypes.Array):
        holder, position = getattr(record, name), draw(st.integers(0, kind._length_ - 1))
        kind = kind._type_
    bits = 8 * ctypes.sizeof(kind)
    if position is None:
        setattr(record, name, draw(changed_numbers(getattr(record, name), bits)))
    else:
        holder[position] = draw(changed_numbers(holder[position], bits))  # type: ignore


def change(draw: st.DrawFn, block: Block, count: int) -> None:
    """Changes some fields of some records, where they are in the unchanged block."""
    sections = [
        [block.header()],
        block.rules(),
        block.processes(),
        block.patterns(),
        block.pairs(),
        block.filter_words(),
        block.buckets(),
        block.texts(),
    ]
    for _ in range(count):
        records = draw(st.sampled_from([section for section in sections if len(section)]))
        at = draw(st.integers(0, len(records) - 1))
        if isinstance(records[at], ctypes.Structure):
            change_field(draw, records[at])
        else:
            records[at] = draw(changed_numbers(records[at], 8 * ctypes.sizeof(records._type_)))


@both_meanings
@examples(350)
@given(data=st.data())
def test_a_changed_block_is_rejected_or_right(builds: Builds, meaning: Meaning, data: st.DataObject) -> None:
    rules, names = data.draw(rule_lists(meaning, 3))
    original = builds.block(meaning, rules)
    block = Block(original.content())
    change(data.draw, block, data.draw(st.integers(1, 2)))
    answers = {engine.is_valid(block) for engine in builds.engines}
    assert len(answers) == 1
    if answers == {True}:
        check_against_its_own_texts(builds, block, names[:2])


@both_meanings
def test_every_flipped_bit_is_rejected_or_right(builds: Builds, meaning: Meaning) -> None:
    patterns = ["ls", "/bin/*-x?y", "*/b", "t@*", "*a?c*", "ls"]
    rules = [rule._replace(action=DENY, action_value=5) for rule in name_rules(meaning, patterns)]
    rules += [SourceRule(i, MATCH_PROCESS, process_id=i // 2) for i in (20, 21, 22)]
    rules += [SourceRule(30, MATCH_ALL), SourceRule(31, MATCH_ALL)]
    content = builds.block(meaning, rules).content()
    accepted_count = 0
    for bit in range(8 * len(content)):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        block = Block(bytes(changed))
        answers = {engine.is_valid(block) for engine in builds.engines}
        assert len(answers) == 1
        if answers == {True}:
            accepted_count += 1
            check_against_its_own_texts(builds, block, ["/usr/bin/ls", "/bin/abc-xzy"])
    assert 0 < accepted_count < 4 * len(content)


# Two patterns of which the keys have the same hash: both whole names, a name and an end, a name and a start.
SAME_HASHES = [
    (["l1eo0m", "53mua5"], "/bin/l1eo0m"),
    (["hk0gja", "*zri2ox"], "hk0gja"),
    (["c9dlw1", "w1asjm*"], "c9dlw1"),
]


def test_different_keys_with_the_same_hash(builds: Builds) -> None:
    """The hash of a key is one of 32 bits that anybody can compute."""
    for patterns, name in SAME_HASHES:
        block = builds.block(LINUX, name_rules(LINUX, patterns))
        first, second = block.patterns()
        assert first.hash == second.hash
        for engine in builds.engines:
            matches = engine.matches(block)
            assert matches.add_name(name.encode(), 1) == 1
            assert matches.indices() == [0]


@both_meanings
@examples(100)
@given(data=st.data())
def test_a_block_of_another_size_is_rejected(builds: Builds, meaning: Meaning, data: st.DataObject) -> None:
    rules, _ = data.draw(rule_lists(meaning, 3))
    content = builds.block(meaning, rules).content()
    size = data.draw(st.integers(0, len(content) + 9))
    assume(size != len(content))
    block = Block(content.ljust(size, b"\0")[:size])
    assert not any(engine.is_valid(block) for engine in builds.engines)


@examples(500)
@given(st.binary(max_size=300))
@example(b"")
def test_arbitrary_bytes_are_rejected(builds: Builds, content: bytes) -> None:
    assert not any(engine.is_valid(Block(content)) for engine in builds.engines)


def test_a_chain_for_all_has_rules_for_all(builds: Builds) -> None:
    block = builds.block(LINUX, name_rules(LINUX, ["/ls"]))
    block.header().first_rule = 1
    assert not any(engine.is_valid(block) for engine in builds.engines)


def test_a_block_has_to_be_aligned(builds: Builds) -> None:
    content = builds.block(LINUX, name_rules(LINUX, ["a"])).content()
    block = Block(b"\0\0\0\0" + content)
    for engine in builds.engines:
        assert engine.validate(block.address, len(content)) != 0
        assert engine.validate(block.address + 4, len(content)) == constants.ERROR_INVALID_DATA
