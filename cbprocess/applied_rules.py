"""Sets of rules in force at one instance: a set is applied as a whole, or nothing of it is.

Knows the public rule methods of an instance. It knows no file, no command line and no network."""

from __future__ import annotations

from _thread import allocate_lock

from ._checks import ACTIONS, ALL_PROCESSES, wrong
from ._lean import suppress
from .constants import ERROR_NOT_FOUND
from .errors import CBProcessError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any, Protocol

    from .rules import Rule

    # The pattern or the id of a rule, and its action. An instance has one rule for each such pair.
    Key = tuple[str | int, str]
    Rules = dict[Key, Rule]

    class HasRules(Protocol):
        """What is needed of an instance."""

        def add_rule(self, rule: Rule, /) -> None: ...
        def remove_rules(
            self, *, names: Iterable[str] = (), process_ids: Iterable[int] = (), action: str | int = "ask"
        ) -> None: ...


# So many rules of a change are named in its sentence, each with so many characters of its pattern.
NAMED_MAX = 3
NAME_SIZE_MAX = 60


def key_of(rule: Rule) -> Key:
    """What tells rules of an instance apart: a rule with an equal key replaces another."""
    whom = rule.name if rule.name is not None else rule.process_id
    assert whom is not None
    return whom, rule.action


class RuleChange:
    """The difference that applying a set of rules has made. Its text is one sentence, which names the first
    three rules that were added, removed and changed; it is false where nothing has changed."""

    def __init__(self, before: Rules, after: Rules) -> None:
        self.added: tuple[Rule, ...] = tuple(rule for key, rule in after.items() if key not in before)
        """Rules that were not in force before."""
        self.removed: tuple[Rule, ...] = tuple(rule for key, rule in before.items() if key not in after)
        """Rules that are no longer in force."""
        self.changed: tuple[tuple[Rule, Rule], ...] = tuple(
            (before[key], rule) for key, rule in after.items() if key in before and before[key] != rule
        )
        """Rules for the programs and with the action of an earlier one, and that one before it."""
        self.kept: int = len(after) - len(self.added) - len(self.changed)
        """The number of rules that were in force before and still are."""

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)

    def __str__(self) -> str:
        if not self:
            return f"nothing has changed, {_counted(self.kept)} in force"
        changed = tuple(after for _, after in self.changed)
        parts = [
            f"{len(found)} {word} ({_named(found)})"
            for found, word in ((self.added, "added"), (self.removed, "removed"), (changed, "changed"))
            if found
        ]
        total = self.kept + len(self.added) + len(self.changed)
        return f"{_counted(total)} in force: {', '.join([*parts, f'{self.kept} kept'])}"

    def __repr__(self) -> str:
        return f"<RuleChange: {self}>"

    def to_dict(self) -> dict[str, Any]:
        """The change as a dictionary for JSON: lists of rules, pairs of rules, and the number of those that
        were kept."""
        return {
            "added": [rule.to_dict() for rule in self.added],
            "removed": [rule.to_dict() for rule in self.removed],
            "changed": [{"before": old.to_dict(), "after": new.to_dict()} for old, new in self.changed],
            "kept": self.kept,
        }


class AppliedRules:
    """The sets of rules that are in force at one instance, each under a name of its own (a layer).

    `process` is a CBProcess after initialize(); the filter may be active or not. Layers may have equal rules:
    such a rule goes with the last of its layers. Where two layers have a rule for the same programs with the
    same action, it takes the rights of both and means the descendants if one of them does; its code is that
    of the layer that was applied first. Rules that the program adds itself with add_rule() belong to no layer
    and stay, unless a layer has a rule for the same programs with the same action. Where several rules refuse
    an operation, the code of the one that is in force longest counts.

    A change takes a tenth of a millisecond for each rule of it. Meanwhile an operation that the rules before
    and after it treat alike is treated so: it is refused, keeps its rights, is asked about or goes on. Two
    things can differ for that moment: events and questions about programs whose "ignore" rules change, and a
    strip rule is lifted for a program's creator where another one protects the creator, too, and the two come
    one after the other. All methods can be called in any thread and in handlers."""

    def __init__(self, process: HasRules) -> None:
        self._process = process
        self._lock = allocate_lock()
        self._layers: dict[str, tuple[Rule, ...]] = {}
        self._in_force: Rules = {}
        # The command line asks for these at each start of a program, in another thread.
        self._ignoring: tuple[Rule, ...] = ()

    def apply(self, layer: str, rules: Iterable[Rule]) -> RuleChange:
        """Puts these rules (a RuleSet, or Rules) in the place of the layer's earlier ones. Returns what has
        changed of the rules in force.

        On an error, everything is as before: 87 for two rules for the same programs with the same action, and
        the errors of add_rule()."""
        fresh = tuple(rules)
        check_keys(fresh)
        with self._lock:
            return self._change({**self._layers, layer: fresh})

    def remove(self, layer: str) -> RuleChange:
        """Takes back the rules of a layer. Does nothing if there is none with that name."""
        with self._lock:
            return self._change({name: rules for name, rules in self._layers.items() if name != layer})

    def rules(self, layer: str | None = None) -> tuple[Rule, ...]:
        """The rules of a layer (none if it is not there), or with None all that are in force."""
        with self._lock:
            if layer is not None:
                return self._layers.get(layer, ())
            return tuple(combined(self._layers.values()).values())

    def layers(self) -> tuple[str, ...]:
        """The names of the layers, in the order in which they were applied first."""
        with self._lock:
            return tuple(self._layers)

    def _change(self, layers: dict[str, tuple[Rule, ...]]) -> RuleChange:
        before = self._in_force
        after = combined(layers.values())
        # These are the instance's rules wherever an error comes.
        reached = dict(before)
        try:
            self._go(reached, after)
        except BaseException:
            # The instance may have gone.
            with suppress(CBProcessError):
                self._go(reached, before)
            self._note(reached)
            raise
        self._layers = layers
        self._note(after)
        return RuleChange(before, after)

    def _note(self, rules: Rules) -> None:
        """Remembers which rules are in force."""
        self._in_force = rules
        ignoring = tuple(rule for rule in rules.values() if rule.action == "ignore")
        if ignoring != self._ignoring:
            self._ignoring = ignoring

    def _go(self, reached: Rules, after: Rules) -> None:
        for step in steps(dict(reached), after):
            self._take(step, reached)

    def _take(self, step: Step, reached: Rules) -> None:
        if isinstance(step, list):
            self._remove(step)
            for key in step:
                del reached[key]
            return
        # An interrupt may come between the two.
        reached[key_of(step)] = step
        self._process.add_rule(step)

    def _remove(self, keys: list[Key]) -> None:
        """Removes rules that all have the same action, at once."""
        try:
            self._remove_at_once(keys)
        except CBProcessError as error:
            if error.code != ERROR_NOT_FOUND:
                raise
            # The program has removed one of them itself.
            for key in keys:
                self._remove_if_there(key)

    def _remove_if_there(self, key: Key) -> None:
        try:
            self._remove_at_once([key])
        except CBProcessError as error:
            if error.code != ERROR_NOT_FOUND:
                raise

    def _remove_at_once(self, keys: list[Key]) -> None:
        names = [whom for whom, _ in keys if isinstance(whom, str)]
        process_ids = [whom for whom, _ in keys if isinstance(whom, int)]
        self._process.remove_rules(names=names, process_ids=process_ids, action=keys[0][1])


