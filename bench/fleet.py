"""Events a second through host, stream and consumer: `python bench/fleet.py [EVENTS]`. It starts a server.

Events are made up, of the size that a compiler's have. Each part is measured alone, then all at once."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cbprocess import records, spool
from cbprocess.fleet import Hub, Plan
from cbprocess.fleet.link import Access, Link
from cbprocess.fleet.shipping import StreamPublisher, StreamShipper

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
import nats_server

TENANT = "bench"
ARGUMENTS = [
    "cc1",
    "-quiet",
    "-I",
    "/usr/include",
    "-D_FORTIFY_SOURCE=2",
    "src/module.c",
    "-O2",
    "-o",
    "/tmp/cc.s",
]
FIELDS = {
    "process_id": 4242,
    "start_time": "288719",
    "user_id": 1000,
    "process_name": "/usr/lib/gcc/x86_64-linux-gnu/12/cc1",
    "arguments": ARGUMENTS,
}


def write(root: Path, count: int) -> tuple[int, float, float]:
    """A session with so many events; how many records, and the seconds by the clock and of the CPU."""
    began, cpu = time.perf_counter(), time.process_time()
    # No driver is as fast as this loop, so more has to wait in memory than usual.
    where = records.Origin.here(host="bench")
    with spool.SpoolWriter(root, where, limit_bytes=4 << 30, memory_bytes=256 << 20) as writer:
        origin = writer.origin
        for _ in range(count):
            writer.add(records.made("summary", origin, **FIELDS))
    assert writer.counts().lost == 0
    return writer.counts().number, time.perf_counter() - began, time.process_time() - cpu


async def ship(access: Access, root: Path, total: int) -> tuple[float, float]:
    async with Link(access, "bench") as link:
        await link.up(5)
        began, cpu = time.perf_counter(), time.process_time()
        shipper = StreamShipper(StreamPublisher(link, TENANT), TENANT, "bench", root)
        await shipper.run(until=lambda: shipper.counts.events >= total and not spool.sessions(root))
        return time.perf_counter() - began, time.process_time() - cpu


async def read(access: Access, total: int) -> tuple[float, float]:
    async with Hub(access, tenant=TENANT) as hub:
        began, cpu, seen = time.perf_counter(), time.process_time(), 0
        async for batch in hub.feed().batches():
            seen += len(batch)
            if seen >= total:
                break
        assert hub.counts().missing == 0
        return time.perf_counter() - began, time.process_time() - cpu


async def set_up(access: Access) -> None:
    async with Hub(access, tenant=TENANT) as hub:
        await hub.setup(Plan(TENANT, max_bytes=4 << 30))


async def all_at_once(access: Access, root: Path, count: int, before: int) -> float:
    """Writer, shipper and reader in three processes."""
    code = "import sys; sys.path.insert(0, sys.argv[1]); import fleet; from pathlib import Path; "
    code += "fleet.write(Path(sys.argv[2]), int(sys.argv[3]))"
    folder = str(Path(__file__).resolve().parent)
    began = time.perf_counter()
    ship_line = [sys.executable, "-m", "cbprocess.fleet.ship", "--spool", str(root), "--host", "bench"]
    ship_line += ["--servers", ",".join(access.servers), "--tenant", TENANT]
    with subprocess.Popen(ship_line, stdin=subprocess.DEVNULL) as shipper:
        with subprocess.Popen([sys.executable, "-c", code, folder, str(root), str(count)]) as writer:
            await read(access, before + count)
            took = time.perf_counter() - began
            writer.wait()
        shipper.terminate()
    return took


def show(what: str, total: int, seconds: float, cpu: float | None = None) -> None:
    more = "" if cpu is None else f"{cpu / total * 1e6:8.1f} us CPU an event"
    print(f"{what:<34}{total / seconds:>10,.0f} events/s{more}")


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 60_000
    if nats_server.PROGRAM is None:
        raise SystemExit("nats-server is not installed")
    port = nats_server.free_port()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = nats_server.start(folder, port)
        try:
            access = Access([f"nats://127.0.0.1:{port}"])
            asyncio.run(set_up(access))
            total, seconds, cpu = write(folder / "spool", count)
            show("records into the spool", total, seconds, cpu)
            show("spool to stream", total, *asyncio.run(ship(access, folder / "spool", total)))
            show("stream to consumer", total, *asyncio.run(read(access, total)))
            took = asyncio.run(all_at_once(access, folder / "spool", count, total))
            show("all at once, consumer from the start", total + count, took)
        finally:
            nats_server.stop(server)


if __name__ == "__main__":
    main()
