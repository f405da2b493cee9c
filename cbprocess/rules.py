"""Rules as values: for add_rule(), for files and for messages. The methods that add rules stand in
_api/rule_methods.py. Knows no instance and no library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from ._checks import ACTIONS, checked_action, checked_action_value, checked_bool, checked_target, wrong

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


@dataclass(frozen=True, init=False, repr=False)
class Rule:
    """One rule as a value that cannot be changed, such as Rule(name="cat", action="deny"), for add_rule() and
    remove_rule(). Its fields are the keywords of these, with the meaning that they have there. Two rules are
    equal if they do the same: `action` is always the action's name, and `code` of "deny" is 5 where none is
    given. A value that add_rule() would refuse is error 87 here already."""

    name: str | None
    process_id: int | None
    action: str
    code: int | None
    access: int | None
    include_children: bool

    def __init__(
        self,
        *,
        name: str | None = None,
        process_id: int | None = None,
        action: str | int = "ask",
        code: int | None = None,
        access: int | None = None,
        include_children: bool = False,
    ) -> None:
        number = checked_action(action)
        value = checked_action_value(number, code, access)
        checked_target(name, process_id, number)
        action_name = next(key for key, known in ACTIONS.items() if known == number)
        for field, content in (
            ("name", name),
            ("process_id", process_id),
            ("action", action_name),
            ("code", value if action_name == "deny" else None),
            ("access", value if action_name == "strip" else None),
            ("include_children", checked_bool(include_children, "include_children")),
        ):
            object.__setattr__(self, field, content)

    def __repr__(self) -> str:
        return f"Rule({', '.join(f'{key}={value!r}' for key, value in self.to_dict().items())})"

    def to_dict(self) -> dict[str, Any]:
        """The rule as a dictionary of str, int and bool, for JSON: the fields that are set."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {key: value for key, value in values.items() if value is not None and value is not False}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Rule:
        """The rule of such a dictionary. An unknown key is error 87, as is any wrong value."""
        if not isinstance(data, Mapping):
            raise wrong(f"a rule must be a dictionary here, not {type(data).__name__}")
        known = {field.name for field in fields(cls)}
        unknown = sorted(map(str, set(data) - known))
        if unknown:
            raise wrong(f"a rule has no {', '.join(unknown)}")
        return cls(**data)
