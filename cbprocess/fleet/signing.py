"""Signed documents: a broker carries them, and can neither make nor change one.

A signer is an Ed25519 key in the form of an NKEY of type "account", which no host has. Knows bytes and keys,
and nothing of what is signed, of rules and of connections."""

from __future__ import annotations

import base64
import binascii
import json
import os
from typing import NamedTuple

from .._checks import wrong
from ..errors import CBProcessError
from .needs import need

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

# Servers take messages of 1 MiB by default, with their headers. A rule file of this size has some 10,000
# rules.
SIZE_MAX = 1_000_000
# Stands before what is signed. A server has its clients sign what it likes (the nonce of a connection): even
# where a signer's key was used to connect, such a signature is none of a document.
CONTEXT = b"cbprocess signed document 1\n"
ENVELOPE_KEYS = {"payload", "signature", "key"}
KEY_SIZE = 32
CRC_SIZE = 2

NOT_SIGNED = "not signed"
UNKNOWN_SIGNER = "unknown signer"
FORGED = "forged"
TOO_LARGE = "too large"
WRONG_SCOPE = "wrong scope"
REPLAYED = "replayed"
EXPIRED = "expired"
BAD_RULES = "bad rules"
DELETED = "deleted"
CANNOT_APPLY = "cannot apply"


class Refused(Exception):
    """A document that does not come into force. `reason` is a short text of the constants above, `message` a
    sentence."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(reason, message)
        self.reason = reason
        self.message = message

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}"


class Signer(NamedTuple):
    """A key: `seed` is the secret, `public` is what hosts are told to believe."""

    seed: str
    public: str

    def __repr__(self) -> str:
        # A secret must not get into a log by chance.
        return f"Signer(seed='...', public={self.public!r})"


def new_signer() -> Signer:
    """A new key. It takes the extra `fleet`, as everything here that makes or tests a signature
    (error 50)."""
    nkeys = need("nkeys")
    seed: str = nkeys.encode_seed(os.urandom(KEY_SIZE), nkeys.PREFIX_BYTE_ACCOUNT).decode("ascii")
    return Signer(seed, public_key_of(seed))


def public_key_of(seed: str) -> str:
    """The public key of a signer's seed, "SA...". Error 87 for any other text."""
    return _encoded(bytes(_signing_key(seed).verify_key))


def checked_public_key(text: object) -> str:
    """The text, if it is a signer's public key, "A...", without blanks around it. Error 87 otherwise: for a
    host's key ("U...") and a mistyped one, too."""
    _raw_key(text)
    assert isinstance(text, str)
    return text.strip()


def seal(payload: bytes, seed: str) -> bytes:
    """The signed document of these bytes, as JSON. Error 87 for a seed that is none, and for a document
    of more than 1,000,000 bytes (749,000 of payload)."""
    key = _signing_key(seed)
    signature: bytes = key.sign(CONTEXT + payload).signature
    envelope = {
        "payload": base64.b64encode(payload).decode("ascii"),
        "signature": base64.b64encode(signature).decode("ascii"),
        "key": _encoded(bytes(key.verify_key)),
    }
    data = json.dumps(envelope, separators=(",", ":")).encode("ascii")
    if len(data) > SIZE_MAX:
        raise wrong(f"a signed document has at most {SIZE_MAX} bytes, not {len(data)}")
    return data


def unseal(data: bytes, believed: Collection[str]) -> tuple[bytes, str]:
    """The payload of a signed document, and the public key that has signed it, one of `believed`.

    Refused: "too large", "not signed" (it is no such document), "unknown signer", "forged" (the signature
    does not hold)."""
    if len(data) > SIZE_MAX:
        raise Refused(TOO_LARGE, f"the document has {len(data)} bytes; at most {SIZE_MAX} are read")
    payload, signature, key = opened(data)
    if key not in {text.strip() for text in believed}:
        raise Refused(UNKNOWN_SIGNER, f"it is signed by {key[:60]!r}, which is not among the believed keys")
    try:
        verify_key = need("nacl.signing").VerifyKey(_raw_key(key))
    except CBProcessError as error:
        raise Refused(UNKNOWN_SIGNER, error.message) from None
    try:
        verify_key.verify(CONTEXT + payload, signature)
    except (need("nacl.exceptions").CryptoError, ValueError):
        raise Refused(FORGED, f"the signature is not one of {key} for this content") from None
    return payload, key


def opened(data: bytes) -> tuple[bytes, bytes, str]:
    """Payload, signature and key of an envelope, of which nothing is known to be true yet. Refused for what
    is none."""
    try:
        envelope = json.loads(data)
        if not isinstance(envelope, dict) or set(envelope) != ENVELOPE_KEYS:
            raise ValueError("it is no table of payload, signature and key")
        payload, signature, key = (envelope[name] for name in ("payload", "signature", "key"))
        if not all(isinstance(part, str) for part in (payload, signature, key)):
            raise ValueError("payload, signature and key must be texts")
        return base64.b64decode(payload, validate=True), base64.b64decode(signature, validate=True), key
    except (ValueError, RecursionError) as error:
        raise Refused(NOT_SIGNED, f"it is no signed document: {error!s:.200}") from None


def _signing_key(seed: object) -> SigningKey:
    nkeys = need("nkeys")
    try:
        if not isinstance(seed, str):
            raise ValueError("a seed is a text")
        text = seed.strip()
        prefix, raw = nkeys.decode_seed(bytearray(text, "ascii"))
        if prefix != nkeys.PREFIX_BYTE_ACCOUNT or len(raw) != KEY_SIZE:
            raise ValueError("a signer's seed begins with SA")
        # The library does not look at the check sum of a seed.
        if nkeys.encode_seed(bytes(raw), prefix) != text.encode("ascii"):
            raise ValueError("its check sum is wrong")
        key: SigningKey = need("nacl.signing").SigningKey(bytes(raw))
        return key
    except (ValueError, IndexError, nkeys.NkeysError):
        # The text of the error must not have a secret in it.
        raise wrong("this is no seed of a signer, which begins with SA and has 58 characters") from None


def _raw_key(text: object) -> bytes:
    """The bytes of a signer's public key in text form; error 87."""
    nkeys = need("nkeys")
    try:
        if not isinstance(text, str):
            raise ValueError("no text")
        data = base64.b32decode(text.strip().encode("ascii") + b"=" * (-len(text.strip()) % 8))
    except (ValueError, binascii.Error):
        data = b""
    content, crc = data[:-CRC_SIZE], data[-CRC_SIZE:]
    if (
        len(content) != 1 + KEY_SIZE
        or content[0] != nkeys.PREFIX_BYTE_ACCOUNT
        or bytes(nkeys.crc16_checksum(content)) != crc
    ):
        raise wrong(f"{text!r:.80} is no public key of a signer, which begins with A and has 56 characters")
    return content[1:]


def _encoded(raw: bytes) -> str:
    nkeys = need("nkeys")
    content = bytes([nkeys.PREFIX_BYTE_ACCOUNT]) + raw
    crc: bytes = nkeys.crc16_checksum(content)
    return base64.b32encode(content + crc).decode("ascii").rstrip("=")


if TYPE_CHECKING:
    from typing import Any, Protocol

    class SigningKey(Protocol):
        """What is used of nacl's class of this name."""

        @property
        def verify_key(self) -> Any: ...
        def sign(self, message: bytes) -> Any: ...
