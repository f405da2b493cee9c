"""Sets of rules that replace one another, against the model of what rules mean: while one set takes the place
of another, no operation is treated in a way in which both sets do not treat it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from property.rule_model import ALLOW, ASK, SILENT, STRIP, Image, Model, Outcome, Process
from property.rule_model import Rule as ModelRule

from cbprocess import CBProcessError, Rule, constants
from cbprocess.applied_rules import AppliedRules, combined

IMAGES = [
    Image("/bin/alpha", "/bin/alpha"),
    Image("/bin/alps", "alps"),
    Image("/usr/bin/beta", "./link"),
    Image("/opt/gamma", "/opt/gamma"),
]
PATTERNS = ["alpha", "al*", "/bin/*", "*/beta", "link", "*", "/opt/gamma"]
READ, WRITE = 0x0010, 0x0020


class ModelInstance:
    """An instance whose rules are the model's. After each change of them it looks at all operations."""

    def __init__(self) -> None:
        self.model = Model()
        root = self.model.add_process(1, IMAGES[0])
        children = [self.model.fork(root, number) for number in (2, 3)]
        for child, image in zip(children, IMAGES[1:3]):
            self.model.execute(child, image)
        self.model.fork(children[1], 4)
        self.seen: list[dict[Any, Outcome]] = []

    def add_rule(self, rule: Rule, /) -> None:
        value = rule.code or rule.access or 0
        self.model.add_rule(rule.name, rule.action, value, rule.include_children)
        self.seen.append(self.outcomes())

    def remove_rules(
        self, *, names: Iterable[str] = (), process_ids: Iterable[int] = (), action: str | int = "ask"
    ) -> None:
        subjects = [*names, *(None for _ in process_ids)]
        found = [self.model.find_rule(subject, str(action)) for subject in subjects]
        if None in found:
            raise CBProcessError(constants.ERROR_NOT_FOUND, "there is no such rule")
        for rule in found:
            self.model.drop_rule(rule)
        self.seen.append(self.outcomes())

    def outcomes(self) -> dict[Any, Outcome]:
        """What becomes of every operation of every process."""
        found: dict[Any, Outcome] = {}
        processes = self.model.processes
        for process in processes:
            for image in IMAGES:
                found["executes", process.process_id, image] = self.model.execution(process, image)
            # A creator keeps its rights to what it has created if it is protected as well, which takes two
            # rules: they cannot come at one moment.
            for other in [other for other in processes if not self.model.is_creator(process, other)]:
                found["reads", process.process_id, other.process_id] = self.request(process, other)
        return found

    def request(self, process: Process, other: Process) -> Outcome:
        return self.model.request(process, other, READ | WRITE, False)

    def rules(self) -> set[tuple[Any, ...]]:
        return {(rule.subject, rule.action, rule.value, rule.children) for rule in self.model.rules}


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    action = draw(st.sampled_from(["ask", "ignore", "allow", "deny", "strip"]))
    values: dict[str, Any] = {"include_children": draw(st.booleans())}
    if action != "ignore" and draw(st.integers(0, 3)) == 0:
        values["process_id"] = -1
    else:
        values["name"] = draw(st.sampled_from(PATTERNS))
    if action == "deny":
        values["code"] = draw(st.sampled_from([2, 5]))
    if action == "strip":
        values["access"] = draw(st.sampled_from([READ, WRITE, READ | WRITE]))
    return Rule(action=action, **values)


RULE_SETS = st.lists(rules(), max_size=7, unique_by=lambda rule: (rule.name, rule.process_id, rule.action))


@settings(max_examples=150, deadline=None)
@given(RULE_SETS, st.lists(RULE_SETS, min_size=1, max_size=2))
def test_nothing_comes_in_between(first: list[Rule], others: list[list[Rule]]) -> None:
    instance = ModelInstance()
    applied = AppliedRules(instance)
    applied.apply("set", first)
    has_ignored = any(rule.action == "ignore" for rule in itertools.chain(first, *others))
    for fresh in others:
        before = instance.outcomes()
        instance.seen.clear()
        applied.apply("set", fresh)
        after = instance.outcomes()
        assert instance.rules() == expected(fresh)
        for seen in instance.seen:
            for operation, outcome in seen.items():
                check_between(operation, before[operation], outcome, after[operation], has_ignored)


def check_between(
    operation: Any, before: Outcome, outcome: Outcome, after: Outcome, has_ignored: bool
) -> None:
    if before.kind == after.kind:
        possible = {before.kind}
        if before.kind == SILENT or (has_ignored and before.kind in (ASK, ALLOW)):
            possible = {SILENT, ASK, ALLOW} if has_ignored else {SILENT}
        assert outcome.kind in possible, (operation, before, outcome, after)
    if STRIP in (before.kind, after.kind):
        both = before.lost & after.lost
        assert outcome.lost & both == both, (operation, before, outcome, after)


def expected(rules: Iterable[Rule]) -> set[tuple[Any, ...]]:
    found = [
        ModelRule(rule.name, rule.action, rule.code or rule.access or 0, rule.include_children)
        for rule in rules
    ]
    return {(rule.subject, rule.action, rule.value, rule.children) for rule in found}


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), RULE_SETS), max_size=6))
def test_layers_are_one_set(changes: list[tuple[str, list[Rule]]]) -> None:
    """In force is what the last sets of all layers say together, however they came there."""
    instance = ModelInstance()
    applied = AppliedRules(instance)
    last: dict[str, list[Rule]] = {}
    for layer, fresh in changes:
        change = applied.apply(layer, fresh)
        before = combined(last.values())
        last[layer] = fresh
        after = combined(last.values())
        assert instance.rules() == expected(after.values())
        assert {rule for rule in change.added} == {after[key] for key in after.keys() - before.keys()}
        assert {rule for rule in change.removed} == {before[key] for key in before.keys() - after.keys()}
        assert bool(change) == (before != after)
    for layer in list(last):
        applied.remove(layer)
    assert instance.rules() == set() and applied.rules() == () and applied.layers() == ()


@settings(max_examples=100, deadline=None)
@given(RULE_SETS, RULE_SETS, st.integers(0, 10), st.booleans())
def test_an_error_in_the_middle_changes_nothing(
    first: list[Rule], fresh: list[Rule], at: int, is_interrupt: bool
) -> None:
    instance = ModelInstance()
    applied = AppliedRules(instance)
    applied.apply("set", first)
    calls = at
    error: type[BaseException] = KeyboardInterrupt if is_interrupt else OSError
    add_rule, remove_rules = instance.add_rule, instance.remove_rules

    def counted() -> None:
        nonlocal calls
        calls -= 1
        if calls == -1:
            raise error

    def add(rule: Rule, /) -> None:
        counted()
        add_rule(rule)

    def remove(**keywords: Any) -> None:
        counted()
        remove_rules(**keywords)

    instance.add_rule, instance.remove_rules = add, remove  # type: ignore[method-assign]
    try:
        applied.apply("set", fresh)
    except error:
        assert instance.rules() == expected(first)
        assert set(applied.rules("set")) == set(first)
    else:
        assert instance.rules() == expected(fresh)
