"""The machine around the kernel driver: its service, its altitude, registering that fails, the command line
and the C example."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from windows.kernel.wine.firing import FAIL_REGISTRATIONS, TAKE_ALTITUDE, State, control
from windows.kernel.wine.world_tools import GUID, SPAWN, Watch, run, wait_for, watch

from cbprocess import CBProcess, CBProcessError, constants, probe_driver

FOLDER = Path(os.environ["CBPROCESS_TEST_WORLD"]).parent
PROCESSES, THREADS, OBJECTS = 1, 2, 3


def code_of_start(process: CBProcess) -> int:
    with pytest.raises(CBProcessError) as raised:
        process.start_filter(0)
    assert State.read().object_registrations == 0
    return raised.value.code


# ---- Altitudes ----


@pytest.fixture
def taken() -> Iterator[str]:
    """An altitude that another driver of the machine has."""
    altitude = "361234"
    control(TAKE_ALTITUDE, altitude.encode("utf-16-le"))
    yield altitude
    control(TAKE_ALTITUDE, b"")


def test_the_altitude_is_that_of_the_instance() -> None:
    process = Watch().process
    process.altitude = "365432.25"
    process.start_filter(0)
    assert State.read().altitude == "365432.25"
    process.stop_filter()


def test_an_altitude_that_is_taken_is_an_error_if_it_is_strict(taken: str) -> None:
    process = Watch().process
    process.altitude, process.strict_altitude = taken, True
    assert code_of_start(process) == constants.ERROR_ALREADY_EXISTS
    process.altitude = "361235"
    process.start_filter(0)
    process.stop_filter()


def test_an_altitude_that_is_taken_has_a_neighbour(taken: str) -> None:
    process = Watch().process
    process.altitude = taken
    process.start_filter(0)
    found = State.read().altitude
    process.stop_filter()
    assert found != taken
    assert abs(float(found) - float(taken)) < 1


# ---- Registering ----


@pytest.mark.parametrize("kind", [PROCESSES, THREADS, OBJECTS])
def test_a_callback_that_cannot_be_registered(kind: int) -> None:
    process = Watch().process
    control(FAIL_REGISTRATIONS, kind.to_bytes(4, "little"))
    try:
        assert code_of_start(process) != 0
        state = State.read()
        assert state.process_routines_ex2 == state.thread_routines == state.object_registrations == 0
    finally:
        control(FAIL_REGISTRATIONS, bytes(4))
    process.start_filter(0)
    process.stop_filter()


# ---- The service ----

STOP = """
import ctypes
advapi = ctypes.WinDLL("advapi32", use_last_error=True)
for function in (advapi.OpenSCManagerW, advapi.OpenServiceW): function.restype = ctypes.c_void_p
manager = ctypes.c_void_p(advapi.OpenSCManagerW(None, None, 0xF003F))
service = ctypes.c_void_p(advapi.OpenServiceW(manager, "cbprocess", 0xF01FF))
status = (ctypes.c_uint32 * 7)()
stopped = advapi.ControlService(service, 1, status)
tell(ctypes.get_last_error() if not stopped else 0)
"""


def test_a_filter_loads_the_driver_that_was_stopped() -> None:
    [[error]], _, _ = run(STOP)
    assert error == 0
    process = CBProcess()
    wait_for(lambda: process.get_driver_status(GUID) == constants.MODULE_STATUS_STOPPED)
    assert State.read().blocks == 0
    with watch() as seen:
        assert process.get_driver_status(GUID) == constants.MODULE_STATUS_RUNNING
        [[child, _status]], _, _ = run(SPAWN, "cmd.exe", "/c", "exit 0")
        assert seen.of(child, "process_creation")


def test_the_kernel_driver_is_the_automatic_one() -> None:
    report = probe_driver("auto")
    assert report.runs and report.capabilities == probe_driver("kernel").capabilities
    process = CBProcess()
    process.initialize(GUID)
    assert process.driver_capabilities() & constants.CAP_WHOLE_MACHINE


# ---- The command line ----


def cbprocess(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cbprocess", *arguments]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=60)


def test_status() -> None:
    done = cbprocess("status", "--json", "--product", GUID)
    assert done.returncode == 0
    record = json.loads(done.stdout)
    assert (record["driver"], record["status"], record["product"]) == ("kernel", "running", GUID)
    absent = cbprocess("status", "--product", "{00000000-0000-0000-0000-00000000ABCD}")
    assert absent.returncode == 1 and "not installed" in absent.stdout


def test_doctor() -> None:
    done = cbprocess("doctor", "--json")
    text = done.stdout or cbprocess("doctor").stdout
    assert "kernel" in text


def test_monitor() -> None:
    """It is installed for the command line's own product, and prints what others do."""
    installed = cbprocess("install", "--cab", str(FOLDER / "cbprocess.cab"))
    assert installed.returncode == 0, installed.stdout + installed.stderr
    output = FOLDER / f"monitor-{os.getpid()}.txt"
    command = [
        sys.executable,
        "-m",
        "cbprocess",
        "monitor",
        "--json",
        "--events",
        "process",
        "--output",
        str(output),
    ]
    monitor = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    wait_for(lambda: State.read().process_routines_ex2)
    [[child, _status]], _, _ = run(SPAWN, "cmd.exe", "/c", "exit 6")
    wait_for(lambda: output.exists() and str(child) in output.read_text(encoding="utf-8"))
    time.sleep(0.5)
    monitor.kill()
    monitor.wait()
    rows = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    own = [row for row in rows if row.get("process_id") == child]
    assert [row["event"] for row in own] == ["process_creation", "process_termination"]
    assert cbprocess("uninstall").returncode == 0
    wait_for(lambda: State.read().process_routines_ex2 == 0)


