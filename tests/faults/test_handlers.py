"""Handlers that do what they should not: sleep, raise, stop the filter, start programs, keep their events."""

from __future__ import annotations

import errno
import gc
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from live_tools import FIELDS, Programs, Recorder, recording, run_checked, wait_until

import cbprocess


@pytest.fixture
def victim(programs: Programs, tmp_path: Path) -> str:
    return programs.copy("status", tmp_path / "victim")


def at_creation_of(path: str, action: Any) -> Any:
    """A decision for recording(): calls action(event) when the program at path is executed."""

    def decide(kind: str, event: Any) -> None:
        if kind == "process_creation" and event.process_name == path:
            action(event)

    return decide


class TestDeadline:
    def test_passes(self, programs: Programs, victim: str) -> None:
        """The operation goes on as if there were no handler; the late refusal changes nothing."""
        answered: list[float] = []

        def sleep(event: Any) -> None:
            time.sleep(7)
            event.result_code = cbprocess.ERROR_ACCESS_DENIED
            answered.append(time.monotonic())

        with recording(timeout_ms=3000, decide=at_creation_of(victim, sleep)) as recorder:
            begin = time.monotonic()
            status, output, _ = run_checked(recorder, [programs["refused"], "vfork", victim])
            took = time.monotonic() - begin
            wait_until(lambda: answered, 10, "the late answer")
            wait_until(lambda: recorder.filter.statistics().late, 10, "the late answer is counted")
            statistics = recorder.filter.statistics()
        assert (status, output) == (0, "status 0\n") and 2.9 < took < 6.5
        assert (statistics.timed_out, statistics.late, statistics.refused) == (1, 1, 0)

    def test_passes_and_denies(self, programs: Programs, victim: str) -> None:
        sleep = at_creation_of(victim, lambda event: time.sleep(6))
        with recording("TimeoutAction=deny", timeout_ms=3000, decide=sleep) as recorder:
            output = run_checked(recorder, [programs["refused"], "execve", victim])[1]
            statistics = recorder.filter.statistics()
        assert output == f"errno {errno.EPERM}\n"
        assert (statistics.timed_out, statistics.refused) == (1, 1)

    def test_is_moved(self, programs: Programs, victim: str) -> None:
        accepted: list[bool] = []

        def take_longer(event: Any) -> None:
            time.sleep(2)
            accepted.append(recorder.filter.reset_timeout(3000))
            time.sleep(2)
            event.result_code = cbprocess.ERROR_ACCESS_DENIED

        with recording(timeout_ms=3000, decide=at_creation_of(victim, take_longer)) as recorder:
            output = run_checked(recorder, [programs["refused"], "execve", victim])[1]
            assert recorder.filter.statistics().timed_out == 0
        assert accepted == [True] and output == f"errno {errno.EACCES}\n"

    def test_is_taken_away(self, programs: Programs, victim: str) -> None:
        def take_longer(event: Any) -> None:
            assert recorder.filter.reset_timeout(0)
            time.sleep(4)
            event.result_code = cbprocess.ERROR_ACCESS_DENIED

        with recording(timeout_ms=3000, decide=at_creation_of(victim, take_longer)) as recorder:
            assert (
                run_checked(recorder, [programs["refused"], "execve", victim])[1] == f"errno {errno.EACCES}\n"
            )
        assert recorder.errors == []

    def test_cannot_be_moved_once_passed(self, programs: Programs, victim: str) -> None:
        accepted: list[bool] = []

        def too_late(event: Any) -> None:
            time.sleep(3.5)
            accepted.append(recorder.filter.reset_timeout(3000))

        with recording(timeout_ms=3000, decide=at_creation_of(victim, too_late)) as recorder:
            assert run_checked(recorder, [victim])[0] == 0
            wait_until(lambda: accepted, 10, "the handler's end")
        assert accepted == [False]

    def test_of_one_does_not_delay_others(self, programs: Programs, victim: str) -> None:
        """A handler that is stuck costs its own operation the deadline, and no other one anything."""
        with recording(
            timeout_ms=3000, decide=at_creation_of(victim, lambda event: time.sleep(3.5))
        ) as recorder:
            stuck = recorder.filter.popen(["sh", "-c", f"{victim}; exit 0"])
            wait_until(
                lambda: any(event.get("process_name") == victim for event in recorder.events),
                10,
                "the stuck handler",
            )
            begin = time.monotonic()
            assert run_checked(recorder, [programs["processes"], "vfork", "10", programs["status"]])[0] == 0
            assert time.monotonic() - begin < 2.5
            assert stuck.wait(20) == 0

    def test_wrong_values_and_states(self) -> None:
        with recording() as recorder:
            for value in (1, 2999, -1):
                instance = cbprocess.CBProcess()
                instance.initialize("{5ABD3A8B-6A3F-4C52-9F0C-5E1F0A1C7D16}")
                with pytest.raises(cbprocess.CBProcessError) as raised:
                    instance.start_filter(value)
                assert raised.value.code in (
                    cbprocess.ERROR_IMPLEMENTATION_LIMIT,
                    cbprocess.ERROR_INVALID_PARAMETER,
                )
                assert not instance.active
            with pytest.raises(cbprocess.CBProcessError) as raised:
                recorder.filter.reset_timeout(3000)
            assert raised.value.code == cbprocess.ERROR_NO_CALLBACK_ACTIVE
            with pytest.raises(cbprocess.CBProcessError) as raised:
                recorder.filter.start_filter(0)
            assert raised.value.code == cbprocess.ERROR_CONNECTION_ACTIVE


