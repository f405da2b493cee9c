"""How far rules have come, where revisions of a bucket alone would say something wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fleet.servers import TENANT, Server, run

from cbprocess import CBProcessError, Rule
from cbprocess.fleet import Hub, Plan, names
from cbprocess.fleet.rules import SERIAL_MAX, serial_of
from cbprocess.fleet.signing import SIZE_MAX, new_signer, seal
from cbprocess.rule_files import RuleSet


async def tell(hub: Hub, host: str, **rules: Any) -> None:
    """The word of an agent that has these rules of the scope `all` in force."""
    word = {"schema": 1, "host": host, "every": 60, "rules": {"all": {"state": "in force", **rules}}}
    stream = await hub.link.jetstream()
    await stream.publish(names.key_subject(names.hosts_bucket(TENANT), host), json.dumps(word).encode())


def test_a_bucket_that_was_made_anew_confirms_nothing_of_the_one_before(server: Server) -> None:
    """Its revisions begin at 1 again, and a host still tells of a higher one. Serials go on."""
    seed, public = new_signer()
    bucket = names.rules_bucket(TENANT)

    async def main() -> None:
        async with Hub(server.access, tenant=TENANT) as hub:
            before = 0
            for number in range(3):
                before = await hub.put_rules("all", [Rule(name=f"*/{number}", action="deny")], seed)
            old = (await hub.rules("all", believed=[public])).document
            assert old is not None
            await tell(hub, "web1", revision=before, serial=old.serial)
            assert [host.name for host in (await hub.reach("all", before)).applied] == ["web1"]

            stream = await hub.link.jetstream()
            await stream.delete_stream(names.bucket_stream(bucket))
            await hub.setup(Plan(TENANT))
            revision = await hub.put_rules("all", [Rule(name="*/new", action="deny")], seed)
            assert revision < before
            reach = await hub.reach("all", revision)
            assert not reach.applied and [host.name for host in reach.waiting] == ["web1"]
            assert not [reach async for reach in hub.applied("all", revision, 0.5) if reach.applied]

            new = (await hub.rules("all", believed=[public])).document
            assert new is not None and new.serial > old.serial
            await tell(hub, "web1", revision=revision, serial=new.serial)
            assert [host.name for host in (await hub.reach("all", revision)).applied] == ["web1"]
            # A host that tells no serial has not said enough.
            await tell(hub, "web1", revision=revision)
            assert not (await hub.reach("all", revision)).applied

    run(main())


@pytest.mark.parametrize(
    "payload",
    [b"", b"7", b"[]", b"{}", b'{"serial": "5"}', b'{"serial": true}', b'{"serial": -1}', b"[" * 100_000],
)
def test_a_document_without_a_serial_has_none(payload: bytes) -> None:
    seed, _ = new_signer()
    assert serial_of(seal(payload, seed)) is None
    assert serial_of(payload) is None


def test_the_serial_of_a_document_is_read_without_its_key() -> None:
    seed, _ = new_signer()
    assert serial_of(seal(b'{"serial": 5}', seed)) == 5
    assert serial_of(seal(b'{"serial": %d}' % (SERIAL_MAX + 1), seed)) is None


def test_what_can_be_signed_is_taken_by_the_server(server: Server) -> None:
    """One limit for signers, hosts and buckets: the longest document that can be made is stored."""
    seed, public = new_signer()

    def rules(size: int) -> RuleSet:
        # A rule's text is longer than its name, and three bytes of it are four in the document.
        return RuleSet(Rule(name=f"*/{number}{'x' * 1000}", action="deny") for number in range(size))

    async def main() -> None:
        async with Hub(server.access, tenant=TENANT) as hub:
            low, high = 1, 2000
            while high - low > 1:
                middle = (low + high) // 2
                try:
                    await hub.put_rules("all", rules(middle), seed)
                    low = middle
                except CBProcessError as error:
                    assert error.code == 87 and str(SIZE_MAX) in error.message
                    high = middle
            stored = await hub.rules("all", believed=[public])
            assert stored.document is not None and len(stored.document.rules) == low > 600

    run(main())
