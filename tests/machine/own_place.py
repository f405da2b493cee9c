"""Makes a place in which tests may hold executions on a machine that others use, too: a tmpfs of their own,
and the rule that only descendants of the controller are ever held. Everything goes with this process.

Knows the public surface only. In a guest (CBPROCESS_TEST_GUEST=1) the machine is the tests'."""

from __future__ import annotations

import ctypes
import functools
import os
import shutil
import tempfile
from pathlib import Path

from cbprocess import INSTALL_REMOVE_OLD_VERSIONS, CBProcess, probe_driver
from cbprocess._binding.library import native_folder

CLONE_NEWNS, MS_PRIVATE, MS_REC = 0x00020000, 1 << 18, 1 << 14
ONLY_DESCENDANTS = "CBPROCESS_TEST_ONLY_DESCENDANTS"
TEST_ROOT = "CBPROCESS_TEST_ROOT"


def is_guest() -> bool:
    return os.environ.get("CBPROCESS_TEST_GUEST") == "1"


def obstacle() -> str:
    """Why the bpf driver cannot be tested here, or ""."""
    report = probe_driver("bpf")
    if not report.runs:
        return f"the bpf driver cannot run here: {report.reason}"
    return ""


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _leave_the_mounts_of_others() -> None:
    """This thread, and all threads and processes that it starts from now on."""
    libc = ctypes.CDLL(None, use_errno=True)
    _check(libc.unshare(CLONE_NEWNS))
    _check(libc.mount(b"none", b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None))


def _mount(folder: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    _check(libc.mount(b"cbprocess-test", os.fsencode(folder), b"tmpfs", ctypes.c_ulong(0), None))


@functools.cache
def own_place() -> Path:
    """The folder of the tmpfs. From now on this process holds no others than its own descendants."""
    if not is_guest():
        _leave_the_mounts_of_others()
        os.environ[ONLY_DESCENDANTS] = "1"
    folder = Path(tempfile.mkdtemp(prefix="cbprocess-own-"))
    _mount(folder)
    return folder


@functools.cache
def install(product_guid: str) -> None:
    """Installs the driver that is tested for that product, in a root of the tests' own."""
    root = own_place() / "root"
    root.mkdir(exist_ok=True)
    os.environ[TEST_ROOT] = str(root)
    installer = CBProcess()
    installer.config("Driver=bpf")
    installer.install(native_folder(), product_guid, None, INSTALL_REMOVE_OLD_VERSIONS)


def program(source: Path | str, name: str) -> str:
    """A copy of a program where its execution may be held."""
    path = own_place() / name
    if not path.exists():
        shutil.copy(source, path)
    return str(path)
