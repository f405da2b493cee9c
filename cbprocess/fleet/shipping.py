"""Ships the sessions of a spool to the stream: at least once, several batches in flight, in an event loop.

A batch is acknowledged in the spool only after the stream has it, so a shipper can be killed at any moment.
Knows spools and one function that publishes; nothing of rules and presence."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import os
import time
from dataclasses import dataclass
from typing import NamedTuple

from .. import spool
from .._records.strict import BYTES
from ..errors import CBProcessError
from ..records import SCHEMA, line_of
from ..rule_files import replace_file
from . import names
from .link import Trouble, backoff

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    from .link import Link

LOOK_S = 0.05  # between two looks for new lines
SEAL_S = 1.0  # between two looks for sessions whose writer has died
WINDOW = 16  # batches in flight
MAX_EVENTS = 256
MAX_BYTES = 400_000
ACK_LIMIT_S = 5.0
HEADERS_SIZE = 2048  # more than the headers of a batch ever take
CUT_TEXT_SIZE = 4096
# These say which event it was, and are never cut.
KEPT = ("schema", "host", "boot", "session", "number", "event", "time", "time_ns", "cut")
RETRY_S = (0.2, 30.0)
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
    """Publishes batches to the stream of a tenant. Its errors are nats-py's, and all mean: try again."""

    def __init__(self, link: Link, tenant: str, ack_limit: float = ACK_LIMIT_S) -> None:
        self._link = link
        self._stream = names.event_stream(tenant)
        self._ack_limit = ack_limit

    @property
    def size_max(self) -> int:
        """The most bytes of a batch that the server takes."""
        return self._link.max_payload - HEADERS_SIZE

    async def ready(self) -> None:
        """Waits until there is a server: what waits here is no attempt that failed."""
        await self._link.up()

    async def __call__(self, subject: str, data: bytes, headers: dict[str, str]) -> Stored:
        stream = await self._link.jetstream(self._ack_limit)
        # The name of the stream goes with it, so that no other stream takes it by its subjects.
        found = await stream.publish(
            subject, data, timeout=self._ack_limit, stream=self._stream, headers=dict(headers)
        )
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


class _Lane:
    """One session: what is in flight of it, in order."""

    def __init__(self, reader: spool.SessionReader) -> None:
        self.reader = reader
        self.pending: dict[int, int] = {}
        self.done: dict[int, int] = {}

    def acknowledge(self, first: int) -> None:
        """Only a prefix counts: what is behind a hole is sent again after a crash."""
        self.done[first] = self.pending.pop(first)
        lowest = min(self.pending, default=None)
        ready = [start for start in sorted(self.done) if lowest is None or start < lowest]
        if not ready:
            return
        last = max(self.done.pop(start) for start in ready)
        # Without it the batch is sent again after a restart, and found to be a double.
        with contextlib.suppress(OSError):
            self.reader.ack(last)


