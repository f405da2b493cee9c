"""What the tests of handle operations share: running `handles`, deciding about what it does, and what has to
have been fired. Knows the public Python surface only."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pytest
from handle_cases import PROCESS, Case
from live_tools import HANDLE_EVENTS, Recorder, recording, run_checked, tasks

import cbprocess

UNSUPPORTED = 98
Outcome = dict[str, Any]


class Verdict(NamedTuple):
    """What a handler does to an operation."""

    strip: int = 0
    code: int = 0


ALLOWED = Verdict()


@contextlib.contextmanager
def judging(*settings: str, **options: Any) -> Iterator[tuple[Recorder, list[Verdict]]]:
    """A started recorder and a list whose last verdict is what handle operations get."""
    verdicts = [ALLOWED]

    def decide(kind: str, event: Any) -> None:
        if kind in HANDLE_EVENTS and not event.decided_by_rule:
            strip, code = verdicts[-1]
            if strip:
                event.desired_access = event.desired_access & ~strip
            if code:
                event.result_code = code

    with watching(*settings, decide=decide, **options) as recorder:
        yield recorder, verdicts


def watching(*settings: str, **options: Any) -> contextlib.AbstractContextManager[Recorder]:
    """A started recorder of everything."""
    return recording(*settings, events=cbprocess.PROC_EVT_ALL, **options)


def outcome_of(text: str, status: int) -> Outcome:
    if status == UNSUPPORTED:
        pytest.skip("this system has not what the call needs: PID namespaces, or pidfds of threads")
    assert status == 0, (status, text)
    outcome: Outcome = json.loads(text.splitlines()[-1])
    return outcome


def bare(line: Sequence[str], **options: Any) -> Outcome:
    """How it goes without a filter."""
    done = subprocess.run(line, stdout=subprocess.PIPE, text=True, timeout=30, **options)
    return outcome_of(done.stdout, done.returncode)


def supervised(recorder: Recorder, line: Sequence[str], **options: Any) -> Outcome:
    """How it goes under the filter, the recorder's events being this run's alone."""
    del recorder.events[:]
    status, output, errors = run_checked(recorder, list(line), **options)
    assert errors == "", errors
    return outcome_of(output, status)


def targets_of(process_id: int) -> list[int]:
    """The targets of a run of `handles`: the youngest generation under this process."""
    parents = {task.process_id: task.parent for task in tasks()}
    generation = [process_id]
    while True:
        younger = [child for child, parent in parents.items() if parent in generation]
        if not younger:
            return generation
        generation = younger


def by_brother(line: list[str]) -> list[str]:
    """The call is made by a process that is no ancestor of the target, which a rule protects from it."""
    return [line[0], "-o", *line[1:]]


def without_ids(outcome: Outcome) -> Outcome:
    return {key: value for key, value in outcome.items() if key in ("result", "errno", "got", "fates")}


def refused_with(number: int, case: Case) -> Outcome:
    """An outcome whose call has failed and done nothing."""
    return {"result": -1, "errno": number, "got": 0, "fates": [["running"]] * case.target_count}


def expected_rows(case: Case, outcome: Outcome, desired_access: int) -> list[dict[str, Any]]:
    """The events of one call, in the order of their targets' ids."""
    processes = [shown[0] for shown in outcome["targets"]]
    # Calls for many may reach the targets' creator, too, and the first process of their namespace.
    if case.call == "kill-all" or case.command[-1] == "user":
        processes += [outcome["creator"]] if outcome["creator"] else []
    if case.command[-1] == "user":
        processes.append(outcome["first"])
    rows = []
    for process_id in sorted(processes):
        row = {
            "event": case.kind,
            "process_id": process_id,
            "originator_process_id": outcome["process"],
            "originator_thread_id": outcome["thread"],
            "duplication": case.duplication,
            "original_desired_access": case.access,
            "desired_access": desired_access,
        }
        if case.kind != PROCESS:
            row["thread_id"] = outcome["targets"][0][1 if case.aims_at_thread else 0]
        if case.duplication:
            row.update(source_process_id=process_id, target_process_id=outcome["process"])
        rows.append(row)
    return rows


def assert_fired(
    recorder: Recorder, case: Case, outcome: Outcome, desired_access: int | None = None, **more: Any
) -> None:
    """The run has fired the events of its one call and no other handle events; `more` are further fields."""
    access = case.access if desired_access is None else desired_access
    expected = [{**row, **more} for row in expected_rows(case, outcome, access)]
    found = sorted(recorder.handle_operations(), key=lambda event: event["process_id"])
    shown = [{key: event[key] for key in row if key in event} for event, row in zip(found, expected)]
    assert (shown, len(found)) == (expected, len(expected)), found


ASKED = {"held": True, "refusable": True, "decided_by_rule": False, "timed_out": False}
HANDLE_CAPABILITIES = (
    cbprocess.CAP_SEE_PROCESS_HANDLE
    | cbprocess.CAP_HOLD_PROCESS_HANDLE
    | cbprocess.CAP_STRIP_PROCESS_HANDLE
    | cbprocess.CAP_SEE_THREAD_HANDLE
    | cbprocess.CAP_HOLD_THREAD_HANDLE
    | cbprocess.CAP_STRIP_THREAD_HANDLE
)
