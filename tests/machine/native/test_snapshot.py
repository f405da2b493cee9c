"""Snapshots by programs in the kernel, against snapshots through /proc and against what the tests know of
processes of their own: every kind of process that one way could show differently from the other."""

from __future__ import annotations

import contextlib
import mmap
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from live_tools import Programs, wait_until

from cbprocess import RunningProcess, snapshot

FIELDS = (
    "process_id",
    "parent_process_id",
    "start_time",
    "thread_count",
    "user_id",
    "image_deleted",
    "ended",
    "process_name",
    "path",
    "name",
    "arguments",
)
SLEEP = shutil.which("sleep") or "/bin/sleep"
NOBODY = 65534


def facts(process: RunningProcess) -> dict[str, Any]:
    return {field: getattr(process, field) for field in FIELDS}


def listed(source: str, command_lines: bool = True) -> dict[int, dict[str, Any]]:
    return {each.process_id: facts(each) for each in snapshot(command_lines, source=source)}


def as_both_see(process_id: int) -> dict[str, Any]:
    """What both ways tell of the process."""
    by_kernel, by_files = listed("bpf")[process_id], listed("proc")[process_id]
    assert by_kernel == by_files
    assert listed("bpf", False)[process_id] == {**by_files, "arguments": []}
    return by_files


