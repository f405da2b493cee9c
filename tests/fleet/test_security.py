"""TLS and a key for each host, with the configuration that `cbprocess fleet server` prints: a host publishes
its own events and presence and reads its own rules, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fleet.secure import Secure, make_certificate, secured
from fleet.servers import TENANT, collected, run, session, wait_for

from cbprocess import CBProcessError, Rule, records
from cbprocess.fleet import Access, Agent, Hub, names
from cbprocess.fleet.bell import fetch
from cbprocess.fleet.keys import new_user, server_configuration
from cbprocess.fleet.link import Link
from cbprocess.fleet.signing import new_signer

pytest.importorskip("nats")
pytest.importorskip("nkeys")


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    with secured(tmp_path_factory.mktemp("secure")) as made:
        yield made


async def is_forbidden(link: Link, what: Any, subject: str) -> None:
    """The call gets no answer, and the server says that this subject was forbidden."""
    with pytest.raises(Exception, match=r".*") as caught:
        await what
    assert isinstance(caught.value, (asyncio.TimeoutError, OSError)) or "no" in str(caught.value), (
        caught.value
    )
    await wait_for(lambda: "ermissions violation" in link.trouble.text.replace("Violation", "violation"), 5)
    assert subject.lower() in link.trouble.text.lower(), (subject, link.trouble.text)


@pytest.mark.parametrize("host", ["web1", "db.one"])
def test_a_host_ships_and_is_read(secure: Secure, tmp_path: Path, host: str) -> None:
    total, origin = session(tmp_path, 300, host=host)
    run(_ship_as(secure, tmp_path, host))
    found, counts = run(collected(secure.access("operator")))
    assert len([record for record in found if record["session"] == origin.session]) == total
    assert counts.missing == 0 and counts.forged == 0


async def _ship_as(secure: Secure, root: Path, name: str) -> None:
    async with Agent(secure.access(name), tenant=TENANT, host=name, spool=root, every=0.5) as agent:
        from cbprocess import spool

        await wait_for(lambda: not spool.sessions(root))
        assert agent.link.trouble.count == 0, agent.link.trouble


def test_nobody_without_a_key_and_no_stranger(secure: Secure) -> None:
    async def main(name: str | None) -> str:
        async with Link(secure.access(name), "test") as link:
            with pytest.raises(asyncio.TimeoutError):
                await link.up(1.0)
            return link.trouble.text

    assert run(main(None))
    assert "uthorization" in run(main("stranger"))


def test_a_server_with_another_certificate_is_not_believed(secure: Secure, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    make_certificate(other, tmp_path / "key.pem")

    async def main() -> str:
        access = Access(secure.access("web1").servers, creds=secure.access("web1").creds, ca=str(other))
        async with Link(access, "test") as link:
            with pytest.raises(asyncio.TimeoutError):
                await link.up(1.0)
            return link.trouble.text

    assert "certificate" in run(main()).lower()


@pytest.mark.parametrize("victim", ["web2", "web1.evil"])
def test_a_host_cannot_speak_as_another(secure: Secure, victim: str) -> None:
    async def main() -> None:
        async with secure.link("web1") as link:
            stream = await link.jetstream()
            for subject in (
                names.event_subject(TENANT, victim),
                names.key_subject(names.hosts_bucket(TENANT), names.token(victim)),
            ):
                await is_forbidden(link, stream.publish(subject, b"{}", timeout=0.3), subject)

    run(main())


def test_a_host_can_neither_read_events_nor_others_rules_nor_write_rules(secure: Secure) -> None:
    rules, events = names.rules_bucket(TENANT), names.event_stream(TENANT)

    async def main() -> None:
        async with secure.link("web1") as link:
            stream = await link.jetstream(0.3)
            for key in ("all", "host.web1"):
                subject = names.key_subject(rules, key)
                await is_forbidden(link, stream.publish(subject, b"{}", timeout=0.3), subject)
            for key in ("host.web2", "group.ci"):
                await is_forbidden(link, fetch(link, rules, key, 0.3), names.key_subject(rules, key))
            for subject, data in (
                (f"$JS.API.CONSUMER.CREATE.{events}", b"{}"),
                (f"$JS.API.STREAM.MSG.GET.{events}", b'{"seq":1}'),
                (f"$JS.API.DIRECT.GET.{events}", b'{"seq":1}'),
                (f"$JS.API.STREAM.PURGE.{events}", b""),
                (f"$JS.API.STREAM.DELETE.{events}", b""),
                (f"$JS.API.STREAM.INFO.{events}", b""),
            ):
                await is_forbidden(link, link.request(subject, data, 0.3), subject)
            client = await link.up()
            for subject in (names.all_events(TENANT), ">", "_INBOX.>", f"{names.inbox_prefix('web2')}.>"):
                await client.subscribe(subject)
                await client.flush()
                await wait_for(lambda subject=subject: f'"{subject}"'.lower() in link.trouble.text.lower(), 5)

    run(main())


def test_a_host_reads_its_own_rules_and_those_of_its_groups(secure: Secure) -> None:
    seed, public = new_signer()

    async def main() -> None:
        async with Hub(secure.access("operator"), tenant=TENANT) as hub:
            agents = [
                Agent(
                    secure.access(name),
                    tenant=TENANT,
                    host=name,
                    state=secure.folder / f"state-{name}",
                    trust=[public],
                    groups=groups,
                    every=0.5,
                )
                for name, groups in (("web1", ()), ("web2", ("ci",)))
            ]
            async with agents[0], agents[1]:
                await wait_for(lambda: all(agent.link.is_up for agent in agents))
                for scope in ("all", "group.ci", "host.web1"):
                    await hub.put_rules(scope, [Rule(name=f"*/{scope}", action="deny")], seed)
                one, two = (agent.keeper for agent in agents)
                assert one is not None and two is not None
                await wait_for(lambda: {rule.name for rule in one.ruleset()} == {"*/all", "*/host.web1"})
                await wait_for(lambda: {rule.name for rule in two.ruleset()} == {"*/all", "*/group.ci"})
                assert [agent.link.trouble.text for agent in agents] == ["", ""]

    run(main())


def test_a_group_that_the_server_does_not_know_keeps_no_other_rules_away(secure: Secure) -> None:
    """web1 says that it is in the group ci, and its key does not."""
    seed, public = new_signer()
    state = secure.folder / "state-group"

    async def main() -> None:
        async with Hub(secure.access("operator"), tenant=TENANT) as hub:
            access = secure.access("web1")
            async with Agent(
                access, tenant=TENANT, host="web1", state=state, trust=[public], groups=["ci"], every=0.5
            ) as agent:
                keeper = agent.keeper
                assert keeper is not None
                for name in ("*/first", "*/second"):
                    await hub.put_rules("all", [Rule(name=name, action="deny")], seed)
                    # Each is there before a request for the group's rules has failed once.
                    await wait_for(lambda name=name: {rule.name for rule in keeper.ruleset()} == {name}, 4)
                await wait_for(lambda: "group.ci" in agent.link.trouble.text, 8)
                assert "ermissions" in agent.link.trouble.text

    run(main())


def test_an_impostor_with_lines_of_another_host_is_found_out(secure: Secure) -> None:
    """It has a true key, and publishes under its own subject what claims to be another's."""
    origin = records.Origin.here(host="web2")
    made = {**records.made("summary", origin, text="never happened"), "number": 1}

    async def main() -> None:
        async with secure.link("web1") as link:
            stream = await link.jetstream()
            await stream.publish(names.event_subject(TENANT, "web1"), records.line_of(made))

    run(main())
    found, counts = run(collected(secure.access("operator")))
    assert counts.forged == 1
    assert not [record for record in found if record["session"] == origin.session]


def test_the_configuration_takes_no_word_that_means_something_else() -> None:
    key = new_user()[1]
    for keywords in (
        {"operators": ["no key"]},
        {"operators": []},
        {"hosts": {"web1": 'x"}'}},
        {"store": '/x"\n}'},
        {"cert": "/c"},
        {"tenant": "a b"},
    ):
        arguments: dict[str, Any] = {"tenant": "acme", "operators": [key], "hosts": {}, **keywords}
        with pytest.raises(CBProcessError) as caught:
            server_configuration(
                arguments.pop("tenant"), arguments.pop("operators"), arguments.pop("hosts"), **arguments
            )
        assert caught.value.code == 87
