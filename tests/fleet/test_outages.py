"""Servers and shippers that die, hang and are full, against a real nats-server: nothing is lost, nothing is
doubled after the numbers were compared, or the loss is counted and told."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fleet.servers import (
    TENANT,
    Server,
    add_events,
    collected,
    run,
    running,
    session,
    set_up,
    ship_all,
    shipper_process,
    wait_for,
    whole,
    write_events,
)

from cbprocess import spool
from cbprocess.fleet.link import Link
from cbprocess.fleet.shipping import StreamPublisher, StreamShipper

TESTS = Path(__file__).resolve().parents[1]


def test_a_server_killed_again_and_again_in_mid_stream(server: Server, tmp_path: Path) -> None:
    writer = write_events(tmp_path / "spool", 2000, size=300)

    async def main() -> None:
        async with Link(server.access, "test") as link:
            shipper = StreamShipper(
                StreamPublisher(link, TENANT, ack_limit=1), TENANT, "web1", tmp_path / "spool"
            )
            task = asyncio.ensure_future(shipper.run())
            for _ in range(4):
                before = shipper.counts.events
                await wait_for(lambda before=before: shipper.counts.events > before)
                server.kill()
                add_events(writer, 3000, size=300)
                await asyncio.sleep(0.2)
                server.start()
            await asyncio.to_thread(writer.close)
            await wait_for(lambda: not spool.sessions(tmp_path / "spool"))
            shipper.stop()
            await task
            assert shipper.counts.went_back == 0

    run(main())
    found, counts = run(collected(server.access))
    whole(found, 14_001)
    assert (counts.missing, counts.told, counts.forged, counts.strange) == (0, 0, 0, 0)


def test_a_shipper_killed_fifty_times(server: Server, tmp_path: Path) -> None:
    root = tmp_path / "spool"
    writer = write_events(root, 3000)
    line = [sys.executable, "-m", "fleet.forking", "50", "5", "--spool", str(root), "--host", "web1"]
    line += ["--servers", server.url, "--tenant", TENANT, "--once"]
    with subprocess.Popen(line, env={**os.environ, "PYTHONPATH": str(TESTS)}) as killer:
        while killer.poll() is None and writer.counts().number < 40_000:
            add_events(writer, 200)
            time.sleep(0.02)
        writer.close()
        assert killer.wait(60) == 0
    found, counts = run(collected(server.access))
    whole(found, writer.counts().number)
    assert counts.missing == 0 and counts.told == 0


def test_doubles_outside_of_the_servers_window_are_found_by_number(tmp_path: Path) -> None:
    """The window is half a second, and the shipper's memory of what it has sent is taken away."""
    with running(Server(tmp_path)) as server:
        run(set_up(server.access, duplicate_window=0.5))
        root = tmp_path / "spool"
        writer = write_events(root, 1000)

        async def some() -> None:
            async with Link(server.access, "test") as link:
                shipper = StreamShipper(StreamPublisher(link, TENANT), TENANT, "web1", root)
                task = asyncio.ensure_future(shipper.run())
                await wait_for(lambda: shipper.counts.events >= 1000)
                shipper.stop()
                await task

        run(some())
        (writer.folder / "acked").write_bytes(b" " * 20 + b"\n")
        time.sleep(1.2)
        writer.close()
        run(ship_all(root, server.access))
        found, counts = run(collected(server.access))
        whole(found, 1001)
        assert counts.doubles >= 1000 and counts.missing == 0


def test_a_server_that_hangs_holds_nothing_and_gets_all(server: Server, tmp_path: Path) -> None:
    root = tmp_path / "spool"

    async def main() -> None:
        async with Link(server.access, "test") as link:
            shipper = StreamShipper(StreamPublisher(link, TENANT, ack_limit=0.5), TENANT, "web1", root)
            task = asyncio.ensure_future(shipper.run())
            writer = write_events(root, 500)
            await wait_for(lambda: shipper.counts.events >= 500)
            server.stand_still()
            began = time.monotonic()
            add_events(writer, 20_000)
            # Who writes events never hears of it.
            assert time.monotonic() - began < 5
            await wait_for(lambda: shipper.counts.retries > 0)
            server.go_on()
            await asyncio.to_thread(writer.close)
            await wait_for(lambda: not spool.sessions(root))
            shipper.stop()
            await task

    run(main())
    found, counts = run(collected(server.access))
    whole(found, 20_501)
    assert counts.missing == 0


