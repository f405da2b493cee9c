"""Running processes are taken under the filter, whatever they are in the middle of: from then on nothing of
what they do is lost, and they are let go as they were."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attach_tools import (
    END_STATUS,
    Running,
    assert_let_go,
    assert_makers_let_go,
    attached,
    descendants,
    running,
    task_status,
    tracers_of,
)
from live_tools import GUID, Programs, Recorder, Task, reaches_the_package, recording, tracer_of, wait_until

import cbprocess

MAKERS, INTERVAL_US = 4, 2000  # 2,000 threads a second


@pytest.fixture
def churning(programs: Programs, tmp_path: Path) -> Iterator[Running]:
    """A program that makes 2,000 threads a second."""
    with running(programs, tmp_path, "threads", str(MAKERS), str(INTERVAL_US), ready=MAKERS) as found:
        yield found


def ids(events: list[dict[str, Any]]) -> Counter[int]:
    return Counter(event["thread_id"] for event in events)


def assert_complete(recorder: Recorder, churning: Running, made: int) -> None:
    """Each thread that began after the mark was told, once, and so was each end; at most `made` began."""
    created, ended = recorder.of("thread_creation"), recorder.of("thread_termination")
    listed = Counter(churning.account.listed())
    assert listed, "no thread was made after the mark"
    assert not listed - ids(created), f"{sum((listed - ids(created)).values())} of {len(listed)} are missing"
    assert not ids(created) - ids(ended), "threads that were told to begin were not told to end"
    assert len(created) <= made
    assert {event["creating_process_id"] for event in created} == {churning.pid}
    # Of what was there before only the ends are told: the first thread's, the makers', what they were making.
    before = ids(ended) - ids(created)
    assert churning.pid in before and MAKERS + 1 <= sum(before.values()) <= 2 * MAKERS + 1
    assert max(ids(created).values()) == 1


def test_two_thousand_threads_a_second(churning: Running) -> None:
    """Nothing of what begins after the attach is lost, however fast threads come and go meanwhile."""
    account = churning.account
    wait_until(lambda: account.created > 500, 10, "the program has got going")
    made_before = account.created
    with attached(churning.pid) as (recorder, _):
        account.mark()
        assert tracers_of(churning.pid) - {0}, "nobody traces it"
        begin, count = time.monotonic(), account.created
        time.sleep(1.5)
        rate = (account.created - count) / (time.monotonic() - begin)
        assert churning.end() == END_STATUS
        wait_until(lambda: recorder.of("process_termination"), 10, "the end of the process")
        assert_complete(recorder, churning, account.created - made_before + MAKERS)
    (end,) = recorder.of("process_termination")
    assert (end["process_id"], end["exit_status"]) == (churning.pid, END_STATUS)
    assert end["process_name"].endswith("/churn")
    assert recorder.of("process_creation") == [] and recorder.errors == []
    assert rate > 100, f"only {rate:.0f} threads a second were made while attached"


@pytest.mark.parametrize("repetition", range(5))
def test_attached_and_let_go_again_and_again(repetition: int, churning: Running) -> None:
    """In the middle of all that no thread gets stuck, and the program never notices."""
    for _ in range(6):
        with attached(churning.pid) as (recorder, instance):
            wait_until(lambda: recorder.of("thread_creation"), 10, "a thread")
            instance.remove_filtered_process_by_id(churning.pid)
            assert_makers_let_go(churning.pid)
    count = churning.account.created
    wait_until(lambda: churning.account.created > count + 100, 10, "the program goes on")
    assert churning.end() == END_STATUS


@pytest.mark.parametrize("how", ["remove", "stop"])
def test_as_fast_after_as_before(how: str, churning: Running) -> None:
    """Who was let go runs as if nothing had been."""
    account = churning.account
    time.sleep(0.7)
    account.book_under(1)
    with attached(churning.pid) as (_, instance):
        time.sleep(0.7)
        if how == "remove":
            instance.remove_filtered_process_by_id(churning.pid)
            assert_makers_let_go(churning.pid)
            account.assert_as_fast_as_in(0)
    assert_let_go(churning.pid)
    account.assert_as_fast_as_in(0)
    # While it was attached it was slower than that, so the measure tells one from the other.
    assert account.latency_ns(1) > account.latency_ns(0) * 1.4
    assert churning.end() == END_STATUS


def test_capabilities_of_an_attached_process(churning: Running) -> None:
    """It has no filter of system calls: what needs one is missing, and the process's bits say so."""
    with attached(churning.pid) as (_, instance):
        found = instance.get_process_capabilities(churning.pid)
        expected = cbprocess.CAP_SEE_PROCESS_CREATION | cbprocess.CAP_HOLD_PROCESS_CREATION
        expected |= cbprocess.CAP_KILL_PROCESS_CREATION | cbprocess.CAP_SEE_THREAD_CREATION
        assert found & expected == expected
        missing = cbprocess.CAP_REFUSE_PROCESS_CREATION | cbprocess.CAP_SEE_PROCESS_HANDLE
        missing |= cbprocess.CAP_STRIP_PROCESS_HANDLE | cbprocess.CAP_SEE_THREAD_HANDLE
        assert found & missing == 0
        assert instance.driver_capabilities() & cbprocess.CAP_ATTACH


