"""Every file system is held, wherever and whenever it is mounted. It holds the whole machine, so this runs in
guests alone (CBPROCESS_TEST_GUEST=1)."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from machine.guard.guard_tools import Controller, Controllers, Victims, wait_until

CLONE_NEWNS, MS_PRIVATE, MS_REC, MS_BIND, MNT_DETACH = 0x00020000, 1 << 18, 1 << 14, 1 << 12, 2
LIMIT_S = 10.0

pytestmark = pytest.mark.skipif(
    os.environ.get("CBPROCESS_TEST_GUEST") != "1", reason="it holds the whole machine: in a guest only"
)
_libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: Path, kind: str, flags: int = 0, options: str = "") -> None:
    target.mkdir(exist_ok=True, parents=True)
    result = _libc.mount(
        source.encode(), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), options.encode()
    )
    assert result == 0, os.strerror(ctypes.get_errno())


@pytest.fixture
def mounts(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    for folder in sorted(tmp_path.iterdir(), reverse=True):
        _libc.umount2(os.fsencode(folder), MNT_DETACH)


@pytest.fixture
def refusing(controllers: Controllers) -> Iterator[Controller]:
    """It refuses every execution of the machine until the test ends."""
    controller = controllers.start(everything=True, answers=True, denies=True)
    yield controller
    controller.end()


def is_refused(program: Path) -> bool:
    victims = Victims(program, 1)
    victims.wait(LIMIT_S)
    return os.waitstatus_to_exitcode(victims.results[victims.pids[0]]) == 1


def test_file_systems_that_are_there(refusing: Controller, program: Path) -> None:
    assert is_refused(program)
    assert is_refused(Path("/bin/true"))
    assert is_refused(Path("/proc/self/root/bin/true"))


def test_mounts_that_are_made_later(refusing: Controller, mounts: Path) -> None:
    mount("later", mounts / "a b", "tmpfs")
    shutil.copy("/bin/true", mounts / "a b" / "true")
    wait_until(lambda: is_refused(mounts / "a b" / "true"), LIMIT_S, "a new tmpfs is held")
    mount(str(mounts / "a b"), mounts / "bound", "none", MS_BIND)
    assert is_refused(mounts / "bound" / "true")


def test_overlay(refusing: Controller, mounts: Path) -> None:
    mount("layers", mounts / "layers", "tmpfs")
    for name in ("lower", "upper", "work"):
        (mounts / "layers" / name).mkdir()
    shutil.copy("/bin/true", mounts / "layers" / "lower" / "true")
    folders = ",".join(f"{name}dir={mounts}/layers/{name}" for name in ("lower", "upper", "work"))
    try:
        mount("overlay", mounts / "over", "overlay", options=folders)
    except AssertionError:
        pytest.skip("this kernel has no overlayfs")
    wait_until(lambda: is_refused(mounts / "over" / "true"), LIMIT_S, "a new overlay is held")


def test_mounts_of_another_namespace(refusing: Controller, mounts: Path) -> None:
    """A mount that only another process sees, such as a container's."""
    told_read, told = os.pipe()
    wanted, want = os.pipe()
    target = mounts / "hidden"
    target.mkdir()
    child = os.fork()
    if child == 0:
        try:
            assert _libc.unshare(CLONE_NEWNS) == 0
            assert _libc.mount(b"none", b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None) == 0
            mount("hidden", target, "tmpfs")
            shutil.copy("/bin/true", target / "true")
            while os.read(wanted, 1):
                os.write(told, b"r" if is_refused(target / "true") else b"a")
        finally:
            os._exit(1)
    try:

        def is_refused_there() -> bool:
            os.write(want, b"?")
            return os.read(told_read, 1) == b"r"

        wait_until(is_refused_there, LIMIT_S, "a mount of another namespace is held")
        assert not (target / "true").exists(), "it is not seen here"
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        for fd in (told_read, told, wanted, want):
            os.close(fd)


def test_deleted_program(refusing: Controller, place: Path) -> None:
    target = place / "gone"
    shutil.copy("/bin/true", target)
    fd = os.open(target, os.O_RDONLY)
    target.unlink()
    assert is_refused(Path(f"/proc/self/fd/{fd}"))
    os.close(fd)


def test_nothing_is_held_afterwards(controllers: Controllers, program: Path) -> None:
    controller = controllers.start(everything=True, answers=True, denies=True)
    assert is_refused(program)
    controller.ask("close", "closed")
    began = time.monotonic()
    assert not is_refused(program)
    assert time.monotonic() - began < LIMIT_S
