"""A slow model of what rules mean for a tree of processes: nothing is remembered that can be worked out anew.

Processes fork, execute, end, and ask for rights to one another; rules come and go; the model says what each
rule set makes of an execution, an end or such a request. Knows neither the package nor a driver: tests hold
both against it."""

from __future__ import annotations

from typing import NamedTuple, Optional

from property import rule_oracles

SILENT, ASK, ALLOW, DENY, STRIP = "silent", "ask", "allow", "deny", "strip"

# Which rights to a thread go with a right to its process, by the numbers of the Windows headers. What is not
# here (VM_OPERATION, CREATE_THREAD, ...) has no counterpart.
THREAD_RIGHTS = {
    0x0001: 0x0001,  # ending
    0x0800: 0x0002 | 0x1000,  # suspending, resuming
    0x0010: 0x0008,  # reading
    0x0020: 0x0010,  # writing
    0x0200: 0x0020 | 0x0400,  # setting
    0x0400: 0x0040,  # querying
    0x1000: 0x0800,
    0x100000: 0x100000,  # waiting
}


class Image(NamedTuple):
    """What a process executes: the path of the file, and the path by which it was started."""

    path: str
    given: str


class Process:
    """One life of an id. It stays known after its end as long as somebody descends from it."""

    def __init__(self, process_id: int, image: Image, parent: Optional[Process]) -> None:
        self.process_id = process_id
        self.image = image
        self.parent = parent
        self.alive = True
        self.executed = False
        self.inherited: set[Rule] = set()
        # While this object stays, it is whoever it was to what it has created.
        self.life = object()
        self.creator_life = parent.life if parent is not None else None

    def ancestors(self) -> list[Process]:
        found, at = [], self.parent
        while at is not None:
            found.append(at)
            at = at.parent
        return found

    def __repr__(self) -> str:
        return f"<{self.process_id} {self.image.path}{'' if self.alive else ', ended'}>"


class Rule:
    """Two rules are the same if they are one; whom it is for: a process, a pattern, or all (None)."""

    count = 0

    def __init__(self, subject: Process | str | None, action: str, value: int, children: bool) -> None:
        Rule.count += 1
        self.number = Rule.count  # rises with age
        self.subject = subject
        self.action = action
        self.value = value
        self.children = children

    def names(self, process: Process, image: Image) -> bool:
        """Whether it is for this process itself, when it executes this image."""
        if self.subject is None or isinstance(self.subject, Process):
            return self.subject is None or self.subject is process
        # Nobody is permitted anything for the name by which he calls a file.
        names = [image.path] if self.action == "allow" else image
        return any(rule_oracles.matches(rule_oracles.LINUX, self.subject, name) for name in names)

    def __repr__(self) -> str:
        return f"<{self.action} {self.subject!r}{' and children' if self.children else ''}>"


class Outcome(NamedTuple):
    """What becomes of an operation: told to nobody, asked, allowed, refused with a code, or robbed of rights;
    and whether a refusal or a loss is told."""

    kind: str
    code: int = 0
    told: bool = True
    lost: int = 0


