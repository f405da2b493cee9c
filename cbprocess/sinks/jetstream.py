"""The sinks `nats:` and `tls:`: the stream of a fleet on NATS JetStream, for a spool without an agent. Takes
the extra `fleet`.

Events alone go there, without rules and presence; readers of the fleet find them as those of an agent. Knows
batches and the fleet's publisher, which it runs in an event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from urllib.parse import parse_qsl, unquote, urlsplit

from .._checks import wrong
from ..fleet import names
from ..fleet.link import Access, Link
from ..fleet.needs import need
from ..fleet.shipping import ACK_LIMIT_S, KEY_SIZE, StreamPublisher, fitting, headers_of
from . import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..spool import Batch
    from . import Done

FORM = "nats://SERVER[:PORT][,SERVER...]/TENANT[?creds=FILE&ca=FILE&cert=FILE&cert-key=FILE]"
FILES = ("creds", "ca", "cert", "cert-key")


def open_jetstream(url: str) -> JetStreamSink:
    """The sink for `nats://SERVER[:PORT][,SERVER...]/TENANT[?creds=FILE&ca=FILE&cert=FILE&cert-key=FILE]`,
    `tls:` where nothing may go out unencrypted. Error 87 for another form and for a secret that others can
    read, 50 without the extra `fleet`, OSError for files that cannot be read."""
    try:
        parts = urlsplit(url)
        given = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
    except ValueError as error:
        raise wrong(f"{shown(url)!r:.100}: {error}") from None
    tenant = unquote(parts.path[1:]) or "default"
    servers = [f"{parts.scheme}://{place}" for place in parts.netloc.split(",") if place]
    if not servers or not set(given) <= set(FILES):
        raise wrong(f"{FORM}, not {shown(url)!r:.100}")
    creds, ca, cert, key = (given.get(name) for name in FILES)
    return JetStreamSink(Access(servers, creds, ca, cert, key), names.checked_tenant(tenant))


class JetStreamSink:
    """Publishes batches to the stream of a tenant, each under the subject of its session's host.

    The spool's secret for the names of batches is not known here: a shipper that was restarted uses other
    names, and readers find the doubles by their numbers."""

    def __init__(self, access: Access, tenant: str) -> None:
        need("nats")
        # What is wrong with files is told here, and not for each batch.
        access.keywords()
        self._access = access
        self._tenant = tenant
        self._key = os.urandom(KEY_SIZE)
        self._links: dict[str, Link] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._stack = contextlib.AsyncExitStack()
        self._answered = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="cbprocess-nats", daemon=True)
        self._thread.start()

    def send(self, batch: Batch, done: Done) -> None:
        """Hands the batch to the loop."""
        asyncio.run_coroutine_threadsafe(self._send(batch, done), self._loop)

    def poll(self, seconds: float) -> None:
        """Waits for an answer."""
        self._answered.wait(seconds)
        self._answered.clear()

    def close(self, seconds: float) -> None:
        """Ends the connection and the thread. What is not acknowledged fails."""
        # A server that hangs is not waited for any longer.
        with contextlib.suppress(Exception):
            asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(seconds)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(seconds)
        if not self._thread.is_alive():
            self._loop.close()

    async def _send(self, batch: Batch, done: Done) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        failure: BaseException | None = None
        try:
            await self._publish(batch)
        except asyncio.CancelledError:
            failure = OSError("the sink was closed")
        # nats-py's own errors, those of its sockets, and a server's nonsense: the batch comes again.
        except Exception as error:
            failure = error
        done(failure)
        self._answered.set()

    async def _publish(self, batch: Batch) -> None:
        host = str(batch.origin.host)
        if host not in self._links:
            # Entering waits for nothing, so no other batch comes between.
            link = Link(self._access, f"cbprocess ship {host}", names.inbox_prefix(host))
            self._links[host] = await self._stack.enter_async_context(link)
        link = self._links[host]
        publisher = StreamPublisher(link, self._tenant)
        try:
            # The server's sizes are known when there is one.
            await link.up(ACK_LIMIT_S)
            data, _ = fitting(batch.data, publisher.size_max)
            await publisher(names.event_subject(self._tenant, host), data, headers_of(batch, self._key))
        except Exception as error:
            # Why there was no answer in time, a missing permission for example, comes by another way.
            reason = link.trouble.text if isinstance(error, asyncio.TimeoutError) else ""
            raise OSError(reason or str(error) or type(error).__name__) from error

    async def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._stack.aclose()
