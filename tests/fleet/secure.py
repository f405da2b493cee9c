"""A server with TLS and keys, by the configuration that `cbprocess fleet server` prints."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fleet.servers import PROGRAM, TENANT, Server, run, running

from cbprocess.fleet import Access, Hub, names
from cbprocess.fleet.keys import new_user, server_configuration, write_secret
from cbprocess.fleet.link import Link
from cbprocess.fleet.setup import Plan

HOSTS = ("web1", "web2", "db.one")


def make_certificate(cert: Path, key: Path) -> None:
    """A certificate of a server at 127.0.0.1, believed by who is given it."""
    line = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    line += f" -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1 -keyout {key} -out {cert}"
    subprocess.run(line.split(), check=True, capture_output=True)


def make_keys(folder: Path, users: Iterable[str]) -> dict[str, str]:
    """A key for each, in FOLDER/USER.nk; gives the public ones."""
    made = {}
    for user in users:
        seed, made[user] = new_user()
        write_secret(str(folder / f"{user}.nk"), seed)
    return made


def configuration(keys: dict[str, str], hosts: Iterable[str], **more: Any) -> str:
    """What the command prints for these keys, without what a Server says itself."""
    text = server_configuration(
        TENANT, [keys["operator"]], {host: keys[host] for host in hosts}, listen="LISTEN", **more
    )
    return text.replace('listen: "LISTEN"\n', "").replace("max_payload: 1MB\n", "")


class Secure:
    """A server with TLS, an operator and the hosts web1, web2 and db.one; web2 is in the group ci."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cert, key = folder / "cert.pem", folder / "key.pem"
        make_certificate(self.cert, key)
        keys = make_keys(folder, ["operator", "stranger", *HOSTS])
        self.server = Server(folder, js="# below")
        self.server.extra = configuration(
            keys,
            HOSTS,
            groups={"web2": ["ci"]},
            store=str(folder / "js"),
            cert=str(self.cert),
            key=str(key),
        )

    def access(self, name: str | None) -> Access:
        creds = None if name is None else str(self.folder / f"{name}.nk")
        return Access([self.server.url.replace("nats:", "tls:")], creds=creds, ca=str(self.cert))

    def link(self, name: str, inbox: str | None = None) -> Link:
        return Link(self.access(name), name, inbox or names.inbox_prefix(name))


@contextlib.contextmanager
def secured(folder: Path) -> Iterator[Secure]:
    """A running one, with the tenant's streams."""
    if PROGRAM is None:
        pytest.skip("nats-server is not installed")
    made = Secure(folder)
    with running(made.server):

        async def begin() -> None:
            async with Hub(made.access("operator"), tenant=TENANT) as hub:
                await hub.setup(Plan(TENANT))

        run(begin())
        yield made
