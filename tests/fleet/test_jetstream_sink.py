"""The sink `nats:` against a real server: `cbprocess ship` into the stream of a fleet, without an agent."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from fleet.servers import TENANT, Server, collected, run, session, whole

from cbprocess import CBProcessError, cli, spool
from cbprocess.fleet.keys import new_user, write_secret
from cbprocess.fleet.shipping import Stored
from cbprocess.sinks import open_sink
from cbprocess.sinks.shipping import Shipper


def url(server: Server, tenant: str = TENANT) -> str:
    return f"{server.url}/{tenant}"


def shipped(root: Path, place: str, seconds: float = 40) -> list[BaseException | None]:
    """Ships everything; gives the troubles that there were."""
    told: list[BaseException | None] = []
    sink = open_sink(place)
    try:
        Shipper(root, sink, on_trouble=told.append).run(once=True, seconds=seconds)
    finally:
        sink.close(5)
    return told


def test_readers_of_the_fleet_find_all_events(server: Server, tmp_path: Path) -> None:
    total = sum(session(tmp_path / "spool", 700)[0] for _ in range(2))
    total += session(tmp_path / "spool", 700, host="web2")[0]
    assert cli.main(["ship", str(tmp_path / "spool"), url(server), "--once"]) == 0
    found, counts = run(collected(server.access))
    whole(found, total)
    assert {record["host"] for record in found} == {"web1", "web2"}
    assert (counts.missing, counts.doubles, counts.forged, counts.strange) == (0, 0, 0, 0)


def test_a_server_that_is_away_and_comes_back(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cbprocess.sinks.shipping.BACKOFF_S", (0.05, 0.5))
    monkeypatch.setattr("cbprocess.fleet.url_sink.ACK_LIMIT_S", 0.5)
    total, _ = session(tmp_path / "spool", 3000)
    server.kill()
    again = threading.Timer(1.5, server.start)
    again.start()
    told = shipped(tmp_path / "spool", url(server))
    again.join()
    assert told and str(told[0])
    found, counts = run(collected(server.access))
    whole(found, total)
    assert counts.missing == 0


def test_a_line_that_the_server_does_not_take_is_cut(server: Server, tmp_path: Path) -> None:
    total, _ = session(tmp_path / "spool", 2, size=2_000_000)
    assert shipped(tmp_path / "spool", url(server)) == []
    found, _ = run(collected(server.access))
    whole(found, total)
    found.sort(key=lambda record: int(record["number"]))
    assert [record["number"] for record in found if record.get("cut") == ["text"]] == [1, 2]


@pytest.mark.parametrize("size", [0, -48, "1k", None, float("inf")])
def test_a_size_of_a_server_that_leaves_no_room(
    size: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches of no byte were looked for, for ever. 0 is of a server that takes no more than the headers of a
    batch may need."""
    taken: list[bytes] = []

    class Small:
        def __init__(self, *arguments: Any) -> None:
            self.size_max = size

        async def ready(self) -> None: ...

        async def __call__(self, subject: str, data: bytes, headers: dict[str, str]) -> Stored:
            taken.append(data)
            return Stored(len(taken), False)

    monkeypatch.setattr("cbprocess.fleet.url_sink.StreamPublisher", Small)
    monkeypatch.setattr("cbprocess.fleet.shipping.fitting", lambda data, limit: (data, 0))
    total, _ = session(tmp_path / "spool", 1000)
    sink: Any = open_sink("nats://127.0.0.1:9/acme")
    try:
        Shipper(tmp_path / "spool", sink, window=1).run(once=True, seconds=40)
        assert sink.max_bytes == (1024 if isinstance(size, int) else None)
    finally:
        sink.close(5)
    assert sum(data.count(b"\n") for data in taken) == total
    assert not isinstance(size, int) or all(len(data) <= 1024 for data in taken[1:])


def test_a_server_that_takes_little(server: Server, tmp_path: Path) -> None:
    server.stop()
    server.extra = "max_payload: 2048"
    server.start()
    told: list[BaseException | None] = []
    sink = open_sink(url(server))
    try:
        # The sink knows the server's sizes from the first batch on.
        total = 0
        for count in (1, 100):
            total += session(tmp_path / "spool", count)[0]
            Shipper(tmp_path / "spool", sink, on_trouble=told.append).run(once=True, seconds=40)
    finally:
        sink.close(5)
    assert told == []
    found, _ = run(collected(server.access))
    whole(found, total)


@pytest.mark.skipif(sys.platform == "win32", reason="it has no such modes")
def test_a_secret_that_is_open_for_a_while(server: Server, tmp_path: Path) -> None:
    """A connection that could not be made at first was not made later either."""
    key = tmp_path / "key.nk"
    write_secret(str(key), new_user()[0])
    total, _ = session(tmp_path / "spool", 2)
    sink = open_sink(f"{url(server)}?creds={key}")
    told: list[Any] = []

    def tell(failure: Any) -> None:
        told.append(failure)
        key.chmod(0o600)

    try:
        key.chmod(0o644)
        Shipper(tmp_path / "spool", sink, on_trouble=tell).run(once=True, seconds=20)
    finally:
        sink.close(5)
    assert "others can read this secret" in str(told[0]) and told[1:] == [None]
    found, _ = run(collected(server.access))
    whole(found, total)


def test_a_tenant_that_is_not_there_keeps_everything(server: Server, tmp_path: Path) -> None:
    session(tmp_path / "spool", 2)
    told = shipped(tmp_path / "spool", url(server, "nobody"), seconds=1)
    assert told and str(told[0]) and len(spool.sessions(tmp_path / "spool")) == 1


def test_a_server_that_hangs_holds_no_end(server: Server, tmp_path: Path) -> None:
    sink = open_sink(url(server))
    session(tmp_path / "spool", 2)
    (folder,) = spool.sessions(tmp_path / "spool")
    batch = spool.SessionReader(folder).batch()
    answers: list[Any] = []
    sink.send(batch, answers.append)
    end = time.monotonic() + 20
    while not answers:
        assert time.monotonic() < end
        sink.poll(0.05)
    assert answers == [None]
    server.stand_still()
    try:
        sink.send(batch, answers.append)
        began = time.monotonic()
        sink.close(2)
        assert time.monotonic() - began < 6
    finally:
        server.go_on()
    assert isinstance(answers[1], OSError)


@pytest.mark.parametrize(
    "place",
    ["nats:", "nats:///acme", "nats://h/a b", "nats://h/acme/x", "nats://h/acme?x=1", "tls://h/a?creds"],
)
def test_wrong_urls(place: str) -> None:
    with pytest.raises(CBProcessError) as raised:
        open_sink(place)
    assert raised.value.code == 87


def test_a_secret_that_others_can_read(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("secret")
    key.chmod(0o644)
    with pytest.raises(CBProcessError) as raised:
        open_sink(f"nats://h/acme?creds={key}")
    assert raised.value.code == 87
    with pytest.raises(FileNotFoundError):
        open_sink(f"nats://h/acme?creds={tmp_path / 'none'}")
