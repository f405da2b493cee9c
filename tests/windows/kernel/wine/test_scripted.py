"""What the kernel can tell a driver and no program of Wine makes it tell: by script."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from windows.kernel.wine.firing import Flag, Kind, State, fire
from windows.kernel.wine.world_tools import wait_for, watch

from cbprocess import constants

CALLER = {"originator_pid": 0x5003, "originator_tid": 0x5004}
ids = iter(range(0x10000, 0x7000000, 8))


def create(
    image: str, command_line: str = "", flags: Flag = Flag.IS_SCRIPTED, **fields: int
) -> tuple[int, Any]:
    process_id = fields.pop("process_id", 0) or next(ids)
    return process_id, fire(
        Kind.PROCESS_CREATION, process_id, image, command_line, flags=flags, **{**CALLER, **fields}
    )


def end(process_id: int, status: int = 0) -> None:
    fire(Kind.PROCESS_END, process_id, flags=Flag.IS_SCRIPTED, status=status)


@pytest.fixture(autouse=True)
def no_violations() -> Iterator[None]:
    yield
    state = State.read()
    assert (state.violations, state.violation) == (0, b"")


def test_the_longest_texts() -> None:
    image, line = "\\??\\C:\\" + "d" * 30000 + ".exe", "x" * 32766
    with watch() as seen:
        process_id, _ = create(image, line)
        [event] = seen.of(process_id, "process_creation")
        assert event.process_name == image[4:]
        assert event.command_line == line
        end(process_id)


def test_texts_that_are_no_text() -> None:
    """Half of a pair of UTF-16 arrives as it is."""
    with watch() as seen:
        process_id, _ = create("\\??\\C:\\half\ud83d.exe", "a \udc00 b\U0001f600")
        [event] = seen.of(process_id, "process_creation")
        assert (event.process_name, event.command_line) == ("C:\\half\ud83d.exe", "a \udc00 b\U0001f600")
        end(process_id)


def test_a_process_without_image_and_command_line() -> None:
    with watch() as seen:
        process_id, outcome = create("", flags=Flag.IS_SCRIPTED | Flag.HAS_NO_IMAGE)
        [event] = seen.of(process_id, "process_creation")
        assert outcome.status == 0
        assert event.command_line == ""
        end(process_id)
        assert seen.of(process_id, "process_termination")


def test_a_name_that_is_not_the_one_of_the_file() -> None:
    with watch() as seen:
        process_id, _ = create("a.exe", "a", flags=Flag.IS_SCRIPTED | Flag.NAME_IS_NOT_AVAILABLE)
        [event] = seen.of(process_id, "process_creation")
        assert event.file_open_name_available is False
        end(process_id)


def test_a_parent_that_is_not_the_creator() -> None:
    with watch() as seen:
        process_id, _ = create("\\??\\C:\\a.exe", "a", parent_pid=os.getppid())
        [event] = seen.of(process_id, "process_creation")
        assert (event.creating_process_id, event.parent_process_id) == (0x5003, os.getppid())
        end(process_id)


def test_a_path_by_device_and_one_by_network() -> None:
    with watch() as seen:
        device, _ = create("\\Device\\HarddiskVolume1\\windows\\a.exe", "a")
        network, _ = create("\\??\\UNC\\server\\share\\a.exe", "a")
        assert seen.of(device, "process_creation")[0].process_name == "C:\\windows\\a.exe"
        assert seen.of(network, "process_creation")[0].process_name == "\\\\server\\share\\a.exe"
        end(device)
        end(network)


def test_an_id_that_is_given_out_again() -> None:
    """A rule for a process by its id is for that process, and not for a later one with its number."""
    with watch() as seen:
        process_id, _ = create("\\??\\C:\\first.exe", "first")
        seen.process.add_ignored_process_by_name("second.exe", False)
        end(process_id)
        create("\\??\\C:\\second.exe", "second", process_id=process_id)
        end(process_id)
        create("\\??\\C:\\third.exe", "third", process_id=process_id)
        end(process_id)
        names = [event.process_name for event in seen.of(process_id, "process_termination")]
        assert names == ["C:\\first.exe", "C:\\third.exe"]


@pytest.mark.parametrize("code", [1, 5, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_a_refusal_is_a_failure_whatever_its_code(code: int) -> None:
    def refuse(event: Any) -> None:
        event.result_code = code

    with watch(process_creation=refuse):
        _, outcome = create("\\??\\C:\\a.exe", "a")
        assert outcome.status & 0xC0000000 == 0xC0000000
        assert outcome.status == 0xC0000022 if code == 5 else True


def test_an_operation_of_the_system_process_fires_nothing() -> None:
    with watch() as seen:
        process_id, outcome = create("\\??\\C:\\smss.exe", "smss", originator_pid=4, originator_tid=8)
        assert (outcome.status, outcome.calls) == (0, 1)
        assert not seen.of(process_id, "process_creation")
        end(process_id)


def test_rules_decide_without_a_handler() -> None:
    gate = threading.Event()
    with watch(process_creation=lambda event: gate.wait(10)) as seen:
        seen.process.add_rule(name="denied.exe", action="deny", code=5)
        seen.process.add_rule(name="guarded.exe", action="strip", access=constants.PROCESS_TERMINATE)
        seen.process.add_rule(name="guarded.exe", action="allow")
        _, outcome = create("\\??\\C:\\denied.exe", "denied")
        assert outcome.status == 0xC0000022
        guarded, outcome = create("\\??\\C:\\guarded.exe", "guarded")
        assert outcome.status == 0
        own = fire(Kind.PROCESS_HANDLE, guarded, access=0x1FFFFF, flags=Flag.IS_SCRIPTED, **CALLER)
        assert own.access == 0x1FFFFF  # it passes for the one that the creation gives
        other = {"originator_pid": 0x5013, "originator_tid": 0x5014}
        opened = fire(Kind.PROCESS_HANDLE, guarded, access=0x1FFFFF, flags=Flag.IS_SCRIPTED, **other)
        assert opened.access == 0x1FFFFF & ~constants.PROCESS_TERMINATE
        gate.set()
        end(guarded)
        wait_for(lambda: seen.process.statistics().decided_by_rule >= 3)


def test_operations_that_are_held_from_many_threads() -> None:
    """Each is asked and answered; the driver's own work is what the figures are about in other storeys."""
    count, threads = 100, 8
    statuses: list[int] = []

    def refuse_odd(event: Any) -> None:
        event.result_code = 5 if event.process_id & 8 else 0

    def play() -> None:
        for _ in range(count):
            process_id, outcome = create("\\??\\C:\\storm.exe", "storm")
            statuses.append(outcome.status)
            assert (outcome.status != 0) == bool(process_id & 8)
            end(process_id)

    with watch(process_creation=refuse_odd) as seen:
        players = [threading.Thread(target=play) for _ in range(threads)]
        began = time.monotonic()
        for player in players:
            player.start()
        for player in players:
            player.join(120)
        print(f"{2 * count * threads / (time.monotonic() - began):.0f} events a second")
        assert len(statuses) == count * threads
        statistics = seen.process.statistics()
        assert (statistics.lost, statistics.timed_out) == (0, 0)
        assert statistics.refused == sum(status != 0 for status in statuses)
