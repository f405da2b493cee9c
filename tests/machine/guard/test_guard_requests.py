"""What the guard says to requests: what it can do, what it refuses and why, and that nothing is left then."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from machine.guard.guard_tools import Victims, children_of, has_capability, is_alive, link_ids, wait_until
from machine.guard.raw_guard import (
    CLOSE,
    FILES,
    FILESYSTEMS,
    GATE,
    HELLO,
    MARKS,
    NONE,
    PROCESSES,
    PROGRAMS,
    TASKS,
    VERSION,
    GuardError,
    RawGuard,
)

NOT_READY, INVALID_DATA, NOT_SUPPORTED, INVALID_PARAMETER, OLD = 21, 13, 50, 87, 340
DRIVER_MISSING, PRIVILEGE_NOT_HELD = 588, 1314
LIMIT_S = 5.0


@pytest.fixture
def guard(native: Path, place: Path, abilities: int) -> Iterator[RawGuard]:
    found = RawGuard(native, root=place)
    yield found
    found.close()
    assert not (place / "run/cbprocess").exists()


@pytest.fixture
def silent(native: Path, place: Path) -> Iterator[RawGuard]:
    """It has not been said HELLO to."""
    found = RawGuard(native, root=place, hello=False)
    found.fds = []
    yield found
    found.close()


def refusal(guard: RawGuard, data: bytes) -> int:
    guard.socket.send(data)
    with pytest.raises(GuardError) as raised:
        guard.reply()
    assert raised.value.sentence
    return raised.value.code


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", None),
        (b"x", INVALID_DATA),
        (bytes(23), INVALID_DATA),
        (struct.pack("=IIQII", PROGRAMS, VERSION, 1, 4, 0), INVALID_DATA),
        (struct.pack("=IIQII", MARKS, VERSION, 1, 4, 0) + b"/abc", INVALID_DATA),
        (struct.pack("=IIQII", MARKS, VERSION, 1, 0xFFFFFFFF, 0) + b"/a\0", INVALID_DATA),
        (struct.pack("=IIQII", HELLO, VERSION + 1, 1, 0, 0), OLD),
        (struct.pack("=IIQII", PROGRAMS, VERSION, 1, 0, 0), NOT_READY),
        (struct.pack("=IIQII", MARKS, VERSION, 3, 0, 0), NOT_READY),
        (struct.pack("=IIQII", 99, VERSION, 3, 0, 0), NOT_READY),
        (bytes(160000), INVALID_DATA),
    ],
)
def test_malformed_and_early_requests(silent: RawGuard, data: bytes, code: int | None) -> None:
    if code is None:
        silent.socket.shutdown(socket.SHUT_WR)
        wait_until(lambda: not is_alive(silent.pid), LIMIT_S, "the guard of a closed socket has ended")
    else:
        assert refusal(silent, data) == code
        assert is_alive(silent.pid)


@pytest.mark.parametrize(
    ("kind", "value"), [(PROGRAMS, 8), (PROGRAMS, 1 << 31), (MARKS, 4), (99, 0), (HELLO, 3)]
)
def test_impossible_requests(guard: RawGuard, kind: int, value: int) -> None:
    assert refusal(guard, struct.pack("=IIQII", kind, VERSION, value, 0, 0)) == INVALID_PARAMETER
    guard.request(PROGRAMS, PROCESSES)


def test_programs_come_and_go(guard: RawGuard) -> None:
    def count() -> int:
        return len(link_ids(guard.pid))

    lists = count()  # the iterator's link, which is attached to nothing
    guard.request(PROGRAMS, PROCESSES)
    assert count() >= lists + 3 and guard.settings[0] == 1
    if guard.abilities & 8:
        guard.request(PROGRAMS, PROCESSES | GATE)
        assert count() >= lists + 6
        assert struct.unpack_from("=I", guard.settings, 12)[0] in children_of(guard.pid)
        guard.request(PROGRAMS, PROCESSES)
        assert struct.unpack_from("=I", guard.settings, 12)[0] == 0
    guard.request(PROGRAMS, 0)
    assert count() == lists and guard.settings[0] == 0


def test_files_alone_are_held(guard: RawGuard, place: Path, program: Path) -> None:
    """A mark is the file's, so another file that comes to stand under its name has to be marked as well."""
    named, other = place / "named", place / "other"
    for target in (named, other):
        shutil.copy(program, target)
    guard.marks(FILES, named, place / "not there yet")
    Victims(other, 3).wait(LIMIT_S)
    for target in (named, place / "not there yet", named):
        shutil.copy(program, place / "new")
        os.rename(place / "new", target)
        time.sleep(0.2)
        victims = Victims(target, 1)
        assert guard.wait_for_file(LIMIT_S), f"{target.name} is held"
        index = guard.read_file()
        assert index is not None and guard.answer_file(index)
        victims.wait(LIMIT_S)
    guard.marks(FILES, other)
    Victims(named, 3).wait(LIMIT_S)
    victims = Victims(other, 1)
    assert guard.wait_for_file(LIMIT_S)
    guard.marks(NONE)
    index = guard.read_file()
    assert index is not None and guard.answer_file(index)
    victims.wait(LIMIT_S)
    Victims(other, 3).wait(LIMIT_S)


