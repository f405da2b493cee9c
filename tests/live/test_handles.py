"""Each system call by which one process does something to another, against each verdict of a handler: the
caller's result, the effect on the target, and the event's fields. What is allowed goes as it does bare."""

from __future__ import annotations

import errno
import functools
import subprocess
from typing import Any, Callable

import pytest
from handle_cases import CASES, ONE_OF_EACH, Case, bits
from handle_tools import (
    ALLOWED,
    ASKED,
    Outcome,
    Verdict,
    assert_fired,
    bare,
    by_brother,
    judging,
    outcome_of,
    refused_with,
    supervised,
    watching,
    without_ids,
)
from live_tools import HANDLE_EVENTS, Programs, Recorder, compile_program, recording, wait_until

import cbprocess

CALLERS = {
    "main": (),
    "thread": ("-t",),
    "namespace": ("-n",),
    "thread-in-namespace": ("-t", "-n"),
    "32-bit": (),
}
# Every case from two kinds of callers, one of each system call from the others as well.
CALLERS_OF_ALL = ("main", "thread-in-namespace")
VARIANTS = [
    pytest.param(name, caller, id=f"{name}-{caller}")
    for name in CASES
    for caller in CALLERS
    if caller in CALLERS_OF_ALL or name in ONE_OF_EACH
]
REFUSALS = [
    (cbprocess.ERROR_ACCESS_DENIED, errno.EACCES),
    (cbprocess.ERROR_NOT_ENOUGH_MEMORY, errno.ENOMEM),
]

Lines = Callable[[str, str], list[str]]
Judged = tuple[Recorder, list[Verdict]]


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The program `handles` for 32 bits."""
    program = tmp_path_factory.mktemp("narrow") / "handles"
    if compile_program("handles.c", program, "-m32").returncode != 0:
        pytest.skip("the C compiler makes no 32-bit programs here")
    if subprocess.run([program, "kill", "0"], stdout=subprocess.DEVNULL, timeout=30).returncode != 0:
        pytest.skip("the system runs no 32-bit programs")
    return str(program)


@pytest.fixture(scope="module")
def line_of(programs: Programs, request: pytest.FixtureRequest) -> Lines:
    """The command line of a case, by its name and the caller's kind."""

    def line(name: str, caller: str) -> list[str]:
        program = request.getfixturevalue("narrow") if caller == "32-bit" else programs["handles"]
        return [program, *CALLERS[caller], *CASES[name].command]

    return line


@pytest.fixture(scope="module")
def bare_outcome(line_of: Lines) -> Callable[[str, str], Outcome]:
    """How a case goes without a filter; run once for all tests."""
    return functools.cache(lambda name, caller: bare(line_of(name, caller)))


def when_allowed(case: Case, outcome: Outcome) -> Outcome:
    """What is seen under the filter of a call that goes thus without it."""
    if case.call == "ptrace":  # the target is traced already: by the helper
        return refused_with(errno.EPERM, case)
    return without_ids(outcome)


def check_allowed(case: Case, judged: Judged, line: list[str], expected: Outcome) -> None:
    recorder, verdicts = judged
    verdicts.append(ALLOWED)
    outcome = supervised(recorder, line)
    assert without_ids(outcome) == expected
    assert_fired(recorder, case, outcome, result_code=0, **ASKED)


def check_stripped(case: Case, judged: Judged, line: list[str]) -> None:
    recorder, verdicts = judged
    for right in bits(case.access):
        verdicts.append(Verdict(strip=right))
        outcome = supervised(recorder, line)
        assert without_ids(outcome) == refused_with(errno.EPERM, case), hex(right)
        assert_fired(recorder, case, outcome, **ASKED)


def check_refused(case: Case, judged: Judged, line: list[str]) -> None:
    recorder, verdicts = judged
    for code, number in REFUSALS:
        verdicts.append(Verdict(code=code))
        outcome = supervised(recorder, line)
        assert without_ids(outcome) == refused_with(number, case)
        assert_fired(recorder, case, outcome, **ASKED)


def check_rule(case: Case, judged: Judged, line: list[str]) -> None:
    recorder, verdicts = judged
    verdicts.append(Verdict(code=cbprocess.ERROR_NOT_ENOUGH_MEMORY))  # nobody is asked, so nobody says so
    recorder.filter.add_rule(name="handles", action="strip", access=case.process_rights)
    outcome = supervised(recorder, by_brother(line))
    assert without_ids(outcome) == refused_with(errno.EPERM, case)
    wait_until(lambda: len(recorder.handle_operations()) >= case.target_count, 10, "the events")
    assert_fired(recorder, case, outcome, 0, held=False, decided_by_rule=True, timed_out=False)


