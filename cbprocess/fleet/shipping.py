"""The stream of a fleet as a sink: batches of a spool with names that no other host can make, and the shipper
of an agent, which runs in an event loop.

Knows batches, the shipper of all sinks and one function that publishes; nothing of rules and presence."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import os
import threading
from dataclasses import dataclass
from typing import NamedTuple

from ..records import SCHEMA
from ..rule_files import replace_file
from ..sinks import Later
from ..sinks.shipping import END_LIMIT_S, Shipper
from . import names
from .cutting import fitting
from .link import Trouble, end, limited

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    from ..sinks import Done
    from ..spool import Batch
    from .link import Link

ACK_LIMIT_S = 5.0
SEND_LIMIT_S = 1.0
HEADERS_SIZE = 2048  # more than the headers of a batch ever take
BATCH_MIN = 1024
KEY_FILE, KEY_SIZE = ".message_key", 32
PROOF_SIZE = 32  # hexadecimal digits


class Stored(NamedTuple):
    """What the stream said of a batch: its place, and whether it was there already."""

    sequence: int
    duplicate: bool


@dataclass
class ShipCounts:
    """Counts of a shipper since its start.

    went_back: how often the stream's sequence fell: the stream has lost messages then, or is another one."""

    events: int = 0
    batches: int = 0
    bytes: int = 0
    duplicates: int = 0
    retries: int = 0
    cut: int = 0
    went_back: int = 0


class StreamPublisher:
    """Publishes batches to the stream of a tenant. Its errors are nats-py's, and all mean: try again.

    ack_limit: seconds for a server to be there, and as many for its answer."""

    def __init__(self, link: Link, tenant: str, ack_limit: float = ACK_LIMIT_S) -> None:
        self._link = link
        self._stream = names.event_stream(tenant)
        self._ack_limit = ack_limit

    @property
    def size_max(self) -> int:
        """The most bytes of a batch that the server takes."""
        return self._link.max_payload - HEADERS_SIZE

    async def ready(self) -> None:
        """Waits until there is a server: what waits here is no attempt that failed. asyncio.TimeoutError with
        the reason where none comes."""
        await self._link.up(self._ack_limit)

    async def __call__(self, subject: str, data: bytes, headers: dict[str, str]) -> Stored:
        stream = await self._link.jetstream(self._ack_limit)
        try:
            # The name of the stream goes with it, so that no other stream takes it by its subjects.
            sending = stream.publish(
                subject, data, timeout=self._ack_limit, stream=self._stream, headers=dict(headers)
            )
            # nats-py's own limit does not hold where the connection ends while it sends: it waits for ever.
            found = await limited(sending, self._ack_limit + SEND_LIMIT_S)
        except asyncio.TimeoutError:
            # Why there was no answer, a missing permission for example, comes by another way.
            raise asyncio.TimeoutError(self._link.trouble.recent() or "the server does not answer") from None
        return Stored(int(found.seq), bool(found.duplicate))


def message_key(root: Path) -> bytes:
    """The spool's own secret, made where there is none, for the names of its batches.

    A stream looks names up over all of its subjects, and tells the newest one to every host that may publish.
    Another host could take a name that it can guess, and our batch would be dropped as a double then.
    OSError where it cannot be read or written."""
    path = root / KEY_FILE
    with contextlib.suppress(FileNotFoundError):
        found = path.read_bytes()
        if len(found) == KEY_SIZE:
            return found
    made = os.urandom(KEY_SIZE)
    replace_file(os.fspath(path), made)
    return made


def size_of(publisher: Any) -> int | None:
    """The most bytes of a batch for this publisher, at least BATCH_MIN. None where the server says nonsense
    about its sizes."""
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        return max(BATCH_MIN, int(publisher.size_max))
    return None