class Model:
    def __init__(self) -> None:
        self.rules: list[Rule] = []  # in the order in which they came into force
        self.processes: list[Process] = []

    def living(self) -> list[Process]:
        return [process for process in self.processes if process.alive]

    # ---- Rules ----

    def find_rule(self, subject: Process | int | str | None, action: str) -> Optional[Rule]:
        """The rule that this call added; an id stands for whichever process a rule with it was given for."""
        for rule in self.rules:
            own = rule.subject.process_id if isinstance(rule.subject, Process) else rule.subject
            if own == subject and type(own) is type(subject) and rule.action == action:
                return rule
        return None

    def add_rule(self, subject: Process | str | None, action: str, value: int, children: bool) -> None:
        """Adding the same again replaces it. Descendants that live now are covered from the start."""
        key = subject.process_id if isinstance(subject, Process) else subject
        old = self.find_rule(key, action)
        rule = Rule(subject, action, value, children)
        if old is not None:
            self.drop_rule(old)
        self.rules.append(rule)
        for process in self.living() if children else []:
            if any(rule.names(ancestor, ancestor.image) for ancestor in process.ancestors()):
                process.inherited.add(rule)

    def drop_rule(self, rule: Rule) -> None:
        self.rules.remove(rule)

    def rules_for(self, process: Process, image: Image) -> list[Rule]:
        return [rule for rule in self.rules if rule in process.inherited or rule.names(process, image)]

    # ---- Processes ----

    def add_process(self, process_id: int, image: Image) -> Process:
        process = Process(process_id, image, None)
        self.processes.append(process)
        return process

    def fork(self, parent: Process, process_id: int) -> Process:
        """The child has its parent's image, and the rules that reach beyond its parent."""
        child = Process(process_id, parent.image, parent)
        covering = self.rules_for(parent, parent.image)
        child.inherited = {rule for rule in covering if rule.children or rule in parent.inherited}
        self.processes.append(child)
        return child

    def execution(self, process: Process, image: Image) -> Outcome:
        """The first execution is its creator's operation, a later one its own. Whoever executes still is what
        it was; what comes of it counts under the new image."""
        creator = process if process.executed or process.parent is None else process.parent
        originator = self.rules_for(creator, creator.image)
        return self.outcome(originator, self.rules_for(process, image), can_refuse=True)

    def execute(self, process: Process, image: Image) -> None:
        """Only who is as protected afterwards as before stays the creator of what it has created."""
        before = self.protection(self.rules_for(process, process.image))
        process.image = image
        process.executed = True
        if before == 0 or self.protection(self.rules_for(process, image)) != before:
            process.life = object()

    def termination(self, process: Process) -> Outcome:
        own = self.rules_for(process, process.image)
        return self.outcome(own, own, can_refuse=False)

    def end(self, process: Process) -> None:
        process.alive = False

    def request(self, originator: Process, subject: Process, access: int, aims_at_thread: bool) -> Outcome:
        """One process asks for rights to another, or to a thread of it. Nothing fires on oneself."""
        if originator is subject:
            return Outcome(SILENT)
        own, others = (self.rules_for(process, process.image) for process in (originator, subject))
        protected = self.protection(others)
        if self.is_creator(originator, subject):
            protected &= ~self.protection(own)
        if aims_at_thread:
            protected = sum(rights for right, rights in THREAD_RIGHTS.items() if right & protected)
        return self.outcome(own, others, can_refuse=False, lost=access & protected)

    @staticmethod
    def protection(rules: list[Rule]) -> int:
        rights = 0
        for rule in rules:
            rights |= rule.value if rule.action == "strip" else 0
        return rights

    @staticmethod
    def is_creator(originator: Process, subject: Process) -> bool:
        """Whether it has created the other, or who did, and is still who it was then."""
        for descendant in [subject, *subject.ancestors()]:
            if descendant.parent is originator:
                return descendant.creator_life is originator.life
        return False

    # ---- What rules add up to ----

    @staticmethod
    def outcome(originator: list[Rule], subject: list[Rule], can_refuse: bool, lost: int = 0) -> Outcome:
        """For an operation of the one on the other. An ignored originator silences it, an ignored subject
        only does not count; what is refused or lost is so all the same. Deny beats allow beats ask, of
        several refusals the oldest rule's code counts; but who is allowed himself passes by what is denied to
        all. What cannot be refused is allowed by a rule that would."""
        denying = [rule for rule in [*originator, *subject] if rule.action == "deny" and rule.subject]
        if not any(rule.action == "allow" and rule.subject for rule in subject):
            denying += [rule for rule in subject if rule.action == "deny" and not rule.subject]
        silenced = any(rule.action == "ignore" for rule in originator)
        if any(rule.action == "ignore" for rule in subject):
            subject = []
        both = [*originator, *subject]
        if denying and can_refuse:
            code = min(denying, key=lambda rule: rule.number).value
            return Outcome(DENY, code, told=bool(both) and not silenced)
        if lost:
            return Outcome(STRIP, told=bool(both) and not silenced, lost=lost)
        if silenced:
            return Outcome(SILENT)
        if any(rule.action == "allow" for rule in both):
            return Outcome(ALLOW)
        if any(rule.action == "ask" for rule in both):
            return Outcome(ASK)
        return Outcome(ALLOW if any(rule.action in ("deny", "strip") for rule in both) else SILENT)
