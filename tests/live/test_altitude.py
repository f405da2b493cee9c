"""Several instances at one operation: who goes first, and whose refusal counts."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import pytest
from live_tools import GUID

import cbprocess
from cbprocess import CBProcess

CODES = [cbprocess.ERROR_FILE_NOT_FOUND, cbprocess.ERROR_ACCESS_DENIED]
SLOW_S = 0.2


def refusal_of(process: CBProcess) -> int:
    """The code with which a program that the instance starts is refused; 0 if it runs."""
    try:
        process.popen(["true"]).wait()
    except FileNotFoundError:
        return cbprocess.ERROR_FILE_NOT_FOUND
    except PermissionError:
        return cbprocess.ERROR_ACCESS_DENIED
    return 0


@contextlib.contextmanager
def refusing(altitude: str, code: int, delay_s: float = 0.0) -> Iterator[CBProcess]:
    """An active instance that refuses every program with the code, after a while."""

    def refuse(event: cbprocess.CBProcessProcessCreationEventParams) -> None:
        time.sleep(delay_s)
        event.result_code = code

    with CBProcess() as process:
        process.initialize(GUID)
        process.altitude = altitude
        process.config("EventsToFire=1")
        process.on_process_creation = refuse
        process.start_filter(0)
        # Whoever launches the program: it concerns all of them.
        process.add_filtered_process_by_name("true", False)
        yield process


@pytest.mark.parametrize("slow", ["first", "second"])
@pytest.mark.parametrize(
    ("first", "second", "winner"),
    [
        ("400055", "385201", 0),
        ("385201", "400055", 1),
        ("400055.1", "400055.02", 0),
        ("99999", "100000", 1),
        ("400055", "400055.0", 0),  # the same: whoever was started first
    ],
)
def test_the_refusal_of_the_highest_counts(first: str, second: str, winner: int, slow: str) -> None:
    delays = (SLOW_S, 0.0) if slow == "first" else (0.0, SLOW_S)
    with refusing(first, CODES[0], delays[0]) as process, refusing(second, CODES[1], delays[1]):
        assert refusal_of(process) == CODES[winner]


def test_one_refusal_refuses_whoever_it_is() -> None:
    for altitudes in (("1", "2"), ("2", "1")):
        with refusing(altitudes[0], 0) as process, refusing(altitudes[1], CODES[1]):
            assert refusal_of(process) == CODES[1]


def test_altitudes_change_while_active_and_others_close_up() -> None:
    with refusing("3", CODES[1], SLOW_S) as low:
        with refusing("5", 0), refusing("4", CODES[0]) as process:
            assert refusal_of(process) == CODES[0]
            low.altitude = "6"
            assert refusal_of(process) == CODES[1]
        assert refusal_of(low) == CODES[1]


def test_strict_altitude_changes_nothing_for_a_tree_driver() -> None:
    with refusing("7", 0) as process, CBProcess() as other:
        other.initialize(GUID)
        other.altitude = process.altitude
        other.strict_altitude = True
        other.start_filter(0)
        assert other.active
        assert process.popen(["true"]).wait() == 0