def check_keys(rules: Iterable[Rule]) -> None:
    """Refuses (error 87) two rules of one set for the same programs with the same action: one of them would
    replace the other."""
    seen: dict[Key, int] = {}
    for number, rule in enumerate(rules, 1):
        first = seen.setdefault(key_of(rule), number)
        if first != number:
            raise wrong(f"rules {first} and {number} are for the same programs and have the same action")


def combined(sets: Iterable[Iterable[Rule]]) -> Rules:
    """The rules of several sets as one, in their order."""
    result: Rules = {}
    for rules in sets:
        for rule in rules:
            key = key_of(rule)
            result[key] = united(result[key], rule) if key in result else rule
    return result


def united(first: Rule, second: Rule) -> Rule:
    """One rule that does what both do; they have the same key. The code of a refusal is the first one's."""
    # Importing Rule is dear for commands that need none.
    return type(first)(
        name=first.name,
        process_id=first.process_id,
        action=first.action,
        code=first.code,
        access=None if first.access is None or second.access is None else first.access | second.access,
        include_children=first.include_children or second.include_children,
    )


# A step of a change is a rule to add (or to put in the place of another), or rules of one action to remove.
if TYPE_CHECKING:
    Step = Rule | list[Key]


def steps(before: Rules, after: Rules) -> Iterator[Step]:
    """The way from one set of rules to another. A rule that is in both stays untouched, so that descendants
    of its programs keep it whatever these have executed since.

    All that is new comes before all that goes, and a rule that changes is at first what both are together.
    Some rules depend on others. An "allow" lifts a "deny" for everything: it comes before such a "deny" and
    goes after it, while the other "deny" rules, which nothing lifts, come before it and go after it. An
    "ask" makes operations wait unless an "allow" lets them go on, so it comes after that and goes first. An
    "ignore" silences: it comes last and goes first of all, so that nothing is missed."""
    for phase in range(PHASES):
        for key, rule in after.items():
            if _phase(key) == phase and before.get(key) != rule:
                yield united(rule, before[key]) if key in before else rule
    for phase in reversed(range(PHASES)):
        for key, rule in after.items():
            if _phase(key) == phase and key in before and united(rule, before[key]) != rule:
                yield rule
        gone = [key for key in before if key not in after and _phase(key) == phase]
        for action in ACTIONS:
            keys = [key for key in gone if key[1] == action]
            if keys:
                yield keys


PHASES = 5


def _phase(key: Key) -> int:
    whom, action = key
    if action == "deny" and whom == ALL_PROCESSES:
        return 2
    return {"deny": 0, "strip": 0, "allow": 1, "ask": 3, "ignore": 4}[action]


def _named(rules: tuple[Rule, ...]) -> str:
    """The first of these rules in a few words: deny */cat, allow everything, ..."""
    names = [_name_of(rule) for rule in rules[:NAMED_MAX]]
    return ", ".join([*names, "..."] if len(rules) > NAMED_MAX else names)


def _name_of(rule: Rule) -> str:
    if rule.name is None:
        whom = "everything" if rule.process_id == ALL_PROCESSES else f"process {rule.process_id}"
    else:
        whom = rule.name if len(rule.name) <= NAME_SIZE_MAX else f"{rule.name[:NAME_SIZE_MAX]}..."
    return f"{rule.action} {whom}"


def _counted(number: int) -> str:
    return "1 rule" if number == 1 else f"{number} rules"