def test_a_server_without_room_gets_all_when_it_has_room_again(tmp_path: Path) -> None:
    """The server's storage ends in the middle: it refuses, the spool keeps, and nothing is lost."""
    small = Server(tmp_path, js=f'jetstream {{ store_dir: "{tmp_path}/js", max_file: 4MB }}')
    root = tmp_path / "spool"
    with running(small):
        run(set_up(small.access, max_bytes=3 << 20))
        total, _ = session(root, 4000, size=1500)

        async def main() -> None:
            from cbprocess.fleet.hub import Hub
            from cbprocess.fleet.setup import Plan

            async with Link(small.access, "test") as link:
                stream = await link.jetstream()
                config = (await stream.stream_info("cbp-acme-events")).config
                config.discard = "new"
                await stream.update_stream(config)
                shipper = StreamShipper(StreamPublisher(link, TENANT), TENANT, "web1", root)
                task = asyncio.ensure_future(shipper.run())
                await wait_for(lambda: shipper.counts.retries > 3)
                assert 0 < shipper.counts.events < total
                assert "maximum bytes" in shipper.trouble.text or "resources" in shipper.trouble.text
                small.stop()
                small.js = f'jetstream {{ store_dir: "{tmp_path}/js", max_file: 64MB }}'
                small.start()
                async with Hub(small.access, tenant=TENANT) as hub:
                    await hub.setup(Plan(TENANT, max_bytes=32 << 20))
                await wait_for(lambda: not spool.sessions(root), 40)
                shipper.stop()
                await task

        run(main())
        found, counts = run(collected(small.access))
    whole(found, total)
    assert counts.missing == 0


def test_a_spool_at_its_bound_tells_its_loss_to_the_reader(server: Server, tmp_path: Path) -> None:
    """Without a server the oldest events go; the stream says itself what it lacks."""
    root = tmp_path / "spool"
    server.kill()
    writer = spool.SpoolWriter(root, limit_bytes=1 << 20)
    for _ in range(40):
        add_events(writer, 250, size=500)
        time.sleep(0.01)
    writer.close()
    total = writer.counts().number
    assert writer.counts().removed > 1000
    server.start()
    run(ship_all(root, server.access, host=str(writer.origin.host)))
    found, counts = run(collected(server.access))
    assert counts.missing == 0 and counts.told > 1000
    assert counts.events + counts.told == total
    assert any(record["event"] == "lost" and record["reason"] == "bound" for record in found)


def test_a_full_disk_of_the_host_is_told_to_the_reader(server: Server, tmp_path: Path) -> None:
    """A disk of 1 MiB takes what fits; the rest waits in memory, is counted, and told."""
    root = tmp_path / "small"
    root.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs", str(root)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("no file system of its own can be mounted here")
    try:
        writer = spool.SpoolWriter(root / "spool", memory_bytes=64 << 10, limit_bytes=64 << 20)
        slowest = 0.0
        for _ in range(40):
            began = time.monotonic()
            add_events(writer, 100, size=700)
            slowest = max(slowest, time.monotonic() - began)
            time.sleep(0.02)
        assert slowest < 1
        assert writer.counts().lost > 100

        async def main() -> None:
            async with Link(server.access, "test") as link:
                host = str(writer.origin.host)
                shipper = StreamShipper(StreamPublisher(link, TENANT), TENANT, host, root / "spool")
                task = asyncio.ensure_future(shipper.run())
                await wait_for(lambda: shipper.counts.events > 100)
                add_events(writer, 10)
                await asyncio.to_thread(writer.close)
                await wait_for(lambda: not spool.sessions(root / "spool"))
                shipper.stop()
                await task

        run(main())
    finally:
        subprocess.run(["umount", str(root)], check=True)
    _, counts = run(collected(server.access))
    assert counts.missing == 0 and counts.told > 100
    assert counts.events + counts.told == writer.counts().number


