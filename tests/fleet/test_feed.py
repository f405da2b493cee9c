"""What a reader makes of messages, honest or not: nothing that a host writes ends it or is another's."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cbprocess.fleet.feed import Feed
from cbprocess.fleet.link import Access, Link
from cbprocess.fleet.reading import Message


def feed() -> Feed:
    return Feed(Link(Access(), "test"), "acme")


def line(**fields: Any) -> bytes:
    record = {"schema": 1, "host": "web1", "boot": "b", "session": "s", "number": 1, "event": "summary"}
    return json.dumps({**record, **fields}).encode() + b"\n"


def taken(reader: Feed, *lines: bytes, host: str = "web1") -> list[dict[str, Any]]:
    return list(reader._records_of(Message(1, host, {}, b"".join(lines))))


def test_a_line_of_another_host_is_forged() -> None:
    reader = feed()
    assert taken(reader, line(), line(host="web2"), line(host=None, number=2)) != []
    counts = reader.counts()
    assert (counts.events, counts.forged) == (1, 2)


def test_a_forged_line_does_not_make_the_true_one_a_double() -> None:
    """Else a host could make another's events disappear."""
    reader = feed()
    assert taken(reader, line(host="web2"), host="evil") == []
    assert len(taken(reader, line(host="web2"), host="web2")) == 1


@pytest.mark.parametrize(
    "nonsense",
    [
        b"no json\n",
        b"[]\n",
        b"7\n",
        b"null\n",
        line(x=float("nan")),
        line(x=float("-inf")),
        b"\xff\xfe\n",
        b"[" * 100_000 + b"\n",
        line(number=0),
        line(number=True),
        line(number="1"),
        line(number=2**60),
        line(number=-1),
        line(boot=None),
        line(session=["x"]),
        line(schema=2),
        line(schema="1"),
        line(schema=True),
    ],
    ids=repr,
)
def test_nonsense_is_counted_and_what_is_behind_it_comes(nonsense: bytes) -> None:
    reader = feed()
    assert len(taken(reader, nonsense, line(number=5))) == 1
    counts = reader.counts()
    assert (counts.strange, counts.events) == (1, 1)


def test_losses_are_told_of_other_sessions_too() -> None:
    reader = feed()
    lost = line(
        number=1, event="lost", lost_session="old", first_number=3, last_number=7, count=5, reason="bound"
    )
    taken(reader, line(session="old", number=8), line(session="old", number=1), lost)
    counts = reader.counts()
    # Number 2 is missing, and nothing tells of it.
    assert (counts.told, counts.missing) == (5, 1)
    taken(reader, line(session="old", number=5), line(session="old", number=2))
    counts = reader.counts()
    assert (counts.told, counts.missing, counts.doubles) == (4, 0, 0)


@pytest.mark.parametrize(
    "fields",
    [
        {"first_number": "3", "last_number": [], "count": {}},
        {"first_number": 9, "last_number": 3, "count": -4},
        {"first_number": 1, "last_number": 2**70, "count": 2**70},
        {"lost_session": 7, "lost_boot": {}},
    ],
)
def test_a_strange_loss_ends_nobody(fields: dict[str, Any]) -> None:
    reader = feed()
    assert len(taken(reader, line(event="lost", **fields))) == 1
    assert reader.counts().missing == 0