# ---- The C example ----


def example(*arguments: str) -> tuple[int, list[list[str]], str]:
    """Its status, its lines, its programs' output."""
    command = [str(FOLDER / "monitor.exe"), "--driver", "kernel", *arguments]
    done = subprocess.run(command, capture_output=True, timeout=60)
    return done.returncode, [line.split() for line in done.stderr.decode().splitlines()], done.stdout.decode()


def test_the_example_sees_a_tree() -> None:
    status, lines, output = example("cmd", "/c", "echo hello & cmd /c exit 4 & exit 9")
    assert (status, output.strip()) == (9, "hello"), lines
    assert [line[0] for line in lines] == ["created", "created", "ended", "ended"]
    root, child = lines[0][1], lines[1][1]
    assert lines[1][-1] == f"{root})"
    assert [(line[1], line[-1]) for line in lines[2:]] == [(child, "4"), (root, "9")]


def test_the_example_refuses() -> None:
    program = (
        "import subprocess, sys\ntry: subprocess.call(['hostname'])\nexcept OSError as e: print(e.winerror)"
    )
    status, lines, output = example("--deny", "*\\HOSTNAME.exe", sys.executable, "-c", program)
    assert (status, output.strip()) == (0, "5"), lines
    assert [line[0] for line in lines] == ["created", "refused", "ended"]
    status, lines, _output = example("--deny", "*\\hostname.exe", "hostname")
    # Its own CreateProcess has failed, and it says so.
    assert (status, [line[0] for line in lines]) == (126, ["refused", "monitor:"])


def test_statistics_of_a_storm() -> None:
    """Many programs at once: each is told whole, and nothing is lost."""
    program = """
children = [subprocess.Popen(["cmd.exe", "/c", "exit 0"]) for _ in range(20)]
tell(*[child.pid for child in children], *[child.wait() for child in children])
"""

    def settled() -> bool:
        return all(seen.of(child, "process_termination") for child in children)

    with watch() as seen:
        [told], _, _ = run(program)
        children: list[Any] = told[:20]
        assert told[20:] == [0] * 20
        wait_for(settled)
        for child in children:
            assert seen.names(child)[0] == "process_creation"
        statistics = seen.process.statistics()
        assert statistics.lost == statistics.timed_out == 0
