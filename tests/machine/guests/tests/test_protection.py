"""Where BPF LSM is active, a strip rule protects a process from the whole machine: from root, from whoever
was there before, by every call; not from whoever has created it and is protected as well."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from handle_cases import CASES
from handle_tools import by_brother, refused_with, without_ids
from live_tools import PROGRAMS, Programs, wait_until
from whole_machine import ENFORCED_CALLS, HANDLES, filtering, is_enforced, rows_of, run_call

import cbprocess

ALL_RIGHTS = 0x1FFFFF & ~(cbprocess.PROCESS_QUERY_LIMITED_INFORMATION | cbprocess.PROCESS_SYNCHRONIZE)
PTRACE_ATTACH, PTRACE_SEIZE, PTRACE_DETACH = 16, 0x4206, 17
libc = ctypes.CDLL(None, use_errno=True)


@pytest.fixture(scope="module", autouse=True)
def enforced() -> None:
    if not is_enforced():
        pytest.skip("BPF LSM is not active in this guest: strip rules cannot be enforced")


def call(name: str, *arguments: Any) -> int:
    """0, or the errno of a call of the C library."""
    ctypes.set_errno(0)
    function = getattr(libc, name)
    function.restype = ctypes.c_long
    return ctypes.get_errno() if function(*arguments) < 0 else 0


def by_kill(target: int) -> int:
    return call("kill", target, signal.SIGKILL)


def by_stop(target: int) -> int:
    return call("kill", target, signal.SIGSTOP)


def by_ptrace(target: int) -> int:
    return call("ptrace", ctypes.c_long(PTRACE_SEIZE), target, None, None)


def by_memory(target: int) -> int:
    buffer = ctypes.create_string_buffer(8)
    local, remote = (
        (ctypes.c_size_t * 2)(ctypes.addressof(buffer), 8),
        (ctypes.c_size_t * 2)(address_of(target), 8),
    )
    return call(
        "process_vm_readv", target, local, ctypes.c_ulong(1), remote, ctypes.c_ulong(1), ctypes.c_ulong(0)
    )


def address_of(target: int) -> int:
    """Something that the process has mapped; asked for before it is protected."""
    return ADDRESSES[target]


ADDRESSES: dict[int, int] = {}


def by_limit(target: int) -> int:
    try:
        resource.prlimit(target, resource.RLIMIT_CORE, (0, 0))
    except OSError as error:
        return int(error.errno or -1)
    return 0


def by_proc_memory(target: int) -> int:
    try:
        with open(f"/proc/{target}/mem", "rb+"):
            return 0
    except OSError as error:
        return int(error.errno or -1)


def by_pidfd(target: int) -> int:
    descriptor = os.pidfd_open(target)
    try:
        signal.pidfd_send_signal(descriptor, signal.SIGTERM)
    except OSError as error:
        return int(error.errno or -1)
    finally:
        os.close(descriptor)
    return 0


WAYS: dict[str, Callable[[int], int]] = {
    "kill": by_kill,
    "stop": by_stop,
    "ptrace": by_ptrace,
    "process_vm": by_memory,
    "prlimit": by_limit,
    "proc-mem": by_proc_memory,
    "pidfd": by_pidfd,
}


@pytest.fixture
def target(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that goes by a name of its own."""
    program = tmp_path / "guarded-one"
    program.write_bytes(Path("/bin/sleep").read_bytes())
    program.chmod(0o755)
    process = subprocess.Popen([str(program), "300"])
    # Popen() returns while the kernel still puts the new image together.
    wait_until(lambda: " S " in Path(f"/proc/{process.pid}/stat").read_text(), 20, "the program")
    ADDRESSES[process.pid] = int(Path(f"/proc/{process.pid}/maps").read_text().split("-")[0], 16)
    yield process
    process.kill()
    process.wait(30)


@pytest.fixture(scope="module")
def recorder() -> Iterator[Any]:
    with filtering(events=HANDLES, everything=False) as recorder:
        yield recorder


@contextlib.contextmanager
def rule(recorder: Any, **words: Any) -> Iterator[None]:
    recorder.filter.add_rule(action="strip", **words)
    try:
        yield
    finally:
        words = {key: value for key, value in words.items() if key in ("name", "process_id")}
        recorder.filter.remove_rule(action="strip", **words)


