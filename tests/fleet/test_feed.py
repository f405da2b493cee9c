"""What a reader makes of messages, honest or not: nothing that a host writes ends it or is another's."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cbprocess import records
from cbprocess.fleet.feed import Feed
from cbprocess.fleet.link import Access, Link
from cbprocess.fleet.reading import Message
from cbprocess.fleet.table import Table
from cbprocess.spool import SpoolWriter


def feed() -> Feed:
    return Feed(Link(Access(), "test"), "acme")


def line(**fields: Any) -> bytes:
    record = {"schema": 1, "host": "web1", "boot": "b", "session": "s", "number": 1, "event": "summary"}
    return json.dumps({**record, **fields}).encode() + b"\n"


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


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
        line(boot="b" * 200),
        line(session="s" * 200),
        line(x=nested(16)),
        line(x=nested(480), command_line="\ud800"),
        line(x={"y": {"z": nested(20)}}),
        line()[:-2] + b', "x": 1e999}\n',
        line()[:-2] + b', "x": -1e999}\n',
    ],
    ids=repr,
)
def test_nonsense_is_counted_and_what_is_behind_it_comes(nonsense: bytes) -> None:
    reader = feed()
    assert len(taken(reader, nonsense, line(number=5))) == 1
    counts = reader.counts()
    assert (counts.strange, counts.events) == (1, 1)


def test_a_host_that_does_not_know_its_boot_is_read_like_others(tmp_path: Path) -> None:
    """As on Windows without a count of boots: from the spool to the reader and to the table."""
    with SpoolWriter(tmp_path / "spool", records.Origin("h", None, "s")) as writer:
        for text in ("a", "b"):
            writer.add(records.made("summary", writer.origin, text=text))
    reader, table = feed(), Table(tmp_path / "events.db")
    lines = [path.read_bytes() for path in sorted(writer.folder.glob("*.jsonl"))]
    found = taken(reader, *lines, host="h")
    table.add("acme", found)
    table.close()
    counts = reader.counts()
    assert (counts.events, counts.strange, counts.missing) == (3, 0, 0)
    database = sqlite3.connect(tmp_path / "events.db")
    rows = database.execute("SELECT boot, session, number FROM event ORDER BY number").fetchall()
    database.close()
    assert rows == [("unknown-s", "s", number) for number in (1, 2, 3)]


def test_many_brackets_are_no_depth() -> None:
    found = taken(feed(), line(x=[[1]] * 40, y="[" * 100), line(number=2, x=nested(14)))
    assert [record["number"] for record in found] == [1, 2]


def test_a_loss_of_a_session_with_an_endless_name_is_strange() -> None:
    """Readers remember names of sessions."""
    reader = feed()
    taken(reader, line(event="lost", lost_session="s" * 200, first_number=1, last_number=2, count=2))
    assert (reader.counts().strange, reader.counts().told) == (1, 0)


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


@pytest.mark.parametrize("merge", [0.0, 60.0])
def test_whoever_reads_slowly_and_stops_is_let_go(merge: float) -> None:
    """The queue between the stream and the reader is full then, and nobody takes from it any more."""

    class Stream(Feed):
        closed = 0

        async def batches(self, follow: bool = True) -> AsyncIterator[list[dict[str, Any]]]:
            try:
                for number in range(10_000):
                    yield [{"time_ns": str(number)}]
            finally:
                self.closed += 1

    async def main() -> None:
        reader = Stream(Link(Access(), "test"), "acme")
        events = reader.events(merge)
        if merge:
            # As a program that is ended with Ctrl-C while it waits for the next event.
            task = asyncio.ensure_future(events.__anext__())
            await asyncio.sleep(0.05)
            task.cancel()
            await asyncio.wait([task], timeout=5)
            assert task.done()
        else:
            assert (await events.__anext__())["time_ns"] == "0"
            # As a program that writes into a database.
            await asyncio.sleep(0.05)
            assert not reader.closed
        await asyncio.wait_for(events.aclose(), 5)
        assert reader.closed == 1

    asyncio.run(main())


def test_a_failure_of_the_stream_reaches_a_reader_that_was_slow() -> None:
    class Stream(Feed):
        async def batches(self, follow: bool = True) -> AsyncIterator[list[dict[str, Any]]]:
            for number in range(40):
                yield [{"time_ns": str(number)}]
                yield []
            raise OSError("the server has gone")

    async def main() -> list[str]:
        found = []
        with pytest.raises(OSError, match="has gone"):
            async for record in Stream(Link(Access(), "test"), "acme").events(0.0):
                found.append(record["time_ns"])
                await asyncio.sleep(0.001)
        return found

    assert asyncio.run(main()) == [str(number) for number in range(40)]
