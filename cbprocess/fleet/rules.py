"""Signed rule documents: what a host takes from its fleet, what it refuses, and what it keeps for the time
without a server.

Knows rules, signatures and one folder of the host; nothing of connections and buckets. All that comes in is
an attacker's until a signature of a believed key holds; and signed rules can do no more than refuse, protect,
permit and silence."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from dataclasses import dataclass, field

from .._checks import wrong
from ..applied_rules import combined
from ..errors import CBProcessError
from ..rule_files import RuleSet, replace_file
from . import signing
from .names import checked_tenant, token
from .signing import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from ..applied_rules import AppliedRules

    ScopeReport = dict[str, Any]

FORMAT = "cbprocess rules 1"
# A rule that asks would hold operations for somebody far away.
FLEET_ACTIONS = ("deny", "strip", "allow", "ignore")
FLEET_RULES_MAX = 10_000
KEYS = {"format", "tenant", "scope", "serial", "issued", "expires", "rules"}
# Serials are microseconds since 1970, which JSON numbers can carry exactly until 2255.
SERIAL_MAX = 2**53
PER_SECOND = 1_000_000
TIME_MAX = SERIAL_MAX // PER_SECOND
LAYER = "fleet "
# A scope is part of a file's name.
SCOPE_NAME_MAX = 200


def checked_scope(text: object) -> str:
    """The scope, if it is one: "all", "group.NAME" or "host.NAME", with a NAME as names.token() makes it. A
    scope is also the key of its document in the fleet's bucket. Error 87 otherwise."""
    if isinstance(text, str):
        kind, _, name = text.partition(".")
        if text == "all" or (kind in ("group", "host") and name and _is_token(name)):
            return text
    raise wrong(f"a scope is all, group.NAME or host.NAME, not {text!r:.80}")


def scopes_of(host: str, groups: Iterable[str] = ()) -> tuple[str, ...]:
    """The scopes of a host, the narrowest first: its own, those of its groups, that of all."""
    names = [f"host.{token(host)}", *(f"group.{token(group)}" for group in dict.fromkeys(groups)), "all"]
    return tuple(checked_scope(name) for name in names)


def _is_token(name: str) -> bool:
    # "=" is the escape itself, so a made token would get escaped again.
    return all(part == token(part) for part in name.split("=") if part) and len(name) <= SCOPE_NAME_MAX


@dataclass(frozen=True)
class RuleDocument:
    """Rules for a part of a fleet, as they are signed. Two are equal if all of their content is."""

    tenant: str
    scope: str
    serial: int
    """Rises with every document of the scope: an older one is not taken again."""
    issued: int
    """When it was signed, in seconds since 1970."""
    expires: int | None
    """From when on its rules are out of force, in seconds since 1970; None: never."""
    rules: RuleSet
    signer: str = field(default="", compare=False)
    """The public key that has signed it; "" before that. It is no part of the content."""

    def payload(self) -> bytes:
        """What is signed."""
        content = {
            "format": FORMAT,
            "tenant": self.tenant,
            "scope": self.scope,
            "serial": self.serial,
            "issued": self.issued,
            "expires": self.expires,
            "rules": self.rules.to_dict(),
        }
        return json.dumps(content, sort_keys=True, separators=(",", ":")).encode("ascii")

    def sealed(self, seed: str) -> bytes:
        """The signed document. Error 87 for a seed that is none, and for a document above 1,000,000
        bytes."""
        return signing.seal(self.payload(), seed)

    def is_expired(self, now: float) -> bool:
        return self.expires is not None and now >= self.expires


def make_document(
    rules: RuleSet,
    *,
    tenant: str,
    scope: str,
    expires: float | None,
    previous: RuleDocument | None = None,
    now: float | None = None,
) -> RuleDocument:
    """The next document of a scope, to be sealed. `expires` is a time in seconds since 1970, or None for
    never; `previous` is the scope's document that is in the bucket, so that the serial rises even if the
    clock here is behind that of another signer.

    Error 87 for a rule that asks, for more than 10,000 rules, for a time that has passed and for a `previous`
    of another scope."""
    moment = time.time() if now is None else now
    if previous is not None and (previous.tenant, previous.scope) != (tenant, scope):
        raise wrong(f"the previous document is one of {previous.tenant}, {previous.scope}")
    if expires is not None and not moment < expires <= TIME_MAX:
        raise wrong("expires must be a time to come, in seconds since 1970, or None for never")
    _check_rules(rules)
    serial = max(int(moment * PER_SECOND), 0 if previous is None else previous.serial + 1)
    end = None if expires is None else int(expires)
    return RuleDocument(checked_tenant(tenant), checked_scope(scope), serial, int(moment), end, rules)