@pytest.mark.parametrize("way", WAYS)
def test_each_way(way: str, recorder: Any, target: subprocess.Popen[bytes]) -> None:
    """Refused while the rule is there; nothing has happened to the process; allowed after it."""
    with rule(recorder, name="guarded-one", access=ALL_RIGHTS):
        assert in_a_child(way, target.pid) in (errno.EPERM, errno.EACCES)
        assert target.poll() is None
        state = Path(f"/proc/{target.pid}/stat").read_text().rsplit(")")[-1].split()[0]
        assert state == "S"

        def refused() -> list[Any]:
            return [row for row in recorder.handle_operations() if row["process_id"] == target.pid]

        wait_until(refused, 20, "the event")
        assert True in {row["decided_by_rule"] for row in refused()}
        # To open a pidfd takes no right that the rule takes.
        assert any(row["desired_access"] != row["original_desired_access"] for row in refused())
    assert in_a_child(way, target.pid) == 0
    assert recorder.errors == []


def in_a_child(way: str, target: int) -> int:
    """The attacker is a process of its own: what this one does itself nobody is asked about."""
    child = os.fork()
    if child == 0:
        os._exit(WAYS[way](target) & 0xFF)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_by_process_id(recorder: Any, target: subprocess.Popen[bytes]) -> None:
    with rule(recorder, process_id=target.pid, access=cbprocess.PROCESS_TERMINATE):
        assert in_a_child("kill", target.pid) == errno.EPERM
        assert in_a_child("prlimit", target.pid) == 0  # a right that the rule leaves


def test_its_protected_creator_may(recorder: Any, tmp_path: Path) -> None:
    """A shell that is protected, and so is what it starts, ends what it has started."""
    shell = tmp_path / "guarded-shell"
    shell.write_bytes(Path("/bin/bash").read_bytes())
    shell.chmod(0o755)
    text = "sleep 100 & kill -9 $!; wait $!; exit $?"
    with rule(recorder, name="guarded-shell", access=ALL_RIGHTS, include_children=True):
        assert subprocess.run([str(shell), "-c", text], timeout=60).returncode == 137


SERVER_ATTACKS = [
    "kill",
    "kill-command",
    "pidfd",
    "stop",
    "tgkill",
    "ptrace",
    "ptrace-thread",
    "memory",
    "limit",
]


@pytest.mark.parametrize("attack", SERVER_ATTACKS)
def test_a_server_lives_through_it(attack: str, recorder: Any, tmp_path: Path) -> None:
    """The attacks of the live tests, here against a rule of the machine: the attacker has started the server,
    but is not protected."""
    server = tmp_path / "guarded-server"
    text = (PROGRAMS / "guarded.py").read_text(encoding="utf-8")
    server.write_text(f"#!{sys.executable}\n{text}", encoding="utf-8")
    server.chmod(0o755)
    line = [sys.executable, str(PROGRAMS / "attack.py"), attack, str(server)]
    with rule(recorder, name="guarded*", access=ALL_RIGHTS):
        done = subprocess.run(line, stdout=subprocess.PIPE, text=True, timeout=100)
    outcome = json.loads(done.stdout)
    assert outcome["result"] in (1, errno.EPERM), outcome
    assert (outcome["state"], outcome["end"]) == ("alive", 3)


@pytest.fixture(scope="module")
def of_handles() -> Iterator[Any]:
    """One filter for all calls: each run of `handles` is told apart by its process."""
    with filtering(events=HANDLES, everything=False) as recorder:
        recorder.filter.add_rule(name="handles", action="strip", access=ALL_RIGHTS)
        yield recorder


@pytest.mark.parametrize("name", ENFORCED_CALLS)
def test_a_call(name: str, of_handles: Any, programs: Programs) -> None:
    """By a process that is no ancestor of the target: it fails, and nothing has happened."""
    case = CASES[name]
    outcome = run_call(by_brother([programs["handles"], *case.command]))
    rows = wait_until(lambda: rows_of(of_handles, outcome), 20, "the event")
    assert without_ids(outcome) == refused_with(errno.EPERM, case)
    assert {row["decided_by_rule"] for row in rows} == {True}
    assert of_handles.errors == []
