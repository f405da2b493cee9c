"""Installing the bpf driver for products: what is where then, damage, old and new versions.
test_installation_others.py and test_installation_faults.py have what others and failing calls do to it.

All of it happens below a root of the test's own, with packages that are made up."""

from __future__ import annotations

import fcntl
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

if sys.platform != "linux":
    pytest.skip("the bpf driver is for Linux", allow_module_level=True)

from machine.installation_root import (
    ALL,
    AS_ROOT,
    CURRENT,
    EM_BPF,
    FILES,
    GUID,
    NEW,
    NEWEST,
    NO_PRODUCT,
    NOBODY,
    NOT_PRESENT,
    OLD,
    OTHER,
    OWN,
    PREVIOUS,
    REMOVE_OLD,
    RUNNING,
    STOPPED,
    Machine,
    code_of,
    elf,
    flip,
    full,
    package,
    tree,
)
from machine.installation_root import machine as machine

from cbprocess import CBProcessError, constants

# ---- What is where ----


@AS_ROOT
def test_files_status_and_version(machine: Machine) -> None:
    assert machine.status() == NOT_PRESENT and machine.version() == ""
    machine.install()
    folder = machine.usual / OWN
    assert set(os.listdir(folder)) == FILES
    for name in FILES - {"files.list"}:
        assert (folder / name).read_bytes() == (machine.packages[OWN] / name).read_bytes()
    for path in (folder, *folder.iterdir()):
        facts = path.lstat()
        is_program = path.is_dir() or path.name == "cbprocess-guard"
        assert (facts.st_uid, stat.S_IMODE(facts.st_mode)) == (0, 0o755 if is_program else 0o644), path
    assert machine.status() == STOPPED and machine.version() == OWN
    assert os.listdir(machine.products) == [GUID.strip("{}").lower()]
    assert machine.status(OTHER) == NOT_PRESENT and machine.version(OTHER) == ""
    machine.uninstall()
    assert machine.status() == NOT_PRESENT and machine.version() == "" and machine.is_clean()


@AS_ROOT
@pytest.mark.parametrize("mask", [0o000, 0o077])
def test_the_umask_decides_nothing(machine: Machine, mask: int) -> None:
    before = os.umask(mask)
    try:
        machine.install()
    finally:
        os.umask(before)
    for path in (machine.usual, machine.usual / OWN, machine.products, machine.products.parent):
        assert stat.S_IMODE(path.stat().st_mode) == 0o755
    assert stat.S_IMODE((machine.usual / OWN / "gate.bpf.o").stat().st_mode) == 0o644
    assert stat.S_IMODE((machine.products.parent / "lock").stat().st_mode) & 0o077 == 0


@AS_ROOT
def test_a_guid_in_any_letters(machine: Machine) -> None:
    machine.install(product=GUID.lower())
    assert machine.status(GUID.upper()) == STOPPED
    machine.uninstall(product=GUID.upper())
    assert machine.is_clean()


@AS_ROOT
def test_two_products_share_a_driver(machine: Machine) -> None:
    machine.install()
    machine.install(product=OTHER)
    assert machine.folders() == {OWN}
    machine.uninstall()
    assert machine.status() == NOT_PRESENT
    assert machine.status(OTHER) == STOPPED and machine.version(OTHER) == OWN
    assert code_of(machine.uninstall) == constants.ERROR_FILE_NOT_FOUND
    machine.uninstall(product=OTHER)
    assert machine.is_clean()


@AS_ROOT
def test_installing_again_changes_nothing(machine: Machine) -> None:
    machine.install()
    before = {path: path.stat().st_ino for path in (machine.usual / OWN).iterdir()}
    machine.install()
    assert {path: path.stat().st_ino for path in (machine.usual / OWN).iterdir()} == before


@AS_ROOT
def test_a_running_guard_is_seen(machine: Machine) -> None:
    machine.install()
    with open(machine.usual / OWN / "cbprocess-guard", "rb") as guard:
        child = os.fork()
        if child == 0:
            fcntl.lockf(guard, fcntl.LOCK_SH)
            time.sleep(100)
        try:
            deadline = time.monotonic() + 20
            while machine.status() != RUNNING and time.monotonic() < deadline:
                time.sleep(0.01)
            assert machine.status() == RUNNING
        finally:
            os.kill(child, 9)
            os.waitpid(child, 0)
    assert machine.status() == STOPPED


# ---- Versions ----


