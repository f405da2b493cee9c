"""Two hundred hosts with real connections in one process: rules in force everywhere, forged and replayed ones
refused everywhere, a server that is killed, hosts that fall silent, clocks that are wrong."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fleet.servers import TENANT, Server, add_events, collected, run, session, wait_for, whole, write_events

from cbprocess import CBProcessError, Rule, spool
from cbprocess.fleet import Agent, Hub, names
from cbprocess.fleet.rules import make_document
from cbprocess.fleet.signing import new_signer
from cbprocess.rule_files import RuleSet

HOSTS = 200


def agents(server: Server, folder: Path, public: str, count: int, **more: Any) -> list[Agent]:
    return [
        Agent(
            server.access,
            tenant=TENANT,
            host=f"h{index:03}",
            spool=folder / f"h{index:03}",
            trust=[public],
            **{"every": 2.0, **more},
        )
        for index in range(count)
    ]


def in_force(agent: Agent) -> set[str | None]:
    assert agent.keeper is not None
    return {rule.name for rule in agent.keeper.ruleset()}


def refusals(found: list[Agent]) -> list[str]:
    reports = [agent.keeper.report()["all"] for agent in found if agent.keeper is not None]
    return [report["refused"] for report in reports if "refused" in report]


async def put_raw(hub: Hub, scope: str, data: bytes) -> None:
    """What somebody with the broker in his hands can do."""
    stream = await hub.link.jetstream()
    await stream.publish(names.key_subject(names.rules_bucket(TENANT), scope), data)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: two hundred hosts have two hundred disks, and this is one."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as made:
        yield Path(made)


def test_two_hundred_hosts(server: Server, folder: Path) -> None:
    seed, public = new_signer()
    forger, _ = new_signer()
    rules = [Rule(name=f"*/bad-{index}", action="deny") for index in range(100)]
    first = make_document(RuleSet(rules[:1]), tenant=TENANT, scope="all", expires=None).sealed(seed)

    async def main() -> None:
        async with contextlib.AsyncExitStack() as stack:
            hub = await stack.enter_async_context(Hub(server.access, tenant=TENANT))
            found = agents(server, folder, public, HOSTS, every=5.0)
            for agent in found:
                await stack.enter_async_context(agent)
            await wait_for(lambda: all(agent.link.is_up for agent in found), 40)
            # Only then is it known how many answers there will be.
            await wait_for(lambda: everybody_is_alive(hub), 40)
            await put_raw(hub, "all", first)
            began = time.monotonic()
            revision = await hub.put_rules("all", rules, seed)
            wanted = {rule.name for rule in rules}
            await wait_for(lambda: all(in_force(agent) == wanted for agent in found), 30)
            took = time.monotonic() - began
            *_, reach = [reach async for reach in hub.applied("all", revision, 30)]
            print(f"{HOSTS} hosts have 100 rules after {took:.2f} s, told: {time.monotonic() - began:.2f} s")
            assert len(reach.applied) == HOSTS and not reach.refused and not reach.waiting

            # Forged, replayed, for another scope: refused by each host, and nothing changes.
            forged = make_document(RuleSet(), tenant=TENANT, scope="all", expires=None).sealed(forger)
            moved = make_document(RuleSet(), tenant=TENANT, scope="group.x", expires=None).sealed(seed)
            for data, reason in (
                (forged, "unknown signer"),
                (first, "replayed"),
                (moved, "wrong scope"),
                (b"{}", "not signed"),
            ):
                await put_raw(hub, "all", data)
                await wait_for(lambda reason=reason: refusals(found) == [reason] * HOSTS, 30)
            assert all(in_force(agent) == wanted for agent in found)

            # Every host has something to ship, and the server goes in the middle of it.
            total = sum(session(folder / agent.host, 50, host=agent.host)[0] for agent in found)
            server.kill()
            await asyncio.sleep(0.5)
            server.start()
            await everything_is_shipped(found, folder)
            records = [record async for record in hub.events(follow=False)]
            counts = hub.counts()
            assert (len(records), counts.missing) == (total, 0) and len({r["host"] for r in records}) == HOSTS

            listed = await hub.hosts()
            assert [host.name for host in listed] == [agent.host for agent in found]
        async with Hub(server.access, tenant=TENANT) as hub:
            assert not any(host.is_alive for host in await hub.hosts())

    run(main())


async def everything_is_shipped(found: list[Agent], folder: Path) -> None:
    try:
        await wait_for(lambda: not any(spool.sessions(folder / agent.host) for agent in found), 60)
    except AssertionError:
        left = [agent for agent in found if spool.sessions(folder / agent.host)]
        raise AssertionError([(agent.link.is_up, agent.status()) for agent in left[:5]], len(left)) from None


async def everybody_is_alive(hub: Hub) -> bool:
    hosts = await hub.hosts()
    return len(hosts) == HOSTS and all(host.is_alive for host in hosts)


def test_rules_outlive_a_deleted_key_and_a_restart_without_a_server(server: Server, tmp_path: Path) -> None:
    seed, public = new_signer()

    async def main() -> None:
        async with Hub(server.access, tenant=TENANT) as hub:
            async with agents(server, tmp_path, public, 1)[0] as agent:
                await hub.put_rules("all", [Rule(name="*/nc", action="deny")], seed)
                await wait_for(lambda: in_force(agent) == {"*/nc"})
                key_value = await (await hub.link.jetstream()).key_value(names.rules_bucket(TENANT))
                await key_value.delete("all")
                await wait_for(lambda: refusals([agent]) == ["deleted"])
                assert in_force(agent) == {"*/nc"}
                old = make_document(RuleSet(), tenant=TENANT, scope="all", expires=None, now=1000.0).sealed(
                    seed
                )
            server.kill()
            async with agents(server, tmp_path, public, 1)[0] as agent:
                assert in_force(agent) == {"*/nc"}
                # Sessions of the host find them where they spool, with no server anywhere.
                shown = json.loads((tmp_path / "h000" / "rules.json").read_bytes())
                assert [rule["name"] for rule in shown["rules"]] == ["*/nc"]
                server.start()
                await wait_for(lambda: agent.link.is_up)
                await hub.link.up(10)
                # The serial is not forgotten by the restart.
                await put_raw(hub, "all", old)
                await wait_for(lambda: refusals([agent]) == ["replayed"])
                await hub.put_rules("all", [], seed)
                await wait_for(lambda: in_force(agent) == set())

    run(main())


def test_two_operators_at_once_lose_nothing_of_each_other(server: Server) -> None:
    seed, public = new_signer()

    async def main() -> None:
        async with Hub(server.access, tenant=TENANT) as one, Hub(server.access, tenant=TENANT) as two:
            rules = [Rule(name="*/a", action="deny")]
            made = await asyncio.gather(
                *(hub.put_rules("all", rules, seed) for hub in (one, two)), return_exceptions=True
            )
            errors = [error for error in made if isinstance(error, CBProcessError)]
            assert len(errors) <= 1 and all(error.code == 170 for error in errors)
            stored = await one.rules("all", believed=[public])
            assert stored.revision in made

    run(main())


def test_a_rule_that_holds_operations_is_no_rule_of_a_fleet(server: Server) -> None:
    async def main() -> None:
        async with Hub(server.access, tenant=TENANT) as hub:
            with pytest.raises(CBProcessError) as caught:
                await hub.put_rules("all", [Rule(name="*/cc", action="ask")], new_signer().seed)
            assert caught.value.code == 87

    run(main())


def test_who_is_alive_is_said_by_the_server_s_clock(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hosts a year ahead and a year behind are as alive as others; a silent one is not, whatever it said.
    Events that happen while clocks jump come, and come once."""
    _, public = new_signer()
    true = time.time
    shift = {"seconds": 0.0}
    monkeypatch.setattr(time, "time", lambda: true() + shift["seconds"])
    total = 0

    async def main() -> None:
        nonlocal total
        async with Hub(server.access, tenant=TENANT) as hub:
            ahead, behind, silent = agents(server, tmp_path, public, 3, every=0.5)
            async with ahead, behind:
                await wait_for(lambda: ahead.link.is_up and behind.link.is_up)
                for seconds, agent in ((365 * 86400.0, ahead), (-365 * 86400.0, behind)):
                    # One session begins before the jump, and one behind it.
                    open_one = write_events(tmp_path / agent.host, 300, host=agent.host)
                    shift["seconds"] = seconds
                    total += session(tmp_path / agent.host, 300, host=agent.host)[0]
                    add_events(open_one, 300)
                    await asyncio.to_thread(open_one.close)
                    total += open_one.counts().number
                    before = agent.link.connects
                    agent._tell_now.set()

                    async def is_told(agent: Agent = agent) -> bool:
                        (host,) = [host for host in await hub.hosts() if host.name == agent.host]
                        return host.is_alive and abs(host.told["at"] - true()) > 300 * 86400

                    await wait_for(is_told)
                    assert agent.link.connects == before
                    await wait_for(lambda agent=agent: not spool.sessions(tmp_path / agent.host))
                shift["seconds"] = 0.0
                await silent.__aenter__()

                async def is_there() -> bool:
                    return any(host.name == silent.host and host.is_alive for host in await hub.hosts())

                await wait_for(is_there)
                # As a power cut ends it: without a word.
                for task in silent._tasks:
                    task.cancel()
                wanted = {"h000": True, "h001": True, "h002": False}

                async def is_so() -> bool:
                    return {host.name: host.is_alive for host in await hub.hosts()} == wanted

                await wait_for(is_so)
                await silent._stack.aclose()

    run(main())
    found, counts = run(collected(server.access))
    whole(found, total)
    assert (counts.missing, counts.told, counts.doubles, counts.dropped) == (0, 0, 0, 0)