@contextlib.contextmanager
def running(arguments: list[Any], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """The process, once it runs its program: Popen() can return while the kernel is still setting it up."""
    own = Path("/proc/self/cmdline").read_bytes()
    with subprocess.Popen(arguments, **options) as child:
        try:
            shown = Path(f"/proc/{child.pid}/cmdline")
            wait_until(lambda: shown.read_bytes() not in (b"", own), 20, "the program has its arguments")
            yield child
        finally:
            child.kill()


def python(code: str, *arguments: str, **options: Any) -> Any:
    """A Python program that has run the code, says so, and waits."""
    line = [sys.executable, "-S", "-c", f"{code}\nprint('ready', flush=True)\ninput()", *arguments]
    return running(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **options)


def wait_for_ready(child: subprocess.Popen[bytes]) -> None:
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"


# ---- One process ----

ODD_ARGUMENTS = [
    [],
    [""],
    ["", "", ""],
    ["two words", "new\nline", b"\xff\xfe".decode("utf-8", "surrogateescape"), "é", ") (", "'\"$*"],
    ["x" * 4095],
    ["x" * 4096, "y"],
    ["x" * 27000],
    ["x" * 30000],
    ["x" * 100000] * 10,
    [f"{number}" for number in range(100000)],
]


@pytest.mark.parametrize("arguments", ODD_ARGUMENTS, ids=lambda value: f"{len(value)}-{sum(map(len, value))}")
def test_arguments_of_any_size(arguments: list[str]) -> None:
    with running([sys.executable, "-S", "-c", "input()", *arguments], stdin=subprocess.PIPE) as child:
        found = as_both_see(child.pid)
        assert found["arguments"] == child.args
        assert found["process_name"] == found["path"] == os.path.realpath(sys.executable)
        assert found["parent_process_id"] == os.getpid() and found["user_id"] == os.geteuid()


@pytest.mark.parametrize(
    "name",
    [
        "a",
        "with space",
        "new\nline",
        ") S 1 (",
        b"\xff".decode("utf-8", "surrogateescape"),
        "x" * 255,
        "a (deleted)",
    ],
)
def test_names_of_programs(tmp_path: Path, name: str) -> None:
    program = tmp_path / name
    shutil.copy(SLEEP, program)
    with running(["argument zero", "600"], executable=str(program)) as child:
        found = as_both_see(child.pid)
        assert (found["path"], found["name"], found["image_deleted"]) == (str(program), name, False)
        assert found["arguments"] == ["argument zero", "600"]


def test_a_path_as_long_as_paths_can_be(tmp_path: Path) -> None:
    folder = tmp_path
    while len(str(folder)) < 3700:
        folder /= "f" * 200
    folder.mkdir(parents=True)
    program = folder / ("p" * (4094 - len(str(folder))))[:255]
    shutil.copy(SLEEP, program)
    with running(["sleep", "600"], executable=str(program)) as child:
        assert as_both_see(child.pid)["path"] == str(program)


@pytest.mark.parametrize("name", ["gone", "gone (deleted)"])
@pytest.mark.parametrize("way", ["deleted", "replaced", "renamed", "folder deleted", "linked"])
def test_a_program_that_is_gone_or_elsewhere(tmp_path: Path, way: str, name: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    program = folder / name
    shutil.copy(SLEEP, program)
    other = tmp_path / "other"
    with running([str(program), "600"]) as child:
        if way == "deleted":
            program.unlink()
        elif way == "replaced":
            shutil.copy(SLEEP, other)
            other.rename(program)
        elif way == "renamed":
            program.rename(other)
        elif way == "folder deleted":
            shutil.rmtree(folder)
        else:
            os.link(program, other)
            program.unlink()
        found = as_both_see(child.pid)
        is_there = way == "renamed"
        assert found["path"] == str(other if is_there else program)
        assert found["image_deleted"] is not is_there


def test_a_program_without_a_file() -> None:
    descriptor = os.memfd_create("in memory", 0)
    with open(SLEEP, "rb") as file:
        os.sendfile(descriptor, file.fileno(), 0, 1 << 24)
    with running(["sleep", "600"], executable=f"/proc/self/fd/{descriptor}", pass_fds=[descriptor]) as child:
        os.close(descriptor)
        found = as_both_see(child.pid)
        assert (found["path"], found["image_deleted"]) == ("/memfd:in memory", True)


# The program writes a text of that size over its arguments, as setproctitle() does.
TITLE = """
import os, sys
fields = open("/proc/self/stat").read().rpartition(")")[2].split()
begin, size = int(fields[45]), int(sys.argv[1])
with open("/proc/self/mem", "r+b", buffering=0) as memory:
    memory.seek(begin)
    memory.write(b"t" * size + sys.argv[2].encode())
"""


@pytest.mark.parametrize("size", [1, 200, 2999, 3000, 3100, 4095, 4096, 5000])
@pytest.mark.parametrize("end", ["", "\0"])
def test_a_text_over_the_arguments(size: int, end: str) -> None:
    """The arguments take 3000 bytes, and the environment follows."""
    head = [sys.executable, "-S", "-c", f"{TITLE}\nprint('ready', flush=True)\ninput()", str(size)]
    environment = {"PADDING": "e" * 6000}
    code = TITLE.replace("sys.argv[2].encode()", repr(end.encode()))
    head[3] = f"{code}\nprint('ready', flush=True)\ninput()"
    fill = 3000 - sum(len(each) + 1 for each in head) - 1
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "env": environment}
    with running([*head, "f" * fill], **options) as child:
        wait_for_ready(child)
        assert as_both_see(child.pid)["arguments"][0].startswith("t" * min(size, 200))


@pytest.mark.parametrize("user", [0, NOBODY])
def test_arguments_that_are_a_files_memory(tmp_path: Path, user: int) -> None:
    """A program can put a file's pages in the place of its arguments. Who reads these would wait for the
    file's system, so neither way does."""
    file = tmp_path / "pages"
    file.write_bytes(b"f" * mmap.PAGESIZE)
    code = f"""
import ctypes, mmap, os, sys
file = open(sys.argv[1], "r+b")
os.setresuid({user}, {user}, {user})
ctypes.CDLL(None).prctl(4, 1)
fields = open("/proc/self/stat").read().rpartition(")")[2].split()
begin, end = int(fields[45]), int(fields[46])
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
# One page in the middle of the arguments: no word of the program itself stands there.
page = (begin + 10000) // mmap.PAGESIZE * mmap.PAGESIZE
assert begin < page and page + mmap.PAGESIZE < end
MAP_SHARED, MAP_FIXED = 1, 0x10
size = ctypes.c_size_t(mmap.PAGESIZE)
got = libc.mmap(ctypes.c_void_p(page), size, 3, MAP_SHARED | MAP_FIXED, file.fileno(), ctypes.c_long(0))
assert got == page, ctypes.get_errno()
"""
    with python(code, str(file), "x" * 20000) as child:
        wait_for_ready(child)
        found = as_both_see(child.pid)
        assert found["path"] == os.path.realpath(sys.executable)
        assert "f" * 100 not in "".join(found["arguments"][5:])


def test_processes_that_have_ended() -> None:
    child = subprocess.Popen([SLEEP, "600"])
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    found = as_both_see(child.pid)
    assert found["ended"] and not found["path"] and found["arguments"] == [] and found["name"] == "sleep"
    child.wait()
    assert child.pid not in listed("bpf")


def test_a_name_of_its_own_with_any_characters() -> None:
    code = "import ctypes; ctypes.CDLL(None).prctl(15, b') R 1 (\\n\\xff')"
    with python(code) as child:
        wait_for_ready(child)
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert as_both_see(child.pid)["name"] == b") R 1 (\n\xff".decode("utf-8", "surrogateescape")


def test_threads_are_counted_and_not_listed() -> None:
    code = """
import threading
for _ in range(7):
    threading.Thread(target=threading.Event().wait, daemon=True).start()
"""
    with python(code) as child:
        wait_for_ready(child)
        assert as_both_see(child.pid)["thread_count"] == 8
        threads = {int(name) for name in os.listdir(f"/proc/{child.pid}/task")} - {child.pid}
        assert len(threads) == 7 and not threads & set(listed("bpf"))


def test_a_process_whose_first_thread_has_ended(programs: Programs) -> None:
    line = [programs["leaderless"], "an argument"]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == b"alone\n"
            found = as_both_see(child.pid)
        finally:
            child.kill()
    assert found["path"] == os.path.realpath(programs["leaderless"]) and not found["ended"]
    assert found["arguments"] == line


@pytest.mark.parametrize(
    "change", ["setresuid(NOBODY, NOBODY, NOBODY)", "setresuid(NOBODY, 0, 0)", "setresuid(0, NOBODY, 0)"]
)
def test_the_user_whose_rights_it_has(change: str) -> None:
    with python(f"import os; os.{change.replace('NOBODY', str(NOBODY))}") as child:
        wait_for_ready(child)
        effective = int(Path(f"/proc/{child.pid}/status").read_text().partition("Uid:")[2].split()[1])
        assert as_both_see(child.pid)["user_id"] == effective
        assert effective == (0 if change.endswith(", 0, 0)") else NOBODY)


# ---- All processes ----


def test_everything_that_stays_as_it_is() -> None:
    """Of the whole machine: kernel threads, services, and what others do here."""
    before = listed("proc")
    by_kernel = listed("bpf")
    after = listed("proc")
    steady = {number for number in before if before[number] == after.get(number)}
    hidden = {number for number in steady if not before[number]["path"] and by_kernel[number]["path"]}
    for number in hidden:  # /proc does not let this caller look at the program; the kernel's list has it
        with pytest.raises(PermissionError):
            os.readlink(f"/proc/{number}/exe")
    assert len(steady) > 20
    for number in steady - hidden:
        assert by_kernel[number] == before[number]
    kernel_threads = [each for each in before.values() if each["parent_process_id"] == 2]
    assert kernel_threads and all(by_kernel[each["process_id"]]["path"] == "" for each in kernel_threads)
    assert list(by_kernel) == sorted(by_kernel)


def test_many_at_a_time_while_processes_come_and_go(programs: Programs) -> None:
    """More callers than the programs have memory for: the rest is read through /proc."""
    wrong: list[Any] = []
    stop = threading.Event()
    children = [subprocess.Popen([SLEEP, "600", f"0.{number}"]) for number in range(50)]
    expected = {child.pid: child.args for child in children}

    def come_and_go() -> None:
        while not stop.is_set():
            subprocess.run(["true"], check=True)

    def look() -> None:
        while not stop.is_set():
            found = {each.process_id: each for each in snapshot(source="bpf")}
            wrong.extend(
                (number, arguments)
                for number, arguments in expected.items()
                if number not in found or found[number].arguments != arguments or found[number].ended
            )

    threads = [threading.Thread(target=come_and_go) for _ in range(2)]
    threads += [threading.Thread(target=look) for _ in range(20)]
    try:
        for thread in threads:
            thread.start()
        time.sleep(3)
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)
        for child in children:
            child.kill()
            child.wait()
    assert wrong == []


def test_in_another_namespace_of_mounts(tmp_path: Path) -> None:
    """A process there has a path that only it can see."""
    line = [
        "unshare",
        "--mount",
        "sh",
        "-c",
        f"mount -t tmpfs none {tmp_path} && cp {SLEEP} {tmp_path}/own && exec {tmp_path}/own 600",
    ]
    with running(line) as child:
        path = f"{tmp_path}/own"
        wait_until(lambda: os.readlink(f"/proc/{child.pid}/exe") == path, 20, "the program runs")
        assert as_both_see(child.pid)["path"] == path
