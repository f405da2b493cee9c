"""The core's side of the kernel driver, in the world: launches, workers, large messages, deadlines, tokens,
several instances, altitudes."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
import time
from typing import Any

import pytest
from windows.kernel.wine.world_tools import GUID, LIMIT_S, Program, Watch, run, wait_for, watch

from cbprocess import CBProcess, CBProcessError, constants

COMMAND = ["cmd.exe", "/c", "exit 3"]
ERROR_ACCESS_DENIED = 5
SPAWN = "tell(subprocess.call(sys.argv[1:]))"


def is_cmd(event: Any) -> bool:
    name: str = event.process_name
    return name.lower().endswith("cmd.exe")


def instance(*settings: str) -> CBProcess:
    process = CBProcess()
    process.initialize(GUID)
    for setting in ("Driver=kernel", "EventsToFire=-1", *settings):
        process.config(setting)
    return process


# ---- Launches ----


def test_a_launched_program_is_told_with_its_tree_and_nothing_else_is() -> None:
    seen: list[Any] = []
    process = instance()
    process.on_process_creation = seen.append
    with process:
        process.start_filter(0)
        assert subprocess.call(COMMAND) == 3  # not launched
        child = process.popen([sys.executable, "-S", "-c", "import os; os._exit(os.system('exit 4'))"])
        assert child.wait(LIMIT_S) == 4
        assert process.statistics().lost == 0
    assert seen[0].process_id == child.pid and seen[0].creating_process_id == os.getpid()
    assert [event.creating_process_id for event in seen[1:]] == [child.pid] and is_cmd(seen[1])


def test_a_launch_can_be_refused() -> None:
    def refuse(event: Any) -> None:
        event.result_code = ERROR_ACCESS_DENIED

    process = instance()
    process.on_process_creation = refuse
    with process:
        process.start_filter(0)
        for _ in range(2):
            with pytest.raises(OSError) as raised:
                process.popen(COMMAND)
            assert raised.value.winerror == ERROR_ACCESS_DENIED  # type: ignore[attr-defined]
        process.on_process_creation = None
        # A launch that failed has left no rule for what this thread creates next.
        seen: list[Any] = []
        process.on_process_creation = seen.append
        assert subprocess.call(COMMAND) == 3
        with pytest.raises(FileNotFoundError):
            process.popen(["no-such-program"])
        assert subprocess.call(COMMAND) == 3
        assert not seen
        assert process.popen(COMMAND).wait(LIMIT_S) == 3
        assert len(seen) == 1
        assert process.statistics().refused == 2


# ---- Workers ----


def test_what_handlers_do_fires_nothing() -> None:
    done: list[int] = []
    inner: list[int] = []

    def work(event: Any) -> None:
        child = subprocess.Popen([sys.executable, "-S", "-c", "import os; os.system('exit 0')"])
        inner.append(child.pid)
        done.append(child.wait(LIMIT_S))

    with watch("FilterOwnRequests=True", process_creation=work) as seen:
        _, child_id, _ = run(SPAWN, *COMMAND)
        wait_for(lambda: seen.of(child_id, "process_termination"))
        wait_for(lambda: len(done) == 2)
        # The program, which is the controller's own request, and its child: nothing that handlers started.
        creations = [event for name, event in seen.seen if name == "process_creation"]
        assert [event.creating_process_id for event in creations] == [os.getpid(), child_id]
        assert not {event.process_id for _, event in seen.seen} & set(inner)
    assert done == [0, 0]


def test_handlers_wait_beside_one_another() -> None:
    """More operations are held at once than receives wait in the driver."""
    count, gate, held = 20, threading.Event(), []

    def hold(event: Any) -> None:
        if is_cmd(event):
            held.append(event)
            gate.wait(60)

    with watch("MaxWorkerThreadCount=40", process_creation=hold) as seen:
        programs = [Program(SPAWN, *COMMAND) for _ in range(count)]
        wait_for(lambda: len(held) == count, 60)
        gate.set()
        assert [program.line() for program in programs] == [[3]] * count
        assert [program.end() for program in programs] == [0] * count
        assert len([event for name, event in seen.seen if name == "process_creation"]) == count
        assert seen.process.statistics().lost == seen.process.statistics().timed_out == 0


# ---- Messages ----


def test_a_large_command_line_arrives_whole() -> None:
    line = "x\u00e9\u4e00\U0001f600" * 3000
    with watch() as seen:
        [[status]], _, _ = run(SPAWN, sys.executable, "-S", "-c", "import os; os._exit(5)", line[:7000])
        wait_for(lambda: [e for e in seen.seen if e[0] == "process_creation"])
        [creation] = [event for name, event in seen.seen if name == "process_creation"]
        assert status == 5 and creation.command_line.endswith(line[:7000])
        assert seen.process.statistics().malformed == 0 and not seen.errors
    assert len(creation.command_line.encode("utf-8")) > 2 * 8192


def test_many_lives_in_their_order() -> None:
    program = """