@AS_ROOT
def test_an_update_keeps_the_old_version_until_it_is_told_not_to(machine: Machine) -> None:
    machine.install(OWN)
    machine.install(NEW)
    assert machine.folders() == {OWN, NEW}
    # A filter of this library uses its own version as long as it is there.
    assert machine.version() == OWN
    machine.install(NEWEST, flags=REMOVE_OLD)
    assert machine.folders() == {NEWEST} and machine.version() == full(NEWEST)


@AS_ROOT
def test_an_older_version_takes_nothing_away(machine: Machine) -> None:
    machine.install(NEW)
    machine.install(OLD, flags=REMOVE_OLD)
    assert machine.folders() == {OLD, NEW} and machine.version() == full(NEW)


@AS_ROOT
@pytest.mark.parametrize(
    ("flags", "left"), [(CURRENT, {OWN, OLD}), (PREVIOUS, {NEW}), (ALL, set()), (CURRENT | PREVIOUS, set())]
)
def test_which_versions_are_uninstalled(machine: Machine, flags: int, left: set[str]) -> None:
    for version in (OLD, OWN, NEW):
        machine.install(version)
    machine.uninstall(flags)
    assert machine.folders() == left and (machine.status() == STOPPED) is bool(left)
    assert machine.is_clean() is not bool(left)


@AS_ROOT
def test_versions_of_another_product_stay(machine: Machine) -> None:
    machine.install(OLD, OTHER)
    machine.install(OLD)
    machine.install(NEW, flags=REMOVE_OLD)
    assert machine.folders() == {OLD, NEW}
    machine.uninstall(ALL)
    assert machine.folders() == {OLD} and machine.version(OTHER) == OLD


@AS_ROOT
def test_more_updates_than_a_product_keeps(machine: Machine, tmp_path: Path) -> None:
    for number in range(12):
        version = f"1.{number}.0"
        machine.packages[version] = package(tmp_path / version, version)
        machine.install(version)
    assert machine.folders() == {f"1.{number}.0" for number in range(4, 12)}
    machine.uninstall()
    assert machine.is_clean()


@AS_ROOT
def test_nothing_to_uninstall(machine: Machine) -> None:
    assert code_of(machine.uninstall, CURRENT) == constants.ERROR_FILE_NOT_FOUND
    assert code_of(machine.uninstall, ALL) == constants.ERROR_FILE_NOT_FOUND
    machine.uninstall(PREVIOUS)
    assert code_of(machine.uninstall, 0) == constants.ERROR_INVALID_PARAMETER
    assert machine.is_clean()


@AS_ROOT
def test_the_errors_of_a_start(machine: Machine) -> None:
    code, text = machine.start_code()
    assert code == constants.ERROR_FILE_NOT_FOUND and "cbprocess install" in text
    machine.install(OLD)
    code, text = machine.start_code()
    assert code == constants.ERROR_INVALID_KERNEL_INFO_VERSION and OLD in text and OWN in text


# ---- The folder ----


@AS_ROOT
def test_another_folder(machine: Machine, tmp_path: Path) -> None:
    target = tmp_path / "a folder"
    target.mkdir()
    (target / "others").write_text("stay")
    (tmp_path / "link").symlink_to(target)
    machine.install(target=str(tmp_path / "link"))
    assert set(os.listdir(target)) == {"others", OWN} and machine.folders() == set()
    assert str(target) in next(machine.products.iterdir()).read_text()
    # An update stays there, and an installation elsewhere moves the driver.
    machine.install(NEW)
    assert set(os.listdir(target)) == {"others", OWN, NEW}
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    machine.install(NEW, target=str(elsewhere))
    assert set(os.listdir(target)) == {"others", OWN} and os.listdir(elsewhere) == [NEW]
    machine.uninstall()
    assert os.listdir(target) == ["others"] and os.listdir(elsewhere) == [] and machine.is_clean()


