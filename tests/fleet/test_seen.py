"""Doubles and gaps by numbers: against a set of numbers, which is the definition."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cbprocess.fleet.seen import Numbers, Seen

KEY = ("web1", "boot", "session")
spans = st.tuples(st.integers(1, 60), st.integers(0, 9)).map(lambda pair: (pair[0], pair[0] + pair[1]))


@given(st.lists(spans, max_size=40))
def test_numbers_are_a_set(given_spans: list[tuple[int, int]]) -> None:
    numbers, model = Numbers(), set()
    for first, last in given_spans:
        fresh = set(range(first, last + 1)) - model
        assert numbers.add(first, last) == len(fresh)
        model |= fresh
    assert len(numbers) == len(model)
    assert (numbers.first, numbers.last) == ((min(model), max(model)) if model else (0, 0))
    assert {n for start, end in numbers.ranges() for n in range(start, end + 1)} == model
    missing = {n for start, end in numbers.holes(1) for n in range(start, end + 1)}
    assert missing == set(range(1, max(model, default=0) + 1)) - model
    # As few ranges as possible: nearly ordered numbers take nearly no memory.
    assert all(
        following[0] > before[1] + 1 for before, following in zip(numbers.ranges(), numbers.ranges()[1:])
    )


@given(st.lists(st.integers(1, 40), max_size=80), st.lists(spans, max_size=5), st.booleans())
def test_seen_against_the_definition(came: list[int], told: list[tuple[int, int]], from_start: bool) -> None:
    seen = Seen(from_start)
    for position, number in enumerate(came):
        assert seen.is_new(KEY, number) == (number not in came[:position])
    for first, last in told:
        seen.tell_lost(KEY, first, last, 999)
    lost = {n for first, last in told for n in range(first, last + 1)}
    assert seen.counts.events == len(set(came)) and seen.counts.doubles == len(came) - len(set(came))
    assert seen.told() == len(lost - set(came))
    # A reader that began in the middle knows nothing of what was before its first event.
    begin = 1 if from_start else min(came, default=1000)
    end = max([*came, *lost], default=0)
    assert seen.missing() == len(set(range(begin, end + 1)) - set(came) - lost)


def test_sessions_are_apart() -> None:
    seen = Seen()
    for key in (("a", "b", "c"), ("a", "b", "d"), ("a", "e", "c"), ("f", "b", "c")):
        assert seen.is_new(key, 1)
    assert not seen.is_new(("a", "b", "c"), 1)


def test_events_without_a_number_are_counted_and_a_killed_writer_is_told() -> None:
    seen = Seen()
    seen.tell_lost(KEY, None, None, 7)
    seen.tell_lost(KEY, 5, None, None)
    assert (seen.told(), seen.counts.unknown) == (7, 1)


def test_memory_is_bounded_and_the_silent_go_first() -> None:
    seen = Seen(sessions_max=3)
    for session in "abc":
        seen.is_new(("h", "b", session), 1)
    assert not seen.is_new(("h", "b", "a"), 1)
    seen.is_new(("h", "b", "d"), 1)
    assert seen.counts.forgotten == 1
    assert not seen.is_new(("h", "b", "a"), 1)
    assert seen.is_new(("h", "b", "b"), 1)


def test_a_host_that_makes_sessions_up_pushes_out_its_own() -> None:
    seen = Seen(sessions_max=10)
    assert seen.is_new(("honest", "b", "s"), 1)
    for number in range(100):
        seen.is_new(("evil", "b", f"s{number}"), 1)
    assert seen.counts.forgotten == 91
    assert not seen.is_new(("honest", "b", "s"), 1)


def test_a_session_that_is_forgotten_stays_missing_and_told() -> None:
    seen = Seen(sessions_max=1)
    seen.is_new(KEY, 1)
    seen.is_new(KEY, 10)
    seen.tell_lost(KEY, 2, 4, 3)
    assert (seen.missing(), seen.told()) == (5, 3)
    seen.is_new(("web1", "boot", "another"), 1)
    assert (seen.counts.forgotten, seen.missing(), seen.told()) == (1, 5, 3)


def test_numbers_with_holes_take_no_endless_memory() -> None:
    """The holes that are given up are counted, as missing or as told."""
    seen = Seen(ranges_max=5)
    seen.tell_lost(KEY, 2, 2, 1)
    for number in range(1, 201, 2):
        assert seen.is_new(KEY, number)
    (session,) = seen._hosts["web1"].values()
    assert session.came.size == 5
    assert (seen.counts.events, seen.told(), seen.missing()) == (100, 1, 98)
    assert not seen.is_new(KEY, 199)


@given(st.lists(spans, min_size=2, max_size=20), spans)
def test_counts_and_closed_holes(given_spans: list[tuple[int, int]], span: tuple[int, int]) -> None:
    numbers, model = Numbers(), set()
    for first, last in given_spans:
        numbers.add(first, last)
        model |= set(range(first, last + 1))
    assert numbers.count(*span) == len(model & set(range(span[0], span[1] + 1)))
    while numbers.size > 1:
        first, last = numbers.close_first_hole()
        hole = set(range(first, last + 1))
        assert hole and not hole & model
        model |= hole
        assert len(numbers) == len(model)
    assert model == set(range(min(model), max(model) + 1))


def test_a_reader_that_goes_on_counts_a_hole_behind_what_was_there() -> None:
    begins = {KEY: 6}
    seen = Seen(from_start=False, begins=lambda key: begins.get(key, 0))
    seen.is_new(KEY, 9)
    # Of this one nobody knows where it began.
    seen.is_new(("web1", "boot", "another"), 5)
    assert seen.missing() == 3
    assert list(seen.gaps()) == [(KEY, 6, 8)]