@pytest.mark.parametrize("width", [True, False])
def test_a_whole_tree(width: bool, programs: Programs, tmp_path: Path) -> None:
    """With its descendants, all their threads and what they go on to do; or the one process alone."""
    count = 1 + 3 + 9
    with running(programs, tmp_path, "tree", "2", "3", programs["status"], ready=count) as tree:
        members = descendants(tree.pid)
        assert len(members) == count
        with attached(tree.pid, width) as (recorder, instance):
            for member in members:
                traced = 0 not in tracers_of(member)
                assert traced == (width or member == tree.pid), member
                assert len(task_status(member)) == 2
            assert instance.get_process_name(tree.pid) == programs["churn"]
            assert tree.end() == 6
            ends = count if width else 1
            wait_until(lambda: len(recorder.of("process_termination")) == ends, 10, "the ends")
        created = recorder.of("process_creation")
        expected = sorted(members) if width else [tree.pid]
        assert sorted(event["process_id"] for event in created) == expected
        assert {tuple(event["arguments"]) for event in created} == {(programs["status"], "6")}
        assert all(event["creating_process_id"] == event["process_id"] for event in created)
        assert {event["exit_status"] for event in recorder.of("process_termination")} == {6}
        parents = {event["process_id"]: event["parent_process_id"] for event in created}
        assert sum(parent == tree.pid for parent in parents.values()) == (3 if width else 0)


@pytest.mark.parametrize("who", ["parent", "child"])
def test_in_the_middle_of_a_vfork(who: str, programs: Programs, tmp_path: Path) -> None:
    """The parent sleeps until its child executes something; that is seen, and both go on."""
    with running(programs, tmp_path, "vfork", programs["status"]) as parent:
        (child,) = [number for number in descendants(parent.pid) if number != parent.pid]
        with attached(parent.pid if who == "parent" else child) as (recorder, _):
            assert tracer_of(child) != 0
            assert parent.end() == END_STATUS
            ended = {parent.pid, child} if who == "parent" else {child}
            wait_until(
                lambda: {event["process_id"] for event in recorder.of("process_termination")} == ended,
                10,
                "the ends",
            )
        (created,) = recorder.of("process_creation")
        assert created["process_id"] == child and created["arguments"] == [programs["status"], "5"]
        assert created["parent_process_id"] == parent.pid


def test_a_process_whose_first_thread_has_ended(programs: Programs, tmp_path: Path) -> None:
    with running(programs, tmp_path, "leader", "1000") as process:
        wait_until(lambda: Task(process.pid).state == "Z", 10, "the end of the first thread")
        with attached(process.pid) as (recorder, instance):
            process.account.mark()
            wait_until(lambda: len(recorder.of("thread_creation")) > 50, 10, "threads")
            instance.remove_filtered_process_by_id(process.pid)
            assert_let_go(process.pid)
            del recorder.events[:]
            instance.add_filtered_process_by_id(process.pid, True)
            wait_until(lambda: len(recorder.of("thread_creation")) > 50, 10, "threads")
            assert process.end() == END_STATUS
            wait_until(lambda: recorder.of("process_termination"), 10, "the end of the process")
            assert recorder.of("process_termination")[0]["exit_status"] == END_STATUS


@pytest.mark.parametrize("then", ["let go", "continued", "killed"])
def test_a_stopped_process(then: str, programs: Programs, tmp_path: Path) -> None:
    """It stays stopped, attached and let go, until somebody continues it."""
    with running(programs, tmp_path, "forks", "1000", programs["status"]) as process:
        os.kill(process.pid, signal.SIGSTOP)
        wait_until(lambda: Task(process.pid).state == "T", 10, "the stop")
        count = process.account.created
        with attached(process.pid) as (recorder, instance):
            time.sleep(0.2)
            assert Task(process.pid).state in "Tt" and process.account.created == count
            if then == "killed":
                os.kill(process.pid, signal.SIGKILL)
                assert process.process.wait(10) == -signal.SIGKILL
                wait_until(lambda: recorder.of("process_termination"), 10, "the end")
                return
            if then == "let go":
                instance.remove_filtered_process_by_id(process.pid)
                wait_until(lambda: tracers_of(process.pid) == {0}, 10, "it is let go")
                time.sleep(0.2)
                assert Task(process.pid).state == "T" and process.account.created == count
            os.kill(process.pid, signal.SIGCONT)
            wait_until(lambda: process.account.created > count + 3, 10, "it goes on")
            assert bool(recorder.of("process_creation")) == (then == "continued")
        assert process.end() == END_STATUS