@AS_ROOT
def test_the_folder_of_an_update_may_be_gone(machine: Machine, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    machine.install(target=str(target))
    target.rename(tmp_path / "moved")
    assert machine.start_code()[0] == constants.ERROR_FS_DRIVER_REQUIRED
    machine.install()
    assert machine.folders() == {OWN} and machine.version() == OWN


@AS_ROOT
def test_folders_that_cannot_be(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "missing", tmp_path / "file", Path("/" + "x" * 300)):
        assert code_of(machine.install, OWN, GUID, str(path)) == constants.ERROR_PATH_NOT_FOUND
    assert code_of(machine.install, OWN, GUID, "/tmp\n/") == constants.ERROR_INVALID_PARAMETER
    assert machine.is_clean() and machine.status() == NOT_PRESENT


@AS_ROOT
@pytest.mark.parametrize("changes", ["owner", "group", "everybody", "sticky", "parent"])
def test_a_folder_that_others_can_change(machine: Machine, tmp_path: Path, changes: str) -> None:
    target = tmp_path / "parent" / "target"
    target.mkdir(parents=True)
    {
        "owner": lambda: os.chown(target, NOBODY, 0),
        "group": lambda: target.chmod(0o775),
        "everybody": lambda: target.chmod(0o757),
        "sticky": lambda: target.chmod(0o1777),
        "parent": lambda: os.chown(target.parent, NOBODY, 0),
    }[changes]()
    with pytest.raises(CBProcessError) as raised:
        machine.install(target=str(target))
    assert raised.value.code == constants.ERROR_ACCESS_DENIED and "others than root" in str(raised.value)
    assert os.listdir(target) == [] and machine.is_clean()


@AS_ROOT
def test_a_folder_of_others_in_its_place(machine: Machine) -> None:
    place = machine.usual / OWN
    place.mkdir(parents=True)
    (place / "somebody's").write_text("stay")
    assert code_of(machine.install) == constants.ERROR_ALREADY_EXISTS
    assert os.listdir(place) == ["somebody's"] and machine.status() == NOT_PRESENT


@AS_ROOT
def test_programs_that_cannot_be_executed(machine: Machine, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "noexec,mode=755", "none", target]).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        with pytest.raises(CBProcessError) as raised:
            machine.install(target=str(target))
        assert "cannot be executed" in str(raised.value) and os.listdir(target) == []
    finally:
        subprocess.run(["umount", target], check=True)
    assert machine.is_clean()


# ---- Packages ----


@AS_ROOT
@pytest.mark.parametrize(
    ("code", "spoil"),
    [
        (2, lambda folder: folder.rename(folder.with_name("gone"))),
        (11, lambda folder: (folder / "cbprocess-guard").write_bytes(elf(8))),
        (11, lambda folder: (folder / "gate.bpf.o").write_bytes(elf(62))),
        (13, lambda folder: (folder / "cbprocess-guard").unlink()),
        (13, lambda folder: (folder / "cbprocess-guard").write_bytes(b"\x7fELF")),
        (13, lambda folder: (folder / "gate.bpf.o").write_bytes(b"x" * 100)),
        (13, lambda folder: [path.unlink() for path in folder.glob("*.bpf.o")]),
        (13, lambda folder: (folder / "cbprocess-driver.version").unlink()),
        (13, lambda folder: (folder / "cbprocess-driver.version").write_text("")),
        (13, lambda folder: (folder / "cbprocess-driver.version").write_text("../1.0")),
        (13, lambda folder: (folder / "cbprocess-driver.version").write_text("1.0/..")),
        (13, lambda folder: (folder / "cbprocess-driver.version").write_text("..")),
        (13, lambda folder: (folder / "cbprocess-driver.version").write_text("1" * 40)),
        (13, lambda folder: (folder / "cbprocess-driver.version").write_text("66000.1")),
        (13, lambda folder: os.mkfifo(folder / "more.bpf.o")),
        (13, lambda folder: (folder / "more.bpf.o").mkdir()),
        (13, lambda folder: os.truncate(folder / "libbpf.so.1", 65 << 20)),
        (13, lambda folder: [(folder / f"{n}.bpf.o").write_bytes(elf(EM_BPF)) for n in range(80)]),
        (2, lambda folder: (folder / "more.bpf.o").symlink_to("nowhere")),
    ],
)
def test_bad_packages(machine: Machine, code: int, spoil: Callable[[Path], object]) -> None:
    machine.install(OLD)
    before = tree(machine.root)
    spoil(machine.packages[OWN])
    assert code_of(machine.install) == code
    assert tree(machine.root) == before


@AS_ROOT
def test_a_file_is_no_package(machine: Machine, tmp_path: Path) -> None:
    cabinet = tmp_path / "cbprocess.cab"
    cabinet.write_bytes(b"MSCF")
    install = machine.process.install
    assert code_of(install, str(cabinet), GUID, None, 0) == constants.ERROR_BAD_FORMAT
    assert code_of(install, str(cabinet / "x"), GUID, None, 0) == constants.ERROR_PATH_NOT_FOUND
    assert machine.is_clean()


