"""A host with a true key that wants more than its own: names of others' batches, answers that the server
sends for it, headers that remove. Against the configuration that `cbprocess fleet server` prints."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fleet.secure import Secure, secured
from fleet.servers import TENANT, Server, add_events, collected, numbers, run, wait_for, write_events

from cbprocess import Rule, spool
from cbprocess.fleet import Agent, Hub, names
from cbprocess.fleet.link import Link
from cbprocess.fleet.setup import Plan
from cbprocess.fleet.signing import new_signer

RULES, HOSTS = names.rules_bucket(TENANT), names.hosts_bucket(TENANT)
STREAMS = (names.event_stream(TENANT), names.bucket_stream(RULES), names.bucket_stream(HOSTS))
EVENTS_OF_1, EVENTS_OF_2 = (names.event_subject(TENANT, host) for host in ("web1", "web2"))
WORD_OF_1, WORD_OF_2 = (names.key_subject(HOSTS, host) for host in ("web1", "web2"))


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[Secure]:
    """One for each test: what a test tries could remove a stream."""
    (tmp_path / "secure").mkdir()
    with secured(tmp_path / "secure") as made:
        yield made


async def state_of(hub: Hub) -> dict[str, Any]:
    """The first message of each stream, and the newest of each subject, but those that are web1's own."""
    stream = await hub.link.jetstream()
    found: dict[str, Any] = {}
    for name in STREAMS:
        state = (await stream.stream_info(name, subjects_filter=">")).state
        found[name] = state.first_seq
        for subject in set(state.subjects or ()) - {EVENTS_OF_1, WORD_OF_1}:
            message = await stream.get_msg(name, subject=subject)
            found[subject] = (message.seq, message.data)
    return found


async def begin(hub: Hub, secure: Secure) -> dict[str, Any]:
    """Rules of all scopes, a word and events of web2; what is there then."""
    seed, _ = new_signer()
    for scope in ("all", "host.web1", "host.web2"):
        await hub.put_rules(scope, [Rule(name="*/rm", action="deny")], seed)
    async with secure.link("web2") as link:
        stream = await link.jetstream()
        for subject in (EVENTS_OF_2, WORD_OF_2):
            await stream.publish(subject, b'{"host": "web2", "is_ending": true}')
    return await state_of(hub)


VICTIMS = (
    names.key_subject(RULES, "all"),
    names.key_subject(RULES, "host.web2"),
    WORD_OF_2,
    EVENTS_OF_2,
    *(f"$JS.API.STREAM.PURGE.{name}" for name in STREAMS),
    *(f"$JS.API.STREAM.DELETE.{name}" for name in STREAMS),
    f"$JS.API.STREAM.UPDATE.{STREAMS[0]}",
)


def test_no_answer_goes_where_its_host_may_not_write(secure: Secure) -> None:
    """The server looks at the subject of what a host publishes, and not at that of the answer: an
    acknowledgement, a document of rules, or the word that there is none, each onto what is not the host's."""

    async def main() -> None:
        async with Hub(secure.access("operator"), tenant=TENANT) as hub:
            before = await begin(hub, secure)
            async with secure.link("web1") as link:
                client = await link.up()
                asked = [EVENTS_OF_1, WORD_OF_1] + [
                    f"$JS.API.DIRECT.GET.{names.bucket_stream(RULES)}.{names.key_subject(RULES, scope)}"
                    for scope in ("all", "host.web1")
                ]
                for victim in VICTIMS:
                    for subject in asked:
                        data = b"" if "DIRECT" in subject else b'{"host": "web1"}'
                        await client.publish(subject, data, reply=victim)
                        headers = {"Nats-Expected-Last-Msg-Id": "none"}
                        await client.publish(subject, data, reply=victim, headers=headers)
                # What was asked before this was answered before it.
                stream = await link.jetstream()
                await stream.publish(EVENTS_OF_1, b"{}")
                await stream.publish(WORD_OF_1, b'{"host": "web1"}')
                # The interface of JetStream works beside the streams.
                await asyncio.sleep(0.5)
                assert await state_of(hub) == before
                assert not [host for host in await hub.hosts() if host.name == "web2" and host.is_alive]
                assert link.trouble.text == ""

    run(main())


def test_no_answer_acknowledges_for_a_reader(secure: Secure) -> None:
    """Acknowledgements are the one kind of answer that a server does not keep in the account that asked: it
    takes no such word of where an answer shall go."""

    async def main() -> None:
        async with Hub(secure.access("operator"), tenant=TENANT) as hub:
            heard: list[Any] = []

            async def hear(message: Any) -> None:
                heard.append(message.subject)

            client = await hub.link.up()
            await client.subscribe("$JS.ACK.>", cb=hear)
            await client.flush()
            async with secure.link("web1") as link:
                asking = await link.up()
                await asking.publish(EVENTS_OF_1, b"{}", reply=f"$JS.ACK.{STREAMS[0]}.reader.1.1.1.1.0")
                await asking.flush()
                await wait_for(lambda: "$js.ack" in link.trouble.text.lower(), 5)
            await client.flush()
            assert heard == []

    run(main())


