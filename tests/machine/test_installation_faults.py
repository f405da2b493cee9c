"""Installing the bpf driver while calls of the system fail, or the installing program is killed: each call,
one after the other. After an error everything is as it was; after a death the old driver works, or the new
one."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

if sys.platform != "linux":
    pytest.skip("the bpf driver is for Linux", allow_module_level=True)

from machine.installation_root import (
    AS_ROOT,
    GUID,
    NEW,
    OLD,
    OTHER,
    OWN,
    Machine,
    flip,
    full,
    tree,
)
from machine.installation_root import machine as machine

PROGRAMS = Path(__file__).resolve().parent / "programs"

# The Nth call fails, for every N until there are no more calls, in the change that argv names.
FAILING = """
import ctypes, json, sys
import cbprocess
shim = ctypes.CDLL(None)
process = cbprocess.CBProcess()
process.config("Driver=bpf")
action, package, guid, first, kills = sys.argv[1:]
def change():
    if action == "install":
        process.install(package, guid, None, 1)
    else:
        process.uninstall(None, guid, None, 3)
shim.fail_arm(int(first), int(kills))
try:
    change()
except cbprocess.CBProcessError as error:
    code = error.code
else:
    code = 0
fired = shim.fail_disarm()
print(json.dumps([fired, code, process.get_driver_version(guid)]))
"""


def before_update(machine: Machine) -> None:
    machine.install(OLD, flags=0)


def before_repair(machine: Machine) -> None:
    machine.install()
    flip(machine.usual / OWN / "processes.bpf.o")


PREPARATIONS: dict[str, tuple[str, Callable[[Machine], None]]] = {
    "first": ("install", lambda machine: None),
    "update": ("install", before_update),
    "repair": ("install", before_repair),
    "uninstall": ("uninstall", lambda machine: machine.install()),
}


def changed(machine: Machine, shim: Path, action: str, number: int, kills: bool) -> Any:
    """What the change says whose Nth call fails: (did it, error, version); None if it was killed."""
    arguments = [action, str(machine.packages[OWN]), GUID, str(number), str(int(kills))]
    done = subprocess.run(
        [sys.executable, "-c", FAILING, *arguments],
        env={**os.environ, "LD_PRELOAD": str(shim)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == (-9 if kills and not done.stdout else 0), done.stderr
    return json.loads(done.stdout) if done.stdout else None


@AS_ROOT
@pytest.mark.limit(400)
@pytest.mark.parametrize("preparation", sorted(PREPARATIONS))
def test_every_failing_call_leaves_all_or_nothing(
    machine: Machine, compile_c: Callable[..., Path], preparation: str
) -> None:
    shim = compile_c(PROGRAMS / "failing_calls.c", "-shared", "-fPIC")
    action, prepare = PREPARATIONS[preparation]
    machine.install(NEW, OTHER)
    prepare(machine)
    codes: list[int] = []
    fired = 1
    while fired:
        before = tree(machine.root)
        fired, code, version = changed(machine, shim, action, len(codes) + 1, kills=False)
        codes.append(code)
        if code != 0:
            assert tree(machine.root) == before, f"call {len(codes)}"
            continue
        # It did all that it was asked for in spite of that.
        assert (version != 0) is (action == "install")
        assert machine.version(OTHER) == full(NEW)
        if action == "install":
            machine.uninstall()
        prepare(machine)
    assert len(codes) > 20 and codes[-1] == 0
    assert sum(code != 0 for code in codes) > len(codes) // 4


@AS_ROOT
@pytest.mark.limit(400)
@pytest.mark.parametrize("preparation", sorted(PREPARATIONS))
def test_every_death_leaves_something_that_works(
    machine: Machine, compile_c: Callable[..., Path], preparation: str
) -> None:
    shim = compile_c(PROGRAMS / "failing_calls.c", "-shared", "-fPIC")
    action, prepare = PREPARATIONS[preparation]
    machine.install(NEW, OTHER)
    number = 0
    result = None
    while result is None:
        prepare(machine)
        before = machine.version()
        number += 1
        result = changed(machine, shim, action, number, kills=True)
        after = OWN if action == "install" else ""
        assert machine.version() in (before, after) and machine.version(OTHER) == full(NEW)
        machine.install()
        assert machine.version() == OWN
        machine.uninstall()
        assert machine.folders() == {NEW}
    assert number > 20
    machine.uninstall(product=OTHER)
    assert machine.is_clean()


def test_the_shim_counts(compile_c: Callable[..., Path], tmp_path: Path) -> None:
    library = ctypes.CDLL(str(compile_c(PROGRAMS / "failing_calls.c", "-shared", "-fPIC")))
    library.fail_arm(2, 0)
    assert library.fsync(-1) == -1 and library.fail_disarm() == 0
