"""The events of a fleet as records: each once, in the order of their times, with what is missing counted.

A line that names another host than its subject is refused: the server has checked the subject, and nobody the
line. Knows messages and records; nothing of rules."""

from __future__ import annotations

import asyncio
import datetime
import json
import math
from dataclasses import replace

from ..records import SCHEMA
from .counts import FeedCounts
from .link import end
from .merging import Merger, time_of
from .reading import Start, StreamReader
from .seen import Seen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from typing import Any

    from .link import Link
    from .reading import Message
    from .seen import Key

NUMBER_MAX = 2**53
# No record of ours is deeper than 4. What goes through a record needs a step of the stack for each level.
DEPTH_MAX = 16
NAME_SIZE_MAX = 128  # of a boot or a session; ours have 36 and 32
# Clocks of hosts and server differ: messages from so much earlier are looked at, too.
CLOCK_MARGIN = datetime.timedelta(minutes=5)


class Feed:
    """The events of a tenant, of all hosts or of one. One task reads it.

    since: only events of this time or later (aware datetime). after, created: go on behind a place that
    `position` was. is_new: only what comes from now on. begins: the number with which a session goes on
    behind that place, 0 for one that is not known."""

    def __init__(
        self,
        link: Link,
        tenant: str,
        *,
        host: str | None = None,
        since: datetime.datetime | None = None,
        after: int = 0,
        created: str | None = None,
        is_new: bool = False,
        begins: Callable[[Key], int] | None = None,
    ) -> None:
        start = Start(after, created, since - CLOCK_MARGIN if since is not None else None, is_new)
        self._counts = FeedCounts()
        self._reader = StreamReader(link, tenant, host, start, self._counts)
        self._since_ns = _nanoseconds(since) if since is not None else 0
        self.seen = Seen(not (after or since or is_new), begins=begins, counts=self._counts)

    @property
    def position(self) -> tuple[str | None, int]:
        """The stream's identity and the place of the last message that was given."""
        return self._reader.created, self._reader.last

    def counts(self) -> FeedCounts:
        """The counts until now."""
        return replace(self._counts, missing=self.seen.missing(), told=self.seen.told())

    async def batches(self, follow: bool = True) -> AsyncIterator[list[dict[str, Any]]]:
        """Lists of new records, in the order of the stream, an empty one now and then. With follow False it
        ends behind what is in the stream now. The errors of nats-py where there is no stream at the start;
        later troubles are waited out."""
        end: int | None = await self._reader.end()
        if follow:
            end = None
        source = self._reader.batches()
        try:
            if end == 0:
                return
            async for messages in source:
                yield [record for message in messages for record in self._records_of(message)]
                if end is not None and await self._reader.has_reached(end):
                    return
        finally:
            await source.aclose()  # type: ignore[attr-defined]

    async def events(self, merge: float = 0.2, follow: bool = True) -> AsyncIterator[dict[str, Any]]:
        """New records, one by one, each held for `merge` seconds for those that happened before."""
        merger = Merger(merge)
        queue: asyncio.Queue[list[dict[str, Any]] | None] = asyncio.Queue(16)

        async def pump() -> None:
            source = self.batches(follow)
            try:
                async for found in source:
                    if found:
                        await queue.put(found)
            finally:
                await source.aclose()  # type: ignore[attr-defined]
                # The reader of the queue is told even of a failure.
                await queue.put(None)

        loop = asyncio.get_running_loop()
        task = loop.create_task(pump())
        # One waits for as long as it takes: a wait that is given up may take a batch with it.
        taking = loop.create_task(queue.get())
        try:
            is_end = False
            while not is_end:
                await asyncio.wait([taking], timeout=merger.wait())
                if taking.done():
                    batch = taking.result()
                    is_end = batch is None
                    for record in batch or ():
                        merger.add(record)
                    taking = loop.create_task(queue.get())
                for record in merger.ready(is_end):
                    yield record
            await task
        finally:
            task.cancel()
            # Nobody takes from the queue any more, and its last entry must find a place.
            while not queue.empty():
                queue.get_nowait()
            await end((task, taking))

    def _records_of(self, message: Message) -> Iterator[dict[str, Any]]:
        self._counts.messages += 1
        for line in message.data.splitlines():
            try:
                record = json.loads(line, parse_constant=_refuse, parse_float=_finite)
                number = record["number"]
                is_known = _is_number(number) and _is_number(record["schema"]) and record["schema"] <= SCHEMA
                is_known = is_known and _is_name(record["boot"]) and _is_name(record["session"])
                is_known = is_known and not _is_deep(line, record)
            except (ValueError, KeyError, TypeError, RecursionError):
                is_known = False
            if not is_known:
                self._counts.strange += 1
                continue
            if record.get("host") != message.host:
                self._counts.forged += 1
                continue
            if not self.seen.is_new((message.host, record["boot"], record["session"]), number):
                continue
            if record.get("event") == "lost":
                self._told(message.host, record)
            if self._since_ns and time_of(record) < self._since_ns:
                continue
            yield record

    def _told(self, host: str, record: dict[str, Any]) -> None:
        boot = record.get("lost_boot") or record["boot"]
        session = record.get("lost_session") or record["session"]
        if not (_is_name(boot) and _is_name(session)):
            self._counts.strange += 1
            return
        first, last, count = (
            value if _is_number(value) else None
            for value in (record.get(key) for key in ("first_number", "last_number", "count"))
        )
        self.seen.tell_lost((host, boot, session), first, last, count)


def _refuse(constant: str) -> None:
    """NaN and Infinity are no JSON, and no other program would read them."""
    raise ValueError(constant)


def _finite(text: str) -> float:
    """The number of a text. 1e999 is JSON, and becomes infinity, which is none."""
    value = float(text)
    if math.isinf(value):
        raise ValueError(text)
    return value


def _is_name(value: object) -> bool:
    """Whether this can be a boot or a session. A reader remembers them."""
    return isinstance(value, str) and len(value) <= NAME_SIZE_MAX


def _is_deep(line: bytes, record: object) -> bool:
    """Whether a record is deeper than any of ours."""
    # Nearly all lines have not even so many brackets.
    return line.count(b"[") + line.count(b"{") > DEPTH_MAX and _is_deeper(record, DEPTH_MAX)


def _is_deeper(value: object, left: int) -> bool:
    if isinstance(value, dict):
        return left == 0 or any(_is_deeper(item, left - 1) for item in value.values())
    return isinstance(value, list) and (left == 0 or any(_is_deeper(item, left - 1) for item in value))


def _is_number(value: object) -> bool:
    """Whether this is a number as numbers of events are. A host may have written anything."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= NUMBER_MAX


def _nanoseconds(moment: datetime.datetime) -> int:
    epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
    # Through whole microseconds, because a float of seconds loses them.
    return (moment - epoch) // datetime.timedelta(microseconds=1) * 1000
