"""The rule methods: what they accept, what they tell the library, and what they refuse."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
from functools import partial
from typing import Any, Callable

import pytest
from unit.instances import assert_code, dead_process_id

import cbprocess
from cbprocess import Action, CBProcess, Rule, constants

CHILDREN, ATTACH = constants.RULE_FLAG_CHILDREN, constants.RULE_FLAG_ATTACH


def test_rules_by_id(process: CBProcess) -> None:
    process.add_filtered_process_by_id(os.getpid(), True)
    process.add_filtered_process_by_id(-1, False)
    process.add_ignored_process_by_id(os.getpid(), False)
    process.remove_filtered_process_by_id(os.getpid())
    assert_code(constants.ERROR_NOT_FOUND, process.remove_filtered_process_by_id, os.getpid())
    process.remove_filtered_process_by_id(-1)
    process.remove_ignored_process_by_id(os.getpid())
    assert_code(constants.ERROR_NOT_FOUND, process.remove_ignored_process_by_id, os.getpid())


def test_rules_by_id_need_a_living_process(process: CBProcess) -> None:
    dead = dead_process_id()
    for add in (process.add_filtered_process_by_id, process.add_ignored_process_by_id):
        assert_code(constants.ERROR_INVALID_PARAMETER, add, dead, False)
        assert_code(constants.ERROR_INVALID_PARAMETER, add, 0, False)
    assert_code(constants.ERROR_INVALID_PARAMETER, process.add_ignored_process_by_id, -1, False)


def test_a_rule_outlives_its_process(process: CBProcess) -> None:
    child = subprocess.Popen(["sleep", "60"])
    process.add_filtered_process_by_id(child.pid, True)
    child.kill()
    child.wait()
    process.remove_filtered_process_by_id(child.pid)


@pytest.mark.parametrize("value", ["1", None, True, 1.0, -2, 2**32])
def test_wrong_ids(process: CBProcess, value: Any) -> None:
    for method in (process.add_filtered_process_by_id, process.add_ignored_process_by_id):
        assert_code(constants.ERROR_INVALID_PARAMETER, method, value, False)
    for remove in (process.remove_filtered_process_by_id, process.remove_ignored_process_by_id):
        assert_code(constants.ERROR_INVALID_PARAMETER, remove, value)


@pytest.mark.parametrize("value", [2, -1, None, "True"])
def test_wrong_include_children(process: CBProcess, value: Any) -> None:
    for call in (
        lambda: process.add_filtered_process_by_id(os.getpid(), value),
        lambda: process.add_filtered_process_by_name("a", value),
        lambda: process.add_rule(name="a", include_children=value),
    ):
        assert_code(constants.ERROR_INVALID_PARAMETER, call)
    assert_code(constants.ERROR_NOT_FOUND, process.remove_filtered_process_by_name, "a")


def test_rules_by_name(process: CBProcess) -> None:
    name = "*/caf\udce9?"
    process.add_filtered_process_by_name(name, True)
    process.add_filtered_process_by_name(name, False)
    process.add_ignored_process_by_name(name, False)
    process.remove_filtered_process_by_name(name)
    assert_code(constants.ERROR_NOT_FOUND, process.remove_filtered_process_by_name, name)
    process.remove_ignored_process_by_name(name)
    assert_code(constants.ERROR_NOT_FOUND, process.remove_ignored_process_by_name, "never added")


@pytest.mark.parametrize("value", ["", "a\0b", "\ud800", "x" * 4097, None, 5, b"a"])
def test_wrong_names(process: CBProcess, value: Any) -> None:
    for add in (process.add_filtered_process_by_name, process.add_ignored_process_by_name):
        assert_code(constants.ERROR_INVALID_PARAMETER, add, value, False)
    for remove in (process.remove_filtered_process_by_name, process.remove_ignored_process_by_name):
        assert_code(constants.ERROR_INVALID_PARAMETER, remove, value)


@pytest.mark.parametrize("action", ["ask", "ignore", "allow", "deny", "strip"])
def test_rules_with_actions(process: CBProcess, action: str) -> None:
    keywords: dict[str, Any] = {"strip": {"access": 1}, "deny": {"code": 2}}.get(action, {})
    process.add_rule(name="a*", action=action, **keywords)
    process.add_rule(process_id=os.getpid(), action=action, **keywords)
    process.remove_rule(name="a*", action=action)
    process.remove_rule(process_id=os.getpid(), action=action)
    assert_code(constants.ERROR_NOT_FOUND, process.remove_rule, name="a*", action=action)
    assert_code(constants.ERROR_NOT_FOUND, process.remove_rule, process_id=os.getpid(), action=action)


@pytest.mark.parametrize("member", list(cbprocess.Action))
def test_actions_as_members_and_as_constants(process: CBProcess, member: cbprocess.Action) -> None:
    """Whichever way a rule was added, it is the rule of that name."""
    keywords: dict[str, Any] = {"STRIP": {"access": 1}}.get(member.name, {})
    name, constant = member.name.lower(), getattr(cbprocess, f"ACTION_{member.name}")
    assert type(constant) is int
    for action in (member, constant, name):
        process.add_rule(name="a*", action=action, **keywords)
        process.remove_rule(name="a*", action=name)
        process.add_rule(name="a*", action=name, **keywords)
        process.remove_rule(name="a*", action=action)
    assert_code(constants.ERROR_NOT_FOUND, process.remove_rule, name="a*", action=member)


@pytest.mark.parametrize("action", ["ask", "ignore", "allow", "deny", "strip"])
def test_a_keyword_that_means_nothing_for_an_action(process: CBProcess, action: str) -> None:
    own: dict[str, Any] = {"strip": {"access": 1}, "deny": {"code": 7}}.get(action, {})
    for keyword, value in {"access": 1, "code": 7}.items():
        if keyword not in own:
            keywords = {"name": "a", "action": action, keyword: value, **own}
            assert_code(constants.ERROR_INVALID_PARAMETER, partial(process.add_rule, **keywords))
    assert_code(constants.ERROR_NOT_FOUND, process.remove_rule, name="a", action=action)


@pytest.mark.parametrize(
    "keywords",
    [
        {},
        {"name": "a", "action": 5},
        {"name": "a", "action": -1},
        {"name": "a", "action": True},
        {"name": "a", "action": 3.0},
        {"name": "a", "action": "DENY"},
        {"name": "a", "process_id": 1},
        {"name": "a", "action": "refuse"},
        {"name": "a", "action": None},
        {"name": "a", "action": "deny", "code": 0},
        {"name": "a", "action": "deny", "code": 2**32},
        {"name": "a", "action": "deny", "code": "5"},
        {"name": "a", "action": "strip"},
        {"name": "a", "action": "strip", "access": -1},
        {"name": "a", "action": "strip", "access": True},
        {"process_id": -1, "action": "ignore"},
        {"process_id": "1"},
        {"name": 5},
    ],
)
def test_wrong_rules(process: CBProcess, keywords: dict[str, Any]) -> None:
    assert_code(constants.ERROR_INVALID_PARAMETER, lambda: process.add_rule(**keywords))
    if "code" not in keywords and "access" not in keywords and keywords.get("action") != "strip":
        assert_code(constants.ERROR_INVALID_PARAMETER, process.remove_rule, **keywords)
    for wrong in {"names": [1]}, {"names": ["a", ""]}, {"process_ids": ["a"]}, {"action": "nothing"}:
        assert_code(constants.ERROR_INVALID_PARAMETER, process.remove_rules, **wrong)


class FlagRecorder:
    """Stands in for the library: keeps the flags of each rule that is added."""

    def __init__(self) -> None:
        self.flags: list[int] = []

    def cbp_session_is_active(self, session: object, active: object) -> None:
        """It is not: what `active` refers to stays 0."""

    def cbp_rule_add_process(
        self, session: object, process_id: int, flags: int, action: int, value: int
    ) -> None:
        self.flags.append(flags)

    def cbp_rule_add_name(
        self, session: object, pattern: bytes, size: int, flags: int, action: int, value: int
    ) -> None:
        self.flags.append(flags)


Call = Callable[[CBProcess], None]


@pytest.mark.parametrize(
    ("call", "flags"),
    [
        (lambda process: process.add_filtered_process_by_id(1, False), ATTACH),
        (lambda process: process.add_filtered_process_by_id(1, True), ATTACH | CHILDREN),
        (lambda process: process.add_filtered_process_by_id(-1, True), CHILDREN),
        (lambda process: process.add_filtered_process_by_name("a", False), ATTACH),
        (lambda process: process.add_filtered_process_by_name("a", True), ATTACH | CHILDREN),
        (lambda process: process.add_ignored_process_by_id(1, True), CHILDREN),
        (lambda process: process.add_ignored_process_by_name("a", False), 0),
        (lambda process: process.add_rule(process_id=1), ATTACH),
        (
            lambda process: process.add_rule(process_id=1, action="allow", include_children=True),
            ATTACH | CHILDREN,
        ),
        (lambda process: process.add_rule(process_id=1, action="deny"), ATTACH),
        (lambda process: process.add_rule(process_id=1, action="strip", access=1), ATTACH),
        (lambda process: process.add_rule(process_id=1, action="ignore"), 0),
        (lambda process: process.add_rule(process_id=-1, action="allow"), 0),
        (lambda process: process.add_rule(name="a"), 0),
        (
            lambda process: process.add_rule(name="a", action="strip", access=1, include_children=True),
            CHILDREN,
        ),
    ],
)
def test_which_rules_take_running_processes(
    process: CBProcess, monkeypatch: pytest.MonkeyPatch, call: Call, flags: int
) -> None:
    recorder = FlagRecorder()
    with monkeypatch.context() as patch:
        patch.setattr(process._session, "library", recorder)
        call(process)
    assert recorder.flags == [flags]


# ---- Rules as values ----

RULES = [
    ({"name": "cat", "action": "ask"}, "Rule(name='cat', action='ask')"),
    ({"name": "cat", "action": "deny", "code": 5}, "Rule(name='cat', action='deny', code=5)"),
    (
        {"process_id": -1, "action": "strip", "access": 1, "include_children": True},
        "Rule(process_id=-1, action='strip', access=1, include_children=True)",
    ),
]


@pytest.mark.parametrize(("data", "text"), RULES)
def test_a_rule_is_a_value(data: dict[str, Any], text: str) -> None:
    rule = Rule(**data)
    assert rule == Rule.from_dict(data) == Rule.from_dict(json.loads(json.dumps(rule.to_dict())))
    assert len({rule, Rule(**data)}) == 1
    assert rule.to_dict() == data
    assert repr(rule) == text
    assert rule != Rule(name="another")
    with pytest.raises(dataclasses.FrozenInstanceError):
        rule.action = "allow"  # type: ignore[misc]


def test_rules_that_do_the_same_are_equal() -> None:
    assert Rule(name="a", action="deny") == Rule(name="a", action=Action.DENY, code=5)
    assert Rule(name="a", include_children=True) == Rule(name="a", action=0, include_children=1)  # type: ignore[arg-type]
    assert dataclasses.replace(Rule(name="a", action="deny"), code=2).code == 2


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"name": "a", "process_id": 1},
        {"name": ""},
        {"name": b"a"},
        {"process_id": -1, "action": "ignore"},
        {"process_id": 2**32},
        {"name": "a", "action": "kill"},
        {"name": "a", "code": 5},
        {"name": "a", "action": "deny", "code": 0},
        {"name": "a", "action": "strip"},
        {"name": "a", "include_children": 2},
        {"name": "a", "pattern": "a"},
        [("name", "a")],
        "name",
    ],
)
def test_wrong_rules_as_values(data: Any) -> None:
    assert_code(constants.ERROR_INVALID_PARAMETER, Rule.from_dict, data)


def test_a_rule_as_a_value_is_that_of_its_keywords(process: CBProcess) -> None:
    rule = Rule(name="a", action="deny", code=7, include_children=True)
    process.add_rule(rule)
    process.remove_rule(name="a", action="deny")
    process.add_rule(name="a", action="deny")
    process.remove_rule(rule)
    assert_code(constants.ERROR_NOT_FOUND, process.remove_rule, rule)
    for wrong in ("a", {"name": "a"}, 5):
        assert_code(constants.ERROR_INVALID_PARAMETER, process.add_rule, wrong)
        assert_code(constants.ERROR_INVALID_PARAMETER, process.remove_rule, wrong)
    assert_code(constants.ERROR_INVALID_PARAMETER, process.add_rule, rule, include_children=True)
    assert_code(constants.ERROR_INVALID_PARAMETER, process.remove_rule, rule, name="a")
