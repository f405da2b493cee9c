"""One connection to the servers of a fleet that never gives up, in one event loop.

Encryption that was asked for is enforced before a word of ours is said, because a server in the middle could
say that it has none. Knows subjects as texts; nothing of records, rules and spools."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import stat
import time
from dataclasses import dataclass, field

from .._checks import wrong
from ..sinks import shown
from .needs import need

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Sequence
    from types import TracebackType
    from typing import Any

DEFAULT_SERVER = "nats://127.0.0.1:4222"
SERVER_VARIABLE = "CBPROCESS_FLEET_SERVER"
CONNECT_LIMIT_S = 3.0
STAGGER_S = 0.5
# A server that hangs is found after at most three pings.
PING_S = 5.0
BACKOFF_S = (0.1, 10.0)
CLOSE_S = 1.0
LOOK_S = 0.5
STEADY_S = 5.0
CANCEL_AGAIN_S = 0.5
REASON_KEPT_S = 10.0


def backoff(attempt: int, limits: tuple[float, float] = BACKOFF_S) -> float:
    """Seconds to wait before a new attempt, drawn anew each time: after an outage every host comes back, and
    none may come at the moment of another."""
    low, high = limits
    return min(high, low * 2.0 ** min(attempt, 16)) * random.uniform(0.5, 1.5)


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancels tasks and waits for their ends. Their failures are nobody's.

    A cancellation that comes at the moment at which a wait_for() is done gets lost there, up to Python 3.11,
    so that one may have to follow."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        done, left = await asyncio.wait(left, timeout=CANCEL_AGAIN_S)
        for task in done:
            if not task.cancelled():
                task.exception()


async def limited(work: Coroutine[Any, Any, Any], seconds: float) -> Any:
    """As wait_for(). Where this is cancelled in the moment in which the work fails, nobody is told of that
    failure, which would else be printed with its way through the program."""
    task = asyncio.get_running_loop().create_task(work)
    task.add_done_callback(_heard)
    return await asyncio.wait_for(task, seconds)


def _heard(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()


@dataclass(frozen=True)
class Access:
    """How to reach the servers, and as whom.

    servers: URLs, `nats://HOST:PORT` or `tls://HOST:PORT`. creds: a file with an NKEY seed, or a `.creds`
    file with a JWT; none but its owner may read it. ca: a file with the certificates that are believed (those
    of the system otherwise). cert, key: a certificate of our own, for servers that ask for one. With `ca`,
    `cert` or a `tls://` URL nothing goes out unencrypted."""

    servers: Sequence[str] = (DEFAULT_SERVER,)
    creds: str | None = None
    ca: str | None = None
    cert: str | None = None
    key: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.servers, str):
            object.__setattr__(self, "servers", [part for part in self.servers.split(",") if part])
        if not self.servers:
            raise wrong("the URL of a server is missing")
        for url in self.servers:
            if not isinstance(url, str) or not url.startswith(("nats://", "tls://")):
                raise wrong(f"a server's URL begins with nats:// or tls://, not {shown(url)!r:.100}")
        if (self.cert is None) != (self.key is None):
            raise wrong("a certificate and its key are given together")

    @property
    def is_encrypted(self) -> bool:
        """Whether nothing may go out unencrypted."""
        return bool(self.ca or self.cert) or any(url.startswith("tls://") for url in self.servers)

    def keywords(self) -> dict[str, Any]:
        """The keywords of nats-py's connect(), but for the servers. OSError for files that cannot be read,
        error 87 for a secret that others can read."""
        found: dict[str, Any] = {}
        if self.creds is not None:
            check_secret(self.creds)
            is_jwt = self.creds.endswith(".creds")
            found["user_credentials" if is_jwt else "nkeys_seed"] = self.creds
        if self.is_encrypted:
            import ssl

            context = ssl.create_default_context(cafile=self.ca)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            if self.cert is not None:
                check_secret(str(self.key))
                context.load_cert_chain(self.cert, self.key)
            found["tls"] = context
        return found


def shown_servers(access: Access) -> str:
    """The servers as they may stand in a message: without what may be a password."""
    return ", ".join(shown(url) for url in access.servers)


def check_secret(path: str) -> None:
    """Refuses a file of a secret that anybody but its owner can read, as ssh does. OSError where there is
    none."""
    mode = os.stat(path).st_mode
    if os.name == "posix" and stat.S_IMODE(mode) & 0o077:
        raise wrong(f"{path}: others can read this secret; chmod 600 {path}")


@dataclass
class Trouble:
    """The last thing that went wrong, for presence and logs."""

    text: str = ""
    count: int = 0
    at: float = field(default_factory=time.monotonic)
    is_vague: bool = True

    def recent(self) -> str:
        """The text, if it is not of long ago."""
        return self.text if time.monotonic() - self.at <= REASON_KEPT_S else ""

    def note(self, text: str, is_vague: bool = False) -> None:
        """A new trouble. A vague one, such as a closed connection, does not hide the reason for it."""
        now = time.monotonic()
        self.count += 1
        if not is_vague or self.is_vague or now - self.at > REASON_KEPT_S:
            self.text, self.at, self.is_vague = text[:300], now, is_vague


class Link:
    """A connection, made by `async with`; entering does not wait for a server. All calls in one event loop.

    name: what the server's lists call this connection. inbox: a prefix for answers that permissions name."""

    def __init__(self, access: Access, name: str, inbox: str = "_INBOX") -> None:
        self._access = access
        self._name = name
        self._inbox = inbox
        self._client: Any = None
        self._task: asyncio.Task[None] | None = None
        self._is_up: asyncio.Event | None = None
        self._is_closed: asyncio.Event | None = None
        self._on_up: list[Callable[[], None]] = []
        self.trouble = Trouble()
        self.connects = 0

    async def __aenter__(self) -> Link:
        need("nats")
        self._is_up = asyncio.Event()
        self._is_closed = asyncio.Event()
        # What is wrong with files and keys is told here, and not endlessly in the background.
        keywords = self._access.keywords()
        self._task = asyncio.get_running_loop().create_task(self._stay_connected(keywords))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            await end([self._task])
        client, self._client = self._client, None
        if client is not None:
            await _close(client)

    @property
    def is_up(self) -> bool:
        """Whether there is a server now, as far as is known."""
        return self._client is not None and bool(self._client.is_connected)

    @property
    def max_payload(self) -> int:
        """The largest message that the server takes, in bytes. ValueError where it says nonsense."""
        return int(getattr(self._client, "max_payload", 0) or 1 << 20)

    def on_up(self, function: Callable[[], None]) -> None:
        """Has the function called in the event loop after each connect. Subscriptions end with their
        connection: this is the place to make them again."""
        self._on_up.append(function)

    async def up(self, seconds: float | None = None) -> Any:
        """The connected client of nats-py, waited for. asyncio.TimeoutError after so many seconds, with the
        last trouble as its text."""
        assert self._is_up is not None, "used outside of its async with block"
        started = time.monotonic()
        while not self.is_up:
            self._is_up.clear()
            left = None if seconds is None else seconds - (time.monotonic() - started)
            # Without a call for what just came up between, a short wait looks again.
            wait = 0.25 if left is None else min(0.25, left)
            if wait <= 0:
                raise asyncio.TimeoutError(self.trouble.text or "no server answers")
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._is_up.wait(), wait)
        return self._client

    async def request(self, subject: str, data: bytes = b"", timeout: float = 5.0, **more: Any) -> Any:
        """A request of core NATS. The errors are nats-py's."""
        return await (await self.up(timeout)).request(subject, data, timeout=timeout, **more)

    async def jetstream(self, timeout: float = 5.0) -> Any:
        """nats-py's JetStream context over this connection."""
        return (await self.up(timeout)).jetstream(timeout=timeout)

    async def _stay_connected(self, keywords: dict[str, Any]) -> None:
        attempt = 0
        while True:
            client = await self._connect_to_one(keywords)
            if client is None:
                await asyncio.sleep(backoff(attempt))
                attempt += 1
                continue
            began = time.monotonic()
            self._client = client
            self._came_up()
            await self._wait_for_its_end(client)
            self._client = None
            await _close(client)
            # A server that takes everybody and throws them out at once must not be asked all the time.
            attempt = 0 if time.monotonic() - began > STEADY_S else attempt + 1
            await asyncio.sleep(backoff(attempt))

    async def _wait_for_its_end(self, client: Any) -> None:
        """nats-py's word of it comes at once, but not where its last data cannot be sent, so that the client
        is looked at, too."""
        assert self._is_closed is not None
        while client.is_connected:
            self._is_closed.clear()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._is_closed.wait(), LOOK_S)

    async def _connect_to_one(self, keywords: dict[str, Any]) -> Any:
        """A client of the server that answers first, or None. The servers are asked in an order that is drawn
        anew, each a moment after the one before: one that swallows everything must not use up the time."""
        loop = asyncio.get_running_loop()
        left = random.sample(list(self._access.servers), len(self._access.servers))
        trying: set[asyncio.Task[Any]] = set()
        client = None
        try:
            while client is None and (left or trying):
                if left:
                    trying.add(loop.create_task(self._connect(left.pop(), keywords)))
                wait = STAGGER_S if left else None
                done, trying = await asyncio.wait(trying, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
                for found in [task.result() for task in done]:
                    if client is not None and found is not None:
                        await _close(found)
                    client = client or found
        finally:
            await end(trying)
            for task in trying:
                # One may have come in this moment.
                if not task.cancelled() and task.exception() is None and task.result() is not None:
                    await _close(task.result())
        return client

    async def _connect(self, server: str, keywords: dict[str, Any]) -> Any:
        """A connected client of this server, or None."""
        client = client_class(self._access.is_encrypted)()
        try:
            await limited(self._begin(client, server, keywords), CONNECT_LIMIT_S)
        except asyncio.CancelledError:
            await _close(client)
            raise
        # Everything that a server or a resolver can do wrong is a reason to try again.
        except Exception as error:
            self.trouble.note(_text_of(error), isinstance(error, (OSError, asyncio.TimeoutError)))
            await _close(client)
            return None
        return client

    async def _begin(self, client: Any, server: str, keywords: dict[str, Any]) -> None:
        # nats-py's own reconnecting is not used: it has no growing waits, gives up where keys are refused,
        # and keeps what is published meanwhile for whatever server answers next.
        await client.connect(
            servers=[server],
            name=self._name,
            inbox_prefix=self._inbox,
            connect_timeout=CONNECT_LIMIT_S,
            max_reconnect_attempts=1,
            reconnect_time_wait=0.05,
            allow_reconnect=False,
            ping_interval=PING_S,
            max_outstanding_pings=2,
            error_cb=self._note,
            closed_cb=self._went,
            **keywords,
        )

    def _came_up(self) -> None:
        self.connects += 1
        assert self._is_up is not None
        self._is_up.set()
        for function in self._on_up:
            function()

    async def _went(self) -> None:
        assert self._is_closed is not None
        self._is_closed.set()

    async def _note(self, error: Exception) -> None:
        vague = (OSError, asyncio.TimeoutError, need("nats.errors").UnexpectedEOF)
        self.trouble.note(_text_of(error), isinstance(error, vague))


def _text_of(error: BaseException) -> str:
    return str(error) or type(error).__name__


async def _close(client: Any) -> None:
    # A server that is away or hangs must not hold our end.
    with contextlib.suppress(Exception):
        await asyncio.wait_for(client.close(), CLOSE_S)


def _readable(text: Any) -> bytes:
    return bytes(text).decode(errors="replace").encode()


def client_class(must_encrypt: bool) -> Any:
    """A client of nats-py that bears any subject, or one that also says nothing, keys included, to a server
    that does not encrypt."""
    module = need("nats.aio.client")

    class Client(module.Client):  # type: ignore[misc,name-defined]
        # A server without keys carries subjects that are no UTF-8. By one of them nats-py stops reading, and
        # the message would be there again after each new connection.
        def _build_message(self, sid: int, subject: Any, reply: Any, *rest: Any) -> Any:
            return super()._build_message(sid, _readable(subject), _readable(reply), *rest)

    if not must_encrypt:
        return Client
    errors = need("nats.errors")

    class EncryptedClient(Client):
        # nats-py encrypts only where the server says so, whatever the URL is. This is the last step before
        # it sends who we are.
        def _connect_command(self) -> Any:
            writer = getattr(self._transport, "_io_writer", None)
            if writer is None or writer.get_extra_info("ssl_object") is None:
                raise errors.SecureConnRequiredError()
            self.was_checked = True
            return super()._connect_command()

        async def connect(self, *arguments: Any, **keywords: Any) -> None:
            self.was_checked = False
            await super().connect(*arguments, **keywords)
            if not self.was_checked:
                # Another version of nats-py does it in another way: rather no connection than an open one.
                await self.close()
                raise errors.SecureConnRequiredError()

    return EncryptedClient
