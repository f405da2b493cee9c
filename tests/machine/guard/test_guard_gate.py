"""Tasks that wait in the gate go on in time whatever happens to the controller, to the guard, to its second
process and to themselves. Only children of a process of the test's own wait."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from machine.guard.guard_tools import Controller, Controllers, Parent, children_of, is_alive, wait_until

STORM = 40
AT_ONCE_S = 3.0  # on a busy machine


@pytest.fixture(autouse=True)
def has_gate(abilities: int) -> None:
    if not abilities & 8:
        pytest.skip("this kernel has no gate")


@pytest.fixture
def parent() -> Iterator[Parent]:
    found = Parent()
    try:
        yield found
    finally:
        found.end()


def held(
    controllers: Controllers, parent: Parent, *, reads: int = STORM // 2, **options: object
) -> Controller:
    controller = controllers.start(parent=parent.pid, reads=reads, **options)
    children = parent.fork(STORM)
    told = {controller.line("slot")["pid"] for _ in range(reads)}
    assert told <= set(children) and len(told) == reads
    time.sleep(0.1)
    assert all(is_alive(child) for child in children), "all of them are held: some were read, others not"
    return controller


def test_allows_and_refuses(controllers: Controllers, parent: Parent) -> None:
    for denies, status in ((False, 0), (True, signal.SIGKILL)):
        controller = controllers.start(parent=parent.pid, answers=True, denies=denies)
        parent.fork(STORM)
        _seconds, statuses = parent.wait(20)
        assert statuses == [status] * STORM
        controller.ask("close", "closed")
        parent.fork(5)
        assert parent.wait(AT_ONCE_S)[1] == [0] * 5


def test_a_process_of_another_user(controllers: Controllers) -> None:
    """The gate's file is root's, and those that wait need no access to it."""
    parent = Parent(user=65534)
    try:
        for denies, status in ((False, 0), (True, signal.SIGKILL)):
            controller = controllers.start(parent=parent.pid, answers=True, denies=denies)
            parent.fork(5)
            assert parent.wait(20)[1] == [status] * 5
            controller.ask("close", "closed")
    finally:
        parent.end()


def test_killed_controller(controllers: Controllers, parent: Parent) -> None:
    controller = held(controllers, parent)
    os.kill(controller.pid, signal.SIGKILL)
    assert parent.wait(AT_ONCE_S)[1] == [0] * STORM


def test_killed_controller_whose_child_keeps_everything(controllers: Controllers, parent: Parent) -> None:
    controller = held(controllers, parent)
    child = controller.ask("fork", "child")["child"]
    try:
        os.kill(controller.pid, signal.SIGKILL)
        assert parent.wait(AT_ONCE_S)[1] == [0] * STORM
        assert is_alive(child)
        parent.fork(5)
        parent.wait(AT_ONCE_S)
    finally:
        os.kill(child, signal.SIGKILL)


def test_stopped_controller(controllers: Controllers, parent: Parent) -> None:
    controller = held(controllers, parent, silence_ms=1500)
    os.kill(controller.pid, signal.SIGSTOP)
    assert parent.wait(1.5 + AT_ONCE_S)[1] == [0] * STORM
    parent.fork(5)
    parent.wait(AT_ONCE_S)
    os.kill(controller.pid, signal.SIGCONT)
    assert controller.ask("counts", "counts")["counts"]["timed_out"] == STORM // 2


def test_controller_that_does_not_read(controllers: Controllers, parent: Parent) -> None:
    controller = held(controllers, parent, reads=STORM // 2, timeout_ms=2500)
    wait_until(
        lambda: controller.ask("counts", "counts")["counts"]["let_go"] == STORM - STORM // 2,
        3 + AT_ONCE_S,
        "those that nobody has read go on",
    )
    controller.ask("answer", "answered")
    assert parent.wait(AT_ONCE_S)[1] == [0] * STORM


@pytest.mark.parametrize("refuses", [False, True])
def test_handler_asleep_beyond_the_deadline(controllers: Controllers, parent: Parent, refuses: bool) -> None:
    controller = held(controllers, parent, reads=STORM, deadline_ms=3000, refuses_late=refuses)
    expected = signal.SIGKILL if refuses else 0
    assert parent.wait(3 + AT_ONCE_S)[1] == [expected] * STORM
    assert controller.ask("counts", "counts")["counts"]["timed_out"] == STORM


def test_killed_guard(controllers: Controllers, parent: Parent) -> None:
    controller = held(controllers, parent)
    os.kill(controller.guard, signal.SIGKILL)
    assert parent.wait(AT_ONCE_S)[1] == [0] * STORM
    parent.fork(5)
    parent.wait(AT_ONCE_S)
    wait_until(lambda: not is_alive(controller.second), AT_ONCE_S, "its second process has ended, too")


def test_stopped_guard_and_killed_controller(controllers: Controllers, parent: Parent) -> None:
    controller = held(controllers, parent)
    os.kill(controller.guard, signal.SIGSTOP)
    os.kill(controller.pid, signal.SIGKILL)
    assert parent.wait(1 + AT_ONCE_S)[1] == [0] * STORM


def test_killed_second_process(controllers: Controllers, parent: Parent) -> None:
    """Tasks that wait are still answered; the guard starts another one, and the gate holds again."""
    controller = held(controllers, parent, reads=STORM)
    os.kill(controller.second, signal.SIGKILL)
    wait_until(
        lambda: children_of(controller.guard) not in ([], [controller.second]),
        AT_ONCE_S,
        "there is another one",
    )
    controller.second = children_of(controller.guard)[0]
    controller.ask("answer", "answered")
    assert parent.wait(AT_ONCE_S)[1] == [0] * STORM
    controller.ask("reads 3", "reads")
    children = parent.fork(3)
    assert {controller.line("slot")["pid"] for _ in range(3)} == set(children)
    controller.ask("answer", "answered")
    assert parent.wait(AT_ONCE_S)[1] == [0] * 3


def test_killed_victims(controllers: Controllers, parent: Parent) -> None:
    """A killed task that nobody has read goes at once; one that is read goes with its answer or deadline."""
    controller = controllers.start(parent=parent.pid, reads=STORM // 2, deadline_ms=3000)
    children = parent.fork(STORM)
    for _ in range(STORM // 2):
        controller.line("slot")
    for child in children:
        os.kill(child, signal.SIGKILL)
    _seconds, statuses = parent.wait(3 + AT_ONCE_S)
    assert statuses == [signal.SIGKILL] * STORM
    controller.ask("answer", "answered")


def test_controller_killed_in_a_storm(controllers: Controllers, parent: Parent) -> None:
    for round_number in range(4):
        controller = controllers.start(parent=parent.pid, answers=True)
        parent.fork(1000)
        time.sleep(0.1 + 0.02 * round_number)
        os.kill(controller.pid, signal.SIGKILL)
        assert set(parent.wait(20)[1]) == {0}


def test_no_mount_is_seen(controllers: Controllers, parent: Parent) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    controller = held(controllers, parent)
    assert Path("/proc/self/mountinfo").read_text() == before
    code = "import os, sys; print(open(f'/proc/{sys.argv[1]}/mountinfo').read() == sys.stdin.read())"
    seen = subprocess.run(
        [sys.executable, "-c", code, str(controller.guard)],
        input=before,
        capture_output=True,
        text=True,
        check=True,
    )
    assert seen.stdout == "True\n"
    controller.ask("answer", "answered")
