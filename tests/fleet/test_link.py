"""Connections: secrets that others can read, servers that have no encryption, waits that grow."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import socket
import time
from pathlib import Path

import pytest
from fleet.servers import Server, collected, session, ship_all, whole

from cbprocess import CBProcessError
from cbprocess.fleet.keys import new_user, write_secret
from cbprocess.fleet.link import Access, Link, backoff, end, limited, shown_servers

EXTRA = ("nats", "nkeys")
needs_extra = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in EXTRA), reason=f"could not import one of {EXTRA}"
)


@pytest.mark.parametrize(
    "keywords",
    [
        {"servers": []},
        {"servers": ""},
        {"servers": ["http://host"]},
        {"servers": [7]},
        {"cert": "file"},
        {"key": "file"},
    ],
)
def test_a_wrong_access_is_refused(keywords: dict[str, object]) -> None:
    with pytest.raises(CBProcessError) as caught:
        Access(**keywords)  # type: ignore[arg-type]
    assert caught.value.code == 87


def test_no_password_of_a_url_is_told() -> None:
    with pytest.raises(CBProcessError) as caught:
        Access("http://user:secret@host")
    assert "secret" not in str(caught.value) and "host" in str(caught.value)
    with pytest.raises(CBProcessError) as caught:
        Access("nats://user:a,secret@host")
    assert "secret" not in str(caught.value)
    assert shown_servers(Access("nats://user:secret@a,tls://b")) == "nats://a, tls://b"


def test_a_text_is_a_list_of_servers() -> None:
    assert Access("nats://a:1,tls://b:2").servers == ["nats://a:1", "tls://b:2"]
    assert Access("tls://b:2").is_encrypted and not Access("nats://a:1").is_encrypted


@needs_extra
def test_a_secret_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    write_secret(str(path), new_user()[0])
    assert Access(creds=str(path)).keywords()["nkeys_seed"] == str(path)
    path.chmod(0o640)
    with pytest.raises(CBProcessError, match="chmod 600"):
        Access(creds=str(path)).keywords()
    with pytest.raises(FileExistsError):
        write_secret(str(path), "another")
    with pytest.raises(FileNotFoundError):
        Access(creds=str(tmp_path / "none")).keywords()


@needs_extra
def test_the_key_of_a_certificate_is_a_secret_too(tmp_path: Path) -> None:
    from fleet.secure import make_certificate

    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    make_certificate(cert, key)
    key.chmod(0o644)
    with pytest.raises(CBProcessError, match="chmod 600"):
        Access("tls://h", cert=str(cert), key=str(key)).keywords()
    key.chmod(0o600)
    assert "tls" in Access("tls://h", cert=str(cert), key=str(key)).keywords()


def test_a_cancellation_that_gets_lost_is_followed_by_another() -> None:
    """As in a wait_for() that is done in this moment. An end waited for ever then."""
    cancelled = []

    async def deaf() -> None:
        while len(cancelled) < 2:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled.append(time.monotonic())
        raise OSError("nobody's")

    async def main() -> None:
        tasks = [asyncio.ensure_future(deaf()), asyncio.ensure_future(asyncio.sleep(60))]
        await asyncio.sleep(0)
        await asyncio.wait_for(end(tasks), 10)
        assert all(task.done() for task in tasks)

    asyncio.run(main())


def test_a_failure_that_nobody_waits_for_any_more_is_not_printed() -> None:
    """An agent that ended while it connected printed where in the program the server was not there."""
    said: list[dict[str, object]] = []

    async def failing() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            raise OSError("no server") from None

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: said.append(context))
        task = asyncio.ensure_future(limited(failing(), 30))
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        del task
        gc.collect()
        with pytest.raises(asyncio.TimeoutError):
            await limited(asyncio.sleep(60), 0.05)
        with pytest.raises(OSError, match="no server"):
            await limited(failed(), 5)

    async def failed() -> None:
        raise OSError("no server")

    asyncio.run(main())
    gc.collect()
    assert said == []


@needs_extra
def test_servers_that_swallow_everything_do_not_use_up_the_time(tmp_path: Path) -> None:
    """Of three servers two take connections and never say a word, as behind a firewall. One after the other
    these would take six seconds, and a command waits for five."""
    server = Server(tmp_path)

    async def main() -> None:
        async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await asyncio.sleep(60)

        holes = [await asyncio.start_server(swallow, "127.0.0.1", 0) for _ in range(4)]
        urls = [f"nats://127.0.0.1:{hole.sockets[0].getsockname()[1]}" for hole in holes]
        for _ in range(4):
            async with Link(Access([*urls, server.url]), "test") as link:
                await link.up(4.5)
                assert link.connects == 1
        for hole in holes:
            hole.close()

    server.start()
    try:
        asyncio.run(main())
    finally:
        server.stop()


@needs_extra
def test_nothing_is_said_to_a_server_that_does_not_encrypt(tmp_path: Path) -> None:
    """A server in the middle says that it has no encryption, and asks who we are. nats-py alone would tell
    it, with a signature that the true server takes."""
    path = tmp_path / "key"
    write_secret(str(path), new_user()[0])
    heard: list[bytes] = []

    async def pretend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(
            b'INFO {"server_id":"x","version":"2.9.10","headers":true,"auth_required":true,"nonce":"abc"}\r\n'
        )
        heard.append(await reader.read(4096))
        writer.close()

    async def main(scheme: str) -> None:
        listening = await asyncio.start_server(pretend, "127.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]
        async with listening, Link(Access([f"{scheme}://127.0.0.1:{port}"], creds=str(path)), "test"):
            for _ in range(100):
                if len(heard) >= 2:
                    break
                await asyncio.sleep(0.05)

    asyncio.run(main("tls"))
    assert len(heard) >= 2 and set(heard) == {b""}
    # The same server hears who we are where nobody asked for encryption, so the test can fail.
    heard.clear()
    asyncio.run(main("nats"))
    assert any(b"CONNECT" in data for data in heard)


@needs_extra
def test_a_lost_connection_is_noticed_without_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """nats-py tells nothing of the end where the last data cannot be sent any more: with two hundred hosts
    that happened to one of them, which was mute then for ever."""

    async def nothing(link: Link) -> None:
        return None

    monkeypatch.setattr(Link, "_went", nothing)
    server = Server(tmp_path).start()

    async def main() -> None:
        async with Link(server.access, "test") as link:
            await link.up(5)
            server.kill()
            await asyncio.sleep(0.2)
            server.start()
            await link.up(10)
            assert link.connects == 2

    try:
        asyncio.run(main())
    finally:
        server.stop()


@needs_extra
def test_a_subject_that_is_no_utf8_ends_no_reader(server: Server, tmp_path: Path) -> None:
    """Anybody can send one to a server without keys. Readers got no message behind it, for ever."""
    root = tmp_path / "spool"
    before, _ = session(root, 5)
    asyncio.run(ship_all(root, server.access))
    with socket.create_connection(("127.0.0.1", server.port)) as raw:
        raw.sendall(b'CONNECT {"verbose":false}\r\nPUB cbp.v1.acme.ev.\xff.\xfe 2\r\n{}\r\n')
        raw.sendall(b"PUB cbp.v1.acme.ev.\xff\xfe 2\r\n{}\r\nPING\r\n")
        said = b""
        while b"PONG" not in said:
            said += raw.recv(4096)
    after, _ = session(root, 5)
    asyncio.run(ship_all(root, server.access))
    found, counts = asyncio.run(asyncio.wait_for(collected(server.access), 10))
    whole(found, before + after)
    assert (counts.messages, counts.strange, counts.missing) == (3, 1, 0)


def test_waits_grow_and_are_never_the_same() -> None:
    waits = [backoff(0, (0.1, 10)) for _ in range(100)]
    assert len(set(waits)) > 90 and min(waits) >= 0.05 and max(waits) <= 0.15
    assert 5 <= backoff(30, (0.1, 10)) <= 15


@needs_extra
def test_a_link_waits_for_its_server_and_says_why(tmp_path: Path) -> None:
    server = Server(tmp_path)

    async def main() -> None:
        async with Link(server.access, "test") as link:
            with pytest.raises(asyncio.TimeoutError, match=r"."):
                await link.up(0.3)
            assert not link.is_up and link.trouble.count
            server.start()
            await link.up(5)
            server.kill()
            began = time.monotonic()
            while link.is_up:
                await asyncio.sleep(0.01)
                assert time.monotonic() - began < 5
            server.start()
            await link.up(5)
            assert link.connects == 2

    try:
        asyncio.run(main())
    finally:
        server.stop()
