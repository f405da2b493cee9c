"""monitor() as a plain iterator, over real programs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from iterating import CREATION, HANDFUL, check_goes_on, check_nothing_left, crowd, instance, is_program
from live_tools import Programs, wait_until

import cbprocess
from cbprocess import Outcome, monitor


@pytest.fixture
def victim(programs: Programs, tmp_path: Path) -> str:
    return programs.copy("status", tmp_path / "victim")


def test_sees_the_whole_tree_and_ends(victim: str) -> None:
    seen = []
    for event in monitor(["sh", "-c", f"{victim} 3; exit 4"]):
        seen.append((type(event).__name__, event.process_name, getattr(event, "exit_status", None)))
    names = [name for name, _, _ in seen]
    assert names == ["HeldProcessCreation"] * 2 + ["HeldProcessTermination"] * 2
    assert [status for _, _, status in seen[2:]] == [3, 4]
    assert seen[1][1] == seen[2][1] == victim


@pytest.mark.parametrize("_", range(3))
def test_no_event_is_missing_at_the_end(programs: Programs, _: int) -> None:
    with monitor(
        [programs["processes"], "storm", "6", "6", programs["status"]], events=-1, stdout=-3
    ) as source:
        events = list(source)
    assert source.process is not None and source.process.returncode == 0
    kinds = [type(event).__name__ for event in events]
    assert kinds.count("HeldProcessTermination") == 6 * 6 + 6 + 1
    assert kinds.count("HeldThreadCreation") == kinds.count("HeldThreadTermination")
    assert sorted(event.sequence for event in events) == list(range(1, len(events) + 1))
    assert source.filter.statistics().delivered == len(events) and source.dropped == 0
    check_nothing_left(source.filter)


@pytest.mark.parametrize("way", ["deny", "result_code", "block"])
def test_refuses(victim: str, way: str) -> None:
    output = []
    with monitor(["sh", "-c", f"{victim} 0; exit $?"], events=CREATION, stderr=-1, text=True) as source:
        for event in source:
            if not is_program(event, victim):
                continue
            if way == "deny":
                output.append(event.deny())
            elif way == "result_code":
                event.result_code = cbprocess.ERROR_ACCESS_DENIED
            else:
                with event:
                    event.result_code = cbprocess.ERROR_ACCESS_DENIED
        assert source.filter.statistics().refused == 1
    assert source.process is not None
    assert "ermission denied" in source.process.communicate()[1] and source.process.returncode == 126
    assert output == [True] * (way == "deny")


def test_strips_a_signal(programs: Programs, tmp_path: Path) -> None:
    """kill(1) of another process of the tree is told that it may not."""
    done = tmp_path / "done"
    text = f"sleep 30 & kill -TERM $!; echo $? > {done}; kill -KILL $!; wait"
    events = cbprocess.PROC_EVT_PROCESS_HANDLE_OPERATION
    verdicts = []
    for event in monitor(["sh", "-c", text], events=events, stderr=-3):
        assert isinstance(event, cbprocess.CBProcessProcessHandleOperationEventParams)
        if not verdicts:
            verdicts.append(event.strip(cbprocess.PROCESS_TERMINATE))  # type: ignore[attr-defined]
    assert verdicts == [True] and done.read_text() == "1\n"


def test_events_can_be_kept_and_answered_later(victim: str) -> None:
    """One program is held while the loop goes on with what others do."""
    kept: list[Any] = []
    other_has_ended = False
    with monitor(["sh", "-c", f"{victim} 1 & {victim} 2; wait $!; exit $?"], stderr=-3) as source:
        for event in source:
            if is_program(event, victim) and event.arguments[1] == "1":
                kept.append(event.hold())
                assert event.outcome is Outcome.PENDING
            elif not hasattr(event, "arguments") and event.process_name == victim:
                assert event.exit_status == 2  # type: ignore[attr-defined]
                other_has_ended = True
            # On a busy machine the other one may end before this one begins.
            if kept and other_has_ended and kept[0].outcome is Outcome.PENDING:
                assert source.filter.statistics().deferred >= 1
                assert kept[0].deny() is True
    assert source.process is not None and source.process.returncode == 126


def test_a_thousand_held_with_a_handful_of_workers(programs: Programs) -> None:
    source = monitor(
        crowd(programs["status"], 1000), process=instance(*HANDFUL), events=CREATION, timeout=0, queue_size=50
    )
    kept = []
    with source:
        for event in source:
            if is_program(event, programs["status"]):
                kept.append(event.hold())
                if len(kept) == 1000:
                    break
        statistics = source.filter.statistics()
        assert statistics.deferred == 1000 and 1 <= statistics.workers <= 3
        for event in reversed(kept):
            assert event.allow() is True
        check_goes_on(source.process, 5)
        assert list(source) == []
    check_nothing_left(source.filter)


class TestLeaving:
    """However the loop is left, everything goes on and the filter stops."""

    def test_by_break(self, victim: str) -> None:
        own = instance()
        for event in monitor(["sh", "-c", f"{victim} 1 & {victim} 2 & wait; exit 5"], process=own):
            if is_program(event, victim):
                break
        check_nothing_left(own)
        assert event.outcome is Outcome.ANSWERED and event.process_name == victim

    def test_by_an_exception(self, victim: str) -> None:
        own = instance()
        source = monitor(["sh", "-c", f"{victim} 1 & {victim} 2 & wait; exit 5"], process=own)
        with pytest.raises(LookupError) as raised:
            for event in source:
                if is_program(event, victim):
                    event.hold()
                    raise LookupError
        check_nothing_left(own)
        check_goes_on(source.process, 5)
        assert (
            raised.value.__traceback__ is not None
        )  # it kept the frame with the event; that went on even so

    def test_by_an_exception_in_a_block(self, victim: str) -> None:
        with pytest.raises(LookupError), monitor(["sh", "-c", f"{victim}; exit 5"], timeout=0) as source:
            for event in source:
                if is_program(event, victim):
                    event.result_code = 5
                    event.hold()
                    raise LookupError
        assert not source.filter.active and not source.filter.statistics().refused
        check_nothing_left(source.filter)
        check_goes_on(source.process, 5)

    def test_by_close_in_another_thread(self, victim: str) -> None:
        source = monitor(["sh", "-c", f"{victim} 1; sleep 1; exit 5"], timeout=0)
        threading.Timer(0.5, source.close).start()
        kept = [event.hold() for event in source if is_program(event, victim)]
        assert len(kept) == 1 and kept[0].allow() is False and kept[0].outcome is Outcome.LET_GO
        check_nothing_left(source.filter)
        check_goes_on(source.process, 5)

    def test_by_stop_filter(self, victim: str) -> None:
        source = monitor(["sh", "-c", f"{victim} 1; sleep 1; exit 5"], timeout=0)
        for event in source:
            if is_program(event, victim):
                source.filter.stop_filter()
                assert event.allow() is False and event.outcome is Outcome.LET_GO
        check_nothing_left(source.filter)
        check_goes_on(source.process, 5)

    def test_by_stop_filter_while_workers_wait_for_room(self, programs: Programs) -> None:
        source = monitor(crowd(programs["status"], 20), process=instance(*HANDFUL), timeout=0, queue_size=1)
        for event in source:
            if is_program(event, programs["status"]) and source.filter.active:
                time.sleep(0.3)  # now every worker has met the full queue
                source.filter.stop_filter()
        check_nothing_left(source.filter)
        check_goes_on(source.process, 5)

    def test_with_a_worker_that_waits_for_room(self, programs: Programs) -> None:
        source = monitor(crowd(programs["status"], 20), process=instance(*HANDFUL), timeout=0, queue_size=1)
        with source:
            for event in source:
                if is_program(event, programs["status"]):
                    time.sleep(0.3)  # now every worker has met the full queue
                    break
            begin = time.monotonic()
        assert time.monotonic() - begin < 5
        check_nothing_left(source.filter)
        check_goes_on(source.process, 5)

    @pytest.mark.parametrize("in_block", [True, False])
    def test_by_a_keyboard_interrupt(self, victim: str, in_block: bool) -> None:
        """While it waits for an event that does not come, and with one that is held."""
        source = monitor(["sh", "-c", f"trap '' INT; {victim} 1 & sleep 1; wait; exit 5"], timeout=0)
        timer = threading.Timer(0.5, os.kill, [os.getpid(), signal.SIGINT])

        def loop() -> None:
            for event in source:
                if is_program(event, victim):
                    event.hold()
                    kept.append(event)
                    timer.start()

        kept: list[Any] = []
        with pytest.raises(KeyboardInterrupt):
            if in_block:
                with source:
                    loop()
            else:
                loop()
        check_nothing_left(source.filter)
        check_goes_on(source.process, 5)

    def test_with_a_program_that_is_being_started(self, victim: str) -> None:
        with monitor(timeout=0, events=CREATION) as source:
            future = source.launch([victim, "3"])
            for event in source:
                event.hold()
                break
        check_nothing_left(source.filter)
        check_goes_on(future.result(10), 3)

    def test_never_started(self) -> None:
        source = monitor(["true"])
        source.close()
        for start in (source.__enter__, lambda: iter(source)):
            with pytest.raises(cbprocess.CBProcessError) as raised:
                start()
            assert raised.value.code == cbprocess.ERROR_NOT_READY
        assert source.process is None


class TestOverflow:
    @pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest"])
    def test_drops(self, programs: Programs, overflow: str) -> None:
        """What finds no room goes on unseen; what is in the queue waits."""
        source = monitor(
            crowd(programs["status"], 100),
            process=instance(*HANDFUL),
            events=CREATION,
            timeout=0,
            queue_size=4,
            overflow=overflow,
        )
        with source:
            stream = iter(source)
            next(stream).allow()
            wait_until(lambda: source.dropped == 96, 20, "96 of 100 found no room")
            wait_until(lambda: source.filter.statistics().deferred == 4, 10, "the others go on")
            left = list(stream)
        assert len(left) == 4 and source.dropped == 96
        check_goes_on(source.process, 5)

    def test_hold_loses_nothing(self, programs: Programs) -> None:
        source = monitor(
            crowd(programs["status"], 100),
            process=instance(*HANDFUL),
            events=CREATION,
            timeout=0,
            queue_size=4,
        )
        seen = 0
        with source:
            for event in source:
                if seen == 1:
                    time.sleep(0.5)
                    assert source.filter.statistics().deferred <= 4 + 3
                seen += is_program(event, programs["status"])
        assert (seen, source.dropped, source.filter.statistics().lost) == (100, 0, 0)
        check_goes_on(source.process, 5)


def test_after_the_deadline(victim: str) -> None:
    outcomes = []
    source = monitor(["sh", "-c", f"{victim} 3; exit $?"], events=CREATION, timeout=3000)
    for event in source:
        if is_program(event, victim):
            assert event.time_left is not None and 2 < event.time_left <= 3
            time.sleep(3.2)
            outcomes.append((event.deny(), event.outcome, event.timed_out, event.time_left))
    assert outcomes == [(False, Outcome.TIMED_OUT, True, 0.0)]
    assert source.filter.statistics().timed_out == 1
    check_goes_on(source.process, 3)


def test_two_at_once(victim: str, programs: Programs) -> None:
    """Each sees its own program only, and ends with it."""
    long = monitor(["sh", "-c", f"{victim} 1; sleep 5; exit 5"])
    short = monitor(["sh", "-c", f"{programs['status']} 2; exit 6"])
    with long, short:
        stream = iter(long)
        first = next(stream)
        begin = time.monotonic()
        names = [event.process_name for event in short]
        assert time.monotonic() - begin < 4.5
        rest = [first.process_name, *(event.process_name for event in stream)]
    assert programs["status"] in names and victim not in names
    assert victim in rest and programs["status"] not in rest
    check_goes_on(long.process, 5)
    check_goes_on(short.process, 6)


def test_launch_and_rules_of_an_own_instance(victim: str, programs: Programs) -> None:
    own = instance(f"EventsToFire={cbprocess.PROC_EVT_THREAD_CREATION}")
    own.on_process_creation = handler = print
    own.add_rule(name=victim, action="deny", code=5)
    decided: list[Any] = []
    ended: set[str] = set()
    with monitor(process=own) as source:
        with pytest.raises(cbprocess.CBProcessError) as raised:
            next(iter(monitor(process=own)))
        assert raised.value.code == cbprocess.ERROR_CONNECTION_ACTIVE
        assert own.active
        future = source.launch([programs["status"], "3"])
        refused = source.launch([victim])
        for event in source:
            if isinstance(event, cbprocess.CBProcessProcessTerminationEventParams):
                ended.add(event.process_name)
            if event.decided_by_rule:
                decided.append((event.process_name, event.outcome, event.deny()))  # type: ignore[attr-defined]
            if decided and programs["status"] in ended:
                break
        assert decided == [(victim, Outcome.NOT_HELD, False)]
    assert future.result(10).wait(10) == 3
    with pytest.raises(PermissionError):
        refused.result(10)
    assert own.on_process_creation is handler
    assert own.config("EventsToFire") == str(cbprocess.PROC_EVT_THREAD_CREATION)
    with pytest.raises(cbprocess.CBProcessError):
        source.launch([victim])


def test_a_program_that_cannot_be_started() -> None:
    source = monitor(["/nowhere/at/all"])
    with pytest.raises(FileNotFoundError):
        list(source)
    assert list(source._feed._items) == []
    check_nothing_left(source.filter)


def test_a_refusal_of_the_program_itself(victim: str) -> None:
    source = monitor([victim], events=CREATION)
    with pytest.raises(PermissionError):
        for event in source:
            event.deny()
    check_nothing_left(source.filter)


def test_the_drivers_death_ends_the_iteration(victim: str) -> None:
    source = monitor(["sh", "-c", f"{victim} 1; sleep 20"], timeout=0, start_new_session=True)
    with pytest.raises(cbprocess.CBProcessError) as raised:
        for event in source:
            if is_program(event, victim):
                os.kill(helper(event.process_id), signal.SIGKILL)
                event.hold()
    assert raised.value.code == cbprocess.ERROR_BROKEN_PIPE
    check_nothing_left(source.filter)
    assert source.process is not None
    source.process.kill()
    source.process.wait(10)


def helper(process_id: int) -> int:
    for line in Path(f"/proc/{process_id}/status").read_text().splitlines():
        if line.startswith("TracerPid:"):
            return int(line.split()[1])
    raise AssertionError("nobody traces it")


def test_fork(victim: str) -> None:
    """The child's copy of a monitor does nothing to the parent's."""
    with monitor(["sh", "-c", f"{victim} 1; exit $?"]) as source:
        for event in source:
            if is_program(event, victim):
                child = os.fork()
                if child == 0:
                    os._exit(in_child(source, event))
                assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
                assert event.outcome is Outcome.PENDING and event.deny() is True
    check_goes_on(source.process, 126)


def in_child(source: Any, event: Any) -> int:
    """0 if the child of a fork finds everything dead."""
    if event.deny() is not False:
        return 1
    for attempt in (lambda: next(iter(source)), lambda: iter(source)):
        try:
            attempt()
        except cbprocess.CBProcessError as error:
            if error.code != cbprocess.ERROR_NOT_READY:
                return 2
        else:
            return 3
    source.close()
    return 0


EXIT_PROGRAM = """
import sys, cbprocess
source = cbprocess.monitor(["sh", "-c", sys.argv[1] + " 1 & " + sys.argv[1] + " 2 & wait; echo went on"],
                           timeout=0, queue_size=1)
kept = []
for event in source:
    if hasattr(event, "arguments") and event.process_name == sys.argv[1]:
        kept.append(event.hold())
        WAY
"""


@pytest.mark.parametrize(
    "way", ["sys.exit(3)", "raise KeyboardInterrupt", "import time; time.sleep(0.3); break"]
)
def test_interpreter_exit_with_events_held(victim: str, way: str) -> None:
    begin = time.monotonic()
    program = EXIT_PROGRAM.replace("WAY", way)
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", program, victim], capture_output=True, text=True, timeout=30
    )
    assert time.monotonic() - begin < 15
    assert done.stdout == "went on\n", done.stderr
    assert "handler was still running" not in done.stderr
    assert done.returncode == {"s": 3, "r": -signal.SIGINT, "i": 0}[way[0]]