def open_document(
    data: bytes, *, tenant: str, scope: str, believed: Iterable[str], now: float | None = None
) -> RuleDocument:
    """The document in these bytes, if a believed key has signed it for this tenant and this scope.

    `now` is the time to compare with its end: the clock's by default; 0 opens an expired one, too. Raises
    Refused with its reason; whether the serial is a new one is for the caller to know (RuleKeeper)."""
    payload, signer = signing.unseal(data, tuple(believed))
    document = _parsed(payload, signer)
    if (document.tenant, document.scope) != (tenant, scope):
        whose = f"{document.tenant}, {document.scope}"
        raise Refused(signing.WRONG_SCOPE, f"it was made for {whose}, not for {tenant}, {scope}")
    if document.is_expired(time.time() if now is None else now):
        raise Refused(signing.EXPIRED, f"it has expired at {document.expires}")
    return document


def serial_of(data: bytes) -> int | None:
    """The serial of a signed document, as it says it itself: whether it is true is for hosts to know. None
    for what is no document."""
    try:
        content = json.loads(signing.opened(data)[0])
        return _checked_number(content["serial"], "serial", SERIAL_MAX)
    except (Refused, ValueError, TypeError, KeyError, RecursionError):
        return None


def _parsed(payload: bytes, signer: str) -> RuleDocument:
    """The document that was signed. A signer may be of another version, so everything is looked at."""
    try:
        content = json.loads(payload)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise ValueError(f"its format is not {FORMAT!r}")
        if set(content) != KEYS:
            # A key that is not known here may narrow what the document means.
            raise ValueError(f"its keys are not {', '.join(sorted(KEYS))}: another version has made it")
        serial = _checked_number(content["serial"], "serial", SERIAL_MAX)
        issued = _checked_number(content["issued"], "issued", TIME_MAX)
        expires = content["expires"]
        if expires is not None:
            expires = _checked_number(expires, "expires", TIME_MAX)
        rules = RuleSet.from_dict(content["rules"])
        _check_rules(rules)
        tenant, scope = checked_tenant(content["tenant"]), checked_scope(content["scope"])
    except CBProcessError as error:
        raise Refused(signing.BAD_RULES, error.message) from None
    except (ValueError, RecursionError) as error:
        raise Refused(signing.BAD_RULES, f"it cannot be read: {error!s:.300}") from None
    return RuleDocument(tenant, scope, serial, issued, expires, rules, signer)


