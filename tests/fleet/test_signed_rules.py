"""Signed rule documents and their keeper: what a host believes, what it refuses, and what stays in force."""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from unit.instances import GUID, assert_code

from cbprocess import CBProcess, CBProcessError, Rule, constants
from cbprocess.rule_files import AppliedRules, RuleSet

nkeys = pytest.importorskip("nkeys")

from cbprocess.fleet import signing  # noqa: E402
from cbprocess.fleet.rules import (  # noqa: E402
    FLEET_RULES_MAX,
    RuleDocument,
    RuleKeeper,
    checked_scope,
    make_document,
    open_document,
    scopes_of,
)
from cbprocess.fleet.signing import Refused  # noqa: E402

SIGNER, OTHER = signing.new_signer(), signing.new_signer()
NOW = 1_800_000_000
RULES = RuleSet([Rule(name="*/nc", action="deny"), Rule(name="server", action="strip", access=1)])
FEWER = RuleSet([Rule(name="*/nc", action="deny")])


class Instance:
    """The rules of an instance, without one. It can fail."""

    def __init__(self) -> None:
        self.rules: dict[tuple[Any, str], Rule] = {}
        self.refused = ""

    def add_rule(self, rule: Rule, /) -> None:
        if rule.action == self.refused:
            raise CBProcessError(constants.ERROR_NOT_SUPPORTED, "this driver cannot do that")
        self.rules[rule.name or rule.process_id, rule.action] = rule

    def remove_rules(
        self, *, names: Iterable[str] = (), process_ids: Iterable[int] = (), action: str | int = "ask"
    ) -> None:
        keys = [(whom, str(action)) for whom in (*names, *process_ids)]
        if not set(keys) <= set(self.rules):
            raise CBProcessError(constants.ERROR_NOT_FOUND, "there is no such rule")
        for key in keys:
            del self.rules[key]


class Host:
    """A host with its clock and its folder; restart() forgets everything but the folder."""

    def __init__(self, state: Path, believed: Iterable[str] = (SIGNER.public,)) -> None:
        self.state = state
        self.believed = tuple(believed)
        self.now = float(NOW)
        self.restart()

    def restart(self) -> None:
        self.instance = Instance()
        self.keeper = RuleKeeper(
            AppliedRules(self.instance),
            self.state,
            tenant="acme",
            believed=self.believed,
            scopes=scopes_of("web1", ["ci"]),
            clock=lambda: self.now,
        )
        self.keeper.load_cached()

    def take(self, document: RuleDocument, seed: str = SIGNER.seed, scope: str = "all") -> dict[str, Any]:
        return self.keeper.take(scope, document.sealed(seed), 7)

    @property
    def rules(self) -> set[Rule]:
        return set(self.instance.rules.values())


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path / "state")


def made(rules: RuleSet = RULES, **keywords: Any) -> RuleDocument:
    return make_document(rules, **{"tenant": "acme", "scope": "all", "expires": None, "now": NOW, **keywords})


def test_keys() -> None:
    assert SIGNER.seed.startswith("SA") and SIGNER.public.startswith("A") and SIGNER != OTHER
    assert signing.public_key_of(SIGNER.seed) == SIGNER.public
    # The library of NATS knows it as a key, too, and agrees on the public one.
    pair = nkeys.from_seed(bytearray(SIGNER.seed, "ascii"))
    assert pair.public_key.rstrip(b"=").decode() == SIGNER.public
    assert SIGNER.seed not in repr(SIGNER) and SIGNER.public in repr(SIGNER)
    assert signing.checked_public_key(f" {SIGNER.public}\n") == SIGNER.public


def test_wrong_keys() -> None:
    user = nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER).decode()
    user_public = nkeys.from_seed(bytearray(user, "ascii")).public_key.decode()
    swapped = SIGNER.public[:20] + ("A" if SIGNER.public[20] != "A" else "B") + SIGNER.public[21:]
    for key in (user_public, swapped, SIGNER.seed, "", "A", "é", None, b"A", SIGNER.public.lower()):
        assert_code(constants.ERROR_INVALID_PARAMETER, signing.checked_public_key, key)
    damaged = SIGNER.seed[:20] + ("A" if SIGNER.seed[20] != "A" else "B") + SIGNER.seed[21:]
    for seed in (user, SIGNER.public, damaged, "", "SA", "é", None):
        error = assert_code(constants.ERROR_INVALID_PARAMETER, signing.seal, b"x", seed)
        # A secret must not get into a log.
        assert not seed or len(seed) < 10 or seed not in str(error)


