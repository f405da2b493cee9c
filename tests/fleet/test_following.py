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