@AS_ROOT
def test_an_installed_driver_is_a_package(machine: Machine) -> None:
    machine.install(target=None)
    machine.process.install(str(machine.usual / OWN), OTHER, None, 0)
    machine.uninstall()
    assert machine.version(OTHER) == OWN


@AS_ROOT
def test_no_product_installs_nothing(machine: Machine) -> None:
    assert code_of(machine.install, OWN, NO_PRODUCT) == constants.ERROR_INVALID_PARAMETER
    assert code_of(machine.uninstall, ALL, NO_PRODUCT) == constants.ERROR_INVALID_PARAMETER
    assert machine.is_clean()


# ---- Damage ----


def replace_by_link(path: Path) -> None:
    copy = path.with_name("copy")
    path.rename(copy)
    path.symlink_to(copy)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "guard missing": lambda folder: (folder / "cbprocess-guard").unlink(),
    "object missing": lambda folder: (folder / "gate.bpf.o").unlink(),
    "library missing": lambda folder: (folder / "libbpf.so.1").unlink(),
    "object cut": lambda folder: os.truncate(folder / "processes.bpf.o", 1000),
    "object longer": lambda folder: os.truncate(folder / "processes.bpf.o", 60_000),
    "one bit": lambda folder: flip(folder / "processes.bpf.o"),
    "one bit of the guard": lambda folder: flip(folder / "cbprocess-guard"),
    "list missing": lambda folder: (folder / "files.list").unlink(),
    "list empty": lambda folder: os.truncate(folder / "files.list", 0),
    "list cut in a line": lambda folder: os.truncate(folder / "files.list", 70),
    "one bit of the list": lambda folder: flip(folder / "files.list"),
    "lines of the list": lambda folder: (folder / "files.list").write_text(
        "".join((folder / "files.list").read_text().splitlines(True)[2:])
    ),
    "list too large": lambda folder: (folder / "files.list").write_bytes(b"x" * 100_000),
    "list of zeros": lambda folder: (folder / "files.list").write_bytes(b"\0" * 500),
    "file of another": lambda folder: os.chown(folder / "gate.bpf.o", NOBODY, NOBODY),
    "file that others write": lambda folder: (folder / "gate.bpf.o").chmod(0o666),
    "folder of another": lambda folder: os.chown(folder, NOBODY, NOBODY),
    "folder that others write": lambda folder: folder.chmod(0o777),
    "link": lambda folder: replace_by_link(folder / "gate.bpf.o"),
    "pipe": lambda folder: ((folder / "gate.bpf.o").unlink(), os.mkfifo(folder / "gate.bpf.o")),
}


@AS_ROOT
@pytest.mark.parametrize("damage", sorted(DAMAGE))
def test_damage_is_error_588_and_can_be_repaired(machine: Machine, damage: str) -> None:
    machine.install()
    folder = machine.usual / OWN
    DAMAGE[damage](folder)
    code, text = machine.start_code()
    assert code == constants.ERROR_FS_DRIVER_REQUIRED and str(folder) in text, text
    assert machine.version() == ""
    for path in folder.glob("copy"):
        path.unlink()
    if damage.startswith("folder"):
        # Root has to look at that first.
        os.chown(folder, 0, 0)
        folder.chmod(0o755)
    machine.install()
    assert machine.version() == OWN and machine.folders() == {OWN}
    machine.uninstall()
    assert machine.is_clean()


@AS_ROOT
@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"\n",
        b"1.0\n",
        b"1.0 relative\n",
        b"1.0 /no end",
        b"x /a\n",
        b"1.0 /a\nmore\n",
        b"1.0 /" + b"a" * 2000 + b"\n",
        b"1.0 /a\n" * 9,
        b"\0" * 100,
        b"1.0 /a\n" * 10_000,
    ],
    ids=range(11),
)
def test_a_damaged_record(machine: Machine, record: bytes) -> None:
    machine.install(product=OTHER)
    path = machine.products / GUID.strip("{}").lower()
    path.write_bytes(record)
    assert machine.start_code()[0] == constants.ERROR_FS_DRIVER_REQUIRED
    assert machine.status() == NOT_PRESENT and machine.version(OTHER) == OWN
    machine.install(NEW)
    assert machine.version() == full(NEW)
    path.write_bytes(record)
    machine.uninstall()
    assert not path.exists() and machine.version(OTHER) == OWN
