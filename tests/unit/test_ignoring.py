"""The programs that rules ignore, event by event: what is asked of the rules, and what is remembered."""

from __future__ import annotations

import fnmatch
from typing import Any

import pytest
from unit.event_blocks import dispatch_once, make_event

from cbprocess import Rule, constants
from cbprocess.cli import ignoring


class Story:
    """Starts made by hand."""

    def __init__(self, *rules: Rule) -> None:
        self.rules = rules
        self.asked = 0
        self.ignored = ignoring.Ignored(lambda: self.rules, self.matches)
        self.sequence = 0

    def matches(self, pattern: str, name: str) -> bool:
        self.asked += 1
        return fnmatch.fnmatch(name, pattern)

    def starts(self, process_id: int, name: bytes, **fields: Any) -> bool:
        self.sequence += 1
        memory = make_event(
            fields.pop("kind", constants.PROC_EVT_PROCESS_CREATION),
            process_id=process_id,
            process_name=name,
            sequence=self.sequence,
            **fields,
        )
        told: list[bool] = []
        dispatch_once(memory, lambda event: told.append(self.ignored.has(event)))
        return told[0]


DROP = Rule(name="*drop", action="ignore")


def test_either_name_of_a_program_counts() -> None:
    story = Story(DROP)
    assert story.starts(1, b"/bin/drop") and story.starts(2, b"/bin/sh", image_file_name=b"./drop")
    assert not story.starts(3, b"/bin/sh", image_file_name=b"./keep")


def test_a_refused_program_does_not_start() -> None:
    story = Story(DROP)
    story.starts(1, b"/bin/keep")
    assert not story.starts(1, b"/bin/drop", result_code=5)
    assert not story.ignored.is_silent(1)


def test_a_process_is_ignored_until_it_starts_another_program() -> None:
    story = Story(DROP)
    story.starts(1, b"/bin/keep")
    story.starts(1, b"/bin/drop")
    assert story.ignored.is_silent(1)
    story.starts(1, b"/bin/keep")
    assert not story.ignored.is_silent(1)


def test_a_command_of_which_nothing_is_told_is_silent_where_something_is_ignored() -> None:
    story = Story(DROP)
    assert story.ignored.is_silent(1)
    story.rules = ()
    assert not story.ignored.is_silent(1)
    story.starts(2, b"/bin/keep")
    story.rules = (DROP,)
    assert story.ignored.is_silent(1) and not story.ignored.is_silent(2)


def test_the_first_thread_of_an_ignored_process_belongs_to_its_start() -> None:
    story = Story(DROP)
    story.starts(1, b"/bin/drop", start_time=70)
    kind = constants.PROC_EVT_THREAD_CREATION
    assert story.starts(1, b"", kind=kind, thread_id=1, start_time=70)
    # The id is another's now.
    assert not story.starts(1, b"", kind=kind, thread_id=1, start_time=71)
    assert not story.starts(2, b"", kind=kind, thread_id=2, start_time=70)


def test_a_start_that_has_failed_is_taken_back() -> None:
    story = Story(DROP)
    story.starts(1, b"/bin/drop")
    story.starts(2, b"/bin/keep")
    assert not story.ignored.take_back(2)
    assert story.ignored.take_back(1)
    assert not story.ignored.is_silent(1)
    assert not story.ignored.take_back(1)


def test_the_rules_are_asked_once_for_each_program_and_again_when_they_change() -> None:
    story = Story(DROP, Rule(name="x*", action="ignore"))
    assert not any(story.starts(number, b"/bin/keep") for number in range(10))
    assert story.asked == 2
    story.rules = (Rule(name="*keep", action="ignore"),)
    assert story.starts(1, b"/bin/keep") and not story.starts(2, b"/bin/drop")
    story.rules = ()
    asked = story.asked
    assert not story.starts(1, b"/bin/keep") and story.asked == asked
    assert not story.ignored


def test_a_program_that_runs_is_ignored_with_what_it_has_started_where_the_rule_says_so() -> None:
    story = Story(DROP, Rule(name="*all", action="ignore", include_children=True))
    found = [(1, 0, "keep"), (2, 1, "drop"), (3, 2, "keep"), (4, 1, "all"), (5, 4, "keep"), (6, 5, "keep")]
    assert [row[0] for row in found if story.ignored.found_running(*row)] == [2, 4, 5, 6]
    assert [row[0] for row in found if story.ignored.is_silent(row[0])] == [2, 4, 5, 6]


def test_so_many_processes_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ignoring, "PROCESSES_MAX", 3)
    story = Story(DROP)
    for process_id in (1, 2, 3, 1, 4):
        story.starts(process_id, b"/bin/drop")
    story.rules = ()
    assert [number for number in range(6) if story.ignored.is_silent(number)] == [1, 3, 4]


def test_answers_for_so_many_programs_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ignoring, "ANSWERS_MAX", 2)
    story = Story(DROP)
    for name in (b"a", b"b", b"c", b"c", b"a"):
        assert not story.starts(1, name)
    assert story.asked == 4
