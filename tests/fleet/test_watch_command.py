"""`cbprocess fleet watch` against a real server: outputs, tables, and ends of all kinds."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import sqlite3
import stat
import subprocess
import time
from pathlib import Path

import pytest
from fleet.servers import (
    add_events,
    session,
    ship_all,
    wait_for,
    write_events,
)
from fleet.shop import COMMAND, Shop

from cbprocess import spool
from cbprocess.fleet.link import Access, Link
from cbprocess.fleet.shipping import StreamPublisher, StreamShipper


def test_watching_into_a_table_goes_on_where_it_ended(shop: Shop) -> None:
    for _ in range(2):
        shop.run(
            "run", "--publish", shop.server.url, "--publish-wait", "10", "--", "sh", "-c", "true; ls /; true"
        )
        shop.fleet("watch", "--once", "--sqlite", "events.db")
    again = shop.fleet("watch", "--once", "--sqlite", "events.db")
    assert "0 events" in again.stderr
    database = sqlite3.connect(shop.folder / "events.db")
    total, sessions = database.execute("SELECT count(*), count(DISTINCT session) FROM event").fetchone()
    highest = database.execute(
        "SELECT sum(m) FROM (SELECT max(number) m FROM event GROUP BY session)"
    ).fetchone()[0]
    assert sessions == 2 and total == highest
    assert database.execute("SELECT count(*) FROM event WHERE process_name LIKE '%/ls'").fetchone()[0] >= 2
    assert stat.S_IMODE((shop.folder / "events.db").stat().st_mode) == 0o600
    database.close()


@pytest.mark.parametrize("form", ["ecs", "ocsf", "otel"])
def test_watching_in_a_format(shop: Shop, form: str) -> None:
    shop.run("run", "--publish", shop.server.url, "--publish-wait", "10", "--", "true")
    shop.fleet("watch", "--once", "--format", form, "-o", "events.jsonl")
    lines = (shop.folder / "events.jsonl").read_text().splitlines()
    assert len(lines) >= 3 and all(isinstance(json.loads(line), dict) for line in lines)
    assert stat.S_IMODE((shop.folder / "events.jsonl").stat().st_mode) == 0o600


def test_since_leaves_out_what_was_before(shop: Shop) -> None:
    shop.run("run", "--publish", shop.server.url, "--publish-wait", "10", "--host", "a", "--", "true")
    time.sleep(1.1)
    middle = time.time()
    shop.run("run", "--publish", shop.server.url, "--publish-wait", "10", "--host", "b", "--", "true")
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(middle))
    found = shop.fleet("watch", "--once", "--format", "cbprocess", "--since", since).stdout.splitlines()
    assert {json.loads(line)["host"] for line in found} == {"b"}
    found = shop.fleet(
        "watch", "--once", "--format", "cbprocess", "--since", "10m", "--host", "a"
    ).stdout.splitlines()
    assert {json.loads(line)["host"] for line in found} == {"a"}


def test_a_table_of_one_host_and_then_of_all(shop: Shop) -> None:
    """The place up to which one host was read says nothing of the others, whose events are in between."""

    def hosts() -> dict[str, int]:
        with contextlib.closing(sqlite3.connect(shop.folder / "events.db")) as database:
            return dict(database.execute("SELECT host, count(*) FROM event GROUP BY host").fetchall())

    def publish(host: str) -> None:
        shop.run("run", "--publish", shop.server.url, "--publish-wait", "10", "--host", host, "--", "true")

    for host in ("a", "b"):
        publish(host)
    shop.fleet("watch", "--once", "--sqlite", "events.db", "--host", "b")
    assert set(hosts()) == {"b"}
    shop.fleet("watch", "--once", "--sqlite", "events.db")
    first = hosts()
    assert set(first) == {"a", "b"}
    publish("a")
    shop.fleet("watch", "--once", "--sqlite", "events.db", "--host", "b")
    assert hosts() == first
    shop.fleet("watch", "--once", "--sqlite", "events.db", "--host", "a")
    second = hosts()
    assert second["a"] > first["a"] and second["b"] == first["b"]
    # All is there already: each event once.
    shop.fleet("watch", "--once", "--sqlite", "events.db")
    assert hosts() == second


def test_a_hole_between_two_runs_is_counted(shop: Shop) -> None:
    """What was lost while nobody read is missing, and a table that goes on says so."""
    root = shop.folder / "spool"
    writer = write_events(root, 300)
    asyncio.run(shipped(root, shop.server.access, 300))
    shop.fleet("watch", "--once", "--sqlite", "events.db")
    # The shipper believes that the stream has these, and it has not.
    add_events(writer, 100)
    spool.SessionReader(writer.folder).ack(400)
    add_events(writer, 50)
    writer.close()
    asyncio.run(ship_all(root, shop.server.access, tenant="default"))
    done = shop.fleet("watch", "--once", "--sqlite", "events.db", status=1)
    assert "100 missing" in done.stderr


async def shipped(root: Path, access: Access, count: int) -> None:
    async with Link(access, "test") as link:
        shipper = StreamShipper(StreamPublisher(link, "default"), "default", "web1", root)
        task = asyncio.ensure_future(shipper.run())
        await wait_for(lambda: shipper.counts.events >= count)
        shipper.stop()
        await task


def test_a_reader_that_has_seen_enough_ends_a_watch(shop: Shop) -> None:
    """As `fleet watch | head -1`: no error, and nothing about the server."""
    shop.run("run", "--publish", shop.server.url, "--publish-wait", "10", "--", "sh", "-c", "true; ls /")
    line = [*COMMAND, "fleet", "watch", "--server", shop.server.url, "--format", "cbprocess"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as watching:
        assert watching.stdout is not None and watching.stderr is not None
        assert json.loads(watching.stdout.readline())
        watching.stdout.close()
        # It hears of that when it has something to say.
        shop.run("run", "--publish", shop.server.url, "--publish-wait", "10", "--", "true")
        said = watching.stderr.read()
        assert watching.wait(20) == 0
    assert said == b""


def test_an_output_that_is_full_is_told_as_such(shop: Shop) -> None:
    shop.run("run", "--publish", shop.server.url, "--publish-wait", "10", "--", "true")
    done = shop.fleet("watch", "--once", "-o", "/dev/full", status=125)
    assert "/dev/full: No space left on device" in done.stderr and shop.server.url not in done.stderr


def test_a_reader_that_stands_still_does_not_keep_a_watch_from_ending(shop: Shop) -> None:
    root = shop.folder / "much"
    session(root, 3000, size=200)
    asyncio.run(ship_all(root, shop.server.access, tenant="default"))
    line = [*COMMAND, "fleet", "watch", "--server", shop.server.url, "--format", "cbprocess"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as watching:
        assert watching.stdout is not None and watching.stdout.readline()
        time.sleep(1)
        watching.terminate()
        assert watching.wait(20) == 0


def test_a_signal_before_there_is_a_server_is_no_error(tmp_path: Path) -> None:
    mute = socket.create_server(("127.0.0.1", 0))
    mute.settimeout(30)
    line = [*COMMAND, "fleet", "watch", "--server", f"nats://127.0.0.1:{mute.getsockname()[1]}"]
    with mute, subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as watching:
        # It has begun when it connects.
        connection, _ = mute.accept()
        watching.send_signal(signal.SIGINT)
        _, said = watching.communicate(timeout=20)
        connection.close()
    assert watching.returncode == 130 and b"Traceback" not in said


def test_an_interrupted_watch_ends_with_its_counts(shop: Shop) -> None:
    shop.run("run", "--publish", shop.server.url, "--publish-wait", "10", "--", "sh", "-c", "true; ls /")
    line = [*COMMAND, "fleet", "watch", "--server", shop.server.url, "--format", "cbprocess"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as watching:
        assert watching.stdout is not None and json.loads(watching.stdout.readline())
        watching.send_signal(signal.SIGINT)
        _, said = watching.communicate(timeout=20)
    assert watching.returncode == 0 and b"0 missing" in said