async def reached(hub: Hub, revision: int, *, is_applied: bool) -> None:
    """Waits until the one host has told that it has a revision in force, or that it has not."""

    async def is_so() -> bool:
        reach = await hub.reach("all", revision)
        return (len(reach.applied), len(reach.refused), len(reach.waiting)) == (is_applied, 0, not is_applied)

    await wait_for(is_so)


def test_rules_that_sessions_cannot_find_are_not_in_force(server: Server, tmp_path: Path) -> None:
    """As on a full disk: the agent has them, and tells that its sessions do not."""
    seed, public = new_signer()
    blocked = tmp_path / "h000" / "rules.json"
    blocked.mkdir(parents=True)

    async def main() -> None:
        async with Hub(server.access, tenant=TENANT) as hub, agents(server, tmp_path, public, 1)[0] as agent:
            revision = await hub.put_rules("all", [Rule(name="*/a", action="deny")], seed)
            await wait_for(lambda: in_force(agent) == {"*/a"})
            await reached(hub, revision, is_applied=False)
            assert "rules for sessions" in agent.link.trouble.text
            # It tries again by itself.
            blocked.rmdir()
            await reached(hub, revision, is_applied=True)

    run(main())


def test_rules_that_a_session_refuses_are_not_in_force(server: Server, tmp_path: Path) -> None:
    seed, public = new_signer()

    async def main() -> None:
        async with Hub(server.access, tenant=TENANT) as hub, agents(server, tmp_path, public, 1)[0] as agent:
            writer = write_events(tmp_path / "h000", 1, host=agent.host)
            revision = await hub.put_rules("all", [Rule(name="*/a", action="deny")], seed)
            await reached(hub, revision, is_applied=True)
            report = tmp_path / "h000" / ".rules" / f"{writer.folder.name}.json"
            report.parent.mkdir(exist_ok=True)
            report.write_text('{"digest": null, "count": 0, "error": "too late"}')
            await reached(hub, revision, is_applied=False)
            # The word of a session that has ended does not count.
            await asyncio.to_thread(writer.close)
            await reached(hub, revision, is_applied=True)

    run(main())