def test_what_it_starts_can_be_refused(programs: Programs, tmp_path: Path) -> None:
    """There is no filter of system calls in it: who is refused is ended before its first instruction."""

    def decide(kind: str, event: Any) -> None:
        if kind == "process_creation" and event.process_name == programs["status"]:
            event.result_code = cbprocess.ERROR_ACCESS_DENIED

    with running(programs, tmp_path, "forks", "1000", programs["status"]) as process:
        with attached(process.pid, decide=decide) as (recorder, _):
            process.account.mark()
            wait_until(lambda: len(process.account.listed()) > 10, 10, "programs")
            listed = set(process.account.listed())

            def statuses() -> dict[int, int]:
                return {row["process_id"]: row["exit_status"] for row in recorder.of("process_termination")}

            ends = wait_until(
                lambda: listed <= statuses().keys() and statuses(), 10, "the ends of the programs"
            )
            assert {ends[number] for number in listed} == {-signal.SIGKILL}
        assert process.end() == END_STATUS


def test_by_name(programs: Programs, tmp_path: Path) -> None:
    """All running processes whose program matches, and no other."""
    folders = [tmp_path / name for name in ("first", "second", "third")]
    for folder in folders:
        folder.mkdir()
    unique = programs.copy("churn", tmp_path / f"churn-{os.getpid()}")
    found = [
        Running(program, folder, "threads", "1", "5000")
        for program, folder in zip((unique, unique, programs["churn"]), folders)
    ]
    try:
        with recording() as recorder:
            recorder.filter.add_filtered_process_by_name(unique, False)
            assert [tracer_of(process.pid) != 0 for process in found] == [True, True, False]
            assert tracer_of(os.getpid()) == 0
            wait_until(
                lambda: (
                    {event["process_id"] for event in recorder.of("thread_creation")}
                    == {found[0].pid, found[1].pid}
                ),
                10,
                "threads of both",
            )
            recorder.filter.remove_filtered_process_by_name(unique)
            assert_makers_let_go(*(process.pid for process in found))
        assert [process.end() for process in found] == [END_STATUS] * 3
    finally:
        for process in found:
            process.process.kill()
            process.process.communicate(timeout=20)


def test_thousands_of_names_are_looked_for_at_once(programs: Programs, tmp_path: Path) -> None:
    """One look at the machine's processes for all names: one for each would outlast the request."""
    unique = programs.copy("churn", tmp_path / f"churn-{os.getpid()}")
    process = Running(unique, tmp_path, "threads", "1", "5000")
    instance = cbprocess.CBProcess()
    instance.initialize(GUID)
    try:
        for i in range(20_000):
            instance.add_filtered_process_by_name(f"cbprocess-nobody-{i}-{os.getpid()}", False)
        instance.add_filtered_process_by_name(unique, False)
        instance.start_filter(0)
        assert tracer_of(process.pid) != 0
        instance.stop_filter()
        assert process.end() == END_STATUS
    finally:
        instance.stop_filter()
        process.process.kill()
        process.process.communicate(timeout=20)


def test_twice(churning: Running) -> None:
    """Attaching again changes nothing, and one removal lets go."""
    with attached(churning.pid) as (recorder, instance):
        instance.add_filtered_process_by_id(churning.pid, True)
        instance.add_filtered_process_by_id(churning.pid, False)
        wait_until(lambda: recorder.of("thread_creation"), 10, "a thread")
        instance.remove_filtered_process_by_id(churning.pid)
        assert_makers_let_go(churning.pid)
        with pytest.raises(cbprocess.CBProcessError) as raised:
            instance.remove_filtered_process_by_id(churning.pid)
        assert raised.value.code == cbprocess.ERROR_NOT_FOUND


def test_two_instances_of_one_controller(churning: Running) -> None:
    """Both see all of it; it is let go when neither wants it any more."""
    with attached(churning.pid) as (first, one), attached(churning.pid) as (second, other):
        for recorder in (first, second):
            wait_until(lambda recorder=recorder: recorder.of("thread_creation"), 10, "a thread")
        one.remove_filtered_process_by_id(churning.pid)
        count = len(second.events)
        wait_until(lambda: len(second.events) > count + 50, 10, "more of it")
        seen = len(first.events)
        time.sleep(0.1)
        assert len(first.events) <= seen + MAKERS and tracers_of(churning.pid) != {0}
        other.remove_filtered_process_by_id(churning.pid)
        assert_makers_let_go(churning.pid)
    assert churning.end() == END_STATUS