def test_a_document_comes_back_as_it_was() -> None:
    document = made(expires=NOW + 60)
    found = open_document(
        document.sealed(SIGNER.seed),
        tenant="acme",
        scope="all",
        believed=[OTHER.public, SIGNER.public],
        now=NOW,
    )
    assert found == document and found.signer == SIGNER.public
    assert found.serial == NOW * 1_000_000 < 2**53


def changed(data: bytes, **parts: Any) -> bytes:
    return json.dumps({**json.loads(data), **parts}).encode()


def payload_of(data: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(base64.b64decode(json.loads(data)["payload"]))
    return found


def test_every_change_of_a_document_is_noticed() -> None:
    data = made().sealed(SIGNER.seed)
    keywords = {"tenant": "acme", "scope": "all", "believed": [SIGNER.public], "now": NOW}
    for at in range(0, len(data), 3):
        forged = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        with pytest.raises(Refused) as raised:
            open_document(forged, **keywords)
        assert raised.value.reason in ("not signed", "unknown signer", "forged")
    more = base64.b64encode(json.dumps({**payload_of(data), "serial": 2**53}).encode()).decode()
    foreign = json.loads(made().sealed(OTHER.seed))["signature"]
    for forged, reason in (
        (changed(data, payload=more), "forged"),
        (changed(data, signature=foreign), "forged"),
        (changed(data, signature=""), "forged"),
        (changed(made().sealed(OTHER.seed), key=SIGNER.public), "forged"),
        (made().sealed(OTHER.seed), "unknown signer"),
        (changed(data, key="A"), "unknown signer"),
        (changed(data, more=1), "not signed"),
        (changed(data, payload=5), "not signed"),
        (changed(data, payload="*"), "not signed"),
        (b"", "not signed"),
        (b"[1]", "not signed"),
        (b"\xff", "not signed"),
        (b"[" * 100_000, "not signed"),
        (b" " * (signing.SIZE_MAX + 1), "too large"),
    ):
        with pytest.raises(Refused) as raised:
            open_document(forged, **keywords)
        assert raised.value.reason == reason, (raised.value, forged[:60])


def test_a_key_that_is_believed_by_mistake_is_no_signer() -> None:
    """Even then a text that is no signer's key refuses, and does not fail."""
    data = changed(made().sealed(SIGNER.seed), key="A")
    with pytest.raises(Refused) as raised:
        signing.unseal(data, ["A"])
    assert raised.value.reason == "unknown signer"


def test_what_a_server_has_signed_for_it_is_no_document() -> None:
    """A server chooses what its clients sign when they connect."""
    payload = made().payload()
    nonce_signature = nkeys.from_seed(bytearray(SIGNER.seed, "ascii")).sign(payload)
    data = changed(
        made().sealed(SIGNER.seed),
        payload=base64.b64encode(payload).decode(),
        signature=base64.b64encode(nonce_signature).decode(),
    )
    with pytest.raises(Refused) as raised:
        signing.unseal(data, [SIGNER.public])
    assert raised.value.reason == "forged"


def sealed(**changes: Any) -> bytes:
    """A document of a signer of another version, or of one who tries."""
    content = json.loads(made().payload())
    for key, value in changes.items():
        content.pop(key) if value is None and key != "expires" else content.update({key: value})
    return signing.seal(json.dumps(content).encode(), SIGNER.seed)


def rules_of(*rules: dict[str, Any]) -> dict[str, Any]:
    return {"schema": 1, "rules": list(rules)}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (sealed(format="cbprocess rules 2"), "bad rules"),
        (sealed(only_for="3 hosts"), "bad rules"),
        (sealed(serial=None), "bad rules"),
        (sealed(serial=-1), "bad rules"),
        (sealed(serial=2**53 + 1), "bad rules"),
        (sealed(serial=True), "bad rules"),
        (sealed(serial=1.5), "bad rules"),
        (sealed(issued="now"), "bad rules"),
        (sealed(expires="never"), "bad rules"),
        (sealed(expires=2**60), "bad rules"),
        (sealed(tenant="other"), "wrong scope"),
        (sealed(tenant=["acme"]), "bad rules"),
        (sealed(scope="host.web2"), "wrong scope"),
        (sealed(scope="everything"), "bad rules"),
        (sealed(expires=NOW), "expired"),
        (sealed(expires=0), "expired"),
        (sealed(rules=[]), "bad rules"),
        (sealed(rules=rules_of({"name": "a", "action": "ask"})), "bad rules"),
        (sealed(rules=rules_of({"process_id": 1, "action": "deny"})), "bad rules"),
        (sealed(rules=rules_of({"name": "a", "action": "deny", "run": "/bin/sh"})), "bad rules"),
        (sealed(rules=rules_of({"name": "a" * 5000, "action": "deny"})), "bad rules"),
        (signing.seal(b"no JSON", SIGNER.seed), "bad rules"),
        (signing.seal(b"[" * 100_000, SIGNER.seed), "bad rules"),
    ],
)
def test_what_a_signer_may_not_say(host: Host, data: bytes, reason: str) -> None:
    host.take(made(FEWER, now=NOW - 10))
    before = host.rules
    report = host.keeper.take("all", data, 9)
    assert (report["refused"], report["refused_revision"]) == (reason, 9) and report["why"]
    assert host.rules == before == set(FEWER) and report["state"] == "in force" and report["revision"] == 7


