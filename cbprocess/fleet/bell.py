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
from .link import backoff

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


class Entry(NamedTuple):
    """A key's value, None where it was deleted, and its revision; revision 0 for a key that never was."""

    value: bytes | None
    revision: int


async def fetch(link: Link, bucket: str, key: str, timeout: float = FETCH_LIMIT_S) -> Entry:
    """The key as the bucket has it now. It asks for this key alone, so that permissions can name it. The
    errors are nats-py's."""
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


class Bell:
    """Calls `changed(key, value, revision)` for each key that has another revision than before. A key that
    never was is no change."""

    def __init__(
        self, link: Link, bucket: str, keys: Iterable[str], changed: Changed, look: float = LOOK_S
    ) -> None:
        self._link = link
        self._bucket = bucket
        self._keys = tuple(keys)
        self._changed = changed
        self._look = look
        self._revisions: dict[str, int] = {}
        self._heard: dict[str, bytes] = {}
        self._rung = asyncio.Event()
        self._subscribed_to: Any = None
        link.on_up(self._rung.set)

    async def run(self) -> None:
        """Listens until it is cancelled."""
        attempt = 0
        while True:
            self._rung.clear()
            try:
                await self._subscribe()
                for key in self._keys:
                    await self._refresh(key)
                attempt = 0
            except asyncio.CancelledError:
                raise
            # A server that is away, or a missing permission: the rules stay as they are, and it is told.
            except Exception as error:
                self._link.trouble.note(f"{self._bucket}: {str(error) or type(error).__name__}")
                await asyncio.sleep(backoff(attempt))
                attempt += 1
                continue
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._rung.wait(), self._look * random.uniform(0.5, 1.5))

    async def _subscribe(self) -> None:
        client = await self._link.up()
        if client is self._subscribed_to:
            return
        for key in self._keys:
            await client.subscribe(names.key_subject(self._bucket, key), cb=self._hear)
        # What was published before the server knew of the subscription must be seen by the fetch.
        await client.flush(timeout=FETCH_LIMIT_S)
        self._subscribed_to = client

    async def _hear(self, message: Any) -> None:
        key = message.subject[len(names.key_subject(self._bucket, "")) :]
        self._heard[key] = bytes(message.data)
        self._rung.set()

    async def _refresh(self, key: str) -> None:
        heard = self._heard.pop(key, None)
        entry = await fetch(self._link, self._bucket, key)
        for _ in range(BEHIND_TRIES):
            if heard is None or (entry.value or b"") == heard or entry.revision > self._revisions.get(key, 0):
                break
            # The bell is heard before the value is stored; one that never gets stored was a failed update.
            await asyncio.sleep(BEHIND_S)
            entry = await fetch(self._link, self._bucket, key)
        if entry.revision and entry.revision != self._revisions.get(key):
            self._revisions[key] = entry.revision
            await self._changed(key, entry.value, entry.revision)
