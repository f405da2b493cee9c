"""The bpf driver, which observes the whole machine, and strace, which follows one tree, see the same run: the
same processes, argument lists, threads and ends, and each in the order in which it happened."""

from __future__ import annotations

import functools
import os
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import ours
import pytest
import strace_oracle
import supervised
from attempts import attempt_of
from live_tools import SYSTEM_PATH, Programs
from process_tree import assert_equal
from test_equality import CASES, needs_strace

# The search of PATH is left to strace: it fails where no program is, and only what is executed is observed
# here.
TREES = sorted(CASES)


class Run(NamedTuple):
    output: str
    done: subprocess.CompletedProcess[bytes]

    @property
    def root(self) -> int:
        return int(self.output.split(None, 1)[0])


class Runs(NamedTuple):
    events: list[ours.Event]
    of: dict[str, Run]


@pytest.fixture(scope="module")
def runs_of(
    driver: None, programs: Programs, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[int], Runs]:
    """For each attempt at a test, made once: every case under strace, one after the other, while one monitor
    observes the machine."""

    @functools.cache
    def observe(attempt: int) -> Runs:
        folder = tmp_path_factory.mktemp("trees")
        path = os.pathsep.join(["/nowhere", "/etc", str(programs.folder), SYSTEM_PATH])
        environment = {"PATH": path, "LC_ALL": "C", "HOME": str(folder)}
        made: dict[str, Run] = {}
        with ours.monitoring(folder / "events") as monitor:
            for name in TREES:
                place = folder / name
                place.mkdir()
                command = CASES[name](programs, place)
                made[name] = Run(*strace_oracle.trace(command, place / "strace", cwd=place, env=environment))
            events, words = monitor.stop()
        ours.assert_nothing_lost(events, words)
        return Runs(events, made)

    return observe


@pytest.fixture
def runs(runs_of: Callable[[int], Runs], request: pytest.FixtureRequest) -> Runs:
    return runs_of(attempt_of(request))


def subtree(events: Iterable[ours.Event], root: int) -> list[ours.Event]:
    """What was told of the process with that id and its descendants, numbered anew. The id may be another
    process's before, and later."""
    inside: set[tuple[int, int]] = set()
    latest: dict[int, tuple[int, int]] = {}
    found: list[ours.Event] = []
    for event in events:
        key = (event["process_id"], event["start_time"])
        if key not in inside and "creating_process_id" in event:
            creator = latest.get(event["creating_process_id"])
            if creator in inside or (not inside and event["process_id"] == root):
                inside.add(key)
        latest[event["process_id"]] = key
        if key in inside:
            found.append({**event, "sequence": len(found)})
    return found


@needs_strace
@pytest.mark.limit(600)
@pytest.mark.parametrize("name", TREES)
def test_same_as_strace(name: str, runs: Runs) -> None:
    run = runs.of[name]
    # The ids of processes come again only after very many others: the last process with that id is meant.
    starts = [e for e in runs.events if e["process_id"] == run.root and e["event"] == "thread_creation"]
    roots = [event for event in starts if event["thread_id"] == run.root]
    # More than one, if another thread of it executes.
    assert len({event["start_time"] for event in roots}) == 1, f"the tree's root was told as {roots}"
    begin = runs.events.index(roots[0])
    tree = supervised.tree(subtree(runs.events[begin:], run.root))
    assert_equal(tree, strace_oracle.parse(run.output, scripts_by_path=True))


def test_the_subtree_has_no_others() -> None:
    """An id that another process has had before leads to none of its descendants."""

    def event(process_id: int, start_time: int, creator: int) -> dict[str, Any]:
        return {
            "process_id": process_id,
            "start_time": start_time,
            "creating_process_id": creator,
            "sequence": 7,
        }

    events = [event(10, 1, 1), event(11, 2, 10), event(12, 3, 9), event(10, 4, 11), event(13, 5, 10)]
    assert [e["process_id"] for e in subtree(events, 10)] == [10, 11, 10, 13]
    assert [e["sequence"] for e in subtree(events, 10)] == [0, 1, 2, 3]


def test_strace_is_strict(tmp_path: Path) -> None:
    """A witness that understands nothing must not agree with everybody."""
    with pytest.raises(ValueError):
        strace_oracle.parse("1 execve(what)\n")