def test_rules_that_have_expired_are_not_in_force(server: Server, tmp_path: Path) -> None:
    seed, public = new_signer()

    async def main() -> None:
        async with Hub(server.access, tenant=TENANT) as hub:
            agent = agents(server, tmp_path, public, 1)[0]
            shift = {"seconds": 0.0}
            assert agent.keeper is not None
            agent.keeper._clock = lambda: time.time() + shift["seconds"]
            async with agent:
                end = time.time() + 3600
                revision = await hub.put_rules("all", [Rule(name="*/a", action="deny")], seed, expires=end)
                await reached(hub, revision, is_applied=True)
                found = json.loads((tmp_path / "h000" / "rules.json").read_bytes())
                assert found["later"] == [{"from": int(end), "rules": []}]
                shift["seconds"] = 7200.0
                await reached(hub, revision, is_applied=False)
                (host,) = await hub.hosts()
                assert host.why_not("all") == "expired"

    run(main())


def test_more_rules_than_a_file_may_have_end_no_agent(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As eleven scopes of ten thousand rules."""
    seed, public = new_signer()

    async def main() -> None:
        async with Hub(server.access, tenant=TENANT) as hub, agents(server, tmp_path, public, 1)[0] as agent:
            monkeypatch.setattr("cbprocess.rule_files.RULES_MAX", 3)
            host = f"host.{names.token(agent.host)}"
            revision = 0
            for scope in ("all", host):
                rules = [Rule(name=f"*/{scope}-{number}", action="deny") for number in range(2)]
                revision = await hub.put_rules(scope, rules, seed)

            async def is_told() -> bool:
                reach = await hub.reach(host, revision)
                return [each.name for each in reach.waiting] == [agent.host]

            await wait_for(is_told)
            await asyncio.sleep(1.2)
            assert not any(task.done() for task in agent._tasks)
            monkeypatch.undo()
            await wait_for(lambda: len(in_force(agent)) == 4)
            await reached(hub, 1, is_applied=True)

    run(main())


def test_hosts_are_listed_where_a_fetch_gives_nothing(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """nats-py gives an empty list behind a status of the server at the end of its time."""
    from nats.js.client import JetStreamContext

    async def nothing(*arguments: Any, **keywords: Any) -> list[Any]:
        return []

    async def main() -> None:
        async with Hub(server.access, tenant=TENANT) as hub:
            async with agents(server, tmp_path, new_signer().public, 1)[0] as agent:
                await wait_for(lambda: agent.link.is_up)
                await wait_for(lambda: hub.hosts())
            monkeypatch.setattr(JetStreamContext.PullSubscription, "fetch", nothing)
            assert [host.name for host in await hub.hosts()] == ["h000"]

    run(main())


def test_an_expired_document_does_not_come_back_behind_a_newer_one_of_another_scope(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed, public = new_signer()
    true = time.time
    shift = {"seconds": 0.0}

    async def main() -> None:
        async with Hub(server.access, tenant=TENANT) as hub:
            agent = agents(server, tmp_path, public, 1)[0]
            assert agent.keeper is not None
            agent.keeper._clock = lambda: true() + shift["seconds"]
            async with agent:
                await hub.put_rules("all", [Rule(name="*/a", action="deny")], seed, expires=true() + 3600)
                await wait_for(lambda: in_force(agent) == {"*/a"})
                shift["seconds"] = 7200.0
                await wait_for(lambda: in_force(agent) == set())
                path = tmp_path / "h000" / "rules.json"
                await wait_for(lambda: json.loads(path.read_bytes())["rules"] == [])
                host = f"host.{names.token(agent.host)}"
                later = make_document(
                    RuleSet([Rule(name="*/b", action="deny")]),
                    tenant=TENANT,
                    scope=host,
                    expires=None,
                    now=true() + 7200,
                )
                await put_raw(hub, host, later.sealed(seed))
                await wait_for(lambda: in_force(agent) == {"*/b"})
                shift["seconds"] = 0.0
                await asyncio.sleep(1.3)
                assert in_force(agent) == {"*/b"}

    run(main())


def test_a_second_agent_of_one_spool_is_refused(server: Server, tmp_path: Path) -> None:
    async def main() -> None:
        one, other = (Agent(server.access, tenant=TENANT, host="web1", spool=tmp_path) for _ in range(2))
        async with one:
            with pytest.raises(BlockingIOError):
                await other.__aenter__()

    run(main())


def test_an_agent_ends_in_time_where_its_server_hangs(server: Server, tmp_path: Path) -> None:
    async def main() -> float:
        async with agents(server, tmp_path, new_signer().public, 1)[0] as agent:
            await wait_for(lambda: agent.link.is_up)
            session(tmp_path / agent.host, 1000, host=agent.host)
            server.stand_still()
            await asyncio.sleep(0.2)
            began = time.monotonic()
        return time.monotonic() - began

    assert run(main()) < 6
    server.go_on()