class Shipper:
    """Ships what is in a spool, and what comes into it. One task runs it.

    publish: a StreamPublisher, or anything with its three parts. root: the spool's folder."""

    def __init__(
        self,
        publish: Any,
        tenant: str,
        host: str,
        root: Path,
        *,
        window: int = WINDOW,
        max_events: int = MAX_EVENTS,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._publish = publish
        self._subject = names.event_subject(tenant, host)
        self.host = host
        self._key: bytes | None = None
        self._foreign: set[str] = set()
        self._root = root
        self._window = asyncio.Semaphore(window)
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._lanes: dict[str, _Lane] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._highest = 0
        self._is_stopping = False
        self._sealed_at = 0.0
        self.counts = ShipCounts()
        self.trouble = Trouble()

    @property
    def in_flight(self) -> int:
        """Batches that the stream has not acknowledged yet."""
        return len(self._tasks)

    def stop(self) -> None:
        """Has run() end after what is in flight, or after five seconds: the rest is shipped next time."""
        self._is_stopping = True

    async def run(self, until: Callable[[], bool] | None = None) -> None:
        """Ships until `until` says so while there is nothing to do, or until stop(). Cancelling it is safe
        at any time."""
        try:
            while not self._is_stopping:
                if await self._turn():
                    continue
                if not self._tasks and until is not None and until():
                    return
                await asyncio.sleep(LOOK_S)
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=ACK_LIMIT_S)
        finally:
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _turn(self) -> bool:
        """One batch of each session that has one: a busy session does not hold the others. Gives whether
        there was anything."""
        self._look_for_sessions()
        is_busy = False
        for name, lane in list(self._lanes.items()):
            if not await self._has_room():
                return False
            await self._window.acquire()
            try:
                batch = lane.reader.batch(self._max_events, min(self._max_bytes, self._publish.size_max))
            # A folder that was removed by hand, a segment that cannot be read, or nonsense of a server about
            # sizes: other sessions go on.
            except Exception as error:
                self.trouble.note(f"{lane.reader.folder}: {error}")
                batch = None
            if batch is None:
                self._window.release()
                self._finish(name, lane)
                continue
            is_busy = True
            lane.pending[batch.first] = batch.last
            task = asyncio.get_running_loop().create_task(self._ship(lane, batch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return is_busy

    async def _has_room(self) -> bool:
        """Waits until another batch may be in flight. False where stop() came before: without a server there
        may never be room."""
        while self._window.locked() and not self._is_stopping:
            await asyncio.wait(self._tasks, timeout=LOOK_S, return_when=asyncio.FIRST_COMPLETED)
        return not self._is_stopping

    def _look_for_sessions(self) -> None:
        now = time.monotonic()
        with contextlib.suppress(OSError):
            folders = spool.sessions(self._root)
            is_due = now - self._sealed_at > SEAL_S
            for folder in folders:
                if is_due:
                    with contextlib.suppress(OSError, CBProcessError):
                        spool.seal(folder)
                if folder.name not in self._lanes and folder.name not in self._foreign:
                    # Another process may be removing it.
                    with contextlib.suppress(OSError, CBProcessError):
                        self._begin(folder)
            if is_due:
                self._sealed_at = now

    def _begin(self, folder: Path) -> None:
        reader = spool.SessionReader(folder)
        if reader.origin.host != self.host:
            # Under our subject its lines would be taken for forged ones, by every reader.
            self._foreign.add(folder.name)
            self.trouble.note(
                f"{folder}: a session of {reader.origin.host}, not of {self.host}; it stays there"
            )
            return
        self._lanes[folder.name] = _Lane(reader)

    def _finish(self, name: str, lane: _Lane) -> None:
        """Forgets a session that has ended and is shipped, with its folder."""
        if lane.pending:
            return
        with contextlib.suppress(OSError):
            if lane.reader.is_finished:
                lane.reader.remove()
                del self._lanes[name]
            elif not lane.reader.folder.exists():
                del self._lanes[name]

    async def _ship(self, lane: _Lane, batch: spool.Batch) -> None:
        try:
            headers = self._headers(batch)
            attempt = 0
            while True:
                await self._publish.ready()
                floor = self._highest
                try:
                    data = self._fitting(batch.data)
                    stored = await self._publish(self._subject, data, headers)
                    break
                except asyncio.CancelledError:
                    raise
                # nats-py's own errors, those of its sockets, a server's nonsense, a line that cannot be cut:
                # all mean "again", and are told.
                except Exception as error:
                    self.trouble.note(str(error) or type(error).__name__)
                self.counts.retries += 1
                await asyncio.sleep(backoff(attempt, RETRY_S))
                attempt += 1
            self._count(batch, data, stored, floor)
            lane.acknowledge(batch.first)
        finally:
            self._window.release()

    def _headers(self, batch: spool.Batch) -> dict[str, str]:
        return headers_of(batch, self._message_key())

    def _message_key(self) -> bytes:
        if self._key is None:
            try:
                self._key = message_key(self._root)
            except OSError as error:
                # On a full disk, for example. A shipper that follows sends other names then, and readers
                # find the doubles by their numbers.
                self.trouble.note(f"{self._root / KEY_FILE}: {error}")
                self._key = os.urandom(KEY_SIZE)
        return self._key

    def _count(self, batch: spool.Batch, data: bytes, stored: Stored, floor: int) -> None:
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

    def _fitting(self, data: bytes) -> bytes:
        """The lines, each no longer than the server takes: an event that is too long must not stop all
        behind it."""
        made, cut = fitting(data, self._publish.size_max)
        self.counts.cut += cut
        return made


def headers_of(batch: spool.Batch, key: bytes) -> dict[str, str]:
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


def fitting(data: bytes, limit: int) -> tuple[bytes, int]:
    """The lines of a batch, each no longer than the server takes, and how many were cut."""
    if len(data) <= limit:
        return data, 0
    lines = data.splitlines(keepends=True)
    share = max(CUT_TEXT_SIZE, limit // len(lines))
    cut = sum(len(line) > share for line in lines)
    return b"".join(line if len(line) <= share else cut_line(line, share) for line in lines), cut


def cut_line(line: bytes, limit: int) -> bytes:
    """A record's line in at most so many bytes: its longest texts and lists are cut, and `cut` names their
    keys. Numbers and identity stay, and every key keeps its type. The exact bytes beside a text that is cut
    are left out, because they are those of another text, or of the whole one."""
    record: dict[str, Any] = json.loads(line)
    record["cut"] = []
    size = CUT_TEXT_SIZE
    while True:
        made = line_of(record)
        if len(made) <= limit:
            return made
        able = [name for name in record if name not in KEPT and _can_be_cut(name, record[name])]
        if not able:
            # Nothing is left that is long: what remains is the shortest that says which event it was.
            return made
        key = max(able, key=lambda name: len(json.dumps(record[name])))
        value = record[key]
        if key.endswith(BYTES):
            key = key[: -len(BYTES)]
        elif isinstance(value, str):
            record[key] = value[: min(size, len(value) // 2)]
        else:
            record[key] = _cut_list(value) if isinstance(value, list) else {}
        record.pop(key + BYTES, None)
        if key not in record["cut"]:
            record["cut"].append(key)


def _can_be_cut(key: str, value: object) -> bool:
    if isinstance(value, str):
        return len(value) > 64 or (key.endswith(BYTES) and value != "")
    return isinstance(value, (list, dict)) and bool(value)


def _cut_list(items: list[Any]) -> list[Any]:
    """Half of a list; of a list of one text, half of the text."""
    if len(items) > 1:
        return items[: len(items) // 2]
    return [items[0][: len(items[0]) // 2]] if isinstance(items[0], str) and len(items[0]) > 64 else []