def test_what_cannot_be_signed() -> None:
    many = RuleSet([Rule(name=f"a{n}", action="deny") for n in range(FLEET_RULES_MAX + 1)])
    for rules, keywords in (
        (RuleSet([Rule(name="a", action="ask")]), {}),
        (many, {}),
        (RULES, {"expires": NOW}),
        (RULES, {"expires": 2**60}),
        (RULES, {"scope": "host."}),
        (RULES, {"tenant": "a b"}),
        (RULES, {"previous": made(scope="host.web1")}),
    ):
        assert_code(constants.ERROR_INVALID_PARAMETER, made, rules, **keywords)
    long = RuleSet([Rule(name=f"{n:04}" + "a" * 4000, action="deny") for n in range(300)])
    assert_code(constants.ERROR_INVALID_PARAMETER, made(long).sealed, SIGNER.seed)


def test_the_serial_rises_though_the_clock_goes_back() -> None:
    first = made()
    second = made(previous=first, now=NOW - 3600)
    assert second.serial == first.serial + 1
    assert made(previous=second, now=NOW + 1).serial == (NOW + 1) * 1_000_000


@pytest.mark.parametrize(
    "name", ["", "host", "host.", "host.a.b", "group.a b", "group.a/../b", "all.a", 5, None]
)
def test_wrong_scopes(name: Any) -> None:
    assert_code(constants.ERROR_INVALID_PARAMETER, checked_scope, name)


def test_scopes_of_a_host() -> None:
    assert scopes_of("web1.example", ["ci", "ci", "a b"]) == (
        "host.web1=2Eexample",
        "group.ci",
        "group.a=20b",
        "all",
    )
    assert all(checked_scope(scope) == scope for scope in scopes_of("ä/é", ["=41"]))
    assert_code(constants.ERROR_INVALID_PARAMETER, scopes_of, "a" * 230)


def test_documents_replace_one_another(host: Host) -> None:
    first = made()
    report = host.take(first)
    assert host.rules == set(RULES) and report["state"] == "in force" and report["stored"]
    assert (report["serial"], report["count"], report["revision"]) == (first.serial, 2, 7)
    second = made(FEWER, previous=first)
    host.take(second)
    assert host.rules == set(FEWER)
    # The first one again, byte for byte: a server cannot bring old rules back.
    report = host.take(first)
    assert report["refused"] == "replayed" and host.rules == set(FEWER)
    # The one that is held, from a server that has been restarted.
    report = host.keeper.take("all", second.sealed(SIGNER.seed), 1)
    assert "refused" not in report and report["revision"] == 1 and host.rules == set(FEWER)
    # Another one with its serial.
    same = RuleDocument("acme", "all", second.serial, second.issued, None, RULES)
    assert host.take(same)["refused"] == "replayed" and host.rules == set(FEWER)
    # A signed document without rules is what takes them back.
    assert host.take(made(RuleSet(), previous=second))["count"] == 0
    assert host.rules == set()


