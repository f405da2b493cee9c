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
JETSTREAM_INFO = "$JS.API.INFO"


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


def account_of(tenant: str, host: str | None = None) -> str:
    """The name of the account that has the tenant's streams, or of the account of one of its hosts."""
    name = tenant.upper().replace("-", "_")
    return name if host is None else f"{name}-{names.token(host)}"


def exports(tenant: str) -> list[str]:
    """The lines of the tenant's account that say what accounts of hosts may ask for."""
    rules, hosts = names.rules_bucket(tenant), names.hosts_bucket(tenant)
    services = (
        names.all_events(tenant),
        names.key_subject(hosts, "*"),
        f"$JS.API.DIRECT.GET.{names.bucket_stream(rules)}.>",
        names.nowhere(tenant),
    )
    made = [f'      {{ service: "{subject}" }}' for subject in services]
    return [*made, f'      {{ stream: "{names.key_subject(rules, ">")}" }}']


def host_account(tenant: str, host: str, public: str, scopes: Iterable[str]) -> str:
    """The lines of a server's configuration for one host: an account of its own, with one user.

    Permissions alone would not do. A server compares what is published with them, but not where the answer
    shall go, and it sends the answer of a stream with all rights of the account. A host could have it
    write anywhere: to the rules, to another host's presence, to the interface that empties streams. In an
    account of its own there is nothing to write to but what the host may write to anyway."""
    scopes = list(scopes)
    publish, subscribe = may_publish(tenant, host, scopes), may_subscribe(tenant, host, scopes)
    owner = account_of(tenant)
    rules = names.rules_bucket(tenant)
    imports = [f'{{ service: {{ account: "{owner}", subject: "{subject}" }} }}' for subject in publish]
    imports += [
        f'{{ stream: {{ account: "{owner}", subject: "{names.key_subject(rules, scope)}" }} }}'
        for scope in scopes
    ]
    # A server may give an account the whole interface of JetStream, unless this subject comes from another
    # account. An answer that came in would speak there in the name of the account that it came from.
    imports.append(
        f'{{ service: {{ account: "{owner}", subject: "{names.nowhere(tenant)}" }}, to: "{JETSTREAM_INFO}" }}'
    )
    listed = "\n".join(f"      {line}" for line in imports)
    return (
        f'  "{account_of(tenant, host)}" {{\n'
        f"    users: [{{ nkey: {checked_public(public)}, permissions: {{\n"
        f"      publish: {{ allow: [{_quoted(publish)}] }}\n"
        f"      subscribe: {{ allow: [{_quoted(subscribe)}] }} }} }}]\n"
        f"    imports: [\n{listed}\n    ]\n"
        "  }"
    )


def _quoted(subjects: Iterable[str]) -> str:
    return ", ".join(f'"{subject}"' for subject in subjects)


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
    one account for each host (name to public key) with its own few. cert and key: files for TLS; without them
    the keys still prove who a host is, but everybody on the way can read the events. Error 87 for what is no
    key or no plain path."""
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
    accounts = [
        host_account(tenant, host, public, scopes_of(host, tuple((groups or {}).get(host, ()))))
        for host, public in sorted(hosts.items())
    ]
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
        f'  "{account_of(tenant)}" {{',
        "    jetstream: enabled",
        f"    users: [\n{block}\n    ]",
        "    exports: [",
        *exports(tenant),
        "    ]",
        "  }",
        *accounts,
        "}",
    ]
    return "\n".join(lines) + "\n"