def test_a_killed_writer_is_told_to_the_reader(server: Server, tmp_path: Path) -> None:
    root = tmp_path / "spool"
    program = (
        "import sys, time\nfrom fleet.servers import write_events\nfrom pathlib import Path\n"
        "writer = write_events(Path(sys.argv[1]), 500)\n"
        "segments = lambda: writer.folder.glob('*.jsonl')\n"
        "while sum(path.read_bytes().count(b'\\n') for path in segments()) < 500: time.sleep(0.02)\n"
        "print('written', flush=True)\ntime.sleep(60)"
    )
    line = [sys.executable, "-c", program, str(root)]
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    with subprocess.Popen(line, stdout=subprocess.PIPE, env=environment) as writer:
        assert writer.stdout is not None and writer.stdout.readline() == b"written\n"
        writer.kill()
    run(ship_all(root, server.access))
    found, counts = run(collected(server.access))
    assert counts.events == 502 and counts.missing == 0 and counts.unknown == 1
    assert [record["event"] for record in found[-2:]] == ["lost", "session_end"]


def test_a_shipper_without_a_server_ends_in_its_time(tmp_path: Path) -> None:
    """`--wait` counts from the end of the pipe that its parent holds, also where the parent was killed."""
    root = tmp_path / "spool"
    session(root, 10)
    line = [sys.executable, "-m", "cbprocess.fleet.ship", "--spool", str(root), "--host", "web1", "--once"]
    line += ["--servers", "nats://127.0.0.1:1", "--wait", "0.5"]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as shipper:
        time.sleep(0.5)
        assert shipper.poll() is None
        began = time.monotonic()
        told, _ = shipper.communicate(timeout=20)
        # It takes less than a second, but for a machine that is busy.
        assert time.monotonic() - began < 8
    assert shipper.returncode == 1 and b'"trouble": ""' not in told
    assert len(spool.sessions(root)) == 1


def test_two_shippers_of_one_spool_ship_everything_once(server: Server, tmp_path: Path) -> None:
    root = tmp_path / "spool"
    total, _ = session(root, 3000)
    both = [shipper_process(root, server.access) for _ in range(2)]
    assert [each.wait(30) for each in both] == [0, 0]
    found, counts = run(collected(server.access))
    whole(found, total)
    assert counts.doubles == 0


def test_a_reader_goes_on_over_a_killed_server(server: Server, tmp_path: Path) -> None:
    """The server forgets the reader's place; the reader does not."""
    root = tmp_path / "spool"

    async def main() -> None:
        from cbprocess.fleet.hub import Hub

        async with Hub(server.access, tenant=TENANT) as hub, Link(server.access, "test") as link:
            shipper = StreamShipper(StreamPublisher(link, TENANT), TENANT, "web1", root)
            shipping = asyncio.ensure_future(shipper.run())
            found: list[int] = []

            async def read() -> None:
                async for record in hub.events(merge=0):
                    found.append(record["number"])

            reading = asyncio.ensure_future(read())
            writer = write_events(root, 500)
            await wait_for(lambda: len(found) >= 500)
            for count in (1000, 1500):
                server.kill()
                add_events(writer, 500)
                await asyncio.sleep(0.1)
                server.start()
                await wait_for(lambda count=count: len(found) >= count)
            counts = hub.counts()
            assert sorted(found) == list(range(1, 1501))
            assert (counts.doubles, counts.missing, counts.replaced) == (0, 0, 0)
            for task in (reading, shipping):
                task.cancel()
            await asyncio.gather(reading, shipping, return_exceptions=True)
            await asyncio.to_thread(writer.close)

    run(main())


