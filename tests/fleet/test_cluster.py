"""Three servers with three copies of everything, and an account for the host: the stream's leader is killed
while events flow."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from fleet.secure import configuration, make_keys
from fleet.servers import (
    PROGRAM,
    TENANT,
    Server,
    add_events,
    free_port,
    numbers,
    run,
    set_up,
    wait_for,
    write_events,
)

from cbprocess import CBProcessError, Rule, spool
from cbprocess.fleet import Access, Hub, names
from cbprocess.fleet.bell import fetch
from cbprocess.fleet.link import Link
from cbprocess.fleet.shipping import StreamPublisher, StreamShipper
from cbprocess.fleet.signing import new_signer


@pytest.mark.skipif(PROGRAM is None, reason="nats-server is not installed")
def test_the_leader_of_three_servers_is_killed(tmp_path: Path) -> None:
    ports = {name: free_port() for name in ("n1", "n2", "n3")}
    keys = make_keys(tmp_path, ["operator", "web1"])
    servers = {}
    for name, port in ports.items():
        routes = ", ".join(f"nats-route://127.0.0.1:{ports[other]}" for other in ports if other != name)
        extra = f'cluster {{ name: "test", listen: "127.0.0.1:{port}", routes: [{routes}] }}\n'
        extra += configuration(keys, ["web1"], store=str(tmp_path / name / "js"))
        servers[name] = Server(tmp_path, name, extra, js="# below")
    urls = [server.url for server in servers.values()]
    access, host = (Access(urls, creds=str(tmp_path / f"{name}.nk")) for name in ("operator", "web1"))
    try:
        for server in servers.values():
            server.start()
        run(through_an_election(servers, access, host, tmp_path / "spool"))
    finally:
        for server in servers.values():
            server.stop()


async def through_an_election(servers: dict[str, Server], access: Access, host: Access, root: Path) -> None:
    async def is_set_up() -> bool:
        try:
            await set_up(access, replicas=3)
        except CBProcessError:
            # The servers are still finding each other.
            return False
        return True

    await wait_for(is_set_up, 40)
    seed, public = new_signer()
    async with Link(host, "test", names.inbox_prefix("web1")) as link:
        shipper = StreamShipper(StreamPublisher(link, TENANT), TENANT, "web1", root)
        task = asyncio.ensure_future(shipper.run())
        writer = write_events(root, 1000)
        await wait_for(lambda: shipper.counts.events >= 1000)
        async with Hub(access, tenant=TENANT) as hub:
            info = await (await hub.link.jetstream()).stream_info("cbp-acme-events")
        leader = servers[info.cluster.leader]
        leader.kill()
        for _ in range(10):
            add_events(writer, 500)
            await asyncio.sleep(0.05)
        # Two of three go on without it.
        await wait_for(lambda: shipper.counts.events >= 6000, 40)
        async with Hub(access, tenant=TENANT) as hub:
            revision = await put(hub, seed)
            stored = await hub.rules("all", believed=[public])
            assert stored.revision == revision and stored.document is not None
        assert (await fetch(link, names.rules_bucket(TENANT), "all", 10)).revision == revision
        leader.start()
        await asyncio.to_thread(writer.close)
        await wait_for(lambda: not spool.sessions(root), 40)
        shipper.stop()
        await task
        assert shipper.counts.went_back == 0
    async with Hub(access, tenant=TENANT, wait=30) as hub:
        found = [record async for record in hub.events(follow=False)]
        counts = hub.counts()
    assert list(numbers(found).values()) == [list(range(1, 6002))]
    assert (counts.missing, counts.forged, counts.strange) == (0, 0, 0)


async def put(hub: Hub, seed: str) -> int:
    """The bucket of rules has a leader of its own, which may just be elected too."""
    for _ in range(100):
        try:
            return await hub.put_rules("all", [Rule(name="*/nc", action="deny")], seed)
        except CBProcessError:
            await asyncio.sleep(0.2)
    raise AssertionError("no leader was elected")
