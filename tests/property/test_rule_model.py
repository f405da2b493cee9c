"""Rules that come and go while processes fork, execute, end and ask for rights to one another, and handlers
that refuse, take rights or are late: the simulated driver against the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from contract.stages import wait_for
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from property.rule_machine import RuleMachine
from property.rule_model import (
    ALLOW,
    ASK,
    CREATION,
    DENY,
    HANDLE,
    KINDS,
    SILENT,
    STRIP,
    TERMINATION,
    THREAD_CREATION,
    THREAD_HANDLE,
    THREAD_TERMINATION,
    Answer,
    Image,
    Outcome,
    Process,
)

from cbprocess import CBProcess, constants, script
from cbprocess.testing import Simulator

IMAGES = st.sampled_from(
    [
        Image("/bin/alpha", "/bin/alpha"),
        Image("/bin/alps", "alps"),
        Image("/usr/bin/beta", "./link"),
        Image("/opt/é*[x]", "/opt/é*[x]"),
    ]
)
IDS = range(2, 8)
EVENTS = {kind: int(getattr(constants, f"PROC_EVT_{kind.upper()}")) for kind in KINDS}
ANSWERABLE = (CREATION, HANDLE, THREAD_HANDLE)
# By the script's clock. What is real goes on with it: far from the deadline on either side.
TIMEOUT_MS = 60000
IN_TIME_S, LATE_S = 1, 200

ACCESS = st.integers(0, 0x1FFF).map(lambda bits: bits | constants.PROCESS_SYNCHRONIZE * (bits & 1))


class Machine(RuleMachine):
    PATTERNS = ["alpha", "al*", "*a", "/bin/*", "link", "./*", "b?ta", "?*x?", "/opt/?*", "nothing"]
    ACTIONS = st.sampled_from(["ask", "ask", "ignore", "allow", "deny", "strip"])
    CODES = st.integers(2, 9)
    RIGHTS = st.sampled_from(
        [
            constants.PROCESS_TERMINATE,
            constants.PROCESS_TERMINATE | constants.PROCESS_SUSPEND_RESUME,
            constants.PROCESS_VM_READ | constants.PROCESS_VM_OPERATION,
            0xFFFFFFFF,
        ]
    )

    def __init__(self, own: Any = None) -> None:
        super().__init__(own or CBProcess())
        self.simulator: Any = None
        self.answer = Answer()  # of the next handler
        self.moves_deadline = False

    @initialize(data=st.data(), image=IMAGES, rule_count=st.integers(0, 5), fork_count=st.integers(0, 5))
    def start(self, data: st.DataObject, image: Image, rule_count: int, fork_count: int) -> None:
        self.prepare(image)
        for _ in range(rule_count):
            self.make_rule(data)
        for _ in range(fork_count):
            self.make_child(data)

    def prepare(self, image: Image) -> None:
        """Starts the filter, and a first process."""
        self.simulator = self.connect()
        for kind in KINDS:
            setattr(self.filter, f"on_{kind}", self.make_handler(kind))
        self.filter.config("EventsToFire=-1")
        self.simulator.start()
        root = self.model.add_process(1, image)
        self.fire(CREATION, self.creation(root, root, image), Outcome(SILENT))
        self.model.execute(root, image)

    def connect(self) -> Any:
        """Gives what plays operations for the filter."""
        self.filter.initialize("{0E6F2E4A-5E0B-4E67-8E60-6F4C5B0D6A31}")
        return Simulator(self.filter, TIMEOUT_MS)

    def make_handler(self, kind: str) -> Callable[[Any], None]:
        def handle(event: Any) -> None:
            """Answers also where nobody has asked: that changes nothing."""
            if self.moves_deadline:
                self.filter.reset_timeout(0)
            if kind in ANSWERABLE:
                event.result_code = self.answer.code
            if kind in (HANDLE, THREAD_HANDLE):
                event.desired_access &= ~self.answer.taken

        return handle

    def teardown(self) -> None:
        if self.simulator is not None:
            self.simulator.close()

    # ---- Operations ----

    @staticmethod
    def creation(process: Process, creator: Process, image: Image) -> script.Operation:
        return script.process_creation(
            process_id=process.process_id,
            creating_process_id=creator.process_id,
            process_name=image.path,
            image_file_name=image.given,
        )

    def fire(self, kind: str, operation: script.Operation, outcome: Outcome, access: int = 0) -> int:
        """The code with which it is refused."""
        wanted = self.model.settle(kind, outcome, self.answer, access)
        delay_s = LATE_S if self.answer.is_late or self.moves_deadline else IN_TIME_S
        verdict = self.simulator.fire(operation.with_steps(answer_after=delay_s))[0]
        assert verdict.fired == (outcome.kind != SILENT and outcome.told), (outcome, self.model.rules)
        assert verdict.decided_by_rule == (outcome.kind in (ALLOW, DENY, STRIP))
        assert (verdict.answered, verdict.timed_out) == (wanted.answered, wanted.timed_out)
        assert verdict.result_code == wanted.code
        assert verdict.desired_access == access & ~wanted.lost, (outcome, self.model.rules)
        self.answer, self.moves_deadline = Answer(), False
        return wanted.code

    @invariant()
    def everything_is_counted(self) -> None:
        # An answer is counted as late a moment after its operation has gone on without it.
        wait_for(lambda: self.filter.statistics().late >= self.model.counts["late"])
        counts = self.filter.statistics()
        assert {name: getattr(counts, name) for name in self.model.counts} == self.model.counts

    @rule(
        code=st.sampled_from([0, 0, 5, 1000]),
        taken=ACCESS,
        when=st.sampled_from(["in time", "in time", "late", "moved"]),
    )
    def answer_next(self, code: int, taken: int, when: str) -> None:
        """What the handler says of the next operation, if it is asked."""
        self.answer, self.moves_deadline = Answer(code, taken, when == "late"), when == "moved"

    @rule(kinds=st.sets(st.sampled_from(KINDS)), every=st.booleans())
    def choose_events(self, kinds: set[str], every: bool) -> None:
        self.model.wanted = set(KINDS) if every else kinds
        self.filter.config(f"EventsToFire={sum(EVENTS[kind] for kind in self.model.wanted)}")

    @rule(refuse=st.booleans())
    def choose_what_deadlines_do(self, refuse: bool) -> None:
        self.model.deadlines_refuse = refuse
        self.filter.config(f"TimeoutAction={'deny' if refuse else 'allow'}")

    def free_ids(self) -> list[int]:
        return [number for number in IDS if all(p.process_id != number for p in self.model.living())]

    def do_fork(self, parent: Process, number: int) -> Process:
        operation = script.thread_creation(
            process_id=number, thread_id=number, creating_process_id=parent.process_id
        )
        child = self.model.fork(parent, number)
        self.fire(THREAD_CREATION, operation, self.model.first_thread(child))
        return child

    def do_execute(self, process: Process, image: Image, fails: bool = False) -> None:
        creator = process if process.executed or process.parent is None else process.parent
        outcome = self.model.execution(process, image)
        operation = self.creation(process, creator, image).with_steps(fails_after=fails)
        if not self.fire(CREATION, operation, outcome) and not fails:
            self.model.execute(process, image)

    def do_request(self, originator: Process, subject: Process, access: int, aims_at_thread: bool) -> None:
        outcome = self.model.request(originator, subject, access, aims_at_thread)
        whom = {"process_id": subject.process_id, "originator_process_id": originator.process_id}
        if aims_at_thread:
            thread = {"thread_id": subject.process_id, **whom}
            operation = script.thread_handle_operation(desired_access=access, **thread)
        else:
            operation = script.process_handle_operation(desired_access=access, **whom)
        self.fire(THREAD_HANDLE if aims_at_thread else HANDLE, operation, outcome, access)

    def do_end(self, process: Process) -> None:
        own, thread = {"process_id": process.process_id}, {"thread_id": process.process_id}
        last = self.model.termination(process, THREAD_TERMINATION)
        self.fire(THREAD_TERMINATION, script.thread_termination(**own, **thread), last)
        self.fire(TERMINATION, script.process_termination(**own), self.model.termination(process))
        self.model.end(process)

    def make_child(self, data: st.DataObject) -> None:
        parent = self.some(data)
        self.do_fork(parent, data.draw(st.sampled_from(self.free_ids()), "id"))

    @precondition(lambda self: self.free_ids())
    @rule(data=st.data())
    def fork(self, data: st.DataObject) -> None:
        self.make_child(data)

    @rule(data=st.data(), image=IMAGES, fails=st.sampled_from([False, False, False, True]))
    def execute(self, data: st.DataObject, image: Image, fails: bool) -> None:
        process = self.some(data)
        # A script names processes by their ids, which may be another's once the creator has ended.
        if process.executed or process.parent is None or process.parent.alive:
            self.do_execute(process, image, fails)

    @precondition(lambda self: self.free_ids())
    @rule(data=st.data(), images=st.lists(IMAGES, max_size=2), access=ACCESS)
    def create_and_execute(self, data: st.DataObject, images: list[Image], access: int) -> None:
        """Then asks for rights to what it has created as something else."""
        process = self.some(data)
        child = self.do_fork(process, data.draw(st.sampled_from(self.free_ids()), "id"))
        for image in images:
            if process.executed or process.parent is None or process.parent.alive:
                self.do_execute(process, image)
        self.do_request(process, child, access, False)

    @rule(data=st.data(), access=ACCESS, aims_at_thread=st.booleans())
    def request(self, data: st.DataObject, access: int, aims_at_thread: bool) -> None:
        self.do_request(*self.some_pair(data), access, aims_at_thread)

    @precondition(lambda self: len(self.model.living()) > 1)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        self.do_end(self.some(data))


class ProtectingMachine(Machine):
    """Few rules, most of which protect, and against the same."""

    PATTERNS = ["alpha", "*a"]
    ACTIONS = st.sampled_from(["strip", "strip", "strip", "strip", "ask", "ignore", "allow"])
    RIGHTS = st.sampled_from([constants.PROCESS_TERMINATE, 0xFFFFFFFF])

    def prepare(self, image: Image) -> None:
        super().prepare(image)
        self.filter.add_rule(name="alpha", action="strip", access=constants.PROCESS_TERMINATE)
        self.model.add_rule("alpha", "strip", constants.PROCESS_TERMINATE, False)


class CrowdedMachine(Machine):
    """Among so many other rules that the driver has them in two parts; the others match nothing."""

    OTHERS = 1030

    def prepare(self, image: Image) -> None:
        self.count = self.changed = 0
        self.add_others(self.OTHERS)
        super().prepare(image)

    def add_others(self, count: int) -> None:
        for number in range(self.count, self.count + count):
            self.filter.add_rule(name=f"no-program-{number}", action="deny")
        self.count += count

    @rule()
    def change_the_main_part(self) -> None:
        self.filter.remove_rule(name=f"no-program-{self.changed}", action="deny")
        self.filter.add_rule(name=f"no-program-{self.changed}", action="deny")
        self.changed += 1

    @rule()
    def overflow_the_rest(self) -> None:
        self.add_others(129)


@pytest.fixture
def machine() -> Iterator[Machine]:
    made = Machine()
    made.prepare(Image("/bin/alpha", "/bin/alpha"))
    yield made
    made.teardown()


def test_who_executes_in_its_own_place_is_asked_as_what_it_still_is(machine: Machine) -> None:
    """A rule for the old program covers the execution that ends it, and nothing after."""
    machine.filter.add_rule(name="alpha")
    machine.model.add_rule("alpha", "ask", 0, False)
    root, image = machine.model.living()[0], Image("/bin/beta", "/bin/beta")
    assert machine.model.execution(root, image) == Outcome(ASK)
    machine.do_execute(root, image)
    assert machine.model.termination(root) == Outcome(SILENT)
    machine.do_end(root)


def test_descendants_of_what_has_ended(machine: Machine) -> None:
    """A rule with children reaches who lives now, also by an ancestor that has ended."""
    root, image = machine.model.living()[0], Image("/bin/beta", "/bin/beta")
    child = machine.do_fork(root, 2)
    machine.do_execute(child, image)
    machine.do_end(root)
    machine.filter.add_rule(name="alpha", include_children=True)
    machine.model.add_rule("alpha", "ask", 0, True)
    assert machine.model.termination(child) == Outcome(ASK)
    machine.do_end(child)


def test_who_fails_to_execute_is_what_it_was(machine: Machine) -> None:
    """It keeps its name, and as a protected creator its rights."""
    machine.filter.add_rule(name="alpha", action="strip", access=constants.PROCESS_TERMINATE)
    machine.model.add_rule("alpha", "strip", constants.PROCESS_TERMINATE, False)
    root = machine.model.living()[0]
    child = machine.do_fork(root, 2)
    machine.do_execute(root, Image("/bin/beta", "/bin/beta"), fails=True)
    assert machine.model.request(root, child, constants.PROCESS_TERMINATE, False).lost == 0
    machine.do_request(root, child, constants.PROCESS_TERMINATE, False)
    machine.do_request(child, root, constants.PROCESS_TERMINATE, False)


def test_a_name_of_the_own_choice_permits_no_descendants(machine: Machine) -> None:
    """A rule that allows is for the file's own path, also where it comes later and reaches down."""
    root, image = machine.model.living()[0], Image("/usr/bin/beta", "./alpha")
    machine.do_execute(root, image)
    machine.do_fork(root, 2)
    for action in ("ask", "allow"):
        subject = "*" if action == "ask" else "alpha"
        machine.filter.add_rule(name=subject, action=action, include_children=True)
        machine.model.add_rule(subject, action, 0, True)
    child = machine.model.living()[1]
    assert machine.model.termination(child) == Outcome(ASK)
    machine.do_end(child)


