"""Installing the bpf driver beside others: users who may not decide what root executes, links that they have
made, and programs that install at the same time; and for whom the driver is the default one."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

if sys.platform != "linux":
    pytest.skip("the bpf driver is for Linux", allow_module_level=True)

from machine.installation_root import (
    ALL,
    AS_ROOT,
    GUID,
    NEW,
    NOT_PRESENT,
    OLD,
    OTHER,
    OWN,
    RUNNING,
    STOPPED,
    Machine,
    code_of,
    package,
    tree,
)
from machine.installation_root import machine as machine

from cbprocess import CBProcess, constants


@AS_ROOT
@pytest.mark.parametrize("place", ["var/lib/cbprocess", "usr/lib/cbprocess", "var/lib/cbprocess/products"])
def test_links_are_not_followed(machine: Machine, tmp_path: Path, place: str) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    path = machine.root / place
    path.parent.mkdir(parents=True)
    path.symlink_to(victim)
    assert code_of(machine.install) in (constants.ERROR_ACCESS_DENIED, constants.ERROR_PATH_NOT_FOUND)
    assert os.listdir(victim) == [] and path.is_symlink()


@AS_ROOT
def test_links_for_files_are_not_followed(machine: Machine, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("as it was")
    machine.install(product=OTHER)
    (machine.products / GUID.strip("{}").lower()).symlink_to(victim)
    (machine.products / ".incoming").symlink_to(victim)
    machine.install()
    assert machine.version() == OWN and victim.read_text() == "as it was"
    (machine.products.parent / "lock").unlink()
    (machine.products.parent / "lock").symlink_to(victim)
    assert code_of(machine.install) == constants.ERROR_ACCESS_DENIED and victim.read_text() == "as it was"


@AS_ROOT
def test_the_leftovers_of_an_installation_are_a_link(machine: Machine, tmp_path: Path) -> None:
    victim = package(tmp_path / "victim", "1.0")
    machine.usual.mkdir(parents=True)
    (machine.usual / ".incoming").symlink_to(victim)
    before = tree(victim)
    assert code_of(machine.install) == constants.ERROR_ALREADY_EXISTS
    assert tree(victim) == before


ASK = """
import json, os, sys
import cbprocess
process = cbprocess.CBProcess()
process.config("Driver=bpf")
def code(call, *arguments):
    try:
        return call(*arguments)
    except cbprocess.CBProcessError as error:
        return error.code
guid, package = sys.argv[1:3]
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
print(json.dumps([
    process.get_driver_status(guid),
    code(process.install, package, guid, None, 0),
    code(process.uninstall, None, guid, None, 3),
    code(process.install, "/no such", guid, "/no such", 0),
]))
"""


@AS_ROOT
def test_other_users_can_ask_and_not_change(machine: Machine) -> None:
    machine.install()
    before = tree(machine.root)
    done = subprocess.run(
        [sys.executable, "-c", ASK, GUID, str(machine.packages[OWN])], capture_output=True, text=True
    )
    # Their environment names no root of a test.
    not_held = constants.ERROR_PRIVILEGE_NOT_HELD
    assert json.loads(done.stdout or "0") == [NOT_PRESENT, not_held, not_held, not_held], done.stderr
    assert tree(machine.root) == before


@pytest.mark.skipif(os.getuid() == 0, reason="for other users than root")
def test_only_root_installs() -> None:
    process = CBProcess()
    process.config("Driver=bpf")
    for call in (
        lambda: process.install(None, GUID, None, 0),
        lambda: process.uninstall(None, GUID, None, ALL),
    ):
        assert code_of(call) == constants.ERROR_PRIVILEGE_NOT_HELD
    assert process.get_driver_status(GUID) == NOT_PRESENT and process.get_driver_version(GUID) == 0


# ---- auto ----

AUTO = """
import sys, cbprocess
print(*[cbprocess.CBProcess().get_driver_status(guid) for guid in sys.argv[1:]])
"""


def automatic(machine: Machine, *before: str) -> list[int]:
    done = subprocess.run(
        [*before, sys.executable, "-c", AUTO, GUID, OTHER], capture_output=True, text=True, check=True
    )
    return [int(text) for text in done.stdout.split()]


@AS_ROOT
def test_auto_is_the_bpf_driver_only_for_a_product_that_has_it(machine: Machine) -> None:
    # The tree driver, which needs no installation, is always running.
    assert automatic(machine) == [RUNNING, RUNNING]
    machine.install()
    assert automatic(machine) == [STOPPED, RUNNING]
    without = ("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin")
    assert automatic(machine, *without) == [RUNNING, RUNNING]


# ---- One at a time ----

TURNS = """
import sys, cbprocess
process = cbprocess.CBProcess()
process.config("Driver=bpf")
package, guid = sys.argv[1:]
for turn in range(15):
    process.install(package, guid, None, 0)
    assert process.get_driver_version(guid) != 0
    process.uninstall(None, guid, None, 3)
    assert process.get_driver_version(guid) == 0
"""


@AS_ROOT
def test_many_at_once(machine: Machine) -> None:
    guids = [f"{{00000000-0000-0000-0000-{number:012}}}" for number in range(1, 7)]
    versions = [OWN, NEW, OWN, NEW, OWN, OLD]
    children = [
        subprocess.Popen([sys.executable, "-c", TURNS, str(machine.packages[version]), guid])
        for version, guid in zip(versions, guids)
    ]
    assert [child.wait(100) for child in children] == [0] * len(children)
    assert machine.is_clean()


@AS_ROOT
def test_an_installation_waits_for_another(machine: Machine) -> None:
    machine.install(product=OTHER)
    with open(machine.products.parent / "lock", "r+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        child = subprocess.Popen(
            [sys.executable, "-c", TURNS.replace("15", "1"), str(machine.packages[OWN]), GUID]
        )
        time.sleep(0.7)
        assert child.poll() is None and machine.status() == NOT_PRESENT
    assert child.wait(100) == 0
