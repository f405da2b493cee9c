"""Events that left their handler: what can be read, which verdicts there are, and who is first."""

from __future__ import annotations

import gc
import os
import threading
from time import monotonic_ns
from typing import Any, get_args

import pytest
from unit.held_events import Tickets, hold
from unit.instances import assert_code

from cbprocess import Outcome, constants, events
from cbprocess._streams.held import _HELD_CLASSES, AnyHeldEvent, HeldEvent, HeldHandleEvent, Ledger

HANDLE = constants.PROC_EVT_PROCESS_HANDLE_OPERATION
EVERYTHING = 0xFFFFFFFF


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def tickets(ledger: Ledger) -> Tickets:
    return Tickets(ledger)


def test_each_event_class_has_its_held_class() -> None:
    assert set(_HELD_CLASSES) == set(events.EVENT_CLASSES.values())
    for plain, held in _HELD_CLASSES.items():
        assert issubclass(held, plain) and issubclass(held, HeldEvent)
        assert hasattr(held, "strip") == hasattr(plain, "desired_access") == issubclass(held, HeldHandleEvent)
    assert set(get_args(AnyHeldEvent)) == set(_HELD_CLASSES.values())


def test_it_is_a_copy_with_all_properties(ledger: Ledger, tickets: Tickets) -> None:
    event: Any = hold(
        ledger,
        process_id=12,
        sequence=9,
        process_name=b"/bin/\xff",
        arguments=[b"a", b"b c"],
        parent_process_id=3,
    )
    hold(ledger, process_id=99)
    assert isinstance(event, events.CBProcessProcessCreationEventParams)
    assert (event.process_id, event.sequence, event.parent_process_id) == (12, 9, 3)
    assert (event.process_name, event.command_line) == ("/bin/\udcff", "a 'b c'")
    assert event.held and event.refusable and event.outcome is Outcome.PENDING
    assert repr(event) == "<HeldProcessCreation 9: process 12>"


@pytest.mark.parametrize(
    ("verdict", "answer", "result_code"),
    [
        (lambda event: event.allow(), (0, EVERYTHING), 0),
        (lambda event: event.deny(), (constants.ERROR_ACCESS_DENIED, EVERYTHING), 5),
        (lambda event: event.deny(2), (2, EVERYTHING), 2),
        (lambda event: event.deny(result_code=EVERYTHING), (EVERYTHING, EVERYTHING), EVERYTHING),
    ],
)
def test_verdicts_of_a_creation(
    ledger: Ledger, tickets: Tickets, verdict: Any, answer: tuple[int, int], result_code: int
) -> None:
    event = hold(ledger)
    assert verdict(event) is True
    assert (event.outcome, event.result_code) == (Outcome.ANSWERED, result_code)
    assert tickets.answers == {1: answer} and not tickets.open and ledger.open_count == 0
    for again in (event.allow, event.deny):
        assert_code(constants.ERROR_NOT_FOUND, again)
    assert_code(constants.ERROR_NO_CALLBACK_ACTIVE, setattr, event, "result_code", 5)
    assert tickets.answers == {1: answer}


@pytest.mark.parametrize(
    ("verdict", "answer", "left"),
    [
        (lambda event: event.allow(), (0, EVERYTHING), 0b1011),
        (lambda event: event.deny(), (constants.ERROR_ACCESS_DENIED, 0), 0),
        (lambda event: event.strip(0b0011), (0, EVERYTHING ^ 0b0011), 0b1000),
        (lambda event: event.strip(0b0100), (0, EVERYTHING ^ 0b0100), 0b1011),
    ],
)
def test_verdicts_of_a_handle_operation(
    ledger: Ledger, tickets: Tickets, verdict: Any, answer: tuple[int, int], left: int
) -> None:
    event: Any = hold(
        ledger, HANDLE, constants.EVENT_FLAG_HELD, original_desired_access=0b1011, desired_access=0b1011
    )
    assert verdict(event) is True
    assert tickets.answers == {1: answer} and event.desired_access == left


def test_wrong_verdicts_change_nothing(ledger: Ledger, tickets: Tickets) -> None:
    event: Any = hold(ledger, HANDLE)
    for code in (0, -1, EVERYTHING + 1, "5", None, True):
        assert_code(constants.ERROR_INVALID_PARAMETER, event.deny, code)
        assert_code(constants.ERROR_INVALID_PARAMETER, event.strip, code)
    assert_code(constants.ERROR_NO_CALLBACK_ACTIVE, event.defer)
    assert event.outcome is Outcome.PENDING and not tickets.answers


