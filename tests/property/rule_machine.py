"""What the stateful tests of rules have in common: rules that are drawn, and come and go in a filter and in
the model alike. Knows no driver: who creates processes, and what is seen of them, is each test's own."""

from __future__ import annotations

from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from property.rule_model import Model, Process

from cbprocess import CBProcess


class RuleMachine(RuleBasedStateMachine):
    PATTERNS: ClassVar[list[str]]
    ACTIONS: ClassVar[st.SearchStrategy[str]]
    CODES: ClassVar[st.SearchStrategy[int]]  # of rules that refuse
    RIGHTS: ClassVar[st.SearchStrategy[int]]  # of those that protect

    def __init__(self, own: CBProcess) -> None:
        super().__init__()
        self.model = Model()
        self.filter = own

    def some(self, data: st.DataObject) -> Process:
        living = self.model.living()
        return living[data.draw(st.integers(0, len(living) - 1), "which living process")]

    def some_pair(self, data: st.DataObject) -> tuple[Process, Process]:
        """Who asks for rights, and to whom: often to what it, or one that it has created, has created."""
        subject = self.some(data)
        creators = [process for process in subject.ancestors() if process.alive]
        if creators and data.draw(st.booleans(), "by a creator"):
            return creators[data.draw(st.integers(0, len(creators) - 1), "which creator")], subject
        return self.some(data), subject

    def make_rule(self, data: st.DataObject) -> None:
        whom = data.draw(st.sampled_from(["name", "name", "process", "process", "all"]), "whom")
        action, children = data.draw(self.ACTIONS, "action"), data.draw(st.booleans(), "include_children")
        subject: Process | str | None = None
        keywords: dict[str, Any] = {"process_id": -1}
        if whom == "name":
            subject = data.draw(st.sampled_from(self.PATTERNS), "pattern")
            keywords = {"name": subject}
        elif whom == "process":
            subject = self.some(data)
            keywords = {"process_id": subject.process_id}
        elif action == "ignore":
            action = "ask"  # no rule ignores all
        value = 0
        if action == "deny":
            value = keywords["code"] = data.draw(self.CODES, "code")
        elif action == "strip":
            value = keywords["access"] = data.draw(self.RIGHTS, "access")
        self.filter.add_rule(action=action, include_children=children, **keywords)
        self.model.add_rule(subject, action, value, children)

    @rule(data=st.data())
    def add_rule(self, data: st.DataObject) -> None:
        self.make_rule(data)

    @precondition(lambda self: self.model.rules)
    @rule(data=st.data())
    def remove_rule(self, data: st.DataObject) -> None:
        chosen = self.model.rules[data.draw(st.integers(0, len(self.model.rules) - 1), "which rule")]
        key: int | str | None = chosen.subject
        if isinstance(chosen.subject, str):
            self.filter.remove_rule(action=chosen.action, name=chosen.subject)
        else:
            key = chosen.subject and chosen.subject.process_id
            number = -1 if chosen.subject is None else chosen.subject.process_id
            self.filter.remove_rule(action=chosen.action, process_id=number)
        self.model.drop_rule(self.model.find_rule(key, chosen.action))
