"""Rules that come and go while processes fork, execute, end and signal one another, and handlers that refuse
or take rights: a real tree against the model."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from live_tools import Programs, Recorder, is_alive, recording, wait_until
from property.rule_machine import RuleMachine
from property.rule_model import (
    CREATION,
    HANDLE,
    KINDS,
    SILENT,
    TERMINATION,
    THREAD_CREATION,
    THREAD_HANDLE,
    THREAD_TERMINATION,
    Answer,
    Image,
    Outcome,
    Process,
    Verdict,
)

import cbprocess

FILES = ["alpha", "alps", "beta"]
LINK = "link"  # to beta
PROCESS_MAX = 6
EVENTS = {kind: int(getattr(cbprocess, f"PROC_EVT_{kind.upper()}")) for kind in KINDS}
RESUME = cbprocess.PROCESS_SUSPEND_RESUME
Told = tuple[str, int, bool, int, int]  # the event, of whom, decided by a rule, its code, the rights lost


class Puppets:
    """A tree of puppets below one that a filter of its own has started."""

    def __init__(self, programs: Programs, starter: Recorder) -> None:
        self.folder = tempfile.mkdtemp(prefix="cbprocess-puppets-")
        for name in FILES:
            programs.copy("puppet", Path(self.folder, name))
        os.symlink("beta", self.path(LINK))
        self.count = 0
        self._numbers: dict[int, int] = {}  # by process id
        self._starter = starter
        self._buffer = b""

    def path(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def image(self, name: str) -> Image:
        return Image(self.path("beta" if name == LINK else name), self.path(name))

    def _new_number(self) -> int:
        self.count += 1
        os.mkfifo(self.path(str(self.count)))
        return self.count

    def start(self, name: str) -> int:
        number = self._new_number()
        command = [self.path(name), self.folder, str(number)]
        self._process = self._starter.filter.popen(command, stdout=subprocess.PIPE, bufsize=0)
        self._numbers[self._process.pid] = number
        assert self._report(number) == ("executed", self._process.pid)
        return self._process.pid

    def _tell(self, process_id: int, command: str) -> int:
        number = self._numbers[process_id]
        with open(self.path(str(number)), "w") as commands:
            commands.write(command + "\n")
        return number

    def _report(self, number: int) -> tuple[str, int]:
        """The next report, which has to be of that puppet."""
        assert self._process.stdout is not None
        while b"\n" not in self._buffer:
            assert select.select([self._process.stdout], [], [], 30)[0], "a puppet is silent"
            self._buffer += os.read(self._process.stdout.fileno(), 4096)
        line, _, self._buffer = self._buffer.partition(b"\n")
        sender, what, value = line.decode().split()
        assert int(sender) == number, line
        return what, int(value)

    def fork(self, process_id: int) -> int:
        number = self._new_number()
        self._tell(process_id, f"fork {number}")
        what, child = self._report(number)
        assert what == "forked"
        self._numbers[child] = number
        return child

    def execute(self, process_id: int, name: str) -> int:
        """0, or the errno with which the execution failed."""
        number = self._tell(process_id, f"exec {self.path(name)}")
        what, value = self._report(number)
        assert what in ("executed", "failed")
        return value if what == "failed" else 0

    def resume(self, process_id: int, other_id: int) -> int:
        """0, or the errno with which the one was not permitted to send SIGCONT to the other."""
        number = self._tell(process_id, f"resume {other_id}")
        what, value = self._report(number)
        assert what == "resumed"
        return value

    def end(self, process_id: int) -> None:
        self._tell(process_id, "exit")
        if process_id == self._process.pid:
            assert self._process.wait(timeout=30) == 0
        else:
            wait_until(lambda: not is_alive(process_id), 30, "a puppet has ended")
        del self._numbers[process_id]

    def close(self) -> None:
        for process_id in sorted(self._numbers, reverse=True):
            with contextlib.suppress(OSError):
                self.end(process_id)
        if self._process.stdout is not None:
            self._process.stdout.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class Machine(RuleMachine):
    """What the filter under test is told is compared after each operation."""

    PATTERNS = ["alpha", "al*", "*a", "*/b*", LINK, "*/li?k", "b?ta", "nothing"]
    ACTIONS = st.sampled_from(["ask", "ask", "ignore", "allow", "deny", "strip", "strip"])
    CODES = st.just(cbprocess.ERROR_ACCESS_DENIED)
    RIGHTS = st.sampled_from([RESUME, RESUME | cbprocess.PROCESS_VM_READ, cbprocess.PROCESS_VM_READ])

    def __init__(self, programs: Programs, starter: Recorder) -> None:
        self.watched = Recorder()
        super().__init__(self.watched.filter)
        self.watched.decide = self.decide
        self.answer = Answer()  # of the next handler that is asked
        self.expected: list[Told] = []
        self.filter.config("EventsToFire=-1")
        self.filter.start_filter(0)
        self.puppets = Puppets(programs, starter)

    @initialize(data=st.data(), rule_count=st.integers(0, 4), fork_count=st.integers(0, 3))
    def start(self, data: st.DataObject, rule_count: int, fork_count: int) -> None:
        root = self.model.add_process(self.puppets.start("alpha"), self.puppets.image("alpha"))
        root.executed = True
        self.prepare()
        for _ in range(rule_count):
            self.make_rule(data)
        for _ in range(fork_count):
            self.make_child(data)

    def prepare(self) -> None:
        """Rules that are there from the beginning."""

    def teardown(self) -> None:
        try:
            self.filter.stop_filter()
        finally:
            self.puppets.close()
        assert self.seen() == self.expected

    def decide(self, kind: str, event: Any) -> None:
        """Answers also where nobody has asked: that changes nothing."""
        if kind in (CREATION, HANDLE, THREAD_HANDLE):
            event.result_code = self.answer.code
        if kind in (HANDLE, THREAD_HANDLE):
            event.desired_access &= ~self.answer.taken

    # ---- What is seen ----

    def seen(self) -> list[Told]:
        events = sorted(self.watched.events, key=lambda event: event["sequence"])
        return [
            (
                event["event"],
                event["process_id"],
                event["decided_by_rule"],
                event["result_code"],
                event.get("original_desired_access", 0) & ~event.get("desired_access", 0),
            )
            for event in events
        ]

    def expect(self, kind: str, process: Process, outcome: Outcome) -> None:
        if outcome.kind != SILENT and outcome.told:
            decided = outcome.kind != "ask"
            self.expected.append((kind, process.process_id, decided, outcome.code, outcome.lost))
        wait_until(
            lambda: len(self.watched.events) >= len(self.expected), 30, f"an event more than {self.seen()}"
        )
        assert self.seen() == self.expected, self.model.rules

    def settle(self, kind: str, outcome: Outcome, access: int = 0) -> Verdict:
        return self.model.settle(kind, outcome, self.answer, access)

    @invariant()
    def every_refusal_is_counted(self) -> None:
        counts = self.filter.statistics()
        assert counts.refused == self.model.counts["refused"]
        assert counts.timed_out == counts.late == counts.lost == 0

    @rule(refuses=st.booleans(), takes=st.booleans())
    def answer_next(self, refuses: bool, takes: bool) -> None:
        """What handlers say of the next operation, if they are asked."""
        self.answer = Answer(cbprocess.ERROR_ACCESS_DENIED * refuses, RESUME * takes)

    @rule(kinds=st.sets(st.sampled_from(KINDS)), every=st.booleans())
    def choose_events(self, kinds: set[str], every: bool) -> None:
        self.model.wanted = set(KINDS) if every else kinds
        self.filter.config(f"EventsToFire={sum(EVENTS[kind] for kind in self.model.wanted)}")

    # ---- Operations ----

    def make_child(self, data: st.DataObject) -> None:
        self.do_fork(self.some(data))

    def do_fork(self, parent: Process) -> Process:
        child = self.model.fork(parent, self.puppets.fork(parent.process_id))
        outcome = self.model.first_thread(child)
        self.settle(THREAD_CREATION, outcome)
        self.expect(THREAD_CREATION, child, outcome)
        return child

    @precondition(lambda self: len(self.model.living()) < PROCESS_MAX)
    @rule(data=st.data())
    def fork(self, data: st.DataObject) -> None:
        self.make_child(data)

    @rule(data=st.data(), name=st.sampled_from([*FILES, LINK]))
    def execute(self, data: st.DataObject, name: str) -> None:
        self.do_execute(self.some(data), name)

    def do_execute(self, process: Process, name: str) -> None:
        image = self.puppets.image(name)
        outcome = self.model.execution(process, image)
        verdict = self.settle(CREATION, outcome)
        error = self.puppets.execute(process.process_id, name)
        assert (error != 0) == (verdict.code != 0)
        self.expect(CREATION, process, outcome)
        self.answer = Answer()
        if error == 0:
            self.model.execute(process, image)

    @rule(data=st.data())
    def resume(self, data: st.DataObject) -> None:
        self.do_resume(*self.some_pair(data))

    @precondition(lambda self: len(self.model.living()) < PROCESS_MAX)
    @rule(data=st.data(), names=st.lists(st.sampled_from([*FILES, LINK]), max_size=2))
    def create_and_execute(self, data: st.DataObject, names: list[str]) -> None:
        """Then asks for rights to what it has created as something else."""
        process = self.some(data)
        child = self.do_fork(process)
        for name in names:
            self.do_execute(process, name)
        self.do_resume(process, child)

    def do_resume(self, process: Process, other: Process) -> None:
        outcome = self.model.request(process, other, RESUME, aims_at_thread=False)
        verdict = self.settle(HANDLE, outcome, RESUME)
        error = self.puppets.resume(process.process_id, other.process_id)
        assert (error != 0) == (verdict.code != 0 or verdict.lost != 0), self.model.rules
        self.expect(HANDLE, other, outcome)
        self.answer = Answer()

    @precondition(lambda self: len(self.model.living()) > 1)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        process = self.model.living()[1:][
            data.draw(st.integers(0, len(self.model.living()) - 2), "which child")
        ]
        last, outcome = self.model.termination(process, THREAD_TERMINATION), self.model.termination(process)
        self.settle(THREAD_TERMINATION, last)
        self.settle(TERMINATION, outcome)
        if last.kind != SILENT:
            self.expected.append(
                (THREAD_TERMINATION, process.process_id, last.kind != "ask", last.code, last.lost)
            )
        self.puppets.end(process.process_id)
        self.expect(TERMINATION, process, outcome)
        self.model.end(process)


class ProtectingMachine(Machine):
    """Few rules, most of which protect."""

    PATTERNS = ["alpha", "*a"]
    ACTIONS = st.sampled_from(["strip", "strip", "strip", "strip", "ask", "ignore", "allow"])
    RIGHTS = st.just(RESUME)

    def prepare(self) -> None:
        self.filter.add_rule(name="alpha", action="strip", access=RESUME)
        self.model.add_rule("alpha", "strip", RESUME, False)


@pytest.fixture
def starter(programs: Programs) -> Iterator[Recorder]:
    with recording(events=0) as recorder:
        yield recorder


@pytest.mark.limit(300)
@pytest.mark.parametrize("kind", [Machine, ProtectingMachine])
def test_rules_come_and_go(programs: Programs, starter: Recorder, kind: type[Machine]) -> None:
    run_state_machine_as_test(
        lambda: kind(programs, starter),
        settings=settings(
            max_examples=40,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