def test_a_deleted_key_takes_nothing_away(host: Host) -> None:
    host.take(made())
    report = host.keeper.take("all", None, 8)
    assert report["refused"] == "deleted" and host.rules == set(RULES)


def test_a_host_without_its_server_has_its_rules(host: Host) -> None:
    first = made()
    host.take(first)
    second = made(FEWER, previous=first, expires=NOW + 60)
    host.take(second)
    host.restart()
    assert host.rules == set(FEWER)
    report = host.keeper.report()["all"]
    assert report["cached"] and report["revision"] is None and report["state"] == "in force"
    # The serial has survived as well.
    assert host.take(first)["refused"] == "replayed"
    # So has the end, which comes without a server, too.
    host.now = NOW + 59
    assert not host.keeper.check_expiry() and host.rules == set(FEWER)
    host.now = NOW + 60
    assert host.keeper.check_expiry() and host.rules == set()
    assert host.keeper.report()["all"]["state"] == "expired" and len(host.keeper.ruleset()) == 0
    assert not host.keeper.check_expiry()
    host.restart()
    assert host.rules == set() and host.keeper.report()["all"]["state"] == "expired"
    assert host.take(first)["refused"] == "replayed"


def test_clocks_that_jump(host: Host) -> None:
    """A jump ahead ends rules, and they are back when it is taken back. A clock that is behind what a signer
    has said of another scope does not make an expired document good."""
    host.take(made(expires=NOW + 60))
    host.now = NOW + 10**6
    assert host.keeper.check_expiry() and host.rules == set()
    host.now = NOW
    assert host.keeper.check_expiry() and host.rules == set(RULES)
    late = made(FEWER, scope="group.ci", now=NOW + 100)
    host.take(late, scope="group.ci")
    assert host.keeper.check_expiry() and host.rules == set(FEWER)
    host.now = 0
    assert host.take(made(expires=NOW + 90, previous=made()))["refused"] == "expired"
    host.restart()
    assert host.rules == set(FEWER)
    # A document of a signer whose clock was far ahead can be replaced by a right one of its own scope.
    wrong = made(RULES, scope="host.web1", now=NOW * 2)
    host.take(wrong, scope="host.web1")
    right = made(RULES, scope="host.web1", now=NOW + 200, previous=wrong, expires=NOW + 300)
    assert host.take(right, scope="host.web1")["state"] == "in force"


def test_scopes_add_up_and_come_apart(host: Host) -> None:
    host.take(made())
    own = RuleSet([Rule(name="*/nc", action="deny", code=2), Rule(name="mine", action="ignore")])
    host.take(made(own, scope="host.web1"), scope="host.web1")
    # The narrowest scope's code counts.
    assert host.rules == {*own, RULES.rules[1]}
    assert set(host.keeper.ruleset()) == host.rules
    host.take(made(RuleSet(), now=NOW + 1))
    assert host.rules == set(own)
    # A document for one scope is none for another.
    data = made(own, scope="host.web1", now=NOW + 2).sealed(SIGNER.seed)
    assert host.keeper.take("group.ci", data, 1)["refused"] == "wrong scope"
    assert_code(constants.ERROR_INVALID_PARAMETER, host.keeper.take, "host.web2", data, 1)


def test_the_rules_of_later_are_known_now(host: Host) -> None:
    """Sessions go by them, also when the agent has gone."""
    own = RuleSet([Rule(name="*/nc", action="deny", code=2)])
    host.take(made(own, scope="host.web1", expires=NOW + 60), scope="host.web1")
    host.take(made(expires=NOW + 90))
    now, then, last = host.keeper.schedule()
    assert (now[0], then[0], last[0]) == (0, NOW + 60, NOW + 90)
    assert set(now[1]) == host.rules == {own.rules[0], RULES.rules[1]}
    # The code of the wider scope counts then, which the narrower one has hidden.
    assert (set(then[1]), set(last[1])) == (set(RULES), set())
    host.now = NOW + 60
    assert host.keeper.check_expiry() and host.rules == set(RULES)
    assert [(start, set(rules)) for start, rules in host.keeper.schedule()] == [
        (0, set(RULES)),
        (NOW + 90, set()),
    ]


