"""Which events are told, event by event, where only some processes are to be shown."""

from __future__ import annotations

import argparse
import fnmatch
from typing import Any

from unit.event_blocks import dispatch_once, make_event

from cbprocess import constants
from cbprocess.cli.choice import LEFT, Choice


class Story:
    """Events made by hand, and which of them are told because of which."""

    def __init__(self, **options: Any) -> None:
        given = {"name": [], "ignore": [], "no_children": False, **options}
        self.choice = Choice(
            argparse.Namespace(**given), lambda pattern, name: fnmatch.fnmatch(name, pattern)
        )
        self.sequence = 0

    def tell(self, kind: str, process_id: int, **fields: Any) -> list[tuple[str, int]]:
        """What is told now: its kind, and the number of the event."""
        self.sequence += 1
        number = getattr(constants, f"PROC_EVT_{kind.upper()}")
        memory = make_event(number, process_id=process_id, sequence=self.sequence, **fields)
        told: list[Any] = []
        dispatch_once(memory, lambda event: told.extend(self.choice.add(kind, event)))
        return [(name, event.sequence) for name, event in told]

    def run(self, process_id: int, program: bytes, **fields: Any) -> list[tuple[str, int]]:
        return self.tell("process_creation", process_id, process_name=program, **fields)

    def fork(self, process_id: int, creator: int) -> list[tuple[str, int]]:
        return self.tell("thread_creation", process_id, thread_id=process_id, originator_process_id=creator)


CREATION, TERMINATION, THREAD = "process_creation", "process_termination", "thread_creation"


def test_a_beginning_waits_for_what_it_becomes() -> None:
    """Whoever forks to execute what is ignored has not been there; whoever does something else has."""
    story = Story(ignore=["drop"])
    assert story.run(1, b"sh") == [(CREATION, 1)]
    assert story.fork(2, 1) == []
    assert story.fork(3, 2) == []
    assert story.run(2, b"drop") == []
    assert story.tell(TERMINATION, 2) == []
    assert story.tell(TERMINATION, 3) == [(THREAD, 3), (TERMINATION, 6)]
    assert story.fork(4, 1) == []
    assert story.tell(THREAD, 4, thread_id=44, originator_process_id=4) == [(THREAD, 7), (THREAD, 8)]
    assert story.run(4, b"drop") == [(LEFT, 9)]
    assert story.run(5, b"keep", originator_process_id=4) == []
    assert story.run(6, b"keep", originator_process_id=1) == [(CREATION, 11)]


def test_a_creator_s_beginning_comes_before_its_child_s() -> None:
    story = Story(ignore=["drop"])
    story.run(1, b"sh")
    assert story.fork(2, 1) == story.fork(3, 2) == []
    assert story.run(3, b"keep") == [(THREAD, 2), (THREAD, 3), (CREATION, 4)]
    assert story.run(2, b"keep") == [(CREATION, 5)]


def test_an_id_that_is_used_again_is_another_process() -> None:
    story = Story(name=["keep"])
    assert story.run(1, b"keep") == [(CREATION, 1)]
    assert story.tell(TERMINATION, 1) == [(TERMINATION, 2)]
    assert story.run(1, b"sh") == story.tell(TERMINATION, 1) == []


def test_operations_are_those_of_who_is_shown() -> None:
    """On it or by it; none that who is ignored has a part in."""
    kind = "process_handle_operation"
    story = Story(name=["keep"], ignore=["drop"])
    assert story.run(1, b"sh") == story.run(3, b"drop") == []
    assert story.run(2, b"keep") == [(CREATION, 3)]
    assert story.tell(kind, 2, originator_process_id=1) == [(kind, 4)]
    assert story.tell(kind, 1, originator_process_id=2) == [(kind, 5)]
    assert story.tell(kind, 1, originator_process_id=1) == []
    assert story.tell(kind, 2, originator_process_id=3) == []
    assert story.tell(kind, 3, originator_process_id=2) == []


def test_without_children_the_first_process_is_meant() -> None:
    story = Story(no_children=True)
    assert story.run(7, b"sh", originator_process_id=1) == [(CREATION, 1)]
    assert story.fork(7, 1) == [(THREAD, 2)]
    assert (
        story.fork(8, 7) == story.run(8, b"sh", originator_process_id=7) == story.tell(TERMINATION, 8) == []
    )
    assert story.run(7, b"sh") == [(CREATION, 6)]
    assert story.tell(TERMINATION, 7) == [(TERMINATION, 7)]
