"""Reads the stream of a tenant from a place on, message by message, with no hole: after a lost connection,
a killed server or a forgotten consumer it goes on behind the last message that it gave.

Knows messages; nothing of records."""

from __future__ import annotations

import asyncio
import contextlib
from typing import NamedTuple

from . import names
from .counts import FeedCounts
from .link import backoff
from .needs import need

TYPE_CHECKING = False
if TYPE_CHECKING:
    import datetime
    from collections.abc import AsyncIterator
    from typing import Any

    from .link import Link

FETCH_S = 1.0
FETCH_COUNT = 64
# The server forgets a consumer that nobody asks for so long.
CONSUMER_KEPT_S = 60.0


class Message(NamedTuple):
    """A message of the stream: its place there, the host of its subject, headers and lines."""

    sequence: int
    host: str
    headers: dict[str, str]
    data: bytes


class Start(NamedTuple):
    """Where to begin: behind a place, or at the first message that the server got at this time or later;
    with neither at the first of all. created: the `created` of the reader whose place it is, so that a place
    in another stream is not taken for it. is_new: only what comes from now on."""

    after: int = 0
    created: str | None = None
    time: datetime.datetime | None = None
    is_new: bool = False


class StreamReader:
    """The messages of one tenant, of all hosts or of one."""

    def __init__(
        self,
        link: Link,
        tenant: str,
        host: str | None = None,
        start: Start | None = None,
        counts: FeedCounts | None = None,
    ) -> None:
        self._link = link
        self.counts = counts or FeedCounts()
        self._stream = names.event_stream(tenant)
        self._is_one_host = host is not None
        self._subject = names.all_events(tenant) if host is None else names.event_subject(tenant, host)
        self._start = start or Start()
        self._subscription: Any = None
        self._given = 0  # of this consumer
        # When the stream was made. A stream with another time is another one, with other places.
        self.created = self._start.created
        self.last = self._start.after
        self.is_quiet = False  # whether the last batch was empty because the server had no more

    async def end(self) -> int:
        """The place of the last message that is there now and would be read; 0 if there is none."""
        errors = need("nats.js.errors")
        stream = await self._link.jetstream()
        info = await self._info()
        if not info.state.last_seq:
            return 0
        try:
            if self._is_one_host:
                found = await stream.get_msg(self._stream, subject=self._subject)
            else:
                found = await stream.get_msg(self._stream, seq=info.state.last_seq)
        except errors.NotFoundError:
            return 0 if self._is_one_host else int(info.state.last_seq)
        if self._start.time is not None and found.time is not None and found.time < self._start.time:
            return 0
        return int(found.seq)

    async def has_reached(self, end: int) -> bool:
        """Whether nothing up to this place is left to read. Silence alone does not say that: the server that
        answers may be a copy that is still behind."""
        if self.last >= end:
            return True
        if not self.is_quiet:
            return False
        try:
            # What is too old goes, also while it is read.
            return int((await self._info()).state.first_seq) > end
        # The server has gone in this moment: the next batch will tell.
        except Exception as error:
            self._link.trouble.note(str(error) or type(error).__name__)
            return False

    async def _info(self) -> Any:
        return await (await self._link.jetstream()).stream_info(self._stream)

    async def batches(self) -> AsyncIterator[list[Message]]:
        """Lists of messages in their order, for ever; an empty one when nothing came for a second."""
        attempt = 0
        try:
            while True:
                self.is_quiet = False
                try:
                    messages = await self._fetch()
                    attempt = 0
                # Whatever goes wrong with a server, the next consumer begins behind the last message.
                except Exception as error:
                    self._link.trouble.note(str(error) or type(error).__name__)
                    await self._drop()
                    await asyncio.sleep(backoff(attempt))
                    attempt += 1
                    messages = []
                yield messages
        finally:
            await self._drop()

    async def _fetch(self) -> list[Message]:
        if self._subscription is None:
            self._subscription = await self._subscribe()
            self._given = 0
        timeouts = (asyncio.TimeoutError, need("nats.errors").TimeoutError)
        try:
            found = await self._subscription.fetch(FETCH_COUNT, timeout=FETCH_S)
        except timeouts:
            # Silence, or a consumer that the server no longer has: only the server knows.
            await self._subscription.consumer_info()
            self.is_quiet = True
            return []
        messages = []
        for item in found:
            place = item.metadata.sequence
            if place.consumer != self._given + 1:
                # One was lost on its way: it is asked for again, with all behind it.
                await self._drop()
                break
            self._given = place.consumer
            # A reader of one host cannot know what went from the stream between two that were given.
            if self.last and not self._is_one_host:
                self.counts.dropped += max(0, place.stream - self.last - 1)
            self.last = place.stream
            host = names.name_of(item.subject.rpartition(".")[2])
            messages.append(Message(place.stream, host, dict(item.headers or {}), bytes(item.data)))
        return messages

    async def _subscribe(self) -> Any:
        api = need("nats.js.api")
        config = api.ConsumerConfig(
            ack_policy=api.AckPolicy.NONE,
            inactive_threshold=CONSUMER_KEPT_S,
            mem_storage=True,
            num_replicas=1,
        )
        info = await self._info()
        created = str(info.created)
        if self.last and (self.created not in (None, created) or info.state.last_seq < self.last):
            # Another stream, or one that has lost its end. Its places mean something else.
            self.last = 0
            self._start = Start()
            self.counts.replaced += 1
        self.created = created
        if self.last:
            config.deliver_policy = api.DeliverPolicy.BY_START_SEQUENCE
            config.opt_start_seq = self.last + 1
        elif self._start.time is not None:
            config.deliver_policy = api.DeliverPolicy.BY_START_TIME
            config.opt_start_time = self._start.time
        elif self._start.is_new:
            # The end is a place, too: what comes while a consumer is made again must not be left out.
            self.last = int(info.state.last_seq)
            config.deliver_policy = api.DeliverPolicy.BY_START_SEQUENCE
            config.opt_start_seq = self.last + 1
        else:
            config.deliver_policy = api.DeliverPolicy.ALL
        stream = await self._link.jetstream()
        return await stream.pull_subscribe(self._subject, stream=self._stream, config=config)

    async def _drop(self) -> None:
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            with contextlib.suppress(Exception):
                await asyncio.wait_for(subscription.unsubscribe(), 1)