def _checked_number(value: object, name: str, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise ValueError(f"{name} must be a whole number from 0 to {most}")
    return value


def _check_rules(rules: RuleSet) -> None:
    for number, rule in enumerate(rules, 1):
        if rule.action not in FLEET_ACTIONS:
            possible = ", ".join(FLEET_ACTIONS)
            raise wrong(f"rule {number}: {rule.action!r} is no action for a fleet; possible: {possible}")
    if len(rules) > FLEET_RULES_MAX:
        raise wrong(f"{len(rules)} rules are too many for a fleet: at most {FLEET_RULES_MAX} are possible")


def _rules_at(documents: Iterable[RuleDocument], moment: int) -> RuleSet:
    """The rules of those that have not expired then; of equal ones the first has the say."""
    live = [document.rules for document in documents if not document.is_expired(moment)]
    return RuleSet(combined(live).values())


class RuleKeeper:
    """The rule documents of one host: the newest valid one of each of its scopes, kept in the folder `state`,
    and in force until it expires.

    `applied` gets the rules of each scope as a layer; with None they are only kept (ruleset() has them).
    `believed` are the public keys of signers, `scopes` as scopes_of() gives them. Where rules of two scopes
    have different codes for the same programs, the earlier scope's counts.

    A document comes into force whole, or what was in force stays. Nothing that a server does or does not do
    takes rules away: for that it takes a signed document without rules, or the end of the one in force. Time
    is the clock's, but never earlier than the newest document of another scope. So a clock that is set back
    behind that brings no expired rules back; one that was ahead and is set right does.

    Methods can be called in any thread; they take milliseconds, and wait for the disk."""

    def __init__(
        self,
        applied: AppliedRules | None,
        state: str | os.PathLike[str],
        *,
        tenant: str,
        believed: Iterable[str],
        scopes: Iterable[str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._applied = applied
        self._state = os.fspath(state)
        self._tenant = checked_tenant(tenant)
        self._believed = tuple(signing.checked_public_key(key) for key in believed)
        self._scopes = tuple(checked_scope(scope) for scope in scopes)
        self._clock = clock
        self._lock = threading.Lock()
        self._held: dict[str, RuleDocument] = {}
        # By scope, what is in force and could not be written yet.
        self._unstored: dict[str, bytes] = {}
        self._reports: dict[str, ScopeReport] = {
            scope: {"state": "none", "count": 0} for scope in self._scopes
        }
        # Layers count in the order in which they come.
        for scope in self._scopes:
            self._put(scope, RuleSet())

    def load_cached(self) -> None:
        """Takes the documents that were in force when this host last heard of its fleet. OSError if the
        folder cannot be made; a document that cannot be read or believed is told in the report."""
        os.makedirs(self._state, mode=0o700, exist_ok=True)
        with self._lock:
            for scope in self._scopes:
                try:
                    with open(self._path(scope), "rb") as file:
                        data = file.read(signing.SIZE_MAX + 1)
                except FileNotFoundError:
                    continue
                except OSError as error:
                    self._refuse(
                        scope, None, Refused(signing.NOT_SIGNED, f"{error.strerror}: {error.filename}")
                    )
                    continue
                self._load(scope, data)

    def take(self, scope: str, data: bytes | None, revision: int) -> ScopeReport:
        """Takes a document of a scope as it was found in the bucket, with its revision there; None: the key
        was deleted, which changes nothing. Returns the scope's report, which also tells a refusal."""
        with self._lock:
            if scope not in self._reports:
                raise wrong(f"{scope!r:.80} is no scope of this host")
            try:
                self._take(scope, data, revision)
            except Refused as refused:
                self._refuse(scope, revision, refused)
            return dict(self._reports[scope])

    def check_expiry(self) -> bool:
        """Takes rules out of force whose document has expired, and puts them back if the clock was set back
        to a time before that; tries again to write what could not be written. To be called every second or
        so. Returns whether a report has changed."""
        with self._lock:
            changed = False
            for scope, data in list(self._unstored.items()):
                self._store(scope, data)
                changed = changed or scope not in self._unstored
            for scope, document in self._held.items():
                state = self._state_of(document)
                if self._reports[scope]["state"] != state:
                    changed = True
                    with contextlib.suppress(CBProcessError):
                        self._put_document(scope, document)
                        self._reports[scope]["state"] = state
            return changed

    def report(self) -> dict[str, ScopeReport]:
        """What is known of each scope, for JSON.

        - state: "none", "in force" or "expired"; count: the number of rules in its document.
        - of the document that is held: serial, issued, expires, signer; revision (None: it came from the
          folder); cached: whether it did; at: when it came into force; apply_ms: how long that took.
        - stored: whether it is on the disk; not_stored: why not.
        - of the last refusal, until something is taken: refused_revision, refused (its reason), why."""
        with self._lock:
            return {scope: dict(report) for scope, report in self._reports.items()}

    def ruleset(self) -> RuleSet:
        """All rules in force."""
        return self.schedule()[0][1]

    def schedule(self) -> list[tuple[int, RuleSet]]:
        """What is in force from when on, by the documents that are held: from 0 on the rules of now, and from
        the end of each document on, in seconds since 1970, those that are left. Error 87 where all scopes
        together have more rules than a rule file may have."""
        with self._lock:
            documents = [self._held[scope] for scope in self._scopes if scope in self._held]
            live = [document for document in documents if self._state_of(document) == "in force"]
            ends = sorted({document.expires for document in live if document.expires is not None})
            return [(moment, _rules_at(live, moment)) for moment in (0, *ends)]

    def _take(self, scope: str, data: bytes | None, revision: int) -> None:
        if data is None:
            raise Refused(signing.DELETED, "the key was deleted; rules stay until a signed document comes")
        document = open_document(
            data, tenant=self._tenant, scope=scope, believed=self._believed, now=self._now(scope)
        )
        held = self._held.get(scope)
        if held is not None and document.serial < held.serial:
            raise Refused(
                signing.REPLAYED, f"serial {document.serial} is older than {held.serial}, which is held"
            )
        if held is not None and document.serial == held.serial and document != held:
            raise Refused(signing.REPLAYED, f"another document with serial {held.serial} is held")
        if (
            held is not None
            and document == held
            and self._reports[scope]["state"] == self._state_of(document)
        ):
            self._clear_refusal(scope)
            self._reports[scope]["revision"] = revision
            if held.signer != document.signer:
                # The key of old may not be believed at the next start.
                self._held[scope] = document
                self._reports[scope]["signer"] = document.signer
                self._store(scope, data)
            return
        self._enter(scope, document, revision)
        self._store(scope, data)

    def _load(self, scope: str, data: bytes) -> None:
        try:
            document = open_document(data, tenant=self._tenant, scope=scope, believed=self._believed, now=0)
            # An expired one is held for its serial.
            self._held[scope] = document
            self._enter(scope, document, None)
        except Refused as refused:
            self._refuse(scope, None, refused)

    def _enter(self, scope: str, document: RuleDocument, revision: int | None) -> None:
        """Brings a document into force; Refused ("cannot apply") leaves everything as it was."""
        started = time.perf_counter()
        try:
            self._put_document(scope, document)
        except CBProcessError as error:
            raise Refused(signing.CANNOT_APPLY, f"the rules cannot be applied here: {error}") from None
        self._held[scope] = document
        self._reports[scope] = {
            "state": self._state_of(document),
            "count": len(document.rules),
            "serial": document.serial,
            "issued": document.issued,
            "expires": document.expires,
            "signer": document.signer,
            "revision": revision,
            "cached": revision is None,
            "stored": revision is None,
            "at": self._clock(),
            "apply_ms": round((time.perf_counter() - started) * 1e3, 2),
        }

    def _put_document(self, scope: str, document: RuleDocument) -> None:
        is_live = self._state_of(document) == "in force"
        self._put(scope, document.rules if is_live else RuleSet())

    def _put(self, scope: str, rules: RuleSet) -> None:
        if self._applied is not None:
            self._applied.apply(LAYER + scope, rules)

    def _store(self, scope: str, data: bytes) -> None:
        """Keeps the document for the next start. Rules that are in force stay so where the disk is full."""
        try:
            os.makedirs(self._state, mode=0o700, exist_ok=True)
            replace_file(self._path(scope), data)
        except OSError as error:
            self._unstored[scope] = data
            self._reports[scope]["stored"] = False
            self._reports[scope]["not_stored"] = f"{error.strerror}: {self._path(scope)}"
        else:
            self._unstored.pop(scope, None)
            self._reports[scope]["stored"] = True
            self._reports[scope].pop("not_stored", None)

    def _refuse(self, scope: str, revision: int | None, refused: Refused) -> None:
        self._clear_refusal(scope)
        self._reports[scope].update(refused_revision=revision, refused=refused.reason, why=refused.message)

    def _clear_refusal(self, scope: str) -> None:
        for key in ("refused_revision", "refused", "why"):
            self._reports[scope].pop(key, None)

    def _state_of(self, document: RuleDocument) -> str:
        return "expired" if document.is_expired(self._now(document.scope)) else "in force"

    def _now(self, scope: str) -> float:
        others = (document.issued for key, document in self._held.items() if key != scope)
        return max(self._clock(), *others, 0)

    def _path(self, scope: str) -> str:
        return os.path.join(self._state, f"{scope}.rules")