def test_a_reader_of_a_stream_that_was_made_anew_begins_anew(server: Server, tmp_path: Path) -> None:
    """Places of another stream mean something else: the reader must not wait for them there."""
    root = tmp_path / "spool"

    async def main() -> None:
        from cbprocess.fleet.hub import Hub

        session(root, 1000)
        await ship_all(root, server.access)
        async with Hub(server.access, tenant=TENANT) as hub:
            found: list[int] = []

            async def read() -> None:
                async for record in hub.events(merge=0):
                    found.append(record["number"])

            reading = asyncio.ensure_future(read())
            await wait_for(lambda: len(found) == 1001)
            stream = await hub.link.jetstream()
            await stream.delete_stream("cbp-acme-events")
            await hub.setup()
            session(root, 10)
            await ship_all(root, server.access)
            await wait_for(lambda: len(found) == 1012)
            assert hub.counts().replaced == 1
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    run(main())


def test_what_the_stream_has_dropped_before_it_was_read_is_counted(server: Server, tmp_path: Path) -> None:
    """A full stream lets its oldest messages go, and whole sessions with them, which nothing else tells."""

    async def main() -> None:
        from cbprocess.fleet.hub import Hub

        async with Hub(server.access, tenant=TENANT) as hub:
            session(tmp_path / "spool", 10)
            await ship_all(tmp_path / "spool", server.access)
            first = hub.feed()
            assert sum([len(batch) async for batch in first.batches(follow=False)]) == 11
            created, after = first.position
            for _ in range(3):
                session(tmp_path / "spool", 10)
                await ship_all(tmp_path / "spool", server.access)
            stream = await hub.link.jetstream()
            left = (await stream.stream_info("cbp-acme-events")).state.messages
            await stream.purge_stream("cbp-acme-events", keep=1)
            again = hub.feed(created=created, after=after)
            assert sum([len(batch) async for batch in again.batches(follow=False)]) > 0
            assert again.counts().dropped == left - after - 1 > 0
            # What went before the reader's first message is not known to it.
            anew = hub.feed()
            assert sum([len(batch) async for batch in anew.batches(follow=False)]) > 0
            assert anew.counts().dropped == 0

    run(main())


def test_the_end_of_what_is_there_is_no_silence(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy that is behind says "no more" in the middle: whoever reads to the end must not stop there."""
    from cbprocess.fleet.reading import StreamReader

    total, _ = session(tmp_path / "spool", 3000, size=300)
    run(ship_all(tmp_path / "spool", server.access))
    true = StreamReader._fetch
    silences = {"left": 3}

    async def fetch(reader: StreamReader) -> list[object]:
        if reader.last and silences["left"]:
            silences["left"] -= 1
            reader.is_quiet = True
            return []
        return await true(reader)  # type: ignore[return-value]

    monkeypatch.setattr(StreamReader, "_fetch", fetch)
    monkeypatch.setattr("cbprocess.fleet.reading.FETCH_COUNT", 2)
    found, _ = run(collected(server.access))
    assert silences["left"] == 0
    whole(found, total)


def test_reading_what_is_there_ends_where_there_is_nothing(server: Server, tmp_path: Path) -> None:
    """No event at all, none of that host, none since then, none behind that place."""
    import datetime

    assert run(collected(server.access))[0] == []
    session(tmp_path / "spool", 10)
    run(ship_all(tmp_path / "spool", server.access))
    assert run(collected(server.access, host="another"))[0] == []
    assert len(run(collected(server.access, host="web1"))[0]) == 11
    later = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)
    assert run(collected(server.access, since=later))[0] == []

    async def behind() -> int:
        from cbprocess.fleet.hub import Hub

        async with Hub(server.access, tenant=TENANT) as hub:
            first = hub.feed()
            assert sum([len(batch) async for batch in first.batches(follow=False)]) == 11
            created, after = first.position
            again = hub.feed(created=created, after=after)
            return sum([len(batch) async for batch in again.batches(follow=False)])

    assert run(behind()) == 0