def test_what_cannot_be_refused_is_let_go_by_deny(ledger: Ledger, tickets: Tickets) -> None:
    event = hold(ledger, constants.PROC_EVT_PROCESS_TERMINATION, constants.EVENT_FLAG_HELD)
    assert event.deny() is False and event.outcome is Outcome.ANSWERED and not tickets.open


def test_after_the_deadline(ledger: Ledger, tickets: Tickets) -> None:
    event = hold(ledger)
    tickets.expired.add(1)
    assert not event.timed_out
    assert event.deny() is False
    assert event.outcome is Outcome.TIMED_OUT and event.timed_out
    assert event.allow() is False and not tickets.answers


def test_after_the_stop(ledger: Ledger, tickets: Tickets) -> None:
    event = hold(ledger)
    tickets.open.clear()
    assert event.deny() is False and event.outcome is Outcome.LET_GO
    assert event.allow() is False


@pytest.mark.parametrize(
    ("flags", "outcome"),
    [
        (constants.EVENT_FLAG_DECIDED_BY_RULE, Outcome.NOT_HELD),
        (0, Outcome.NOT_HELD),
        (constants.EVENT_FLAG_TIMED_OUT | constants.EVENT_FLAG_HELD, Outcome.TIMED_OUT),
    ],
)
def test_what_does_not_wait_is_not_held(
    ledger: Ledger, tickets: Tickets, flags: int, outcome: Outcome
) -> None:
    event = hold(ledger, flags=flags)
    assert event.outcome is outcome and not tickets.open
    assert event.deny() is False and event.allow() is False
    assert_code(constants.ERROR_NO_CALLBACK_ACTIVE, setattr, event, "result_code", 5)


def test_what_was_set_counts_at_the_end_of_a_block(ledger: Ledger, tickets: Tickets) -> None:
    with hold(ledger) as event:
        event.result_code = 7
    assert tickets.answers == {1: (7, 0)} and event.outcome is Outcome.ANSWERED


def test_a_block_that_raises_lets_go(ledger: Ledger, tickets: Tickets) -> None:
    with pytest.raises(LookupError), hold(ledger) as event:
        event.result_code = 7
        raise LookupError
    assert tickets.answers == {1: (0, EVERYTHING)} and event.outcome is Outcome.LET_GO


def test_a_dropped_event_is_let_go(ledger: Ledger, tickets: Tickets) -> None:
    event: Any = hold(ledger)
    event.result_code = 7
    kept = [event.hold()]
    del event
    assert tickets.open == {1}
    kept.append(kept)
    del kept
    gc.collect()
    assert tickets.answers == {1: (0, EVERYTHING)} and ledger.open_count == 0


def test_everything_is_let_go_at_once(ledger: Ledger, tickets: Tickets) -> None:
    held = [hold(ledger) for _ in range(20)]
    held[3].deny()
    ledger.let_go_all()
    assert not tickets.open and len(tickets.answers) == 20
    assert [event.deny() for event in held[:3]] == [False] * 3
    assert [event.outcome for event in held[:5]] == [*[Outcome.LET_GO] * 3, Outcome.ANSWERED, Outcome.PENDING]


def test_one_verdict_of_many_threads_counts(ledger: Ledger, tickets: Tickets) -> None:
    for number in range(1, 51):
        event = hold(ledger)
        gate = threading.Barrier(4)
        results: list[object] = []

        def decide(event: HeldEvent = event, gate: Any = gate, results: list[object] = results) -> None:
            gate.wait()
            try:
                results.append(event.deny())
            except Exception as error:
                results.append(getattr(error, "code", error))

        threads = [threading.Thread(target=decide) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(results, key=str) == [constants.ERROR_NOT_FOUND] * 3 + [True]
        assert tickets.answers[number] == (constants.ERROR_ACCESS_DENIED, EVERYTHING)


def test_time_left(ledger: Ledger, tickets: Tickets) -> None:
    assert hold(ledger).time_left is None
    soon = hold(ledger, deadline_ns=monotonic_ns() + 5_000_000_000).time_left
    assert soon is not None and 4 < soon <= 5
    assert hold(ledger, deadline_ns=monotonic_ns() - 1).time_left == 0.0


def test_a_fork_answers_nothing_of_its_parent(ledger: Ledger, tickets: Tickets) -> None:
    event = hold(ledger)
    child = os.fork()
    if child == 0:
        is_right = event.deny() is False and event.outcome is Outcome.LET_GO and not tickets.answers
        os._exit(0 if is_right and ledger.is_foreign else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert not ledger.is_foreign and event.deny() is True