def test_a_word_that_is_none_makes_no_host_alive(server: Server) -> None:
    """As an acknowledgement that was sent there, on a server without accounts of hosts."""

    async def main() -> None:
        async with Hub(server.access, tenant=TENANT) as hub:
            stream = await hub.link.jetstream()
            for host, word in (
                ("a", b'{"stream": "cbp-acme-events", "seq": 7}'),
                ("b", b'{"schema": 1, "host": "a", "every": 10}'),
                ("c", b""),
                ("d", b'{"schema": 1, "host": "d", "every": 10}'),
            ):
                await stream.publish(names.key_subject(HOSTS, host), word)
            found = {host.name: (host.is_alive, host.is_strange) for host in await hub.hosts()}
            assert found == {
                "a": (False, True),
                "b": (False, True),
                "c": (False, True),
                "d": (True, False),
            }

    run(main())


def test_nobody_takes_the_names_of_anothers_batches(secure: Secure, tmp_path: Path) -> None:
    """web1 has the server tell it the name of web2's last batch, and sends the names that come next. web2's
    batches must not be doubles then: they would be acknowledged, and nobody would have them."""

    async def main() -> int:
        root = tmp_path / "spool"
        writer = write_events(root, 10, "web2")
        async with Agent(secure.access("web2"), tenant=TENANT, host="web2", spool=root) as agent:
            assert agent.shipper is not None
            counts = agent.shipper.counts
            await wait_for(lambda: counts.events == 10)
            async with secure.link("web1") as link:
                stream = await link.jetstream()
                headers = {"Nats-Expected-Last-Msg-Id": "none"}
                with pytest.raises(Exception, match="wrong last msg ID") as caught:
                    await stream.publish(EVENTS_OF_1, b"{}", headers=headers)
                told = re.search(r"wrong last msg ID: (\S+)", str(caught.value))
                assert told is not None and told[1].startswith(f"web2/{writer.origin.boot}/")
                host, boot, session, _, *rest = told[1].strip("'\"").split("/")
                for last in range(11, 40):
                    begun = f"{host}/{boot}/{session}/11-{last}"
                    for name in (begun, "/".join([begun, *rest])):
                        found = await stream.publish(EVENTS_OF_1, b"{}", headers={"Nats-Msg-Id": name})
                        assert not found.duplicate
            add_events(writer, 10)
            await asyncio.to_thread(writer.close)
            await wait_for(lambda: not spool.sessions(root))
            assert counts.duplicates == 0
        return writer.counts().number

    total = run(main())
    found, counts = run(collected(secure.access("operator"), host="web2"))
    assert list(numbers(found).values()) == [list(range(1, total + 1))] and total >= 20
    assert counts.missing == 0


def test_a_host_cannot_remove_the_words_of_others(secure: Secure) -> None:
    async def main() -> None:
        async with Hub(secure.access("operator"), tenant=TENANT) as hub:
            before = await begin(hub, secure)
            async with secure.link("web1") as link:
                stream = await link.jetstream()
                for what in ("all", "sub"):
                    for subject in (WORD_OF_1, EVENTS_OF_1):
                        with pytest.raises(Exception, match="rollup"):
                            await stream.publish(subject, b"{}", headers={"Nats-Rollup": what})
            assert await state_of(hub) == before

    run(main())


def test_a_bucket_of_hosts_that_was_made_before_is_mended(server: Server) -> None:
    """Earlier versions made it so that one host could remove the words of all."""

    async def main() -> None:
        async with Hub(server.access, tenant=TENANT) as hub:
            stream = await hub.link.jetstream()
            plan = Plan(TENANT, max_bytes=256 << 20)
            config = plan.streams()[2]
            config.allow_rollup_hdrs = True
            await stream.update_stream(config)
            assert (await stream.stream_info(STREAMS[2])).config.allow_rollup_hdrs
            assert f"updated {STREAMS[2]}" in await hub.setup(plan)
            assert not (await stream.stream_info(STREAMS[2])).config.allow_rollup_hdrs
            assert f"unchanged {STREAMS[2]}" in await hub.setup(plan)

    run(main())


def test_an_answer_would_go_anywhere_without_accounts_of_hosts(server: Server) -> None:
    """Why each host has an account of its own: this is what nats-server does in one that both share."""

    async def main() -> None:
        async with Hub(server.access, tenant=TENANT) as hub, Link(server.access, "web1") as link:
            client = await link.up()
            await client.publish(EVENTS_OF_1, b"{}", reply=WORD_OF_2)
            await wait_for(hub.hosts)
            assert [(host.name, host.is_alive) for host in await hub.hosts()] == [("web2", False)]
            stream = await hub.link.jetstream()

            async def is_purged() -> bool:
                return bool((await stream.stream_info(STREAMS[0])).state.first_seq > 1)

            # An acknowledgement is a request to remove all before its own place, too.
            await client.publish(EVENTS_OF_1, b"{}", reply=f"$JS.API.STREAM.PURGE.{STREAMS[0]}")
            await wait_for(is_purged)

    run(main())