@pytest.mark.parametrize(("name", "caller"), VARIANTS)
def test_verdicts(name: str, caller: str, line_of: Lines, bare_outcome: Any) -> None:
    """What no handler objects to goes as without a filter. Without any single one of its rights the call
    fails with EPERM and does nothing; a result code becomes its errno. A rule takes rights away without
    asking anybody, and the event tells of it afterwards."""
    case, line = CASES[name], line_of(name, caller)
    with judging() as judged:
        check_allowed(case, judged, line, when_allowed(case, bare_outcome(name, caller)))
        check_stripped(case, judged, line)
        check_refused(case, judged, line)
        check_rule(case, judged, line)
        assert judged[0].errors == [] and judged[0].filter.statistics().timed_out == 0


@pytest.mark.parametrize("name", CASES)
def test_strip_rule_without_handlers(name: str, line_of: Lines, bare_outcome: Any) -> None:
    """The rule is in force where no handle event is asked for; nothing is told, and where nobody is
    protected the call goes as without a filter."""
    case = CASES[name]
    with recording(events=cbprocess.PROC_EVT_PROCESS_CREATION) as recorder:
        # With this one every program that is started gets a filter.
        recorder.filter.add_rule(name="nobody", action="strip", access=case.process_rights)
        recorder.filter.add_rule(name="handles", action="strip", access=case.process_rights)
        outcome = supervised(recorder, by_brother(line_of(name, "main")))
        assert without_ids(outcome) == refused_with(errno.EPERM, case)
        recorder.filter.remove_rule(name="handles", action="strip")
        outcome = supervised(recorder, by_brother(line_of(name, "main")))
        assert without_ids(outcome) == when_allowed(case, bare_outcome(name, "main"))
        assert recorder.handle_operations() == []


@pytest.mark.parametrize("name", CASES)
def test_protected_process_and_its_children(name: str, line_of: Lines, bare_outcome: Any) -> None:
    """A protected process keeps its rights to those whom it has created, protected or not; handlers are asked
    as ever."""
    case = CASES[name]
    if case.command[-1] == "user":
        pytest.skip("it reaches the namespace's first process as well, who is no child of the caller's")
    with judging() as (recorder, verdicts):
        recorder.filter.add_rule(name="handles", action="strip", access=case.process_rights)
        outcome = supervised(recorder, line_of(name, "main"))
        assert without_ids(outcome) == when_allowed(case, bare_outcome(name, "main"))
        assert_fired(recorder, case, outcome, **ASKED)
        verdicts.append(Verdict(code=cbprocess.ERROR_NOT_ENOUGH_MEMORY))
        assert without_ids(supervised(recorder, line_of(name, "main"))) == refused_with(errno.ENOMEM, case)


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_a_rule_about_other_rights(name: str, line_of: Lines, bare_outcome: Any) -> None:
    """A right that a call does not ask for is nothing that it could miss."""
    case = CASES[name]
    with watching() as recorder:
        others = 0x101FFF & ~case.process_rights
        recorder.filter.add_rule(name="handles", action="strip", access=others)
        outcome = supervised(recorder, line_of(name, "main"))
        assert without_ids(outcome) == when_allowed(case, bare_outcome(name, "main"))
        wait_until(lambda: recorder.handle_operations(), 10, "the events")
        assert_fired(recorder, case, outcome)


@pytest.mark.parametrize("caller", ["main", "thread-in-namespace"])
def test_deadline(caller: str, line_of: Lines, bare_outcome: Any) -> None:
    """An operation whose handler does not answer in time goes on as without a filter."""
    bare_outcome(next(iter(CASES)), caller)  # skips where there are no namespaces
    answers: list[Any] = []

    def decide(kind: str, event: Any) -> None:
        if kind in HANDLE_EVENTS:
            answers.append(event.defer())

    with watching(timeout_ms=3000, decide=decide) as recorder:
        running = {
            name: recorder.filter.popen(line_of(name, caller), stdout=subprocess.PIPE, text=True)
            for name in CASES
        }
        found = {
            name: (process.communicate(timeout=60)[0], process.returncode)
            for name, process in running.items()
        }
        assert recorder.filter.statistics().timed_out >= len(CASES)
        for answer in answers:
            with pytest.raises(cbprocess.CBProcessError) as raised:
                answer.complete(result_code=cbprocess.ERROR_ACCESS_DENIED)
            assert raised.value.code == cbprocess.ERROR_TIMEOUT
    for name, (text, status) in found.items():
        outcome = without_ids(outcome_of(text, status))
        assert (name, outcome) == (name, when_allowed(CASES[name], bare_outcome(name, caller)))
