"""Controllers on one machine are asked in the order of their altitudes, whichever was started first, and also
after one has changed its altitude, or has gone."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from machine.guard.guard_tools import Controller, Controllers, Parent, Victims

HIGH, LOW = 370000, 1000
LIMIT_S = 5.0


def exit_code(victims: Victims) -> int:
    victims.wait(LIMIT_S)
    return os.waitstatus_to_exitcode(victims.results[victims.pids[0]])


def start(controllers: Controllers, altitudes: list[int], **options: object) -> dict[int, Controller]:
    found = {}
    for altitude in altitudes:
        found[altitude] = controllers.start(altitude=altitude, reads=0, **options)
    return found


def is_asked(controller: Controller, key: str) -> None:
    controller.ask("reads 1", "reads")
    controller.line(key, LIMIT_S)


def is_not_asked(controller: Controller, key: str) -> None:
    controller.ask("reads 1", "reads")
    time.sleep(0.15)
    assert controller.ask("left", "left")["left"] == 1, f"the lower one has told {key}"
    controller.ask("reads 0", "reads")


@pytest.mark.parametrize("order", [[HIGH, LOW], [LOW, HIGH]])
def test_the_upper_one_is_asked_first(controllers: Controllers, program: Path, order: list[int]) -> None:
    found = start(controllers, order)
    for _ in range(3):
        victims = Victims(program, 1)
        is_asked(found[HIGH], "file")
        is_not_asked(found[LOW], "file")
        found[HIGH].ask("answer", "answered")
        is_asked(found[LOW], "file")
        assert victims.left()
        found[LOW].ask("answer", "answered")
        assert exit_code(victims) == 0


@pytest.mark.parametrize("order", [[HIGH, LOW], [LOW, HIGH]])
def test_a_refusal_by_the_upper_one_asks_nobody_else(
    controllers: Controllers, program: Path, order: list[int]
) -> None:
    found = start(controllers, order, denies=True)
    victims = Victims(program, 1)
    is_asked(found[HIGH], "file")
    found[HIGH].ask("answer", "answered")
    assert exit_code(victims) == 1
    is_not_asked(found[LOW], "file")


def test_altitude_changes(controllers: Controllers, program: Path) -> None:
    found = start(controllers, [HIGH, LOW])
    found[LOW].ask(f"altitude {HIGH + 1}", "altitude")
    victims = Victims(program, 1)
    is_asked(found[LOW], "file")
    is_not_asked(found[HIGH], "file")
    found[LOW].ask("answer", "answered")
    is_asked(found[HIGH], "file")
    found[HIGH].ask("answer", "answered")
    assert exit_code(victims) == 0


@pytest.mark.parametrize("ends", ["close", "kill"])
def test_the_upper_one_goes(controllers: Controllers, program: Path, ends: str) -> None:
    found = start(controllers, [LOW, HIGH])
    if ends == "close":
        found[HIGH].ask("close", "closed")
    else:
        os.kill(found[HIGH].pid, signal.SIGKILL)
        time.sleep(0.5)
    victims = Victims(program, 1)
    is_asked(found[LOW], "file")
    found[LOW].ask("answer", "answered")
    assert exit_code(victims) == 0
    # One that comes later is above it again.
    found |= start(controllers, [HIGH])
    victims = Victims(program, 1)
    is_asked(found[HIGH], "file")
    is_not_asked(found[LOW], "file")
    found[HIGH].ask("answer", "answered")
    is_asked(found[LOW], "file")
    found[LOW].ask("answer", "answered")
    assert exit_code(victims) == 0


def test_no_execution_slips_through_while_marks_move(controllers: Controllers, program: Path) -> None:
    """Both refuse everything, so each execution that is not refused was asked about by nobody."""
    controllers.start(altitude=LOW, answers=True, denies=True)
    other = controllers.start(altitude=HIGH, answers=True, denies=True)
    codes = []
    until = time.monotonic() + 3
    altitude = HIGH
    while time.monotonic() < until:
        altitude = HIGH + 1 if altitude == LOW else LOW
        other.process.stdin.write(f"altitude {altitude}\n".encode())  # type: ignore[union-attr]
        other.process.stdin.flush()  # type: ignore[union-attr]
        for _ in range(4):
            codes.append(exit_code(Victims(program, 1)))
    assert set(codes) == {1}


def test_three_controllers(controllers: Controllers, program: Path) -> None:
    """The highest one is first, the others follow in one and the same order, and each is asked."""
    found = start(controllers, [LOW, HIGH, LOW + 1])
    orders = []
    for _ in range(3):
        victims = Victims(program, 1)
        is_asked(found[HIGH], "file")
        found[HIGH].ask("answer", "answered")
        second = None
        for altitude in (LOW, LOW + 1):
            found[altitude].ask("reads 1", "reads")
        until = time.monotonic() + LIMIT_S
        while second is None and time.monotonic() < until:
            second = next((a for a in (LOW, LOW + 1) if found[a].ask("left", "left")["left"] == 0), None)
        assert second is not None
        third = LOW + LOW + 1 - second
        assert found[third].ask("left", "left")["left"] == 1
        found[second].ask("answer", "answered")
        found[third].line("file", LIMIT_S)
        found[third].ask("answer", "answered")
        assert exit_code(victims) == 0
        orders.append(second)
    assert len(set(orders)) == 1


@pytest.fixture
def parent() -> Iterator[Parent]:
    found = Parent()
    try:
        yield found
    finally:
        found.end()


@pytest.mark.parametrize("order", [[HIGH, LOW], [LOW, HIGH], [LOW + 1, HIGH, LOW]])
def test_the_gate_asks_the_upper_one_first(
    controllers: Controllers, parent: Parent, abilities: int, order: list[int]
) -> None:
    if not abilities & 8:
        pytest.skip("this kernel has no gate")
    found = start(controllers, order, parent=parent.pid)
    time.sleep(0.3)
    for _ in range(3):
        parent.fork(1)
        downwards = sorted(order, reverse=True)
        for place, altitude in enumerate(downwards):
            is_asked(found[altitude], "slot")
            for lower in downwards[place + 1 :]:
                is_not_asked(found[lower], "slot")
            found[altitude].ask("answer", "answered")
        assert parent.wait(LIMIT_S)[1] == [0]
