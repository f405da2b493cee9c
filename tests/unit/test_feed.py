"""The bounded queue: order, what happens when it is full, and that closing it leaves nothing held."""

from __future__ import annotations

import gc
import threading
import time
from typing import Any, Callable

import pytest
from unit.held_events import Tickets, offer
from unit.instances import assert_code

from cbprocess import Overflow, constants
from cbprocess._streams.feed import Feed

LET_GO = (0, 0xFFFFFFFF)


def make(size: int = 4, overflow: object = Overflow.HOLD) -> tuple[Feed, Tickets]:
    feed = Feed(size, overflow)
    return feed, Tickets(feed.ledger)


def taken(feed: Feed) -> list[int]:
    """Takes and allows everything."""
    ids = []
    while True:
        item = feed.take()
        if item is None:
            return ids
        ids.append(item[0].process_id)
        item[0].allow()


def in_thread(call: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    return thread


def test_first_in_first_out_with_its_purpose() -> None:
    feed, tickets = make()
    for number in range(3):
        offer(feed, number, f"for {number}")
    assert tickets.open == {1, 2, 3}
    items: list[Any] = [feed.take() for _ in range(3)]
    assert [(event.process_id, purpose) for event, purpose in items] == [
        (0, "for 0"),
        (1, "for 1"),
        (2, "for 2"),
    ]
    assert feed.take() is None and not feed.is_idle
    for event, _ in items:
        event.allow()
    assert feed.is_idle


def test_drop_newest() -> None:
    feed, tickets = make(3, "drop_newest")
    for number in range(10):
        offer(feed, number)
    assert (feed.dropped, len(tickets.open), tickets.answers) == (7, 3, {})
    assert taken(feed) == [0, 1, 2]


def test_drop_oldest() -> None:
    feed, tickets = make(3, "drop_oldest")
    for number in range(10):
        offer(feed, number)
    assert feed.dropped == 7 and tickets.answers == {ticket: LET_GO for ticket in range(1, 8)}
    assert taken(feed) == [7, 8, 9]


def test_hold_keeps_the_worker_until_there_is_room() -> None:
    feed, tickets = make(2, Overflow.HOLD)
    offer(feed, 0)
    offer(feed, 1)
    worker = in_thread(lambda: offer(feed, 2))
    worker.join(0.2)
    assert worker.is_alive() and len(tickets.open) == 2
    item = feed.take()
    assert item is not None and item[0].process_id == 0
    worker.join(10)
    assert not worker.is_alive() and feed.dropped == 0
    assert taken(feed) == [1, 2]


@pytest.mark.parametrize("overflow", list(Overflow))
def test_the_bound_holds_for_many_workers(overflow: Overflow) -> None:
    feed, tickets = make(5, overflow)
    workers = [in_thread(lambda: [offer(feed, number) for number in range(200)] and None) for _ in range(4)]
    seen = 0
    largest = 0
    while any(worker.is_alive() for worker in workers) or not feed.is_idle:
        largest = max(largest, len(feed._items))
        item = feed.take()
        if item is not None:
            item[0].allow()
            seen += 1
        else:
            time.sleep(0)
    # What a worker is making when it finds only others' room taken comes on top.
    assert largest <= 5 + (len(workers) if overflow is Overflow.DROP_OLDEST else 0)
    assert seen + feed.dropped == 800 and not tickets.open


def test_closing_frees_workers_and_lets_everything_go() -> None:
    feed, tickets = make(2)
    offer(feed, 0)
    offer(feed, 1)
    item: Any = feed.take()
    offer(feed, 2)
    workers = [in_thread(lambda: offer(feed, 3)) for _ in range(3)]
    time.sleep(0.1)
    feed.close()
    for worker in workers:
        worker.join(10)
        assert not worker.is_alive()
    assert not tickets.open and set(tickets.answers.values()) == {LET_GO}
    assert item[0].deny() is False
    offer(feed, 4)
    assert feed.take() is None and not tickets.open and feed.is_ended
    feed.close()


def test_a_feed_that_is_closed_while_an_event_is_made() -> None:
    """As when a collection of garbage closes it in the worker's own thread."""
    feed, tickets = make()
    defer = feed.ledger._defer

    def close_meanwhile(place: Any) -> None:
        defer(place)
        feed.close()

    feed.ledger._defer = close_meanwhile
    offer(feed, 0)
    assert not tickets.open and tickets.answers == {1: LET_GO} and feed.take() is None


def test_wake_comes_once_for_a_burst() -> None:
    feed, _ = make(100)
    wakes: list[int] = []
    feed.set_wake(lambda: wakes.append(1))
    offer(feed, 0)
    assert wakes == [] and not feed.arm()
    taken(feed)
    assert feed.arm()
    for number in range(20):
        offer(feed, number)
    assert wakes == [1]
    taken(feed)
    feed.finish()
    assert wakes == [1] and not feed.arm()


def test_finish_gives_what_is_queued_first() -> None:
    feed, _ = make()
    offer(feed, 1)
    feed.finish()
    assert not feed.is_ended
    item = feed.wait()
    assert item is not None and item[0].process_id == 1
    assert feed.wait() is None and feed.is_ended


def test_wait_is_woken() -> None:
    feed, _ = make()
    timer = threading.Timer(0.05, offer, [feed, 5])
    timer.start()
    begin = time.monotonic()
    item = feed.wait()
    assert item is not None and item[0].process_id == 5 and time.monotonic() - begin < 5
    assert feed.wait_closed(0.01) is False
    threading.Timer(0.05, feed.close).start()
    assert feed.wait_closed(10) is True


def test_nothing_is_left_of_a_feed_that_is_dropped() -> None:
    feed, tickets = make()
    offer(feed, 1)
    del feed
    gc.collect()
    assert not tickets.open


@pytest.mark.parametrize(
    ("size", "overflow"),
    [(0, "hold"), (1_000_001, "hold"), ("5", "hold"), (5, "block"), (5, None), (True, "hold")],
)
def test_wrong_values(size: Any, overflow: Any) -> None:
    assert_code(constants.ERROR_INVALID_PARAMETER, Feed, size, overflow)
