"""Runs a command in the world of cbpfire.sys and cbprocess.sys, under Wine and outside of that world:

    session.py FOLDER COMMAND [ARGUMENT]...

FOLDER has cbpfire.sys, world.dll and enter.exe, and the signed package of the driver with its signer.
Starts cbpfire.sys through the service manager, trusts the signer, installs the driver as a product does, runs
the command, stops the driver, and looks at what it has left behind. Ends with the command's status, or with 1
and a sentence. All of this is one process with its children, because Wine ends its services with the last
program."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

from windows.kernel.wine.firing import State

from cbprocess import CBProcess, constants

# The products that the suites and the C example are: each has to have installed the driver.
PRODUCTS = (
    "{8A2C35C1-52BE-43C5-8C9B-2A4C60D3D9E7}",
    "{0F5D9C5B-6B8F-4B9C-9E59-0B8C8A3B6B10}",
    "{0F5D9C5B-6B8F-4B9C-9E59-0B8C8A3B6B11}",
    "{6C1F1B0E-9E0B-4B7D-8E55-0B6C7A1D2F10}",
)
# Drivers of one group are in one process of Wine's.
GROUP = "FSFilter Activity Monitor"
ALL_ACCESS, KERNEL_DRIVER, DEMAND_START, ERROR_NORMAL, CONTROL_STOP = 0xF01FF, 1, 3, 1, 1
MANAGER_ALL_ACCESS = 0xF003F
STORE_OF_SYSTEM, LOCAL_MACHINE, X509, REPLACE_EXISTING = 10, 0x20000, 1, 3

advapi = ctypes.WinDLL("advapi32", use_last_error=True)
for function in (advapi.OpenSCManagerW, advapi.CreateServiceW, advapi.OpenServiceW):
    function.restype = ctypes.c_void_p


def start_fire(folder: Path) -> None:
    manager = ctypes.c_void_p(advapi.OpenSCManagerW(None, None, MANAGER_ALL_ACCESS))
    path = str(folder / "cbpfire.sys")
    service = advapi.CreateServiceW(
        manager,
        "CbpFire",
        None,
        ALL_ACCESS,
        KERNEL_DRIVER,
        DEMAND_START,
        ERROR_NORMAL,
        path,
        GROUP,
        *[None] * 4,
    )
    assert service, ctypes.get_last_error()
    assert advapi.StartServiceW(ctypes.c_void_p(service), 0, None), ctypes.get_last_error()


def control_driver(code: int) -> int:
    """Sends a control code to the driver's service. 0, or a Win32 error."""
    manager = ctypes.c_void_p(advapi.OpenSCManagerW(None, None, MANAGER_ALL_ACCESS))
    service = ctypes.c_void_p(advapi.OpenServiceW(manager, "cbprocess", ALL_ACCESS))
    status = (ctypes.c_uint32 * 7)()
    return 0 if advapi.ControlService(service, code, status) else ctypes.get_last_error()


def trust(certificate: bytes) -> None:
    """As certutil -addstore Root does it."""
    crypt = ctypes.WinDLL("crypt32", use_last_error=True)
    crypt.CertOpenStore.restype = ctypes.c_void_p
    store = crypt.CertOpenStore(ctypes.c_void_p(STORE_OF_SYSTEM), 0, None, LOCAL_MACHINE, "Root")
    assert store, ctypes.get_last_error()
    added = crypt.CertAddEncodedCertificateToStore(
        ctypes.c_void_p(store), X509, certificate, len(certificate), REPLACE_EXISTING, None
    )
    assert added, ctypes.get_last_error()
    assert crypt.CertCloseStore(ctypes.c_void_p(store), 0)


def install(package: Path) -> None:
    process = CBProcess()
    for product in PRODUCTS:
        assert process.get_driver_status(product) == constants.MODULE_STATUS_NOT_PRESENT
        assert process.install(str(package), product, None, 0) is False, "Wine needs no restart"
        assert process.get_driver_status(product) == constants.MODULE_STATUS_RUNNING


def look_behind(state: State, when: str) -> list[str]:
    """What a driver that has no session must not have."""
    names = ["process_routines", "process_routines_ex2", "thread_routines", "object_registrations", "running"]
    names += ["objects", "tokens", "violations"]
    found = [f"{when} there are {getattr(state, name)} {name}" for name in names if getattr(state, name)]
    return found + ([state.violation.decode()] if state.violations else [])


def main() -> int:
    folder = Path(sys.argv[1])
    os.environ["CBPROCESS_TEST_WORLD"] = str(folder / "world.dll")
    start_fire(folder)
    trust((folder / "test.cer").read_bytes())
    install(folder / "cbprocess.cab")
    status = subprocess.call([str(folder / "enter.exe"), *sys.argv[2:]])
    left = look_behind(State.read(), "with no session")
    error = control_driver(CONTROL_STOP)
    state = State.read()
    left += look_behind(state, "after its stop")
    if error:
        left.append(f"the driver cannot be stopped: error {error}")
    if state.blocks:
        left.append(f"after its stop it has left {state.blocks} blocks of memory")
    print(*left, sep="\n", flush=True)
    return status or bool(left)


if __name__ == "__main__":
    sys.exit(main())
