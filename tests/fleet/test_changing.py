"""Changing a fleet as docs/fleet.md says it: a host that is removed, and a signer with a new key."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from fleet.secure import Secure, secured
from fleet.servers import TENANT, Server, run, running, set_up, wait_for

from cbprocess import Rule
from cbprocess.fleet import Agent, Hub, names
from cbprocess.fleet.signing import new_signer

pytest.importorskip("nats")
pytest.importorskip("nkeys")


def without_host(secure: Secure, host: str) -> None:
    """The configuration loses this host, and the server reads it again."""
    server = secure.server
    path = server.folder / "conf"
    text = path.read_text()
    begin = text.index(f'  "{TENANT.upper()}-{host}" {{')
    end = text.index("\n  }", begin) + len("\n  }\n")
    path.write_text(text[:begin] + text[end:])
    assert server.process is not None
    server.process.send_signal(signal.SIGHUP)


def test_a_host_that_is_removed_is_out_at_once_and_its_row_can_go(tmp_path: Path) -> None:
    with secured(tmp_path) as secure:

        async def main() -> None:
            async with Hub(secure.access("operator"), tenant=TENANT) as hub:

                async def are_alive(*wanted: str) -> bool:
                    return [host.name for host in await hub.hosts() if host.is_alive] == list(wanted)

                agents = [
                    Agent(secure.access(name), tenant=TENANT, host=name, spool=tmp_path / name, every=0.5)
                    for name in ("web1", "web2")
                ]
                async with agents[0] as removed, agents[1] as other:
                    await wait_for(lambda: are_alive("web1", "web2"))
                    without_host(secure, "web1")
                    await wait_for(lambda: not removed.link.is_up)
                    await wait_for(lambda: "uthorization" in removed.link.trouble.text)
                    await wait_for(lambda: are_alive("web2"))
                    assert len(await hub.hosts()) == 2
                    assert other.link.is_up and other.link.connects == 1
                    bucket = names.hosts_bucket(TENANT)
                    stream = await hub.link.jetstream(5)
                    await stream.purge_stream(f"KV_{bucket}", subject=f"$KV.{bucket}.web1")
                    assert [host.name for host in await hub.hosts()] == ["web2"]

        run(main())


def test_a_signer_gets_a_new_key(tmp_path: Path) -> None:
    """In one run of ten the list of hosts did not end, because it read each word that came meanwhile, too."""
    old, new = new_signer(), new_signer()

    with running(Server(tmp_path)) as server:

        async def patterns(trust: list[str], rule: str, seed: str | None) -> set[str | None]:
            """What is in force at an agent that begins with these keys, once this document is handed out."""
            access = server.access
            async with (
                Hub(access, tenant=TENANT) as hub,
                Agent(
                    access, tenant=TENANT, host="web1", state=tmp_path / "state", trust=trust, every=0.5
                ) as agent,
            ):
                keeper = agent.keeper
                assert keeper is not None
                if seed is not None:
                    revision = await hub.put_rules("all", [Rule(name=rule, action="deny")], seed)
                    async for reach in hub.applied("all", revision, seconds=10):
                        if reach.applied or reach.refused:
                            break
                await wait_for(lambda: agent.link.is_up)
                return {rule.name for rule in keeper.ruleset()}

        async def main() -> None:
            await set_up(server.access)
            assert await patterns([old.public], "*/a", old.seed) == {"*/a"}
            # Before the agents know the new key, its documents change nothing.
            assert await patterns([old.public], "*/b", new.seed) == {"*/a"}
            assert await patterns([old.public, new.public], "*/c", old.seed) == {"*/c"}
            assert await patterns([old.public, new.public], "*/d", new.seed) == {"*/d"}
            assert await patterns([new.public], "", None) == {"*/d"}
            assert await patterns([old.public], "", None) == set()

        run(main())
