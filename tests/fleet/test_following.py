"""Sessions that follow the rules of their spool: what an agent writes comes into force, and nothing else."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from cbprocess import CBProcessError, Rule
from cbprocess.applied_rules import AppliedRules
from cbprocess.fleet import following
from cbprocess.fleet.following import RuleFollower, reports, write_rules
from cbprocess.rule_files import RuleSet

DENY = RuleSet([Rule(name="*/cat", action="deny")])
OTHER = RuleSet([Rule(name="*/ls", action="deny"), Rule(name="*/id", action="deny")])


class Instance:
    """The rule methods of an instance, as a set."""

    def __init__(self) -> None:
        self.names: set[str | None] = set()

    def add_rule(self, rule: Rule, /) -> None:
        self.names.add(rule.name)

    def remove_rules(
        self, *, names: Iterable[str] = (), process_ids: Iterable[int] = (), action: str | int = "ask"
    ) -> None:
        self.names -= set(names)


class Followed:
    def __init__(self, root: Path, **more: Any) -> None:
        self.root, self.folder = root, root / "boot-session"
        self.folder.mkdir(parents=True)
        self.instance = Instance()
        self.told: list[str] = []
        self.follower = RuleFollower(AppliedRules(self.instance), self.folder, self.told.append, **more)

    def report(self) -> dict[str, Any]:
        return dict(reports(self.root)).get("boot-session", {"digest": None})


@pytest.fixture
def followed(tmp_path: Path) -> Followed:
    return Followed(tmp_path / "spool")


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_rules_are_in_force_before_the_first_program(followed: Followed) -> None:
    digest = write_rules(followed.root, DENY)
    assert followed.follower.load()
    assert followed.instance.names == {"*/cat"} and "1 added" in followed.told[0]
    assert (followed.report()["digest"], followed.report()["count"]) == (digest, 1)
    assert not followed.follower.load()


def test_a_change_comes_into_force_and_a_spool_without_rules_has_none(followed: Followed) -> None:
    assert not followed.follower.load() and followed.instance.names == set()
    with followed.follower:
        for rules, names in ((DENY, {"*/cat"}), (OTHER, {"*/ls", "*/id"}), (RuleSet(), set())):
            digest = write_rules(followed.root, rules)
            wait_until(lambda digest=digest: followed.report()["digest"] == digest)
            assert followed.instance.names == names
    assert list(reports(followed.root)) == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b"{"),
        lambda path: path.write_bytes(b'{"rules": [{"name": "*/x", "action": "kill"}]}'),
        lambda path: path.write_bytes(b"[" * 100_000),
        lambda path: path.chmod(0o666),
        lambda path: path.unlink(),
        lambda path: (path.unlink(), path.mkdir()),
    ],
    ids=["no json", "no rule", "deep", "others can write", "removed", "a folder"],
)
def test_what_is_no_rule_file_changes_nothing_and_is_told(
    followed: Followed, spoil: Callable[[Path], object]
) -> None:
    write_rules(followed.root, DENY)
    followed.follower.load()
    path = followed.root / following.RULES
    is_removed = spoil.__code__.co_names == ("unlink",)
    time.sleep(0.01)
    spoil(path)
    if path.exists() and path.is_file():
        os.utime(path)
    assert not followed.follower.load()
    assert followed.instance.names == {"*/cat"}
    assert bool(followed.report().get("error")) != is_removed


def test_rules_that_could_do_nothing_are_refused(tmp_path: Path) -> None:
    def check(rules: RuleSet) -> None:
        raise CBProcessError(50, "too late for these")

    followed = Followed(tmp_path / "spool", check=check)
    write_rules(followed.root, DENY)
    assert not followed.follower.load()
    assert followed.instance.names == set() and "too late" in followed.report()["error"]


def test_reports_of_sessions_that_have_gone_are_removed(followed: Followed) -> None:
    write_rules(followed.root, DENY)
    followed.follower.load()
    followed.folder.rmdir()
    assert list(reports(followed.root)) == []
    assert not list((followed.root / following.REPORTS).iterdir())


def test_equal_rules_are_not_written_again(followed: Followed) -> None:
    write_rules(followed.root, DENY)
    before = (followed.root / following.RULES).stat().st_mtime_ns
    assert write_rules(followed.root, DENY)
    assert (followed.root / following.RULES).stat().st_mtime_ns == before
    assert (followed.root / following.RULES).stat().st_mode & 0o777 == 0o600
    assert json.loads((followed.root / following.RULES).read_bytes())["rules"][0]["name"] == "*/cat"


def test_rules_expire_without_an_agent(followed: Followed, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file says what is left from when on. A clock that goes back brings nothing back."""
    now = 1_800_000_000.0
    monkeypatch.setattr(following.time, "time", lambda: now)
    write_rules(followed.root, RuleSet([*DENY, *OTHER]), [(now + 10, OTHER), (now + 20, RuleSet())])
    assert followed.follower.load() and followed.instance.names == {"*/cat", "*/ls", "*/id"}
    digest = followed.report()["digest"]
    steps = [(9.0, None), (10.0, {"*/ls", "*/id"}), (-3600.0, None), (20.0, set()), (0.0, None)]
    for seconds, names in steps:
        monkeypatch.setattr(following.time, "time", lambda seconds=seconds: now + seconds)
        before = set(followed.instance.names)
        assert followed.follower.load() == (names is not None)
        assert followed.instance.names == (before if names is None else names)
    # It is the same file, so the agent still counts this session.
    assert (followed.report()["digest"], followed.report()["count"]) == (digest, 0)


