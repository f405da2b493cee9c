"""A root of the test's own in which the bpf driver is installed, and packages that are made up."""

from __future__ import annotations

import hashlib
import os
import stat
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cbprocess import CBProcess, CBProcessError, constants

AS_ROOT = pytest.mark.skipif(os.getuid() != 0, reason="only root can install")
PROGRAMS = Path(__file__).resolve().parent.parent / "programs"
GUID = "{713CC6CE-B3E2-4fd9-838D-E28F558F6866}"
OTHER = "{B5E3D6A1-0C55-4E0B-9A63-6C0C7C6A9B21}"
NO_PRODUCT = "{00000000-0000-0000-0000-000000000000}"
NOBODY = 65534
CURRENT, PREVIOUS, ALL = (
    constants.UNINSTALL_VERSION_CURRENT,
    constants.UNINSTALL_VERSION_PREVIOUS,
    constants.UNINSTALL_VERSION_ALL,
)
REMOVE_OLD = constants.INSTALL_REMOVE_OLD_VERSIONS
NOT_PRESENT, STOPPED, RUNNING = (
    constants.MODULE_STATUS_NOT_PRESENT,
    constants.MODULE_STATUS_STOPPED,
    constants.MODULE_STATUS_RUNNING,
)
LIBRARY_VERSION = CBProcess().get_driver_version(GUID)
OWN = ".".join(str(LIBRARY_VERSION >> shift & 0xFFFF) for shift in (48, 32, 16))
OLD, NEW, NEWEST = "0.0.9", "7.0", "9.1"
MACHINES = {"x86_64": 62, "aarch64": 183}
EM_BPF = 247


def elf(machine: int, text: bytes = b"") -> bytes:
    identity = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    return (identity + struct.pack("<HHI", 1, machine, 1)).ljust(64, b"\0") + text


def package(folder: Path, version: str, text: str = "") -> Path:
    """A package with two objects, a library, and a file that is none of its own."""
    folder.mkdir()
    (folder / "cbprocess-driver.version").write_text(f"{version}\n")
    (folder / "cbprocess-guard").write_bytes(elf(MACHINES[os.uname().machine], version.encode()))
    (folder / "processes.bpf.o").write_bytes(elf(EM_BPF, text.encode() + b"p" * 50_000))
    (folder / "gate.bpf.o").write_bytes(elf(EM_BPF, b"g"))
    (folder / "libbpf.so.1").write_bytes(b"library")
    (folder / "LICENSE.libbpf").write_text("licence")
    (folder / "libcbprocess.so").write_bytes(b"no part of the driver")
    return folder


FILES = {
    "cbprocess-driver.version",
    "cbprocess-guard",
    "processes.bpf.o",
    "gate.bpf.o",
    "libbpf.so.1",
    "LICENSE.libbpf",
    "files.list",
}


class Machine:
    """A root for the test, with packages of several versions."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self.root.mkdir()
        self.usual = self.root / "usr/lib/cbprocess"
        self.products = self.root / "var/lib/cbprocess/products"
        self.packages = {version: package(folder / version, version) for version in (OLD, OWN, NEW, NEWEST)}
        self.process = CBProcess()
        self.process.config("Driver=bpf")

    def install(
        self, version: str = OWN, product: str = GUID, target: str | None = None, flags: int = 0
    ) -> None:
        assert self.process.install(str(self.packages[version]), product, target, flags) is False

    def uninstall(self, flags: int = ALL, product: str = GUID) -> None:
        assert self.process.uninstall(None, product, None, flags) is False

    def status(self, product: str = GUID) -> int:
        return self.process.get_driver_status(product)

    def version(self, product: str = GUID) -> str:
        words = self.process.get_driver_version(product)
        return ".".join(str(words >> shift & 0xFFFF) for shift in (48, 32, 16)) if words else ""

    def folders(self) -> set[str]:
        return set(os.listdir(self.usual)) if self.usual.is_dir() else set()

    def is_clean(self) -> bool:
        return not self.usual.exists() and not (self.root / "var/lib/cbprocess").exists()

    def start_code(self, product: str = GUID) -> tuple[int, str]:
        """The error with which a filter of the product does not start."""
        process = CBProcess()
        process.config("Driver=bpf")
        process.initialize(product)
        with pytest.raises(CBProcessError) as raised:
            process.start_filter(0)
        return raised.value.code, str(raised.value)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    found = Machine(tmp_path)
    monkeypatch.setenv("CBPROCESS_TEST_ROOT", str(found.root))
    return found


def code_of(call: Callable[..., Any], *arguments: Any) -> int:
    with pytest.raises(CBProcessError) as raised:
        call(*arguments)
    return raised.value.code


def full(version: str) -> str:
    return version if version.count(".") == 2 else f"{version}.0"


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def tree(folder: Path) -> dict[str, Any]:
    """Everything below a folder: mode, and content or target."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        facts = path.lstat()
        content = os.readlink(path) if path.is_symlink() else ""
        if stat.S_ISREG(facts.st_mode):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        found[str(path.relative_to(folder))] = facts.st_mode, facts.st_uid, content
    return found