def test_rules_that_cannot_be_applied_change_nothing(host: Host) -> None:
    host.take(made(FEWER))
    host.instance.refused = "strip"
    later = made(RULES, now=NOW + 1)
    report = host.take(later)
    assert report["refused"] == "cannot apply" and "cannot do that" in report["why"]
    assert host.rules == set(FEWER) and report["count"] == 1
    host.restart()
    assert host.rules == set(FEWER)
    # It is tried again when it comes again.
    assert host.take(later)["count"] == 2 and host.rules == set(RULES)


def test_a_folder_that_cannot_be_written(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk keeps no rule from coming into force. The document is written when there is room."""

    def full(path: str, data: bytes, mode: int = 0o600) -> None:
        raise OSError(28, "No space left on device", path)

    with monkeypatch.context() as patch:
        patch.setattr("cbprocess.fleet.rules.replace_file", full)
        report = host.take(made())
        assert host.rules == set(RULES) and not report["stored"] and "No space" in report["not_stored"]
        assert not host.keeper.check_expiry()
    assert host.keeper.check_expiry()
    report = host.keeper.report()["all"]
    assert report["stored"] and "not_stored" not in report
    host.restart()
    assert host.rules == set(RULES)


@pytest.mark.parametrize("content", [b"", b"garbage", b"\0" * 4096])
def test_a_damaged_folder(host: Host, content: bytes) -> None:
    host.take(made())
    (host.state / "all.rules").write_bytes(content)
    host.restart()
    report = host.keeper.report()["all"]
    assert host.rules == set() and report["state"] == "none" and report["refused"] == "not signed"
    assert host.take(made())["state"] == "in force"


def test_a_folder_in_the_place_of_a_file(host: Host) -> None:
    (host.state / "all.rules").mkdir()
    host.restart()
    assert host.keeper.report()["all"]["refused"] == "not signed"


def test_a_key_that_is_no_longer_believed(host: Host) -> None:
    """Its documents are out of force at the next start; the same content of a believed one takes over."""
    document = made()
    host.take(document)
    host.believed = (SIGNER.public, OTHER.public)
    host.restart()
    report = host.take(document, seed=OTHER.seed)
    assert "refused" not in report and report["signer"] == OTHER.public and host.rules == set(RULES)
    host.believed = (OTHER.public,)
    host.restart()
    assert host.rules == set(RULES)
    host.believed = (signing.new_signer().public,)
    host.restart()
    assert host.rules == set() and host.keeper.report()["all"]["refused"] == "unknown signer"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
def test_the_folder_is_the_owners_alone(host: Host) -> None:
    host.take(made())
    assert host.state.stat().st_mode & 0o777 == 0o700
    assert (host.state / "all.rules").stat().st_mode & 0o777 == 0o600


def test_a_keeper_without_a_filter(tmp_path: Path) -> None:
    """An agent that watches nothing itself keeps the rules for the sessions of its host."""
    keeper = RuleKeeper(
        None, tmp_path, tenant="acme", believed=[SIGNER.public], scopes=scopes_of("web1"), clock=lambda: NOW
    )
    keeper.load_cached()
    keeper.take("all", made().sealed(SIGNER.seed), 1)
    keeper.ruleset().write_file(tmp_path / "rules.json")
    assert RuleSet.from_file(tmp_path / "rules.json") == RULES
    json.dumps(keeper.report())


def test_with_an_instance(tmp_path: Path) -> None:
    process = CBProcess()
    process.initialize(GUID)
    keeper = RuleKeeper(
        AppliedRules(process), tmp_path, tenant="acme", believed=[SIGNER.public], scopes=["all"]
    )
    report = keeper.take(
        "all", make_document(RULES, tenant="acme", scope="all", expires=None).sealed(SIGNER.seed), 1
    )
    assert report["state"] == "in force" and report["apply_ms"] >= 0
    for rule in RULES:
        process.remove_rule(rule)


def test_wrong_keepers(tmp_path: Path) -> None:
    for keywords in ({"tenant": "a/b"}, {"believed": ["U" * 56]}, {"scopes": ["every"]}):
        values: dict[str, Any] = {
            "tenant": "acme",
            "believed": [SIGNER.public],
            "scopes": ["all"],
            **keywords,
        }
        assert_code(constants.ERROR_INVALID_PARAMETER, RuleKeeper, None, tmp_path, **values)
