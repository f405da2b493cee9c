"""Keys of hosts and operators, and the server's configuration that says what each may do.

A host's key may publish its own events and presence and read the rules that are for it: nothing else. Knows
names; nothing of connections."""

from __future__ import annotations

import os
import re

from .._checks import wrong
from . import names
from .needs import need

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SEED_SIZE = 32
PUBLIC = re.compile(r"U[A-Z2-7]{55}\Z")
PLAIN_PATH = re.compile(r"[^\"\\\x00-\x1f]+\Z")


def new_user() -> tuple[str, str]:
    """A new key of a host or an operator: the seed, which is a secret, and the public key."""
    nkeys = need("nkeys")
    seed = bytes(nkeys.encode_seed(os.urandom(SEED_SIZE), nkeys.PREFIX_BYTE_USER)).decode()
    return seed, public_of(seed)


def public_of(seed: str) -> str:
    """The public key of a seed. Error 87 for what is no seed."""
    nkeys = need("nkeys")
    try:
        return bytes(nkeys.from_seed(bytearray(seed.strip(), "ascii")).public_key).decode()
    except Exception as error:
        # nkeys has an error of its own for each way in which a text is no seed.
        raise wrong(f"this is no seed of an NKEY: {type(error).__name__}") from None


def checked_public(text: str) -> str:
    """The public key of a user, if it looks like one: U and 55 letters and digits. Error 87 otherwise."""
    if not PUBLIC.match(text):
        raise wrong(f"{text!r} is no public key of a host or operator: these begin with U")
    return text


def write_secret(path: str, text: str) -> None:
    """Writes a new file that only its owner can read. FileExistsError where there is one: a key is never
    overwritten."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(fd, "w", encoding="ascii") as file:
        file.write(text + "\n")


def may_publish(tenant: str, host: str, scopes: Iterable[str]) -> list[str]:
    """The subjects to which a host may publish: its events, its presence, and the requests for its rules."""
    rules = names.rules_bucket(tenant)
    requests = [
        f"$JS.API.DIRECT.GET.{names.bucket_stream(rules)}.{names.key_subject(rules, scope)}"
        for scope in scopes
    ]
    presence = names.key_subject(names.hosts_bucket(tenant), names.token(host))
    return [names.event_subject(tenant, host), presence, *requests]


def may_subscribe(tenant: str, host: str, scopes: Iterable[str]) -> list[str]:
    """The subjects to which a host may listen: answers to itself, and changes of its rules."""
    rules = names.rules_bucket(tenant)
    return [f"{names.inbox_prefix(host)}.>", *(names.key_subject(rules, scope) for scope in scopes)]


def user_block(tenant: str, host: str, public: str, scopes: Iterable[str]) -> str:
    """The lines of a server's configuration for one host."""
    scopes = list(scopes)
    publish = ", ".join(f'"{subject}"' for subject in may_publish(tenant, host, scopes))
    subscribe = ", ".join(f'"{subject}"' for subject in may_subscribe(tenant, host, scopes))
    return (
        f"      {{ nkey: {checked_public(public)}, permissions: {{\n"
        f"          publish: {{ allow: [{publish}] }}\n"
        f"          subscribe: {{ allow: [{subscribe}] }} }} }}"
    )


def server_configuration(
    tenant: str,
    operators: Iterable[str],
    hosts: Mapping[str, str],
    *,
    groups: Mapping[str, Iterable[str]] | None = None,
    listen: str = "0.0.0.0:4222",
    store: str = "/var/lib/cbprocess-fleet",
    cert: str | None = None,
    key: str | None = None,
) -> str:
    """A configuration for nats-server: one account for the tenant, its operators with all rights in it, and
    each host (name to public key) with its own few. cert and key: files for TLS; without them the keys still
    prove who a host is, but everybody on the way can read the events. Error 87 for what is no key or no
    plain path."""
    from .rules import scopes_of

    for path in (store, cert, key):
        if path is not None and not PLAIN_PATH.match(path):
            raise wrong(f"{path!r} cannot stand in the server's configuration")
    if (cert is None) != (key is None):
        raise wrong("a certificate and its key are given together")
    names.checked_tenant(tenant)
    users = [f"      {{ nkey: {checked_public(public)} }}" for public in operators]
    if not users:
        raise wrong("the key of an operator is missing: nobody could set the server up")
    for host, public in sorted(hosts.items()):
        scopes = scopes_of(host, tuple((groups or {}).get(host, ())))
        users.append(user_block(tenant, host, public, scopes))
    lines = [
        f'listen: "{listen}"',
        f'jetstream {{ store_dir: "{store}" }}',
        "max_payload: 1MB",
    ]
    if cert is not None:
        lines.append(f'tls {{ cert_file: "{cert}", key_file: "{key}" }}')
    block = ",\n".join(users)
    lines += [
        "accounts {",
        f"  {tenant.upper().replace('-', '_')} {{",
        "    jetstream: enabled",
        f"    users: [\n{block}\n    ]",
        "  }",
        "}",
    ]
    return "\n".join(lines) + "\n"