def code_of_attaching(process_id: int) -> int:
    with recording() as recorder, pytest.raises(cbprocess.CBProcessError) as raised:
        recorder.filter.add_filtered_process_by_id(process_id, True)
    return raised.value.code


def test_a_process_that_is_traced_by_somebody_else(churning: Running, tmp_path: Path) -> None:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    line = ["strace", "-f", "-e", "trace=none", "-o", str(tmp_path / "strace"), "-p", str(churning.pid)]
    with subprocess.Popen(line, stderr=subprocess.DEVNULL) as tracer:
        try:
            wait_until(lambda: tracer_of(churning.pid) == tracer.pid, 10, "strace has attached")
            assert code_of_attaching(churning.pid) == cbprocess.ERROR_BUSY
            assert tracers_of(churning.pid) == {tracer.pid}
        finally:
            tracer.terminate()
    with attached(churning.pid) as (recorder, _):
        wait_until(lambda: recorder.of("thread_creation"), 10, "a thread")
    assert_let_go(churning.pid)


def test_a_second_controller(churning: Running, controllers: Any) -> None:
    first, words = controllers(churning.pid)
    assert words[0] == "attached"
    _, words = controllers(churning.pid)
    assert words == ["error", str(cbprocess.ERROR_BUSY)]
    assert code_of_attaching(churning.pid) == cbprocess.ERROR_BUSY
    first.communicate(timeout=20)
    assert_let_go(churning.pid)
    with attached(churning.pid) as (recorder, _):
        wait_until(lambda: recorder.of("thread_creation"), 10, "a thread")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_controller_ends(number: signal.Signals, churning: Running, controllers: Any) -> None:
    """What it had attached goes on, at once and as fast as before."""
    time.sleep(0.5)
    controller, words = controllers(churning.pid)
    assert words[0] == "attached" and tracers_of(churning.pid) - {0}
    churning.account.book_under(1)
    helper = tracer_of(churning.pid)
    controller.send_signal(number)
    controller.wait(10)
    assert_let_go(churning.pid)
    churning.account.assert_as_fast_as_in(0)
    wait_until(lambda: not Path(f"/proc/{helper}").exists(), 10, "the helper has left")
    assert churning.end() == END_STATUS


def test_the_helper_is_killed(churning: Running) -> None:
    """An attached program does not die with it."""
    with attached(churning.pid) as (recorder, _):
        wait_until(lambda: recorder.of("thread_creation"), 10, "a thread")
        os.kill(tracer_of(churning.pid), signal.SIGKILL)
        wait_until(lambda: recorder.errors, 10, "on_error")
        assert_let_go(churning.pid)
    assert churning.end() == END_STATUS


@pytest.fixture
def controllers() -> Iterator[Any]:
    """Starts controllers that attach to a process; gives each with the words that it said."""
    started: list[subprocess.Popen[str]] = []

    def start(process_id: int, **options: Any) -> tuple[subprocess.Popen[str], list[str]]:
        script = Path(__file__).resolve().parent.parent / "programs" / "controller_attach.py"
        line = [sys.executable, str(script), str(process_id), "children"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(line, **{**pipes, **options}))
        stream = started[-1].stdout
        assert stream is not None
        return started[-1], stream.readline().split()

    yield start
    for controller in started:
        controller.kill()
        controller.communicate(timeout=20)


def test_what_cannot_be_attached(controllers: Any) -> None:
    """A process of another user; one that has ended; the controller itself, which is left alone."""
    allowed = (str(cbprocess.ERROR_ACCESS_DENIED), str(cbprocess.ERROR_INVALID_PARAMETER))
    if os.getuid() == 0:
        user: dict[str, Any] = {"user": 65534, "group": 65534, "extra_groups": [], "cwd": "/"}
        if reaches_the_package(user):
            assert controllers(os.getpid(), **user)[1][1] in allowed
    else:
        assert str(code_of_attaching(1)) in allowed
    ended = subprocess.Popen(["true"])
    wait_until(lambda: Task(ended.pid).state == "Z", 10, "the end")
    zombie = ended.pid
    assert code_of_attaching(zombie) == cbprocess.ERROR_INVALID_PARAMETER
    ended.wait()
    assert code_of_attaching(zombie) == cbprocess.ERROR_INVALID_PARAMETER
    with recording() as recorder:
        recorder.filter.add_filtered_process_by_id(os.getpid(), True)
        assert tracer_of(os.getpid()) == 0
