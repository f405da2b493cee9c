"""The kernel driver where no product has installed it: what says so, and what goes on without it."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest
from windows.windows_tools import COMMAND, GUID, is_cmd

from cbprocess import CBProcess, CBProcessError, constants, monitor, probe_driver


def is_administrator() -> bool:
    return bool(ctypes.WinDLL("shell32").IsUserAnAdmin())  # type: ignore[attr-defined]


def kernel_filter() -> CBProcess:
    process = CBProcess()
    process.initialize(GUID)
    process.config("Driver=kernel")
    return process


def start_code(process: CBProcess) -> int:
    with pytest.raises(CBProcessError) as raised:
        process.start_filter(0)
    assert "this product has not installed the kernel driver" in str(raised.value)
    return raised.value.code


def test_nothing_is_installed() -> None:
    process = kernel_filter()
    assert process.get_driver_status(GUID) == constants.MODULE_STATUS_NOT_PRESENT
    assert process.get_driver_version(GUID) == 0


def test_a_start_is_error_2() -> None:
    process = kernel_filter()
    for _ in range(2):
        assert start_code(process) == constants.ERROR_FILE_NOT_FOUND
    process.config("Driver=debug")  # nothing is left of the failure
    process.config("EventsToFire=-1")
    with process:
        process.start_filter(0)
        assert process.popen(COMMAND).wait(60) == 3


def test_the_probe_says_why() -> None:
    report = probe_driver("kernel")
    assert not report.runs and report.reason.startswith("cbprocess.sys does not run here")


def test_the_default_driver_is_the_machines_for_an_administrator() -> None:
    process = CBProcess()
    process.initialize(GUID)
    if is_administrator():
        assert process.get_driver_status(GUID) == constants.MODULE_STATUS_NOT_PRESENT
        assert start_code(process) == constants.ERROR_FILE_NOT_FOUND
    else:
        assert process.get_driver_status(GUID) == constants.MODULE_STATUS_RUNNING
    assert probe_driver().reason == probe_driver("kernel" if is_administrator() else "debug").reason


def test_programs_that_are_started_need_no_driver_of_the_machine() -> None:
    seen = [event for event in monitor(COMMAND) if is_cmd(event)]
    assert len(seen) == 2
    command = [sys.executable, "-m", "cbprocess", "run", "--", *COMMAND]
    done = subprocess.run(command, capture_output=True)
    assert done.returncode == 3 and b"cmd.exe" in done.stdout + done.stderr