def test_a_rule_waits_for_its_process(machine: Machine) -> None:
    """And is for no other that has the id later."""
    machine.filter.add_rule(process_id=2, action="deny", code=5)
    root, image = machine.model.living()[0], Image("/usr/bin/beta", "./link")
    for code in (5, 0):
        child = Process(2, image, root)
        assert machine.simulator.fire(machine.creation(child, root, image))[0].result_code == code
        machine.simulator.fire(script.process_termination(process_id=2))


@pytest.mark.parametrize("children", [False, True])
def test_a_rule_for_descendants_stays_when_its_process_s_id_is_given_out_again(
    machine: Machine, children: bool
) -> None:
    """A rule for the next process with the id is one more rule, and is the first that a removal takes out."""
    root = machine.model.living()[0]

    def protect(process: Process, include_children: bool) -> None:
        whom = {"process_id": process.process_id, "include_children": include_children}
        machine.filter.add_rule(action="strip", access=constants.PROCESS_TERMINATE, **whom)
        machine.model.add_rule(process, "strip", constants.PROCESS_TERMINATE, include_children)

    first = machine.do_fork(root, 2)
    protect(first, True)
    child = machine.do_fork(first, 3)
    machine.do_end(first)
    protect(machine.do_fork(root, 2), children)
    for lost in (constants.PROCESS_TERMINATE, 0):
        machine.filter.remove_rule(process_id=2, action="strip")
        machine.model.drop_rule(machine.model.find_rule(2, "strip"))
        assert machine.model.request(root, child, constants.PROCESS_TERMINATE, False).lost == lost
        machine.do_request(root, child, constants.PROCESS_TERMINATE, False)


@pytest.mark.limit(300)
def test_rules_come_and_go() -> None:
    run_state_machine_as_test(
        Machine, settings=settings(max_examples=250, stateful_step_count=50, deadline=None)
    )


@pytest.mark.limit(300)
def test_rules_that_protect_come_and_go() -> None:
    run_state_machine_as_test(
        ProtectingMachine, settings=settings(max_examples=150, stateful_step_count=50, deadline=None)
    )


@pytest.mark.limit(300)
def test_rules_come_and_go_in_two_parts() -> None:
    run_state_machine_as_test(
        CrowdedMachine, settings=settings(max_examples=40, stateful_step_count=50, deadline=None)
    )
