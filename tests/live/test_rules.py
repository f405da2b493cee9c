"""Rules decide which operations of a supervised tree reach the handlers."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
import warnings
from pathlib import Path
from typing import Any

import pytest
from live_tools import GUID, Programs, Recorder, name_of, recording, run_checked, wait_until

import cbprocess


def creations(recorder: Recorder) -> list[str]:
    return [name_of(event["process_name"]) for event in recorder.of("process_creation")]


def ends(recorder: Recorder) -> list[str]:
    return [name_of(event["process_name"]) for event in recorder.of("process_termination")]


@pytest.fixture
def tree(programs: Programs, tmp_path: Path) -> list[str]:
    """A shell, "outer", that starts a program and another shell, "inner", that starts one; ends with 0."""
    status, outer, inner = programs["status"], tmp_path / "outer", tmp_path / "inner"
    for shell in (outer, inner):
        shutil.copy2("/bin/sh", shell)
    return [str(outer), "-c", f"{status} 1; {inner} -c '{status} 2; exit 0'; exit 0"]


def filtered_by(command: list[str], *rules: dict[str, Any]) -> Recorder:
    """What a filter with these rules sees of a command that another filter has started."""
    watched = Recorder()
    watched.filter.config("EventsToFire=-1")
    for rule in rules:
        watched.filter.add_rule(**rule)
    with recording() as starter:
        watched.filter.start_filter(0)
        try:
            # Every end is held until both filters' handlers have returned, so all has been seen after it.
            assert run_checked(starter, command)[0] == 0
        finally:
            watched.filter.stop_filter()
    return watched


def test_by_name(programs: Programs, tree: list[str]) -> None:
    """The subject of a creation may match, or the process that creates it."""
    seen = filtered_by(tree, {"name": "inner"})
    assert creations(seen) == ["inner", "status"] and ends(seen) == ["inner"]
    assert seen.of("process_creation")[1]["arguments"] == [programs["status"], "2"]


def test_a_creator_counts_that_has_ended_before_its_child_executes() -> None:
    """Rules for a creator were forgotten with its end, so that an orphan's first program was nobody's."""
    orphan = ["sh", "-c", "exec 3<&0; read first; (read line <&3; exec /bin/true) & exit 0"]
    watched = Recorder()
    watched.filter.config("EventsToFire=-1")
    watched.filter.start_filter(0)
    with recording() as starter:
        shell = starter.filter.popen(orphan, stdin=subprocess.PIPE)
        watched.filter.add_rule(process_id=shell.pid, action="deny", code=5)
        assert shell.stdin is not None
        shell.stdin.write(b"the rule is in force\n")
        shell.stdin.flush()
        assert shell.wait(10) == 0
        shell.stdin.write(b"go\n")
        shell.stdin.close()
        wait_until(lambda: len(ends(starter)) == 2, 10, "both have ended")
    watched.filter.stop_filter()
    (creation,) = watched.of("process_creation")
    assert creation["arguments"] == ["/bin/true"] and creation["creating_process_id"] == shell.pid
    assert creation["decided_by_rule"] and creation["result_code"] == 5


def test_by_name_with_children(tree: list[str]) -> None:
    seen = filtered_by(tree, {"name": "inner", "include_children": True})
    assert creations(seen) == ["inner", "status"] and ends(seen) == ["status", "inner"]


@pytest.mark.parametrize(
    ("pattern", "count"),
    [
        ("status", 2),
        ("*/status", 2),
        ("stat?s", 2),
        ("s*s", 2),
        ("*", 4),
        ("/*", 4),
        ("STATUS", 0),
        ("tatus", 0),
        ("status?", 0),
        ("status/", 0),
        ("[s]tatus", 0),
    ],
)
def test_patterns(pattern: str, count: int, tree: list[str]) -> None:
    seen = filtered_by(tree, {"name": pattern})
    assert len(seen.of("process_termination")) == count


def test_ignored_beats_filtered(tree: list[str]) -> None:
    """What an ignored process does fires nothing; what is done to it still may."""
    seen = filtered_by(tree, {"name": "*"}, {"name": "inner", "action": "ignore"})
    assert creations(seen) == ["outer", "status", "inner"]
    assert ends(seen) == ["status", "status", "outer"]
    seen = filtered_by(tree, {"name": "*"}, {"name": "inner", "action": "ignore", "include_children": True})
    assert ends(seen) == ["status", "outer"]


def test_all_processes(tree: list[str]) -> None:
    seen = filtered_by(tree, {"process_id": -1})
    assert ends(seen) == ["status", "status", "inner", "outer"]


def test_nothing_matches(tree: list[str]) -> None:
    assert filtered_by(tree, {"name": "no such program"}).events == []
    assert filtered_by(tree).events == []


def test_the_methods_of_the_reference(programs: Programs) -> None:
    """Rules come and go while the filter is active, for a process that lives all the while."""
    with recording() as starter, recording() as seen:
        text = "while read line; do /bin/true; echo done; done"
        process = starter.filter.popen(["sh", "-c", text], stdin=-1, stdout=-1, text=True)
        assert process.stdin is not None and process.stdout is not None

        def turn() -> list[str]:
            del seen.events[:]
            process.stdin.write("\n")
            process.stdin.flush()
            process.stdout.readline()
            return creations(seen)

        assert turn() == []
        seen.filter.add_filtered_process_by_id(process.pid, False)
        assert turn() == ["true"]
        seen.filter.add_filtered_process_by_id(process.pid, True)
        assert turn() == ["true"]
        seen.filter.add_ignored_process_by_name("dash", False)
        seen.filter.add_ignored_process_by_name("sh", False)
        seen.filter.add_ignored_process_by_name("bash", False)
        assert turn() == []
        for name in ("dash", "sh", "bash"):
            seen.filter.remove_ignored_process_by_name(name)
        seen.filter.remove_filtered_process_by_id(process.pid)
        assert turn() == []
        seen.filter.add_filtered_process_by_name("true", False)
        assert turn() == ["true"]
        seen.filter.remove_filtered_process_by_name("true")
        assert turn() == []
        process.communicate(timeout=10)
        with pytest.raises(cbprocess.CBProcessError) as raised:
            seen.filter.remove_filtered_process_by_id(process.pid)
        assert raised.value.code == cbprocess.ERROR_NOT_FOUND
        with pytest.raises(cbprocess.CBProcessError) as raised:
            seen.filter.add_filtered_process_by_id(process.pid, False)
        assert raised.value.code == cbprocess.ERROR_INVALID_PARAMETER


def test_events_to_fire_takes_effect_at_once(programs: Programs) -> None:
    with recording(events=0) as recorder:
        assert run_checked(recorder, [programs["status"]])[0] == 0
        assert recorder.events == []
        recorder.filter.config(f"EventsToFire={cbprocess.PROC_EVT_PROCESS_TERMINATION}")
        assert run_checked(recorder, [programs["status"], "3"])[0] == 3
        wait_until(lambda: recorder.events, 10, "the event")
    shown = [(event["event"], event["exit_status"]) for event in recorder.events]
    assert shown == [("process_termination", 3)]


def test_fork_is_creation(programs: Programs) -> None:
    with recording("ForkIsCreation=True") as recorder:
        assert run_checked(recorder, [programs["processes"], "forks", "4"])[0] == 0
        wait_until(lambda: len(recorder.of("process_termination")) == 5, 10, "the end")
    forks = [event for event in recorder.of("process_creation") if event["flags"] & cbprocess.EVENT_FLAG_FORK]
    assert len(forks) == 4 and len(recorder.of("process_creation")) == 5
    assert {name_of(event["process_name"]) for event in forks} == {"processes"}
    assert {event["creating_process_id"] for event in forks} == {recorder.events[0]["process_id"]}


def test_names_at_the_moment_of_an_event(programs: Programs) -> None:
    """get_process_name agrees with the event even while the system still shows the old image."""
    names: list[tuple[str, str, str]] = []

    def decide(kind: str, event: Any) -> None:
        if kind.startswith("process"):
            names.append((kind, event.process_name, recorder.filter.get_process_name(event.process_id)))

    with recording(decide=decide) as recorder:
        assert run_checked(recorder, ["sh", "-c", f"{programs['status']}; exit 0"])[0] == 0
        wait_until(lambda: len(names) == 4, 10, "the end")
        assert recorder.filter.get_process_name(os.getpid()) == os.readlink("/proc/self/exe")
    assert all(name == asked for _, name, asked in names), names
    assert [name_of(name) for kind, name, _ in names if kind == "process_creation"][1] == "status"


def test_an_active_filter_with_nothing_to_supervise_warns_once() -> None:
    instance = cbprocess.CBProcess()
    instance.initialize(GUID)
    instance.config("EventsToFire=-1")
    instance.add_filtered_process_by_name("no such program", True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        instance.start_filter(0)
        time.sleep(1.5)
        instance.add_filtered_process_by_name("nor this one", True)
        time.sleep(1.5)
        instance.stop_filter()
    found = [warning for warning in caught if issubclass(warning.category, cbprocess.CBProcessWarning)]
    assert len(found) == 1 and "popen" in str(found[0].message)


def test_who_uses_popen_is_not_warned(programs: Programs) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with recording() as recorder:
            recorder.filter.add_filtered_process_by_name("status", True)
            assert run_checked(recorder, [programs["status"]])[0] == 0
    assert [warning for warning in caught if issubclass(warning.category, cbprocess.CBProcessWarning)] == []


def test_a_program_that_dies_at_once(programs: Programs) -> None:
    """The rule for a process is in force from its first instruction, however short it lives."""
    with recording() as recorder:
        for number in range(50):
            assert recorder.filter.popen([programs["status"], str(number)]).wait(20) == number
        wait_until(lambda: len(recorder.of("process_termination")) == 50, 10, "the last end")
    assert [event["exit_status"] for event in recorder.of("process_termination")] == list(range(50))


def test_bare_subprocess_is_not_supervised(programs: Programs) -> None:
    with recording() as recorder:
        recorder.filter.add_filtered_process_by_id(-1, True)
        assert subprocess.call([programs["status"], "3"]) == 3
        assert run_checked(recorder, [programs["status"], "4"])[0] == 4
    assert recorder.executed() == [[programs["status"], "4"]]
