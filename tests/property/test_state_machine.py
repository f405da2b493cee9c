"""The public class in any order - initialize, start, stop, rules, settings, handlers that misbehave,
operations of a script - against a simple model of it: what fires, what is refused, what is counted, which
call fails with what."""

from __future__ import annotations

import fnmatch
import gc
import re
from typing import Any, Optional

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from cbprocess import CBProcess, CBProcessError, constants, script
from cbprocess.testing import Simulator

GUID = "{3F0A9A4C-1B6B-4E5B-8E69-0F3F7B4E7D55}"

CREATION = constants.PROC_EVT_PROCESS_CREATION
TERMINATION = constants.PROC_EVT_PROCESS_TERMINATION
HANDLE = constants.PROC_EVT_PROCESS_HANDLE_OPERATION
ALL = 0x3F

IDS = st.integers(1, 5)
NAMES = st.sampled_from(["/bin/alpha", "/bin/alps", "/usr/bin/beta"])
PATTERNS = st.sampled_from(["alpha", "al*", "*a", "/bin/*", "b?ta", "nothing"])
ACTIONS = st.sampled_from(["ask", "ignore", "allow", "deny", "strip"])
ACCESS = st.integers(1, 31)

# What a handler does with an event: its name, and what that means for the answer.
BEHAVIOURS = st.sampled_from(
    [
        "allow",
        "refuse",
        "strip",
        "raise",
        "refuse and raise",
        "defer",
        "defer and raise",
        "wrong value",
        "none",
    ]
)


def matches(pattern: str, name: str) -> bool:
    """A second implementation of a pattern's meaning (there is no '[' in the ones above)."""
    shown = name if "/" in pattern else name.rpartition("/")[2]
    return re.fullmatch(fnmatch.translate(pattern), shown) is not None


class Life:
    """One life of an id, and who created it. A life in which a process is not protected as before is another
    one to those that it has created."""

    def __init__(self, creator: Optional[Life]) -> None:
        self.creator = creator
        self.tenure = 0
        self.creator_tenure = creator.tenure if creator else None

    def is_creator_of(self, other: Life) -> bool:
        """Whether it has created the other one or an ancestor of it, and is protected as it was then."""
        descendant: Optional[Life] = other
        while descendant and descendant.creator is not self:
            descendant = descendant.creator
        return descendant is not None and descendant.creator_tenure == self.tenure


