"""A slow model of what rules mean for a tree of processes: nothing is remembered that can be worked out anew.

Processes fork, execute, end, and ask for rights to one another; rules come and go; the model says what each
rule set makes of an execution, an end or such a request, what a handler's answer or a deadline makes of those
that are asked about, and what is counted. Knows neither the package nor a driver: tests hold both against it.
"""

from __future__ import annotations

from typing import NamedTuple, Optional

from property import rule_oracles

SILENT, ASK, ALLOW, DENY, STRIP = "silent", "ask", "allow", "deny", "strip"
CREATION, TERMINATION = "process_creation", "process_termination"
THREAD_CREATION, THREAD_TERMINATION = "thread_creation", "thread_termination"
HANDLE, THREAD_HANDLE = "process_handle_operation", "thread_handle_operation"
KINDS = [CREATION, TERMINATION, THREAD_CREATION, THREAD_TERMINATION, HANDLE, THREAD_HANDLE]
ERROR_TIMEOUT = 1460  # with which a deadline refuses

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


class Answer(NamedTuple):
    """What a handler says where it is asked: the code with which it refuses, the rights that it takes, and
    whether it says so only after the deadline."""

    code: int = 0
    taken: int = 0
    is_late: bool = False


class Verdict(NamedTuple):
    """What has become of an operation: the code that refuses it, the rights that are lost, and whether that
    was a handler's answer, or the deadline's doing."""

    code: int
    lost: int
    answered: bool = False
    timed_out: bool = False


class Model:
    def __init__(self) -> None:
        self.rules: list[Rule] = []  # in the order in which they came into force
        self.processes: list[Process] = []
        self.wanted = set(KINDS)  # the kinds of events that handlers are to be told
        self.deadlines_refuse = False
        self.counts = {"refused": 0, "decided_by_rule": 0, "timed_out": 0, "late": 0, "delivered": 0}

    def living(self) -> list[Process]:
        return [process for process in self.processes if process.alive]

    # ---- Rules ----

    def find_rule(self, subject: Process | int | str | None, action: str) -> Optional[Rule]:
        """The rule that a removal takes out. An id stands for whichever process a rule with it was given for;
        of several such rules the newest goes."""
        for rule in reversed(self.rules):
            own = rule.subject.process_id if isinstance(rule.subject, Process) else rule.subject
            if own == subject and type(own) is type(subject) and rule.action == action:
                return rule
        return None

    def find_replaced(self, subject: Process | str | None, action: str) -> Optional[Rule]:
        """The rule that gives way to one more. The rule of a process that had the id before stays if it is
        for that one's descendants, too."""
        key = subject.process_id if isinstance(subject, Process) else subject
        old = self.find_rule(key, action)
        is_of_earlier = old is not None and isinstance(subject, Process) and old.subject is not subject
        return None if old is not None and is_of_earlier and old.children else old

    def add_rule(self, subject: Process | str | None, action: str, value: int, children: bool) -> None:
        """Adding the same again replaces it. Descendants that live now are covered from the start."""
        old = self.find_replaced(subject, action)
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
        outcome = self.outcome(originator, self.rules_for(process, image), can_refuse=True)
        return self.in_view(CREATION, outcome)

    def first_thread(self, process: Process) -> Outcome:
        """A fork, which is the creator's operation: the child has inherited already."""
        assert process.parent is not None
        originator = self.rules_for(process.parent, process.parent.image)
        own = self.rules_for(process, process.image)
        return self.in_view(THREAD_CREATION, self.outcome(originator, own, can_refuse=False))

    def execute(self, process: Process, image: Image) -> None:
        """Only who is as protected afterwards as before stays the creator of what it has created."""
        before = self.protection(self.rules_for(process, process.image))
        process.image = image
        process.executed = True
        if before == 0 or self.protection(self.rules_for(process, image)) != before:
            process.life = object()

    def termination(self, process: Process, kind: str = TERMINATION) -> Outcome:
        """The end of a process, or of its last thread."""
        own = self.rules_for(process, process.image)
        return self.in_view(kind, self.outcome(own, own, can_refuse=False))

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
        outcome = self.outcome(own, others, can_refuse=False, lost=access & protected)
        return self.in_view(THREAD_HANDLE if aims_at_thread else HANDLE, outcome)

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

    def in_view(self, kind: str, outcome: Outcome) -> Outcome:
        """Rules refuse and take also what handlers are not to be told."""
        if kind in self.wanted:
            return outcome
        return outcome._replace(told=False) if outcome.kind in (DENY, STRIP) else Outcome(SILENT)

    # ---- Answers and deadlines ----

    def settle(self, kind: str, outcome: Outcome, answer: Answer, access: int = 0) -> Verdict:
        """Nobody can answer what rules have decided, and an end or a thread's beginning cannot be refused. A
        deadline lets go, or refuses a creation if that is asked for; the answer after it is late and nothing
        else. Each operation that is refused or robbed of rights is counted as refused, whoever did it."""
        verdict = Verdict(outcome.code, outcome.lost)
        if outcome.kind == ASK and answer.is_late:
            refuses = kind == CREATION and self.deadlines_refuse
            verdict = Verdict(ERROR_TIMEOUT if refuses else 0, 0, timed_out=True)
        elif outcome.kind == ASK:
            code = answer.code if kind in (CREATION, HANDLE, THREAD_HANDLE) else 0
            verdict = Verdict(code, access & answer.taken, answered=True)
        self.counts["timed_out"] += verdict.timed_out
        self.counts["late"] += verdict.timed_out
        self.counts["refused"] += verdict.code != 0 or verdict.lost != 0
        self.counts["decided_by_rule"] += outcome.kind in (ALLOW, DENY, STRIP)
        self.counts["delivered"] += outcome.kind != SILENT and outcome.told
        return verdict
