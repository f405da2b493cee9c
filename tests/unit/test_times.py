"""One unit for one name: `timeout_ms` is milliseconds; its older name `timeout` is accepted in its place."""

from __future__ import annotations

from typing import Any

import pytest
from unit.instances import GUID, assert_code

from cbprocess import CBProcess, constants, monitor
from cbprocess._streams.monitoring import DEFAULT_TIMEOUT_MS
from cbprocess.testing import Simulator

DEADLINE_MS = 600_000

# Each way to say how long operations wait for their handlers.
WAYS: dict[str, Any] = {
    "by position": ((DEADLINE_MS,), {}),
    "timeout": ((), {"timeout": DEADLINE_MS}),
    "timeout_ms": ((), {"timeout_ms": DEADLINE_MS}),
}


def simulated() -> CBProcess:
    process = CBProcess()
    process.initialize(GUID)
    process.config("EventsToFire=-1")
    process.add_filtered_process_by_id(-1, True)
    return process


def passes_between(simulator: Simulator, before_s: float, after_s: float) -> bool:
    """Whether an operation that nobody answers is not timed out when the first time has passed, but is when
    the second has passed as well."""
    pending = simulator.pending("process_creation")
    simulator.advance(before_s)
    timed_out = simulator.process.statistics().timed_out
    simulator.advance(after_s)
    return timed_out == 0 and pending.wait().timed_out


@pytest.mark.parametrize("name", ["timeout", "timeout_ms"])
def test_the_deadline_of_a_monitor(name: str) -> None:
    simulator = Simulator(simulated())
    with monitor(process=simulator.process, **{name: DEADLINE_MS}):
        assert passes_between(simulator, DEADLINE_MS / 2000, DEADLINE_MS / 1000)


def test_a_monitor_has_a_deadline_of_its_own() -> None:
    simulator = Simulator(simulated())
    with monitor(process=simulator.process):
        assert passes_between(simulator, 0, DEFAULT_TIMEOUT_MS / 1000)


@pytest.mark.parametrize("name", ["timeout", "timeout_ms"])
def test_a_monitor_without_deadlines(name: str) -> None:
    simulator = Simulator(simulated())
    with monitor(process=simulator.process, **{name: 0}) as source:
        pending = simulator.pending("process_creation")
        simulator.advance(DEADLINE_MS / 1000)
        events = iter(source)
        assert next(events).allow()
        assert pending.wait().answered


@pytest.mark.parametrize("way", WAYS)
def test_the_deadline_of_a_simulator(way: str) -> None:
    positional, named = WAYS[way]
    with Simulator(None, *positional, **named) as simulator:
        simulator.process.on_process_creation = lambda event: event.defer()
        assert passes_between(simulator, DEADLINE_MS / 2000, DEADLINE_MS / 1000)


def test_two_deadlines_are_one_too_many() -> None:
    both = {"timeout": 3000, "timeout_ms": 3000}
    assert_code(constants.ERROR_INVALID_PARAMETER, monitor, **both)
    assert_code(constants.ERROR_INVALID_PARAMETER, Simulator, **both)


@pytest.mark.parametrize("name", ["timeout", "timeout_ms"])
def test_wrong_deadlines(name: str) -> None:
    for value in (-1, 2**32, "3000", 3000.0, True):
        error = assert_code(constants.ERROR_INVALID_PARAMETER, monitor, **{name: value})
        assert error.message.startswith(f"{name} must be")
