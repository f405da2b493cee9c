"""The names of a fleet on its server: subjects, the stream, buckets, keys. Two hosts never share one.

Knows nothing of connections and records; it only makes texts."""

from __future__ import annotations

import re

from .._checks import wrong

# A change that is no addition makes v2. Both are published for one release then.
SUBJECT_ROOT = "cbp.v1"
PARTITIONS_MAX = 256
TENANT = re.compile(r"[A-Za-z0-9_-]{1,32}\Z")
NAME_SIZE_MAX = 253
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")
_ESCAPE = re.compile(r"=([0-9A-F]{2})")


def checked_tenant(text: object) -> str:
    """The tenant, if it can be part of a stream's name: 1 to 32 letters, digits, `-` and `_`. Error 87
    otherwise."""
    if not isinstance(text, str) or not TENANT.match(text):
        raise wrong(f"a tenant has 1 to 32 letters, digits, - and _, not {text!r}")
    return text


def token(name: object) -> str:
    """A host's name as one token of a subject: what cannot stand there becomes `=` and two hexadecimal
    digits, so that two names never have one token. Error 87 for an empty name and for more than 253 bytes."""
    if not isinstance(name, str) or not name:
        raise wrong(f"a host's name must be a text, not {name!r}")
    data = name.encode("utf-8", "surrogateescape")
    if len(data) > NAME_SIZE_MAX:
        raise wrong(f"a host's name has at most {NAME_SIZE_MAX} bytes, not {len(data)}")
    return "".join(chr(byte) if byte in _PLAIN else f"={byte:02X}" for byte in data)


def name_of(text: str) -> str:
    """The host's name of a token."""
    data = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), text).encode("latin-1", "replace")
    return data.decode("utf-8", "surrogateescape")


def event_subject(tenant: str, host: str) -> str:
    """The subject of one host's batches. Neither sessions nor kinds of events stand in it, because a stream
    keeps an index of every subject in memory."""
    return f"{SUBJECT_ROOT}.{tenant}.ev.{token(host)}"


def all_events(tenant: str) -> str:
    """The subjects of all hosts of a tenant."""
    return f"{SUBJECT_ROOT}.{tenant}.ev.*"


def nowhere(tenant: str) -> str:
    """A subject to which nobody listens."""
    return f"{SUBJECT_ROOT}.{tenant}.nowhere"


def event_stream(tenant: str) -> str:
    return f"cbp-{tenant}-events"


def rules_bucket(tenant: str) -> str:
    return f"cbp-{tenant}-rules"


def hosts_bucket(tenant: str) -> str:
    return f"cbp-{tenant}-hosts"


def bucket_stream(bucket: str) -> str:
    """The stream in which a key-value bucket is kept."""
    return f"KV_{bucket}"


def key_subject(bucket: str, key: str) -> str:
    """The subject of one key of a bucket."""
    return f"$KV.{bucket}.{key}"


def inbox_prefix(host: str) -> str:
    """Where a host gets answers. Each host has a prefix of its own, so that no other host can listen."""
    return f"_INBOX_{token(host)}"