class TestException:
    @pytest.mark.parametrize("kind", [ValueError, SystemExit, KeyboardInterrupt, RecursionError, MemoryError])
    def test_is_reported(self, kind: type[BaseException], victim: str) -> None:
        def fail(event: Any) -> None:
            event.result_code = cbprocess.ERROR_ACCESS_DENIED
            raise kind("what the handler says")

        with recording(decide=at_creation_of(victim, fail)) as recorder:
            assert run_checked(recorder, [victim, "3"])[0] == 3
            assert recorder.filter.statistics().failed_in_handler == 1
        assert [code for code, _ in recorder.errors] == [cbprocess.ERROR_UNHANDLED_EXCEPTION]
        text = recorder.errors[0][1]
        assert "Traceback" in text and "what the handler says" in text and "in fail" in text

    def test_without_on_error(self, victim: str, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: list[Any] = []
        monkeypatch.setattr(sys, "unraisablehook", lambda arguments: seen.append(arguments.exc_value))
        with recording(decide=at_creation_of(victim, lambda event: 1 / 0)) as recorder:
            recorder.filter.on_error = None
            assert run_checked(recorder, [victim])[0] == 0
        assert [type(error) for error in seen] == [ZeroDivisionError]

    def test_in_on_error_too(self, victim: str, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: list[Any] = []
        monkeypatch.setattr(sys, "unraisablehook", lambda arguments: seen.append(arguments.exc_value))

        def fail_again(error: Any) -> None:
            recorder.errors.append((error.error_code, ""))
            raise OSError("from on_error")

        with recording(decide=at_creation_of(victim, lambda event: 1 / 0)) as recorder:
            recorder.filter.on_error = fail_again
            assert run_checked(recorder, [victim])[0] == 0
            assert run_checked(recorder, [victim])[0] == 0
        assert [code for code, _ in recorder.errors] == [cbprocess.ERROR_UNHANDLED_EXCEPTION] * 2
        assert [type(error) for error in seen] == [OSError] * 2

    def test_in_every_handler(self, programs: Programs) -> None:
        def fail(kind: str, event: Any) -> None:
            raise LookupError(kind)

        with recording(decide=fail) as recorder:
            assert run_checked(recorder, [programs["processes"], "vfork", "100", programs["status"]])[0] == 0
            wait_until(lambda: len(recorder.of("process_termination")) == 101, 10, "the last event")
        statistics = recorder.filter.statistics()
        assert (
            statistics.failed_in_handler
            == len(recorder.errors)
            == len(recorder.events)
            == statistics.delivered
        )

    def test_of_a_wrong_result_code(self, victim: str) -> None:
        def set_wrong(event: Any) -> None:
            for value in (-1, 1 << 32, "5", None, 1.5):
                with pytest.raises(cbprocess.CBProcessError) as raised:
                    event.result_code = value
                assert raised.value.code == cbprocess.ERROR_INVALID_PARAMETER
            assert event.result_code == 0

        with recording(decide=at_creation_of(victim, set_wrong)) as recorder:
            assert run_checked(recorder, [victim])[0] == 0
        assert recorder.errors == []


class TestStop:
    def test_in_a_handler(self, programs: Programs, victim: str) -> None:
        active: list[bool] = []

        def stop(event: Any) -> None:
            recorder.filter.stop_filter()
            active.append(recorder.filter.active)
            event.result_code = cbprocess.ERROR_ACCESS_DENIED

        text = f"{programs['status']} 1; {victim}; {programs['status']} 2; exit 4"
        with recording(decide=at_creation_of(victim, stop)) as recorder:
            process = recorder.filter.popen(["sh", "-c", text])
            assert process.wait(30) == 4
            assert active == [False] and not recorder.filter.active
            recorder.filter.stop_filter()
            assert [programs["status"], "2"] not in recorder.executed()
            recorder.filter.start_filter(0)
            assert run_checked(recorder, [programs["status"], "3"])[0] == 3
        assert recorder.errors == [] and [programs["status"], "3"] in recorder.executed()

    def test_in_several_handlers_at_once(self, programs: Programs) -> None:
        def stop(kind: str, event: Any) -> None:
            recorder.filter.stop_filter()

        for _ in range(5):
            with recording(decide=stop) as recorder:
                command = [programs["processes"], "storm", "8", "3", programs["status"]]
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr(recorder, "decide", lambda kind, event: None)
                    process = recorder.filter.popen(command, stdout=subprocess.DEVNULL)
                assert process.wait(30) == 0
            assert recorder.errors == []

    def test_lets_held_operations_go(self, programs: Programs, victim: str) -> None:
        """The stop waits for the handlers, not for what they decide: it is not refused any more."""
        entered, leave = threading.Event(), threading.Event()

        def wait(event: Any) -> None:
            entered.set()
            leave.wait(20)
            event.result_code = cbprocess.ERROR_ACCESS_DENIED

        with recording(decide=at_creation_of(victim, wait)) as recorder:
            process = recorder.filter.popen([programs["refused"], "vfork", victim], stdout=-1, text=True)
            assert entered.wait(10)
            stopper = threading.Thread(target=recorder.filter.stop_filter)
            stopper.start()
            assert process.communicate(timeout=10)[0] == "status 0\n"
            assert stopper.is_alive()
            leave.set()
            stopper.join(10)
            assert not stopper.is_alive()

    def test_can_be_interrupted(self, victim: str) -> None:
        """Ctrl-C during stop_filter is a KeyboardInterrupt; a second call completes the stop."""
        import os
        import signal

        leave, entered = threading.Event(), threading.Event()

        def wait(event: Any) -> None:
            entered.set()
            leave.wait(20)

        with recording(decide=at_creation_of(victim, wait)) as recorder:
            process = recorder.filter.popen(["sh", "-c", f"{victim}; exit 0"])
            assert entered.wait(10)
            timer = threading.Timer(0.5, os.kill, [os.getpid(), signal.SIGINT])
            timer.start()
            with pytest.raises(KeyboardInterrupt):
                recorder.filter.stop_filter()
            timer.join()
            leave.set()
            recorder.filter.stop_filter()
            assert process.wait(20) == 0

    def test_without_a_start_does_nothing(self) -> None:
        instance = cbprocess.CBProcess()
        instance.initialize("{5ABD3A8B-6A3F-4C52-9F0C-5E1F0A1C7D17}")
        instance.stop_filter()
        assert not instance.active


class TestStartsPrograms:
    def test_that_are_not_supervised(self, victim: str) -> None:
        outputs: list[str] = []

        def start(event: Any) -> None:
            outputs.append(
                subprocess.check_output(["sh", "-c", "echo from the handler; /bin/true"], text=True)
            )

        with recording(timeout_ms=10000, decide=at_creation_of(victim, start)) as recorder:
            begin = time.monotonic()
            assert run_checked(recorder, ["sh", "-c", f"{victim}; {victim}; exit 3"])[0] == 3
            assert time.monotonic() - begin < 5
        assert outputs == ["from the handler\n"] * 2
        assert [event["process_name"] for event in recorder.of("process_creation")][1:] == [victim] * 2

    def test_from_many_workers(self, programs: Programs) -> None:
        def start(kind: str, event: Any) -> None:
            if kind == "process_creation":
                subprocess.check_call(["true"])

        with recording(timeout_ms=10000, decide=start) as recorder:
            assert (
                run_checked(recorder, [programs["processes"], "storm", "8", "5", programs["status"]])[0] == 0
            )
            wait_until(lambda: len(recorder.of("process_termination")) == 49, 20, "the last event")
        assert recorder.errors == [] and recorder.filter.statistics().timed_out == 0


class TestKeptEvents:
    def test_keep_their_own_data(self, programs: Programs) -> None:
        kept: list[Any] = []
        expected: list[tuple[Any, ...]] = []

        def values(event: Any) -> tuple[Any, ...]:
            names = [*FIELDS["process_creation"], "sequence", "time_ns", "start_time"]
            return tuple(str(getattr(event, name)) for name in names)

        def keep(kind: str, event: Any) -> None:
            if kind == "process_creation":
                kept.append(event)
                expected.append(values(event))

        with recording(decide=keep) as recorder:
            command = [programs["processes"], "vfork", "300", programs["status"]]
            assert run_checked(recorder, command)[0] == 0
        gc.collect()
        assert len(kept) == 301 and len({id(event) for event in kept}) == 301
        assert [values(event) for event in kept] == expected
        assert kept[0].arguments == command and all(event.arguments == ["vforked"] for event in kept[1:])
        for event in (kept[0], kept[-1]):
            with pytest.raises(cbprocess.CBProcessError) as raised:
                event.result_code = 5
            assert raised.value.code == cbprocess.ERROR_NO_CALLBACK_ACTIVE

    def test_with_long_arguments(self, programs: Programs) -> None:
        kept: list[Any] = []
        with recording(decide=lambda kind, event: kept.append(event)) as recorder:
            command = [programs["processes"], "long", "15", "100000", programs["status"]]
            assert run_checked(recorder, command)[0] == 0
            assert run_checked(recorder, [programs["status"]])[0] == 0
        creations = [event for event in kept if hasattr(event, "arguments")]
        assert [len(event.arguments) for event in creations] == [5, 17, 1]
        assert creations[1].arguments == ["long", "0", *["a" * 100000] * 15]


class TestDeferredAnswers:
    def deferring(self, victim: str, answers: list[Any]) -> Any:
        return at_creation_of(victim, lambda event: answers.append(event.defer()))

    def test_refuse_from_another_thread(self, programs: Programs, victim: str) -> None:
        answers: list[Any] = []
        with recording(decide=self.deferring(victim, answers)) as recorder:
            process = recorder.filter.popen([programs["refused"], "execve", victim], stdout=-1, text=True)
            wait_until(lambda: answers, 10, "the deferred event")
            time.sleep(0.2)
            assert process.poll() is None and recorder.filter.statistics().deferred == 1
            answers[0].complete(result_code=cbprocess.ERROR_ACCESS_DENIED)
            assert process.communicate(timeout=10)[0] == f"errno {errno.EACCES}\n"
            with pytest.raises(cbprocess.CBProcessError) as raised:
                answers[0].complete()
            assert raised.value.code == cbprocess.ERROR_NOT_FOUND
            assert recorder.filter.statistics().deferred == 0

    def test_hold_more_than_there_are_workers(self, programs: Programs, victim: str) -> None:
        answers: list[Any] = []
        settings = ("MaxWorkerThreadCount=1", "MinWorkerThreadCount=1")
        with recording(*settings, decide=self.deferring(victim, answers)) as recorder:
            text = " ".join(f"{victim} {number} &" for number in range(20)) + " wait; exit 5"
            process = recorder.filter.popen(["sh", "-c", text])
            wait_until(lambda: len(answers) == 20, 20, "twenty operations held by one worker")
            for answer in reversed(answers):
                answer.complete()
            assert process.wait(20) == 5

    def test_after_the_deadline(self, victim: str) -> None:
        answers: list[Any] = []
        with recording(timeout_ms=3000, decide=self.deferring(victim, answers)) as recorder:
            assert run_checked(recorder, [victim, "4"])[0] == 4
            assert recorder.filter.statistics().timed_out == 1
            with pytest.raises(cbprocess.CBProcessError) as raised:
                answers[0].complete(result_code=5)
            assert raised.value.code == cbprocess.ERROR_TIMEOUT

    def test_after_the_stop(self, victim: str) -> None:
        answers: list[Any] = []
        with recording(decide=self.deferring(victim, answers)) as recorder:
            process = recorder.filter.popen(["sh", "-c", f"{victim} 4; exit $?"])
            wait_until(lambda: answers, 10, "the deferred event")
            recorder.filter.stop_filter()
            assert process.wait(20) == 4
            with pytest.raises(cbprocess.CBProcessError) as raised:
                answers[0].complete()
            assert raised.value.code == cbprocess.ERROR_NOT_FOUND


def test_a_worker_that_may_not_start(victim: str) -> None:
    """A nonzero result in on_worker_thread_creation ends that worker and is reported; others carry on."""
    started: list[str] = []

    def refuse_the_second(event: Any) -> None:
        started.append(threading.current_thread().name)
        if len(started) == 2:
            event.result_code = cbprocess.ERROR_ACCESS_DENIED

    recorder = Recorder()
    recorder.filter.config("EventsToFire=-1")
    recorder.filter.config("MinWorkerThreadCount=3")
    recorder.filter.on_worker_thread_creation = refuse_the_second
    recorder.filter.start_filter(0)
    try:
        wait_until(lambda: len(started) >= 3 and recorder.errors, 10, "three workers")
        assert run_checked(recorder, [victim, "3"])[0] == 3
    finally:
        recorder.filter.stop_filter()
    assert [code for code, _ in recorder.errors] == [cbprocess.ERROR_ACCESS_DENIED]
    assert len(set(started)) == len(started) and all(name.startswith("cbprocess-worker-") for name in started)
