"""Changing a fleet as docs/fleet.md says it: a host that is removed."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from fleet.secure import Secure, secured
from fleet.servers import TENANT, run, wait_for

from cbprocess.fleet import Agent, Hub, names

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
