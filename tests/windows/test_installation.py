"""The commands and methods for the kernel driver where it is not installed: what they say, and that a package
without a signature, such as the wheel's own, changes nothing. tests/windows/kernel/package has the rest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cbprocess import CBProcess, CBProcessError, constants
from cbprocess._binding.library import native_folder

GUID = "{B5E3D6A1-0C55-4E0B-9A63-6C0C7C6A9B21}"
DRIVERS = Path(os.environ.get("SYSTEMROOT", r"C:\windows"), "System32", "drivers")
PACKAGE = Path(native_folder(), "cbprocess.cab")


def cbprocess(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cbprocess", *arguments]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=100)


def machine_process() -> CBProcess:
    process = CBProcess()
    process.config("Driver=kernel")
    return process


def files() -> list[str]:
    return sorted(name for name in os.listdir(DRIVERS) if name.startswith("cbprocess"))


def test_nothing_is_installed() -> None:
    process = machine_process()
    assert process.get_driver_status(GUID) == constants.MODULE_STATUS_NOT_PRESENT
    assert process.get_driver_version(GUID) == 0
    process.initialize(GUID)
    with pytest.raises(CBProcessError) as raised:
        process.start_filter(0)
    assert raised.value.code == constants.ERROR_FILE_NOT_FOUND


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("cbprocess.cab", constants.ERROR_INVALID_IMAGE_HASH),
        ("cbprocess.dll", constants.ERROR_BAD_FORMAT),
        ("no such.cab", constants.ERROR_FILE_NOT_FOUND),
    ],
)
def test_what_cannot_be_installed_leaves_nothing(name: str, code: int) -> None:
    before = files()
    with pytest.raises(CBProcessError) as raised:
        machine_process().install(str(PACKAGE.with_name(name)), GUID, None, 0)
    assert raised.value.code == code and files() == before == []


def test_uninstall() -> None:
    with pytest.raises(CBProcessError) as raised:
        machine_process().uninstall(None, GUID, None, constants.UNINSTALL_VERSION_CURRENT)
    assert raised.value.code == constants.ERROR_FILE_NOT_FOUND


def test_commands() -> None:
    done = cbprocess("status", "--product", GUID)
    assert (done.returncode, done.stdout) == (1, f"the kernel driver: not installed for {GUID}\n")
    done = cbprocess("status", "--json", "--product", GUID)
    assert json.loads(done.stdout)["status"] == "not installed"
    for command, code in (("install", 577), ("uninstall", 2), ("monitor", 2)):
        done = cbprocess(command, "--product", GUID)
        assert done.returncode == 125 and f"error {code}" in done.stderr, done
        assert done.stdout == "" and done.stderr.count("\n") == 1
    assert files() == []


def test_the_package_is_small() -> None:
    assert 10_000 < PACKAGE.stat().st_size < 1_048_576
