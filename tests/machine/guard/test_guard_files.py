"""Executions that are held go on in time whatever happens to the controller and to the guard, and nothing of
the guard is left. Each test does one such thing in the middle of a storm."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest
from machine.guard.guard_tools import Controllers, Victims, is_alive, wait_until

STORM = 60
AT_ONCE_S = 3.0  # on a busy machine; a look at the clock is a matter of milliseconds otherwise


@pytest.fixture(autouse=True)
def holds_files(abilities: int) -> None:
    if not abilities & 16:
        pytest.skip("this kernel has no permission events")


def held(controllers: Controllers, program: Path, *, reads: int = STORM // 2, **options: object):  # type: ignore[no-untyped-def]
    controller = controllers.start(reads=reads, **options)
    victims = Victims(program, STORM)
    for _ in range(reads):
        controller.line("file")
    time.sleep(0.1)
    assert len(victims.left()) == STORM, "all of them are held: some were read, others not"
    return controller, victims


def test_allows_and_refuses(controllers: Controllers, program: Path) -> None:
    for denies, status in ((False, 0), (True, 1)):
        controller = controllers.start(answers=True, denies=denies)
        victims = Victims(program, STORM)
        victims.wait(20)
        assert {os.waitstatus_to_exitcode(result) for result in victims.results.values()} == {status}
        controller.ask("close", "closed")


def test_killed_controller(controllers: Controllers, program: Path) -> None:
    controller, victims = held(controllers, program)
    os.kill(controller.pid, signal.SIGKILL)
    assert victims.wait(AT_ONCE_S) < AT_ONCE_S
    assert set(victims.results.values()) == {0}
    wait_until(lambda: not is_alive(controller.guard), AT_ONCE_S, "the guard has ended, too")


def test_killed_controller_whose_child_keeps_everything(controllers: Controllers, program: Path) -> None:
    controller, victims = held(controllers, program)
    child = controller.ask("fork", "child")["child"]
    try:
        os.kill(controller.pid, signal.SIGKILL)
        victims.wait(AT_ONCE_S)
        assert is_alive(child)
        later = Victims(program, 5)
        later.wait(AT_ONCE_S)
    finally:
        os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("silence_ms", [700])
def test_stopped_controller(controllers: Controllers, program: Path, silence_ms: int) -> None:
    controller, victims = held(controllers, program, silence_ms=silence_ms)
    os.kill(controller.pid, signal.SIGSTOP)
    seconds = victims.wait(silence_ms / 1000 + AT_ONCE_S)
    assert seconds > silence_ms / 1000 - 0.3, "not before the controller counts as dead"
    later = Victims(program, 5)
    later.wait(AT_ONCE_S)
    os.kill(controller.pid, signal.SIGCONT)
    assert set(victims.results.values()) == {0}
    # It lives again: what it answers late changes nothing, and it holds new executions.
    controller.ask("answer", "answered")
    counts = controller.ask("counts", "counts")["counts"]
    assert counts["timed_out"] == STORM // 2
    assert counts["let_go"] == STORM - STORM // 2 + 5


def test_controller_that_does_not_read(controllers: Controllers, program: Path) -> None:
    controller, victims = held(controllers, program, reads=5, timeout_ms=2500)
    victims_left(victims, 5, 2.5 + AT_ONCE_S)
    assert controller.ask("counts", "counts")["counts"]["let_go"] == STORM - 5
    controller.ask("answer", "answered")
    victims.wait(AT_ONCE_S)


def victims_left(victims: Victims, count: int, limit_s: float) -> float:
    began = time.monotonic()
    wait_until(lambda: len(victims.left()) <= count, limit_s, f"only {count} are held")
    return time.monotonic() - began


@pytest.mark.parametrize("refuses", [False, True])
def test_handler_asleep_beyond_the_deadline(controllers: Controllers, program: Path, refuses: bool) -> None:
    controller, victims = held(
        controllers, program, reads=STORM, deadline_ms=2500, refuses_late=refuses, timeout_ms=6000
    )
    victims.wait(2.5 + AT_ONCE_S)
    assert {os.waitstatus_to_exitcode(result) for result in victims.results.values()} == {int(refuses)}
    # Late answers are told to be late.
    assert controller.ask("answer", "in_time")["in_time"] is False
    controller.line("answered")
    assert controller.ask("counts", "counts")["counts"] == {
        "timed_out": STORM,
        "let_go": 0,
        "marks_lost": 0,
    }


def test_marks_that_go_leave_deadlines(controllers: Controllers, program: Path) -> None:
    """Executions that are held already wait on when nothing is marked any more."""
    controller, victims = held(controllers, program, reads=STORM, deadline_ms=2500)
    controller.ask("unmark", "unmarked")
    Victims(program, 5).wait(AT_ONCE_S)
    assert len(victims.left()) == STORM
    victims.wait(2.5 + AT_ONCE_S)


def test_controller_without_descriptors(controllers: Controllers, program: Path) -> None:
    controller = controllers.start(answers=True)
    controller.ask("exhaust", "exhausted")
    victims = Victims(program, STORM)
    victims.wait(AT_ONCE_S)
    assert set(victims.results.values()) == {0}, "the kernel would have refused them"
    assert controller.ask("counts", "counts")["counts"]["let_go"] == STORM


def test_killed_guard(controllers: Controllers, program: Path) -> None:
    controller, victims = held(controllers, program)
    os.kill(controller.guard, signal.SIGKILL)
    victims.wait(AT_ONCE_S)
    wait_until(lambda: not is_alive(controller.second), AT_ONCE_S, "its second process has ended, too")
    assert is_alive(controller.pid)
    later = Victims(program, 5)
    later.wait(AT_ONCE_S)


def test_killed_guard_and_controller(controllers: Controllers, program: Path) -> None:
    controller, victims = held(controllers, program)
    child = controller.ask("fork", "child")["child"]
    try:
        for pid in (controller.guard, controller.pid):
            os.kill(pid, signal.SIGKILL)
        victims.wait(AT_ONCE_S)
    finally:
        os.kill(child, signal.SIGKILL)


def test_stopped_guard_and_killed_controller(controllers: Controllers, program: Path) -> None:
    controller, victims = held(controllers, program)
    os.kill(controller.guard, signal.SIGSTOP)
    os.kill(controller.pid, signal.SIGKILL)
    victims.wait(1 + AT_ONCE_S)
    wait_until(lambda: not is_alive(controller.guard), AT_ONCE_S, "a guard that does not react is ended")


def test_killed_second_process(controllers: Controllers, program: Path) -> None:
    controller, victims = held(controllers, program)
    os.kill(controller.second, signal.SIGKILL)
    time.sleep(0.3)
    assert len(victims.left()) == STORM, "the guard needs it for the gate alone"
    controller.ask("answer", "answered")
    victims_left(victims, STORM - STORM // 2, AT_ONCE_S)
    os.kill(controller.pid, signal.SIGKILL)
    victims.wait(AT_ONCE_S)


def test_killed_victims(controllers: Controllers, program: Path) -> None:
    controller, victims = held(controllers, program)
    victims.kill()
    victims.wait(AT_ONCE_S)
    controller.ask("answer", "answered")
    later = Victims(program, 5)
    time.sleep(0.2)
    assert len(later.left()) == 5
    os.kill(controller.pid, signal.SIGKILL)
    later.wait(AT_ONCE_S)


def test_controller_killed_in_a_storm(controllers: Controllers, program: Path) -> None:
    """The kill comes at any moment between two instructions of a reader."""
    for round_number in range(6):
        controller = controllers.start(answers=True)
        stop = threading.Event()
        longest = [0.0]

        def execute(stop: threading.Event = stop, longest: list[float] = longest) -> None:
            while not stop.is_set():
                longest[0] = max(longest[0], Victims(program, 4).wait(10))

        storm = threading.Thread(target=execute)
        storm.start()
        time.sleep(0.15 + 0.02 * round_number)
        os.kill(controller.pid, signal.SIGKILL)
        time.sleep(0.3)
        stop.set()
        storm.join(15)
        assert not storm.is_alive() and longest[0] < AT_ONCE_S