def many():
    for _ in range(10): subprocess.call(["cmd.exe", "/c", "exit 0"])
threads = [threading.Thread(target=many) for _ in range(2)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""
    with watch() as seen:
        run(program)
        wait_for(lambda: sum(name == "process_termination" for name, _ in seen.seen) == 21, 60)
        for process_id in {event.process_id for name, event in seen.seen if name == "process_creation"}:
            names = seen.names(process_id)
            assert names[0] == "process_creation" and names[-1] == "process_termination"
        sequences = sorted(event.sequence for _, event in seen.seen)
        assert sequences == list(range(sequences[0], sequences[0] + len(sequences)))
        assert seen.process.statistics().lost == 0


# ---- Deadlines ----


def test_deadlines_can_be_moved_and_pass() -> None:
    moved: list[bool] = []

    def be_slow(event: Any) -> None:
        moved.append(seen.process.reset_timeout(60000))
        time.sleep(4)
        event.result_code = ERROR_ACCESS_DENIED

    with watch(timeout=3000, process_creation=be_slow) as seen:
        [[error]], _, _ = run(
            "try: subprocess.call(sys.argv[1:])\nexcept OSError as error: tell(error.winerror)", *COMMAND
        )
        assert (error, moved) == (ERROR_ACCESS_DENIED, [True])
        assert seen.process.statistics().late == seen.process.statistics().timed_out == 0

    def be_late(event: Any) -> None:
        time.sleep(4)
        moved.append(seen.process.reset_timeout(60000))
        event.result_code = ERROR_ACCESS_DENIED

    with watch(timeout=3000, process_creation=be_late) as seen:
        [[status]], _, _ = run(SPAWN, *COMMAND)
        wait_for(lambda: seen.process.statistics().late == 1)
        assert (status, moved) == (3, [True, False])
        assert seen.process.statistics().timed_out == 1


# ---- Tokens ----


def test_the_originators_token() -> None:
    advapi: Any = ctypes.WinDLL("advapi32")  # type: ignore[attr-defined]
    kernel32: Any = ctypes.WinDLL("kernel32")  # type: ignore[attr-defined]
    users: list[int] = []

    def look(event: Any) -> None:
        token = seen.process.get_originator_token()
        size = ctypes.c_uint32()
        buffer = ctypes.create_string_buffer(256)
        assert token not in (-1, 0)
        users.append(advapi.GetTokenInformation(ctypes.c_void_p(token), 1, buffer, 256, ctypes.byref(size)))
        assert kernel32.CloseHandle(ctypes.c_void_p(token))

    with watch(process_creation=look) as seen:
        [[status]], _, _ = run(SPAWN, *COMMAND)
        assert status == 3 and not seen.errors
    assert users and all(users)


# ---- Instances ----


def test_several_instances_are_all_asked() -> None:
    watches = [Watch(f"Altitude={400000 + place}") for place in range(3)]
    for each in watches:
        each.process.start_filter(0)
    [[status]], child, _ = run(SPAWN, *COMMAND)
    for each in watches:
        wait_for(lambda each=each: each.of(child, "process_termination"))  # type: ignore[misc]
    watches[1].process.stop_filter()
    [[second]], child, _ = run(SPAWN, *COMMAND)
    for each in (watches[0], watches[2]):
        wait_for(lambda each=each: each.of(child, "process_termination"))  # type: ignore[misc]
        each.process.stop_filter()
    assert (status, second) == (3, 3)
    assert [sum(name == "process_creation" for name, _ in each.seen) for each in watches] == [2, 1, 2]


def test_a_strict_altitude_is_nobody_elses() -> None:
    with instance("Altitude=385500", "StrictAltitude=True") as first:
        first.start_filter(0)
        second = instance("Altitude=385501", "StrictAltitude=True")
        with pytest.raises(CBProcessError) as raised:
            second.start_filter(0)
        assert raised.value.code == constants.ERROR_ALREADY_EXISTS
        second.config("StrictAltitude=False")
        with second:
            second.start_filter(0)
            with pytest.raises(CBProcessError) as raised:
                second.strict_altitude = True
            assert raised.value.code == constants.ERROR_ALREADY_EXISTS
            assert second.strict_altitude is False