def test_a_session_that_begins_behind_the_end_gets_what_is_left(followed: Followed) -> None:
    now = time.time()
    write_rules(followed.root, RuleSet([*DENY, *OTHER]), [(now - 10, OTHER), (now + 900, DENY)])
    assert followed.follower.load() and followed.instance.names == {"*/ls", "*/id"}


def test_a_removed_file_does_not_keep_expired_rules(
    followed: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rules(followed.root, DENY, [(time.time() + 900, RuleSet())])
    followed.follower.load()
    (followed.root / following.RULES).unlink()
    assert not followed.follower.load() and followed.instance.names == {"*/cat"}
    later = time.time() + 901
    monkeypatch.setattr(following.time, "time", lambda: later)
    assert followed.follower.load() and followed.instance.names == set()


@pytest.mark.parametrize(
    "later",
    [
        7,
        [7],
        [{"rules": []}],
        [{"from": "now", "rules": []}],
        [{"from": True, "rules": []}],
        [{"from": float("nan"), "rules": []}],
        [{"from": 5}],
        [{"from": 5, "rules": []}, {"from": 4, "rules": []}],
        [{"from": 5, "rules": [{"name": "x", "action": "kill"}]}],
        [{"from": 5, "rules": []}] * 1001,
    ],
    ids=lambda later: repr(later)[:40],
)
def test_steps_that_are_none_change_nothing(followed: Followed, later: Any) -> None:
    write_rules(followed.root, DENY)
    followed.follower.load()
    content = {**OTHER.to_dict(), "later": later}
    (followed.root / following.RULES).write_text(json.dumps(content))
    assert not followed.follower.load()
    assert followed.instance.names == {"*/cat"} and followed.report()["error"]


def test_trouble_of_a_moment_is_tried_again(followed: Followed, monkeypatch: pytest.MonkeyPatch) -> None:
    """No free descriptor, or an instance that takes no rules yet: the file does not change for that."""
    digest = write_rules(followed.root, DENY)
    true_open, true_add = following.open_regular, followed.instance.add_rule

    def no_descriptor(path: str) -> Any:
        raise OSError(24, "Too many open files")

    def busy(rule: Rule, /) -> None:
        raise CBProcessError(170, "not now")

    monkeypatch.setattr(following, "open_regular", no_descriptor)
    assert not followed.follower.load() and "Too many open files" in followed.report()["error"]
    monkeypatch.setattr(following, "open_regular", true_open)
    monkeypatch.setattr(followed.instance, "add_rule", busy)
    assert not followed.follower.load() and "not now" in followed.report()["error"]
    monkeypatch.setattr(followed.instance, "add_rule", true_add)
    assert followed.follower.load() and followed.instance.names == {"*/cat"}
    assert (followed.report()["digest"], followed.report()["error"]) == (digest, None)


def test_what_is_too_long_is_neither_written_nor_read(
    followed: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part of a file would be no JSON: sessions that begin would have no rule at all."""
    write_rules(followed.root, DENY)
    followed.follower.load()
    write_rules(followed.root, OTHER)
    monkeypatch.setattr(following, "SIZE_MAX", 50)
    with pytest.raises(CBProcessError) as caught:
        write_rules(followed.root, OTHER)
    assert caught.value.code == 87
    assert not followed.follower.load() and followed.instance.names == {"*/cat"}
    assert "more than 50 bytes" in followed.report()["error"]
    monkeypatch.undo()


def test_many_rules_of_many_scopes_are_read(followed: Followed) -> None:
    """Some megabytes, as four scopes may have them."""
    rules = RuleSet([Rule(name=f"*/{'long' * 40}-{number}", action="deny") for number in range(30_000)])
    write_rules(followed.root, rules)
    assert (followed.root / following.RULES).stat().st_size > 4 << 20
    assert followed.follower.load() and len(followed.instance.names) == 30_000


def test_an_end_hides_no_error(followed: Followed, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session that cannot read the newest rules says so, also when those that it has expire."""
    write_rules(followed.root, DENY, [(time.time() + 900, RuleSet())])
    followed.follower.load()
    (followed.root / following.RULES).write_text("{")
    assert not followed.follower.load() and followed.report()["error"]
    later = time.time() + 901
    monkeypatch.setattr(following.time, "time", lambda: later)
    assert followed.follower.load() and followed.instance.names == set()
    assert followed.report()["error"] and followed.report()["count"] == 0
