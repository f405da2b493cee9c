"""The sinks `nats:` and `tls:`: the stream of a fleet on NATS JetStream, for a spool without an agent. Takes
the extra `fleet`.

Events alone go there, without rules and presence; readers of the fleet find them as those of an agent. Knows
the fleet's sink, for which it has an event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from urllib.parse import parse_qsl, unquote, urlsplit

from .._checks import wrong
from ..sinks import shown
from . import names
from .link import Access, Link
from .needs import need
from .shipping import ACK_LIMIT_S, StreamPublisher, StreamSink, size_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

FORM = "nats://SERVER[:PORT][,SERVER...]/TENANT[?creds=FILE&ca=FILE&cert=FILE&cert-key=FILE]"
FILES = ("creds", "ca", "cert", "cert-key")


def open_jetstream(url: str) -> JetStreamSink:
    """The sink for `nats://SERVER[:PORT][,SERVER...]/TENANT[?creds=FILE&ca=FILE&cert=FILE&cert-key=FILE]`,
    `tls:` where nothing may go out unencrypted. Error 87 for another form and for a secret that others can
    read, 50 without the extra `fleet`, OSError for files that cannot be read."""
    try:
        parts = urlsplit(url)
        given = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
    except ValueError:
        # The error's text has the part that is wrong, which may be one of a password.
        raise wrong(f"{FORM}, not {shown(url)!r:.100}") from None
    tenant = unquote(parts.path[1:]) or "default"
    servers = [f"{parts.scheme}://{place}" for place in parts.netloc.split(",") if place]
    # With an @, what looks like a tenant is the rest of a password.
    if not servers or "@" in tenant or not set(given) <= set(FILES):
        raise wrong(f"{FORM}, not {shown(url)!r:.100}")
    creds, ca, cert, key = (given.get(name) for name in FILES)
    return JetStreamSink(Access(servers, creds, ca, cert, key), names.checked_tenant(tenant))


class JetStreamSink(StreamSink):
    """The fleet's sink with connections of its own, one for each host whose sessions it gets. key: as that of
    a StreamSink."""

    def __init__(self, access: Access, tenant: str, key: Callable[[], bytes] | None = None) -> None:
        need("nats")
        # What is wrong with files is told here, and not for each batch.
        access.keywords()
        super().__init__(None, tenant, asyncio.new_event_loop(), key)
        self._access = access
        self._publishers: dict[str, StreamPublisher] = {}
        self._stack = contextlib.AsyncExitStack()
        self._thread = threading.Thread(target=self._loop.run_forever, name="cbprocess-nats", daemon=True)
        self._thread.start()

    @property
    def max_bytes(self) -> int | None:
        """The most bytes of a batch, by the sizes of the server that is connected."""
        sizes = map(size_of, list(self._publishers.values()))
        return min((size for size in sizes if size is not None), default=None)

    async def publisher_of(self, host: str) -> StreamPublisher:
        """What publishes for this host, over a connection with its prefix for answers."""
        if host not in self._publishers:
            link = Link(self._access, f"cbprocess shipper {host}", names.inbox_prefix(host))
            link.trouble = self.trouble
            # Entering waits for nothing, so no other batch comes between. It fails where files are wrong by
            # now; the next batch tries again.
            await self._stack.enter_async_context(link)
            self._publishers[host] = StreamPublisher(link, self._tenant, ACK_LIMIT_S)
        return self._publishers[host]

    def close(self, seconds: float) -> None:
        """Ends the connections and the thread. What is not acknowledged fails."""
        super().close(seconds)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(seconds)
        if not self._thread.is_alive():
            self._loop.close()

    async def end(self) -> None:
        """Ends what is on its way, and the connections."""
        await super().end()
        await self._stack.aclose()