class StreamSink:
    """The sink of a fleet: publishes batches to the stream of a tenant, each under the subject of its
    session's host.

    publisher: a StreamPublisher, or anything with its three parts. loop: the event loop that it runs in; a
    shipper calls send(), poll() and close() in another thread. key: gives the secret of the spool for the
    names of batches; without it a shipper that was restarted uses other names, and readers find the doubles
    by their numbers."""

    def __init__(
        self,
        publisher: Any,
        tenant: str,
        loop: asyncio.AbstractEventLoop,
        key: Callable[[], bytes] | None = None,
    ) -> None:
        self._publisher = publisher
        self._tenant = tenant
        self._loop = loop
        self._find_key = key
        self._key: bytes | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._answered = threading.Event()
        self._is_closed = False
        self._highest = 0
        self.counts = ShipCounts()
        self.trouble = Trouble()

    @property
    def max_bytes(self) -> int | None:
        """The most bytes of a batch."""
        return size_of(self._publisher)

    def send(self, batch: Batch, done: Done) -> None:
        """Hands the batch to the loop."""
        try:
            self._loop.call_soon_threadsafe(self._begin, batch, done)
        except RuntimeError as error:
            # The loop has ended before its shipper.
            done(error)

    def poll(self, seconds: float) -> None:
        """Waits for an answer."""
        self._answered.wait(seconds)
        self._answered.clear()

    def close(self, seconds: float) -> None:
        """Has all fail that is not acknowledged. Not in the loop's own thread."""
        # A server that hangs is not waited for any longer.
        with contextlib.suppress(Exception):
            asyncio.run_coroutine_threadsafe(self.end(), self._loop).result(seconds)

    async def end(self) -> None:
        """As close(), in the loop."""
        self._is_closed = True
        await end(self._tasks)

    def note(self, failure: BaseException | None) -> None:
        """Keeps a trouble of a shipper, for its on_trouble. Those of the sink itself are kept already."""
        if failure is not None and str(failure) != self.trouble.text:
            self.trouble.note(str(failure), isinstance(failure, Later))

    async def publisher_of(self, host: str) -> Any:
        """What publishes for this host."""
        return self._publisher

    def _begin(self, batch: Batch, done: Done) -> None:
        if self._is_closed:
            done(OSError("the sink was closed"))
            return
        task = self._loop.create_task(self._send(batch, done))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send(self, batch: Batch, done: Done) -> None:
        failure: BaseException | None = None
        try:
            await self._publish(batch)
        except asyncio.CancelledError:
            failure = OSError("the sink was closed")
        except Later as error:
            failure = error
        # nats-py's own errors, those of its sockets, a server's nonsense, a line that cannot be cut: the
        # batch comes again, and it is told.
        except Exception as error:
            self.counts.retries += 1
            failure = OSError(str(error) or type(error).__name__)
            self.trouble.note(str(failure))
        done(failure)
        self._answered.set()

    async def _publish(self, batch: Batch) -> None:
        host = str(batch.origin.host)
        publisher = await self.publisher_of(host)
        try:
            await publisher.ready()
        except asyncio.TimeoutError as error:
            # The connection has growing waits of its own, so that the shipper needs none.
            raise Later(str(error), 0) from None
        floor = self._highest
        # Each line is no longer than the server takes: an event that is too long must not stop all behind it.
        data, cut = fitting(batch.data, publisher.size_max)
        stored = await publisher(
            names.event_subject(self._tenant, host), data, headers_of(batch, self._message_key())
        )
        self.counts.cut += cut
        self._count(batch, data, stored, floor)

    def _message_key(self) -> bytes:
        if self._key is None:
            try:
                self._key = os.urandom(KEY_SIZE) if self._find_key is None else self._find_key()
            except OSError as error:
                # On a full disk, for example. A shipper that follows sends other names then, and readers
                # find the doubles by their numbers.
                self.trouble.note(f"{KEY_FILE}: {error}")
                self._key = os.urandom(KEY_SIZE)
        return self._key

    def _count(self, batch: Batch, data: bytes, stored: Stored, floor: int) -> None:
        counts = self.counts
        counts.batches += 1
        counts.events += batch.count
        counts.bytes += len(data)
        counts.duplicates += stored.duplicate
        if not stored.duplicate:
            if stored.sequence <= floor:
                counts.went_back += 1
                self.trouble.note(f"the stream went back from {floor} to {stored.sequence}: it lost messages")
                self._highest = stored.sequence
            self._highest = max(self._highest, stored.sequence)


class StreamShipper:
    """Ships what is in a spool, and what comes into it, to the stream of a tenant, from an event loop. The
    shipper is that of every sink, in a thread of its own.

    publisher: as that of a StreamSink. host: sessions of others stay. is_locked: whether the caller has the
    lock of the spool's shipper. sizes: window, max_events and max_bytes of a Shipper."""

    def __init__(
        self, publisher: Any, tenant: str, host: str, root: Path, *, is_locked: bool = False, **sizes: int
    ) -> None:
        self.sink = StreamSink(publisher, tenant, asyncio.get_running_loop(), lambda: message_key(root))
        self._shipper = Shipper(
            root, self.sink, host=host, is_locked=is_locked, on_trouble=self.sink.note, **sizes
        )

    @property
    def counts(self) -> ShipCounts:
        return self.sink.counts

    @property
    def trouble(self) -> Trouble:
        return self.sink.trouble

    @property
    def in_flight(self) -> int:
        """Batches that the stream has not acknowledged yet."""
        return self._shipper.counts().in_flight

    def stop(self, seconds: float = END_LIMIT_S) -> None:
        """Has run() end after what is in flight, or after so many seconds: the rest is shipped next time."""
        self._shipper.stop(seconds)

    async def run(self, until: Callable[[], bool] | None = None) -> None:
        """Ships until `until` says so while there is nothing to do, or until stop(). Cancelling it is safe
        at any time."""
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()

        def ship() -> None:
            failure: BaseException | None = None
            try:
                self._shipper.run(until=until)
            except BaseException as error:
                failure = error
            with contextlib.suppress(RuntimeError):  # The loop has ended before.
                loop.call_soon_threadsafe(_set, ended, failure)

        # A thread of its own for each: those of the loop are few.
        threading.Thread(target=ship, name="cbprocess-shipper", daemon=True).start()
        try:
            await asyncio.shield(ended)
        finally:
            self._shipper.stop(0)
            await self.sink.end()
            with contextlib.suppress(Exception):
                await asyncio.wait_for(ended, END_LIMIT_S)


def _set(future: asyncio.Future[None], failure: BaseException | None) -> None:
    if future.cancelled():
        return
    if failure is None:
        future.set_result(None)
    else:
        future.set_exception(failure)


def headers_of(batch: Batch, key: bytes) -> dict[str, str]:
    """The headers of a batch. key: the secret of message_key()."""
    origin = batch.origin
    # The whole range stands in the name, not only its beginning: a shipper that was restarted may cut batches
    # in other places, and the stream would drop the tail of a longer one as a double.
    name = f"{names.token(origin.host)}/{origin.boot}/{origin.session}/{batch.first}-{batch.last}"
    proof = hmac.new(key, name.encode("ascii", "backslashreplace"), "sha256").hexdigest()
    return {
        "Nats-Msg-Id": f"{name}/{proof[:PROOF_SIZE]}",
        "Cbp-Schema": str(SCHEMA),
        "Cbp-Boot": str(origin.boot),
        "Cbp-Session": str(origin.session),
    }