class Model:
    """What the instance should be like."""

    def __init__(self) -> None:
        self.initialized = False
        self.active = False
        self.events = 0
        self.rules: dict[tuple[object, str], int] = {}
        # Rules for ids whose process has ended: they belong to nobody else.
        self.dead_rules: set[tuple[object, str]] = set()
        self.lives: dict[int, Life] = {}
        self.names: dict[int, str] = {}
        self.sequence = 0
        self.delivered = self.refused = self.decided = self.timed_out = self.late = 0
        self.failed = 0
        self.timeout_denies = False
        self.timeout = 0
        self.behaviour = "none"

    def copy(self) -> Model:
        from copy import deepcopy

        return deepcopy(self)

    def started(self, timeout: int) -> None:
        self.active = True
        self.timeout = timeout
        # A new script: none of its processes is known, and rules for ids wait for whoever gets them.
        self.names, self.lives, self.dead_rules = {}, {}, set()
        self.sequence = self.delivered = self.refused = self.decided = self.timed_out = self.late = 0

    def stance(self, process_id: int, name: Optional[str]) -> dict[str, Any]:
        """The actions of the rules that match a process, with their values; "deny all" is what a rule for all
        denies, "list" stands for an allow that is not for all. Of rules that deny, the oldest is kept with
        its age."""
        found: dict[str, Any] = {}
        for age, ((target, action), value) in enumerate(self.rules.items()):
            if (target, action) in self.dead_rules:
                continue
            if target in (-1, process_id) or (
                isinstance(target, str) and name is not None and matches(target, name)
            ):
                if action == "strip":
                    found["strip"] = found.get("strip", 0) | value
                elif action == "deny":
                    found.setdefault("deny all" if target == -1 else "deny", (age, value))
                else:
                    found.setdefault(action, value)
                if action == "allow" and target != -1:
                    found["list"] = 0
        return found

    def meet(self, kind: int, creator: int, subject: int) -> None:
        """The script speaks of these processes. A new one has its creator's program until it executes its
        own."""
        self.lives.setdefault(creator, Life(None))
        if subject not in self.lives and kind == CREATION and creator in self.names:
            self.names[subject] = self.names[creator]
        self.lives.setdefault(subject, Life(self.lives[creator] if kind == CREATION else None))

    def executed(self, process_id: int, name: str) -> None:
        """It stays the creator of what it has created only if it is as protected as before."""
        before, after = (
            self.stance(process_id, image).get("strip", 0) for image in (self.names.get(process_id), name)
        )
        self.names[process_id] = name
        self.lives[process_id].tenure += before == 0 or before != after

    def ended(self, process_id: int) -> None:
        self.lives.pop(process_id, None)
        self.names.pop(process_id, None)
        self.dead_rules.update(rule for rule in self.rules if rule[0] == process_id)

    def decide(
        self, kind: int, creator: int, subject: int, name: str, access: int
    ) -> tuple[str, int, int, bool]:
        """The outcome of an operation by rules: what, the code with which it is refused, the rights left, and
        whether it is told."""
        self.meet(kind, creator, subject)
        subject_name = name if kind == CREATION else self.names.get(subject)
        of_subject = self.stance(subject, subject_name)
        # Who executes a program in its own place asks for it as what it still is.
        of_creator = of_subject if kind == TERMINATION else self.stance(creator, self.names.get(creator))
        if kind == HANDLE and creator == subject:
            return "silent", 0, access, False
        denials = [stance["deny"] for stance in (of_creator, of_subject) if "deny" in stance]
        if "list" not in of_subject and "deny all" in of_subject:
            denials.append(of_subject["deny all"])
        code = min(denials)[1] if denials else 0
        lost = of_subject.get("strip", 0) & access if kind == HANDLE else 0
        if self.lives[creator].is_creator_of(self.lives[subject]):
            lost &= ~of_creator.get("strip", 0)
        if "ignore" in of_subject:
            of_subject = {}
        told = "ignore" not in of_creator and bool(of_creator or of_subject)
        if kind == CREATION and code:
            return "deny", code, access, told
        if lost:
            return "strip", 0, access & ~lost, told
        if not told:
            return "silent", 0, access, False
        if "allow" in of_creator or "allow" in of_subject:
            return "allow", 0, access, True
        return ("ask" if "ask" in of_creator or "ask" in of_subject else "allow"), 0, access, True


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.process = CBProcess()
        self.simulator: Any = None
        self.answers: list[Any] = []
        self.seen: list[int] = []
        self.errors: list[int] = []

    def teardown(self) -> None:
        if self.model.initialized:
            self.process.stop_filter()
            assert not self.process.active
        del self.process, self.simulator
        gc.collect()

    # ---- Calls ----

    def call(self, code: int, function: Any, *arguments: Any, **keywords: Any) -> None:
        """A call that fails with that code; 0: it does not fail."""
        if code == 0:
            function(*arguments, **keywords)
            return
        with pytest.raises(CBProcessError) as raised:
            function(*arguments, **keywords)
        assert raised.value.code == code, raised.value

    @initialize()
    def a_new_instance(self) -> None:
        assert not self.process.active

    @precondition(lambda self: not self.model.initialized)
    @rule()
    def prepare(self) -> None:
        self.process.initialize(GUID)
        self.simulator = Simulator(self.process)
        self.process._hooks.raised = None
        for name in ("process_creation", "process_termination", "process_handle_operation"):
            setattr(self.process, f"on_{name}", self.handle)
        self.process.on_error = lambda params: self.errors.append(params.error_code)
        self.model.initialized = True

    @rule(guid=st.sampled_from(["", "{}", GUID[1:-1], GUID + " "]))
    def initialize_wrongly(self, guid: str) -> None:
        self.call(constants.ERROR_INVALID_PARAMETER, self.process.initialize, guid)

    @precondition(lambda self: self.model.initialized)
    @rule(timeout=st.sampled_from([0, 0, 0, 3000, 5000, 1, 2999, -1]))
    def start(self, timeout: int) -> None:
        if timeout not in (0, 3000, 5000):
            self.call(constants.ERROR_IMPLEMENTATION_LIMIT, self.process.start_filter, timeout)
        elif self.model.active:
            self.call(constants.ERROR_CONNECTION_ACTIVE, self.process.start_filter, timeout)
        else:
            self.process.start_filter(timeout)
            self.simulator.start()
            self.model.started(timeout)

    @precondition(lambda self: self.model.initialized)
    @rule()
    def stop(self) -> None:
        self.process.stop_filter()
        self.model.active = False

    @precondition(lambda self: self.model.initialized)
    @rule(events=st.sampled_from([ALL, ALL, CREATION, TERMINATION, HANDLE, 0, -1, 64, -2]))
    def choose_events(self, events: int) -> None:
        wrong = events in (64, -2)
        code = constants.ERROR_INVALID_PARAMETER if wrong else 0
        self.call(code, self.process.config, f"EventsToFire={events}")
        if not wrong:
            self.model.events = ALL if events == -1 else events
        assert int(self.process.config("EventsToFire"), 0) & 0x3F == self.model.events & 0x3F

    @precondition(lambda self: self.model.initialized)
    @rule(denies=st.booleans())
    def choose_timeout_action(self, denies: bool) -> None:
        self.process.config(f"TimeoutAction={'deny' if denies else 'allow'}")
        self.model.timeout_denies = denies

    @precondition(lambda self: self.model.initialized)
    @rule(setting=st.sampled_from(["Driver=simulated", "Script=", "RecordTo=", "SerializeEvents=0"]))
    def set_what_is_fixed(self, setting: str) -> None:
        code = constants.ERROR_CONNECTION_ACTIVE if self.model.active else 0
        self.call(code, self.process.config, setting)

    @precondition(lambda self: self.model.initialized)
    @rule(subject=IDS | st.just(-1) | PATTERNS, action=ACTIONS, value=ACCESS)
    def add_rule(self, subject: Any, action: str, value: int) -> None:
        keywords: dict[str, Any] = {"name": subject} if isinstance(subject, str) else {"process_id": subject}
        if action == "deny":
            keywords["code"] = value
        elif action == "strip":
            keywords["access"] = value
        if subject == -1 and action == "ignore":
            self.call(constants.ERROR_INVALID_PARAMETER, self.process.add_rule, action=action, **keywords)
            return
        self.process.add_rule(action=action, **keywords)
        # Adding it again replaces it where it stands.
        self.model.rules[subject, action] = value if action in ("deny", "strip") else 0
        self.model.dead_rules.discard((subject, action))

    @precondition(lambda self: self.model.initialized)
    @rule(subject=IDS | st.just(-1) | PATTERNS, action=ACTIONS)
    def remove_rule(self, subject: Any, action: str) -> None:
        keywords: dict[str, Any] = {"name": subject} if isinstance(subject, str) else {"process_id": subject}
        code = 0
        if subject == -1 and action == "ignore":
            code = constants.ERROR_INVALID_PARAMETER
        elif (subject, action) not in self.model.rules:
            code = constants.ERROR_NOT_FOUND
        self.call(code, self.process.remove_rule, action=action, **keywords)
        self.model.rules.pop((subject, action), None)

    @precondition(lambda self: self.model.initialized)
    @rule(number=IDS)
    def what_needs_a_handler(self, number: int) -> None:
        self.call(constants.ERROR_NO_CALLBACK_ACTIVE, self.process.reset_timeout, number)

    # ---- Handlers ----

    @rule(behaviour=BEHAVIOURS)
    def behave(self, behaviour: str) -> None:
        self.model.behaviour = behaviour

    def handle(self, event: Any) -> None:
        behaviour = self.model.behaviour
        self.seen.append(event.sequence)
        if "defer" in behaviour:
            self.answers.append(event.defer())
        if "refuse" in behaviour:
            event.result_code = 77
        if behaviour == "strip" and hasattr(event, "desired_access"):
            event.desired_access = event.original_desired_access & ~1
        if behaviour == "wrong value":
            with pytest.raises(CBProcessError):
                event.result_code = -1
        if "raise" in behaviour:
            raise ArithmeticError("misbehaving")

    def answer_of(self, kind: int, access: int) -> tuple[int, int]:
        """What the behaviour answers an operation that waits."""
        refusable = kind in (CREATION, HANDLE)
        if self.model.behaviour == "refuse" and refusable:
            return 77, access
        if self.model.behaviour == "strip" and kind == HANDLE:
            return 0, access & ~1
        return 0, access

    # ---- Operations ----

    def fire(self, kind: int, operation: script.Operation, creator: int, name: str, access: int = 0) -> None:
        model = self.model
        subject = operation.process_id
        outcome, code, left, told = model.decide(kind, creator, subject, name, access)
        wanted = bool(model.events & kind)
        told &= wanted
        asked = told and outcome == "ask"
        pending = self.simulator.fire_and_go_on(operation)[0]
        if asked and "defer" in model.behaviour:
            self.complete_last()
        elif told and "defer" in model.behaviour:
            # A handler of something decided may defer too; nobody waits for it, but it has to be completed.
            self.complete_last()
        verdict = pending.wait()
        self.simulator.wait()

        assert verdict.fired == told
        if told:
            model.sequence += 1
            model.delivered += 1
            assert verdict.sequence == model.sequence == self.seen[-1]
        if told and "raise" in model.behaviour:
            model.failed += 1
            assert self.errors.pop() == constants.ERROR_UNHANDLED_EXCEPTION
        if asked:
            code, left = self.answer_of(kind, access)
            assert verdict.answered
        elif outcome == "silent" or (not wanted and outcome in ("ask", "allow")):
            assert verdict.state == "silent"
        else:
            assert verdict.state == "unasked"
            assert verdict.decided_by_rule
        if outcome in ("deny", "strip") or (told and not asked):
            model.decided += 1
        assert verdict.result_code == code
        assert verdict.desired_access == left
        if code or left != access:
            model.refused += 1
        assert verdict.deferred == (told and "defer" in model.behaviour)
        if kind == CREATION and not code:
            model.executed(subject, name)
        if kind == TERMINATION:
            model.ended(subject)

    def complete_last(self) -> None:
        import time

        limit = time.monotonic() + 20
        while not self.answers:
            assert time.monotonic() < limit
            time.sleep(0.0005)
        # What is answered now takes nothing back that a handler left in the event.
        self.answers.pop().complete()

    @precondition(lambda self: self.model.active)
    @rule(process_id=IDS, creator=IDS, name=NAMES)
    def create(self, process_id: int, creator: int, name: str) -> None:
        operation = script.process_creation(
            process_id=process_id, creating_process_id=creator, process_name=name
        )
        self.fire(CREATION, operation, creator, name)

    @precondition(lambda self: self.model.active)
    @rule(process_id=IDS, creator=IDS, access=ACCESS)
    def open_process(self, process_id: int, creator: int, access: int) -> None:
        operation = script.process_handle_operation(
            process_id=process_id, originator_process_id=creator, desired_access=access
        )
        self.fire(HANDLE, operation, creator, "", access)

    @precondition(lambda self: self.model.active)
    @rule(process_id=IDS)
    def end_process(self, process_id: int) -> None:
        self.fire(TERMINATION, script.process_termination(process_id=process_id), process_id, "")

    @precondition(lambda self: self.model.active and not self.model.behaviour.startswith("defer"))
    @rule(process_id=IDS, name=NAMES)
    def expire(self, process_id: int, name: str) -> None:
        """An answer that comes after the deadline, if there is one."""
        model = self.model
        if not model.timeout:
            return
        if model.copy().decide(CREATION, 9, process_id, name, 0)[0] != "ask" or not model.events & CREATION:
            return
        model.decide(CREATION, 9, process_id, name, 0)
        operation = script.process_creation(
            process_id=process_id, creating_process_id=9, process_name=name
        ).with_steps(answer_after=60)
        verdict = self.simulator.fire(operation)[0]
        self.simulator.wait()
        model.sequence += 1
        model.delivered += 1
        model.timed_out += 1
        model.late += 1
        if "raise" in model.behaviour:
            model.failed += 1
            self.errors.pop()
        assert verdict.timed_out
        assert verdict.result_code == (constants.ERROR_TIMEOUT if model.timeout_denies else 0)
        if model.timeout_denies:
            model.refused += 1
        else:
            model.executed(process_id, name)

    @precondition(lambda self: self.model.initialized and not self.model.active)
    @rule()
    def play_while_inactive(self) -> None:
        if self.simulator._was_started:
            operation = script.process_termination(process_id=1)
            self.call(constants.ERROR_NOT_READY, self.simulator.fire_and_go_on, operation)

    # ---- What holds at any time ----

    @invariant()
    def the_counts_are_right(self) -> None:
        model = self.model
        assert self.process.active == model.active
        if not model.initialized:
            return
        counts = self.process.statistics()
        assert counts.delivered == model.delivered
        assert counts.refused == model.refused
        assert counts.decided_by_rule == model.decided
        assert counts.timed_out == model.timed_out
        assert counts.late == model.late
        assert counts.failed_in_handler == model.failed
        assert counts.lost == counts.malformed == counts.deferred == counts.queued == 0
        assert self.errors == []
        assert (counts.workers > 0) == model.active


@pytest.mark.limit(300)
def test_any_order_of_calls() -> None:
    run_state_machine_as_test(
        Machine, settings=settings(max_examples=120, stateful_step_count=40, deadline=None)
    )
