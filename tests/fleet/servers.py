"""Real nats-servers on loopback, each on ports of its own and ended by its own process id; made-up events in
real spools; and what of them the stream has in the end."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import nats_server
import pytest
from nats_server import PROGRAM, free_port

from cbprocess import records, spool
from cbprocess.fleet import Access, Hub, Plan
from cbprocess.fleet.shipping import StreamPublisher, StreamShipper

T = TypeVar("T")
TENANT = "acme"


class Server:
    """One nats-server with a folder and a port that stay the same when it is started again."""

    def __init__(self, folder: Path, name: str = "one", extra: str = "", js: str = "") -> None:
        self.name, self.port, self.folder = name, free_port(), folder / name
        self.folder.mkdir(parents=True)
        self.extra, self.js = extra, js
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Server:
        more = f'server_name: "{self.name}"\n{self.extra}'
        self.process = nats_server.start(self.folder, self.port, more, self.js)
        return self

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stand_still(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        if self.process is not None:
            nats_server.stop(self.process)

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    @property
    def access(self) -> Access:
        return Access([self.url])


@contextlib.contextmanager
def running(server: Server) -> Iterator[Server]:
    try:
        yield server.start()
    finally:
        server.stop()


def run(main: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(main)


async def set_up(access: Access, **sizes: Any) -> None:
    async with Hub(access, tenant=TENANT) as hub:
        await hub.setup(Plan(TENANT, **{"max_bytes": 256 << 20, **sizes}))


def write_events(root: Path, count: int, host: str = "web1", size: int = 0) -> spool.SpoolWriter:
    """A session with so many made-up events, still open."""
    writer = spool.SpoolWriter(root, records.Origin.here(host=host))
    add_events(writer, count, size)
    return writer


def add_events(writer: spool.SpoolWriter, count: int, size: int = 0) -> None:
    for index in range(count):
        writer.add(records.made("summary", writer.origin, text="x" * size, index=index))


def session(root: Path, count: int, host: str = "web1", size: int = 0) -> tuple[int, records.Origin]:
    """A session that has ended; how many records it has (its end is one, too)."""
    with write_events(root, count, host, size) as writer:
        pass
    return writer.counts().number, writer.origin


def shipper_process(root: Path, access: Access, host: str = "web1", *more: str) -> subprocess.Popen[bytes]:
    """A shipper of its own, which ends when everything is shipped."""
    line = [sys.executable, "-m", "cbprocess.fleet.ship", "--spool", str(root), "--host", host]
    line += ["--servers", ",".join(access.servers), "--tenant", TENANT, "--once", *more]
    return subprocess.Popen(line, stdin=subprocess.DEVNULL)


async def ship_all(
    root: Path, access: Access, host: str = "web1", seconds: float = 30, tenant: str = TENANT
) -> StreamShipper:
    """Ships in this process until the spool is empty."""
    from cbprocess.fleet.link import Link

    async with Link(access, "test") as link:
        shipper = StreamShipper(StreamPublisher(link, tenant), tenant, host, root)
        await asyncio.wait_for(shipper.run(until=lambda: not spool.sessions(root)), seconds)
    return shipper


async def collected(access: Access, **start: Any) -> tuple[list[dict[str, Any]], Any]:
    """All records of the stream, each once, and the counts of their reader."""
    async with Hub(access, tenant=TENANT) as hub:
        found = [record async for record in hub.events(follow=False, merge=0, **start)]
        return found, hub.counts()


def numbers(found: list[dict[str, Any]]) -> dict[str, list[int]]:
    """The numbers that came, by session, in order."""
    made: dict[str, list[int]] = {}
    for record in found:
        made.setdefault(record["session"], []).append(record["number"])
    return {key: sorted(value) for key, value in made.items()}


def whole(found: list[dict[str, Any]], total: int) -> None:
    """Every number of every session came, and came once."""
    made = numbers(found)
    assert sum(len(each) for each in made.values()) == total
    for each in made.values():
        assert each == list(range(1, len(each) + 1))


async def wait_for(condition: Any, seconds: float = 20) -> None:
    """Waits for a condition, a function or a coroutine function."""
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return
        assert time.monotonic() < end, "it did not come true"
        await asyncio.sleep(0.05)


needs_server = pytest.mark.skipif(PROGRAM is None, reason="nats-server is not installed")
