"""The rules of an instance: they choose the operations that fire, and decide some without a handler."""

from __future__ import annotations

from .._checks import (
    UINT32_MAX,
    checked_action,
    checked_action_value,
    checked_bool,
    checked_pattern,
    checked_process_id,
    checked_target,
    wrong,
)
from ..constants import ACTION_ASK, ACTION_IGNORE, RULE_FLAG_ATTACH, RULE_FLAG_CHILDREN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from .._binding.session import Session
    from ..rules import Rule


class Rules:
    """The rule methods of CBProcess.

    They can be called at any time after initialize(), in handlers too, and rules outlive a stop. A rule for
    an id belongs to the process that has the id now; a later process with that id is another. A name is a
    pattern: `*` stands for any run of characters, `?` for one. A pattern without a separator is held against
    the file name, one with a separator against the whole path; on Linux case counts. include_children extends
    a rule to the descendants, alive and to come.

    Under a tree driver a rule means supervised processes: those that popen() started, and those that a rule
    takes under the filter. Such rules are those of add_filtered_process_by_id(),
    add_filtered_process_by_name(), and of add_rule() with a process_id (not -1, not "ignore"). They take the
    descendants, too, if the rule includes them. Removing the rule and stopping the filter let them go as they
    were; start_filter() takes them again. The controller's own process is never taken. Fewer operations of
    such a process can be refused than of one that popen() started: get_process_capabilities().

    Errors: 21 before initialize(), 87 for an argument of the wrong type or value and for an id that no
    process has, 1168 for removing a rule that was never added; while active 50 for an action that the driver
    cannot carry out."""

    __slots__ = ()

    def _ready(self) -> Session:
        """The native session; error 21 if there is none."""
        raise NotImplementedError

    def _rules_changed(self, session: Session, rule: tuple[object, int], present: bool) -> None:
        """A rule, named by its target and its action, was added or removed."""
        raise NotImplementedError

    def add_filtered_process_by_id(self, process_id: int, include_children: bool) -> None:
        """Lets the operations of a process fire; -1 means every process (that is supervised already).

        Takes a running process under a tree driver's filter. While active: error 170 if another tracer or
        controller has it, 5 if it must not be traced (another user's, more privileges, Yama). Nothing is
        added then."""
        self._ready()
        self._add(checked_process_id(process_id, True), include_children, ACTION_ASK)

    def add_filtered_process_by_name(self, process_name: str, include_children: bool) -> None:
        """Lets the operations of all processes whose program matches fire.

        Takes those that run already, as the same user, under a tree driver's filter. Processes that cannot be
        had (see add_filtered_process_by_id) are left alone. So are process 1, ancestors of this process, the
        system's manager and bus (systemd, dbus) and other controllers' helpers: for one of them give its
        id."""
        self._ready()
        pattern = checked_pattern(process_name, "process_name")
        self._add(pattern, include_children, ACTION_ASK, attach=RULE_FLAG_ATTACH)

    def add_ignored_process_by_id(self, process_id: int, include_children: bool) -> None:
        """Excludes a process that a filter rule would match."""
        self._ready()
        self._add(checked_process_id(process_id, False), include_children, ACTION_IGNORE)

    def add_ignored_process_by_name(self, process_name: str, include_children: bool) -> None:
        """Excludes all processes whose program matches."""
        self._ready()
        self._add(checked_pattern(process_name, "process_name"), include_children, ACTION_IGNORE)

    def remove_filtered_process_by_id(self, process_id: int) -> None:
        """Takes back add_filtered_process_by_id(); also when the process has ended. If two had the id, the
        later one's rule goes first."""
        self._ready()
        self._remove(checked_process_id(process_id, True), ACTION_ASK)

    def remove_filtered_process_by_name(self, process_name: str) -> None:
        """Takes back add_filtered_process_by_name()."""
        self._ready()
        self._remove(checked_pattern(process_name, "process_name"), ACTION_ASK)

    def remove_ignored_process_by_id(self, process_id: int) -> None:
        """Takes back add_ignored_process_by_id(); also when the process has ended."""
        self._ready()
        self._remove(checked_process_id(process_id, False), ACTION_IGNORE)

    def remove_ignored_process_by_name(self, process_name: str) -> None:
        """Takes back add_ignored_process_by_name()."""
        self._ready()
        self._remove(checked_pattern(process_name, "process_name"), ACTION_IGNORE)

    def add_rule(
        self,
        rule: Rule | None = None,
        /,
        *,
        name: str | None = None,
        process_id: int | None = None,
        action: str | int = "ask",
        code: int | None = None,
        access: int | None = None,
        include_children: bool = False,
    ) -> None:
        """Adds a rule, given as a Rule or by its keywords: for a pattern of program names or for one process
        (-1: every process), with an action.

        - "ask": a handler decides, as with the add_filtered_ methods.
        - "ignore": nothing that the program does fires, as with the add_ignored_ methods. Its start does,
          because that is an operation of its creator.
        - "allow": operations go on at once.
        - "deny": process creations are refused with `code` (a Win32 code, 1 .. 0xffffffff; 5).
        - "strip": protects. Others do not get the rights in `access` (PROCESS_ bits, 1 .. 0xffffffff) to the
          process, nor the corresponding ones to its threads. Its own requests are not restricted.

        "allow", "deny" and "strip" need no handler and are in force whatever EventsToFire says: an event that
        it asks for is delivered afterwards with decided_by_rule. They hold for ignored processes too, of
        which nothing is delivered. A rule that was there already is replaced. Action.DENY and ACTION_DENY
        stand for "deny" as well, and so on. `code` with another action than "deny", or `access` with another
        than "strip", is error 87.

        "deny" and "strip" beat "allow", which beats "ask". One exception makes lists of permitted programs: a
        program that is denied to every process (-1) may still be executed if an "allow" for the path of its
        file, or for the process, matches.

        With a process_id a running process is taken under a tree driver's filter, as by
        add_filtered_process_by_id() and with its errors, unless the action is "ignore"; a name takes none."""
        self._ready()
        if rule is not None:
            _check_rule(rule, name, process_id, action, code, access, include_children)
            name, process_id, action = rule.name, rule.process_id, rule.action
            code, access, include_children = rule.code, rule.access, rule.include_children
        number = checked_action(action)
        value = checked_action_value(number, code, access)
        self._add(checked_target(name, process_id, number), include_children, number, value)

    def remove_rule(
        self,
        rule: Rule | None = None,
        /,
        *,
        name: str | None = None,
        process_id: int | None = None,
        action: str | int = "ask",
    ) -> None:
        """Takes back a rule of add_rule(): this Rule, or the one for this name or process with this
        action."""
        self._ready()
        if rule is not None:
            _check_rule(rule, name, process_id, action)
            name, process_id, action = rule.name, rule.process_id, rule.action
        number = checked_action(action)
        self._remove(checked_target(name, process_id, number), number)

    def remove_rules(
        self, *, names: Iterable[str] = (), process_ids: Iterable[int] = (), action: str | int = "ask"
    ) -> None:
        """Takes back many rules with this action at once, of names and of processes, at the price of one.

        Takes back all of them, or none if one was never added (error 1168)."""
        from ctypes import c_char_p, c_uint32, c_uint64

        session = self._ready()
        number = checked_action(action)
        patterns = [checked_pattern(name, "names") for name in names]
        every_process = number != ACTION_IGNORE
        targets = [checked_process_id(process_id, every_process) for process_id in process_ids]
        session.library.cbp_rules_remove(
            session.pointer,
            number,
            (c_char_p * len(patterns))(*patterns),
            (c_uint64 * len(patterns))(*map(len, patterns)),
            len(patterns),
            (c_uint32 * len(targets))(*targets),
            len(targets),
        )
        for whom in (*patterns, *targets):
            self._rules_changed(session, (whom, number), False)

    def _add(
        self, target: bytes | int, include_children: object, action: int, value: int = 0, attach: int = 0
    ) -> None:
        session = self._ready()
        flags = attach | (RULE_FLAG_CHILDREN if checked_bool(include_children, "include_children") else 0)
        if isinstance(target, bytes):
            session.library.cbp_rule_add_name(session.pointer, target, len(target), flags, action, value)
        else:
            flags |= RULE_FLAG_ATTACH if target != UINT32_MAX and action != ACTION_IGNORE else 0
            session.library.cbp_rule_add_process(session.pointer, target, flags, action, value)
        self._rules_changed(session, (target, action), True)

    def _remove(self, target: bytes | int, action: int) -> None:
        session = self._ready()
        if isinstance(target, bytes):
            session.library.cbp_rule_remove_name(session.pointer, target, len(target), action)
        else:
            session.library.cbp_rule_remove_process(session.pointer, target, action)
        self._rules_changed(session, (target, action), False)


def _check_rule(rule: object, *others: object) -> None:
    """Refuses anything but a Rule, and keywords beside it."""
    from ..rules import Rule

    if not isinstance(rule, Rule):
        raise wrong(f"a rule must be a Rule, not {type(rule).__name__}")
    if any(other not in (None, "ask", False) for other in others):
        raise wrong("a Rule says everything by itself: no keywords beside it")