def test_a_path_that_cannot_be_marked(guard: RawGuard, place: Path, program: Path) -> None:
    with pytest.raises(GuardError, match="/not/there") as raised:
        guard.marks(FILESYSTEMS, place, Path("/not/there"))
    assert raised.value.code == 31
    # Nothing is half applied.
    Victims(program, 3).wait(LIMIT_S)


def test_lists_of_processes_need_nothing_else(silent: RawGuard) -> None:
    processes, command_lines = silent.request(TASKS, count=2)
    before = children_of(silent.pid)
    assert before == []
    silent.request(CLOSE)
    wait_until(lambda: not is_alive(silent.pid), LIMIT_S, "the guard has ended")
    assert "bpf" in os.readlink(f"/proc/self/fd/{processes}")
    for fd in (processes, command_lines):
        os.close(fd)


def test_status_sees_that_a_guard_runs(guard: RawGuard, native: Path) -> None:
    with open(native / "cbprocess-guard", "rb") as executable:
        wanted = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        found = struct.unpack("hhqqi4x", fcntl.fcntl(executable, fcntl.F_GETLK, wanted))
    assert found[0] == fcntl.F_RDLCK


def test_guard_keeps_nothing_of_the_controller(guard: RawGuard) -> None:
    """It has its own session, nothing of the environment, and no terminal and pipe of the controller."""
    assert os.getsid(guard.pid) == guard.pid
    environment = Path(f"/proc/{guard.pid}/environ").read_bytes()
    assert set(environment.split(b"\0")) <= {b"", environment.split(b"\0")[0]}
    ours = {os.readlink(f"/proc/self/fd/{fd}") for fd in (0, 1, 2) if os.path.exists(f"/proc/self/fd/{fd}")}
    for pid in (guard.pid, *children_of(guard.pid)):
        if has_capability(24):  # CAP_SYS_RESOURCE
            assert int(Path(f"/proc/{pid}/oom_score_adj").read_text()) < 0
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                target = os.readlink(entry)
                assert target == "/dev/null" or target not in ours or not target.startswith("pipe:")


CAPABILITIES = {"CAP_SYS_ADMIN": 21, "CAP_PERFMON": 38, "CAP_BPF": 39}

WITHOUT = """
import ctypes, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from raw_guard import GuardError, RawGuard
for number in map(int, sys.argv[4:]):
    assert ctypes.CDLL(None).prctl(24, number, 0, 0, 0) == 0
try:
    RawGuard(Path(sys.argv[2]), root=Path(sys.argv[3]))
except GuardError as error:
    print(error.code, error.sentence)
"""


@pytest.mark.parametrize(
    "missing", [["CAP_SYS_ADMIN"], ["CAP_SYS_ADMIN", "CAP_BPF"], ["CAP_SYS_ADMIN", "CAP_BPF", "CAP_PERFMON"]]
)
def test_a_missing_capability_is_named(native: Path, place: Path, missing: list[str]) -> None:
    numbers = [str(CAPABILITIES[name]) for name in missing]
    told = subprocess.run(
        [sys.executable, "-c", WITHOUT, str(Path(__file__).parent), str(native), str(place), *numbers],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert told.startswith(f"{PRIVILEGE_NOT_HELD} ")
    for name in CAPABILITIES:
        assert (name in told) == (name in missing), told


@pytest.mark.parametrize(
    ("damage", "code", "word"),
    [
        ("missing", DRIVER_MISSING, "processes.bpf.o"),
        ("garbage", NOT_SUPPORTED, "processes.bpf.o"),
        ("libbpf", DRIVER_MISSING, "libbpf"),
    ],
)
def test_a_damaged_driver_is_named(
    native: Path, place: Path, tmp_path: Path, damage: str, code: int, word: str
) -> None:
    for name in native.iterdir():
        if name.suffix == ".o" or name.name == "cbprocess-guard":
            shutil.copy(name, tmp_path)
    if damage == "missing":
        (tmp_path / "processes.bpf.o").unlink()
    elif damage == "garbage":
        (tmp_path / "processes.bpf.o").write_bytes(b"\x7fELF" + bytes(5000))
    else:
        (tmp_path / "libbpf.so.1").write_bytes(b"no library")
    with pytest.raises(GuardError, match=word) as raised:
        RawGuard(tmp_path, root=place)
    assert raised.value.code == code


def test_guard_ends_with_its_controller_before_hello(native: Path, place: Path) -> None:
    """A controller that dies while the programs are being loaded."""
    code = WITHOUT.replace("RawGuard(Path", "print(RawGuard(Path").replace(
        "root=Path(sys.argv[3]))", "root=Path(sys.argv[3]), hello=False).pid)"
    )
    code += "import os, signal; sys.stdout.flush(); os.kill(os.getpid(), signal.SIGKILL)"
    told = subprocess.run(
        [sys.executable, "-c", code, str(Path(__file__).parent), str(native), str(place)],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    wait_until(lambda: not is_alive(int(told)), LIMIT_S, "the guard has ended")
