"""Keys of a bucket, as they are now and whenever they change: a change rings a bell, and then the key is
fetched. It is fetched as well after each connect and now and then.

A watcher of JetStream would be one consumer of the server for each host, and does not outlive every restart
of it. Knows keys and bytes; nothing of rules."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import NamedTuple

from . import names
from .link import backoff, end
from .needs import need

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from typing import Any

    from .link import Link

    # key, value (None: deleted), revision
    Changed = Callable[[str, "bytes | None", int], Awaitable[None]]

FETCH_LIMIT_S = 5.0
LOOK_S = 60.0  # a bell that was not heard costs so long at most
# A copy on another server may be behind the bell for a moment.
BEHIND_S = 0.05
BEHIND_TRIES = 20
BEHIND_LOOK_S = 1.0
NO_MESSAGE = 10037


class Entry(NamedTuple):
    """A key's value, None where it was deleted, and its revision; revision 0 for a key that never was."""

    value: bytes | None
    revision: int


async def fetch(link: Link, bucket: str, key: str, timeout: float = FETCH_LIMIT_S) -> Entry:
    """The key as one of the bucket's servers has it: one that follows the leader may be behind. It asks for
    this key alone, so that permissions can name it. The errors are nats-py's."""
    stream, subject = names.bucket_stream(bucket), names.key_subject(bucket, key)
    found = await link.request(f"$JS.API.DIRECT.GET.{stream}.{subject}", b"", timeout)
    headers = found.headers or {}
    status = str(headers.get("Status", ""))
    if status == "404":
        return Entry(None, 0)
    if status:
        raise OSError(0, f"{bucket} {key}: the server said {status} {headers.get('Description', '')}")
    is_gone = headers.get("KV-Operation") in ("DEL", "PURGE")
    return Entry(None if is_gone else bytes(found.data), int(headers["Nats-Sequence"]))


async def fetch_newest(link: Link, bucket: str, key: str, timeout: float = FETCH_LIMIT_S) -> Entry:
    """The key as the bucket's leader has it. Only for who may read the whole bucket. The errors are
    nats-py's."""
    stream = await link.jetstream(timeout)
    try:
        found = await stream.get_msg(names.bucket_stream(bucket), subject=names.key_subject(bucket, key))
    except need("nats.js.errors").NotFoundError as error:
        if error.err_code == NO_MESSAGE:
            return Entry(None, 0)
        raise
    is_gone = (found.headers or {}).get("KV-Operation") in ("DEL", "PURGE")
    return Entry(None if is_gone else bytes(found.data or b""), int(found.seq))


class Bell:
    """Calls `changed(key, value, revision)` for each key that has another revision than before, one call
    after the other. A key that never was is no change.

    Each key has a task of its own: one that is forbidden, and so never answers, delays no other."""

    def __init__(
        self, link: Link, bucket: str, keys: Iterable[str], changed: Changed, look: float = LOOK_S
    ) -> None:
        self._link = link
        self._bucket = bucket
        self._keys = tuple(keys)
        self._changed = changed
        self._look = look
        self._revisions: dict[str, int] = {}
        self._older: dict[str, int] = {}
        self._heard: dict[str, bytes] = {}
        self._rung = {key: asyncio.Event() for key in self._keys}
        self._turn = asyncio.Lock()
        self._subscribed_to: dict[str, Any] = {}
        link.on_up(self._ring_all)

    async def run(self) -> None:
        """Listens until it is cancelled."""
        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(self._watch(key)) for key in self._keys]
        try:
            await asyncio.gather(*tasks)
        finally:
            await end(tasks)

    async def _watch(self, key: str) -> None:
        attempt = 0
        look = self._look
        while True:
            self._rung[key].clear()
            try:
                await self._subscribe(key)
                look = self._next_look(key, look, await self._refresh(key))
                attempt = 0
                wait = look * random.uniform(0.5, 1.5)
            except asyncio.CancelledError:
                raise
            # A server that is away, a missing permission, a full disk: the rules stay as they are, and it is
            # told. That no answer came must not hide why.
            except Exception as error:
                is_vague = isinstance(error, (OSError, asyncio.TimeoutError))
                text = f"{self._bucket} {key}: {str(error) or type(error).__name__}"
                self._link.trouble.note(text, is_vague)
                wait = backoff(attempt)
                attempt += 1
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._rung[key].wait(), wait)

    def _ring_all(self) -> None:
        for rung in self._rung.values():
            rung.set()

    def _next_look(self, key: str, before: float, is_behind: bool) -> float:
        """Seconds until the next look: soon where something was heard that is not there, then twice as long
        each time, and in the end no more: a failed update is heard and never stored."""
        if not is_behind:
            return self._look
        after = BEHIND_LOOK_S if before == self._look else before * 2
        if after >= self._look:
            self._heard.pop(key, None)
        return min(after, self._look)

    async def _subscribe(self, key: str) -> None:
        client = await self._link.up()
        if client is self._subscribed_to.get(key):
            return
        await client.subscribe(names.key_subject(self._bucket, key), cb=self._hear)
        # What was published before the server knew of the subscription must be seen by the fetch.
        await client.flush(timeout=FETCH_LIMIT_S)
        self._subscribed_to[key] = client

    async def _hear(self, message: Any) -> None:
        key = message.subject[len(names.key_subject(self._bucket, "")) :]
        # A server may send anything.
        if key in self._rung:
            self._heard[key] = bytes(message.data)
            self._rung[key].set()

    async def _refresh(self, key: str) -> bool:
        """Fetches a key. Gives whether something was heard that is not there yet."""
        heard = self._heard.pop(key, None)
        entry = await fetch(self._link, self._bucket, key)
        for _ in range(BEHIND_TRIES):
            if not self._is_behind(key, heard, entry):
                break
            # The bell is heard before the value is stored.
            await asyncio.sleep(BEHIND_S)
            entry = await fetch(self._link, self._bucket, key)
        is_behind = self._is_behind(key, heard, entry)
        if self._is_change(key, heard, entry):
            async with self._turn:
                await self._changed(key, entry.value, entry.revision)
            # Not before: a change that failed is tried again.
            self._revisions[key] = entry.revision
        if is_behind and heard is not None:
            self._heard.setdefault(key, heard)
        return is_behind

    def _is_behind(self, key: str, heard: bytes | None, entry: Entry) -> bool:
        is_news = entry.revision > self._revisions.get(key, 0)
        return heard is not None and (entry.value or b"") != heard and not is_news

    def _is_change(self, key: str, heard: bytes | None, entry: Entry) -> bool:
        known = self._revisions.get(key, 0)
        if not entry.revision or entry.revision == known:
            self._older.pop(key, None)
            return False
        if entry.revision > known or entry.value == heard:
            self._older.pop(key, None)
            return True
        # A server that is behind, or a bucket that was made anew: only the latter still says so next time.
        return self._older.pop(key, None) == entry.revision or self._note_older(key, entry.revision)

    def _note_older(self, key: str, revision: int) -> bool:
        self._older[key] = revision
        return False
