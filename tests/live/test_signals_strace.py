"""The signals that a tree's processes send one another are those that strace reports for the same command:
the same senders, targets and kinds, in the same order, none missing, none extra."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import strace_signals
import supervised
from handle_cases import PROCESS, SIGNALS, THREAD, thread_rights
from live_tools import HANDLE_EVENTS, PROGRAMS, Programs
from strace_signals import OUTSIDE, Sending, Target

from cbprocess import PROCESS_TERMINATE, ProcessAccess, ThreadAccess

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")

RIGHTS = dict(SIGNALS.values())
SCRIPT = """
sleep 71 & first=$!
sleep 72 & second=$!
kill -0 $first; kill -STOP $first; kill -CONT $first
kill -TERM $first; wait $first; echo $?
kill -9 $second; wait $second; echo $?
kill -0 $first 2>/dev/null || echo gone
"""
TRAPS = """
trap 'echo parent; kill -TERM $child' USR1
sleep 73 & child=$!
sh -c 'kill -USR1 $PPID'
wait $child; wait $child; echo $?
"""
# What bg does depends on whether bash knows yet that the job has stopped: it waits until it does, by nothing
# that forks.
JOBS = """
set -m; list=$(mktemp)
sleep 74 & sleep 75 | sleep 75 &
kill -STOP %1; kill -STOP %2; kill -0 %1
until jobs -s >"$list"; mapfile -t lines <"$list"; [[ ${#lines[@]} = 2 ]]; do :; done
rm "$list"
bg %1 >/dev/null; kill -CONT %2
kill %1; wait %1; kill -KILL %2; wait
echo done
"""
CASES: dict[str, list[str]] = {
    "traps": ["sh", "-c", TRAPS],
    "script": ["sh", "-c", SCRIPT],
    "timeout": ["timeout", "0.3", "sleep", "76"],
    "timeout-kill": ["timeout", "-s", "KILL", "0.3", "sleep", "77"],
    "timeout-of-a-tree": ["timeout", "1", "sh", "-c", "sleep 78 & sleep 79; exit 5"],
    "timeout-in-the-foreground": ["timeout", "--foreground", "-k", "20", "0.3", "sleep", "80"],
    "timeout-in-time": ["timeout", "20", "true"],
    "job-control": ["bash", "-c", JOBS],
    "python-processes": [sys.executable, str(PROGRAMS / "workers.py"), "processes"],
    "python-group": [sys.executable, str(PROGRAMS / "workers.py"), "group"],
    "python-pidfds": [sys.executable, str(PROGRAMS / "workers.py"), "handles"],
    "python-parent": [sys.executable, str(PROGRAMS / "workers.py"), "parent"],
    "xargs": ["sh", "-c", "sleep 81 & first=$!; sleep 82 & echo $first $! | xargs -n 1 kill; wait"],
}

Fired = tuple[Target, int]


def fired(events: Sequence[supervised.Event]) -> dict[tuple[int, ...], list[Fired]]:
    """What each process of a run has done to others: to whom, and the rights that it asked for."""
    root = supervised.tree(events)
    names = strace_signals.places(root)
    numbers = {process.process_id: names[id(process)] for process in root.walk()}
    assert len(numbers) == len(names), "a process id was used again"
    found: dict[tuple[int, ...], list[Fired]] = {}
    for event in events:
        if event["event"] in HANDLE_EVENTS and rights_told(event) in known_rights(event):
            target = Target(numbers.get(event["process_id"], OUTSIDE), event["event"] == THREAD)
            row = (target, rights_told(event))
            found.setdefault(numbers[event["originator_process_id"]], []).append(row)
    return found


def rights_told(event: supervised.Event) -> int:
    """The rights that a record tells by their names."""
    names = ProcessAccess if event["event"] == PROCESS else ThreadAccess
    return sum(int(names[name.upper()]) for name in event["original_desired_access"])


def known_rights(event: supervised.Event) -> set[int]:
    """The rights that signals ask for; other handle operations ask for others."""
    rights = set(RIGHTS.values())
    return rights if event["event"] == PROCESS else {thread_rights(right) for right in rights}


def rights_of(sending: Sending, is_thread: bool) -> int:
    right = RIGHTS.get(sending.number, PROCESS_TERMINATE)
    return thread_rights(right) if is_thread else right


def assert_sent(actual: list[Fired], expected: list[Sending], sender: tuple[int, ...]) -> None:
    """Holds the events of one sender against its calls, in order; a call for several fires in any order."""
    rest = list(actual)
    for sending in expected:
        allowed = {
            (target, rights_of(sending, target.is_thread)) for target in sending.certain + sending.possible
        }
        needed = {(target, rights_of(sending, target.is_thread)) for target in sending.certain}
        taken: set[Fired] = set()
        while rest and rest[0] in allowed - taken and (len(allowed) > 1 or not taken):
            taken.add(rest.pop(0))
        assert needed <= taken, f"{sender} sent {sending}, of which {actual} lacks {needed - taken}"
    assert not rest, f"{sender} fired {rest} more than it sent: {expected}"


@pytest.mark.parametrize("name", CASES)
def test_same_signals_as_strace(
    name: str, programs: Programs, environment: dict[str, str], tmp_path: Path
) -> None:
    command = CASES[name]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    output, bare = strace_signals.trace(command, tmp_path / "strace", env=environment)
    sent = strace_signals.parse(output)
    assert sent or name == "timeout-in-time", "the program sends no signals, so this compares nothing"
    events, done = supervised.run(command, tmp_path / "events", "--events", "all", env=environment)
    expected_status = bare.returncode if bare.returncode >= 0 else 128 - bare.returncode
    assert (done.returncode, done.stdout) == (expected_status, bare.stdout)
    found = fired(events)
    assert set(found) <= set(sent), f"processes that sent nothing: {set(found) - set(sent)}"
    for sender, sendings in sent.items():
        assert_sent(found.get(sender, []), sendings, sender)
