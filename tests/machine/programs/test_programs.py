"""What the BPF programs tell of forks, executions and ends, against what the system says itself. Nothing is
held here, and no guard and no controller takes part."""

from __future__ import annotations

import collections
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from machine.programs import records
from machine.programs.records import (
    DECIDED,
    EXEC,
    EXEMPT,
    EXIT,
    FIRST_THREAD,
    FORK,
    INCOMPLETE,
    LAST,
    NAMES,
    PROCESS_CREATION,
    PROCESS_TERMINATION,
    SCRIPT,
    THREAD_CREATION,
    THREAD_TERMINATION,
    WORKER,
    Programs,
    Record,
)

pytestmark = pytest.mark.skipif(bool(records.obstacle()), reason=records.obstacle() or "runs")

NS_PER_S = 1_000_000_000
TRUE = os.path.realpath("/bin/true")
WHOLE_SIZE = 1_900_000  # of an argument list: nearly what execve takes without another limit of the stack


@pytest.fixture(scope="module")
def loaded() -> Iterator[Programs]:
    with Programs() as made:
        yield made


@pytest.fixture
def programs(loaded: Programs) -> Programs:
    loaded.reset()
    return loaded


def run(arguments: list[Any], **more: Any) -> int:
    """The process id of a program that has ended."""
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, **more)
    process.wait()
    return process.pid


def exec_of(programs: Programs, process_id: int) -> Record:
    found = [record for record in programs.read_process(process_id) if record.type == EXEC]
    return found[-1]


def start_ticks(process_id: int) -> int:
    text = Path(f"/proc/{process_id}/stat").read_text(encoding="ascii", errors="replace")
    return int(text.rpartition(")")[2].split()[19])


PIPES: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}


def ask(process: subprocess.Popen[bytes], wanted: bytes = b"") -> bytes:
    assert process.stdin and process.stdout
    process.stdin.write(b"\n" + wanted)
    process.stdin.flush()
    return process.stdout.readline()


def start(script: str) -> subprocess.Popen[bytes]:
    """A shell that has begun and goes on with the script when it gets a line."""
    process = subprocess.Popen(["/bin/sh", "-c", f"echo; read a; {script}"], **PIPES)
    assert process.stdout
    process.stdout.readline()
    return process


def exec_record_of(programs: Programs, process_id: int) -> Record:
    return programs.read_until(lambda record: record.type == EXEC and record.process_id == process_id)[-1]


def own_threads(programs: Programs) -> set[int]:
    return {int(path.name) for path in Path("/proc/self/task").iterdir()} & set(programs.tasks.keys())


# ---- One process ----


def test_fork_exec_and_end_of_a_process(programs: Programs) -> None:
    process = subprocess.Popen(["/bin/sh", "-c", "read line; exit 3"], stdin=subprocess.PIPE, user=65534)
    ticks = start_ticks(process.pid)
    process.communicate(b"\n")
    fork, execution, end = programs.read_process(process.pid)
    assert (fork.type, execution.type, end.type) == (FORK, EXEC, EXIT)
    creator, thread, creator_start, flags = fork.fork()
    assert (creator, thread, fork.parent_process_id) == (os.getpid(), threading.get_native_id(), os.getpid())
    hertz = os.sysconf("SC_CLK_TCK")
    assert creator_start * hertz // NS_PER_S == start_ticks(os.getpid())
    assert {record.start_ns * hertz // NS_PER_S for record in (fork, execution, end)} == {ticks}
    assert not flags & 0x10000
    assert (fork.user_id, execution.user_id, end.user_id) == (0, 65534, 65534)
    assert fork.time_ns < execution.time_ns < end.time_ns
    assert os.waitstatus_to_exitcode(end.exit_status) == 3
    assert end.flags == LAST
    values = execution.exec()
    of_file = os.stat("/bin/sh")
    assert (values["device"], values["inode"]) == (of_file.st_dev, of_file.st_ino)
    assert (values["file_change_ns"], values["link_count"]) == (of_file.st_ctime_ns, of_file.st_nlink)
    assert values["path"] == os.path.realpath("/bin/sh").encode()
    assert (values["given"], values["folder"]) == (b"/bin/sh", b"")
    assert execution.arguments == [b"/bin/sh", b"-c", b"read line; exit 3"]
    assert values["old_thread_id"] == process.pid
    assert programs.lost == [0] * records.LOST_COUNT


def test_a_signal_is_the_status_of_the_end(programs: Programs) -> None:
    process = subprocess.Popen(["/bin/sleep", "1000"])
    process.kill()
    process.wait()
    assert programs.read_process(process.pid)[-1].exit_status == signal.SIGKILL


@pytest.mark.parametrize("size", [1, 4000, 16384, 16385, 100_000, WHOLE_SIZE])
def test_long_argument_lists_are_whole(programs: Programs, size: int) -> None:
    arguments = ["/bin/true"]
    while size > 0:
        part = min(size, 100_000)
        arguments.append(f"{len(arguments):x}" * part)
        arguments[-1] = arguments[-1][:part]
        size -= part + 1
    record = exec_of(programs, run(arguments))
    assert not record.is_cut
    assert record.arguments == [argument.encode() for argument in arguments]


def test_a_list_that_the_ring_has_no_room_for_is_marked_and_its_beginning_is_right() -> None:
    """Such lists take a half of the ring at most, so all other records have room."""
    arguments = ["/bin/true", *("x" * 100_000 for _ in range(10))]
    with Programs(ring_size=1 << 20) as programs:
        ids = [run(arguments) for _ in range(3)]
        others = [run(["/bin/true", str(i)]) for i in range(100)]
        told = [record for record in programs.read() if record.type == EXEC]
        lost = programs.lost
    found = {record.process_id: record for record in told}
    assert all(found[process_id].is_cut for process_id in ids)
    assert all(len(found[process_id].exec()["arguments"]) == 16384 for process_id in ids)
    first = found[ids[0]].arguments
    assert 5 <= len(first) < len(arguments)
    assert first[:5] == [argument.encode() for argument in arguments[:5]]
    assert [found[process_id].arguments[-1] for process_id in others] == [b"%d" % i for i in range(100)]
    assert (lost[FORK], lost[EXEC], lost[EXIT]) == (0, 0, 0)
    assert lost[records.ARGUMENTS] >= len(ids)


def test_empty_and_odd_arguments(programs: Programs) -> None:
    arguments = [b"x", b"", b"", b"\xff\xfe\n", b""]
    process_id = os.posix_spawn("/bin/true", arguments, {})
    os.waitpid(process_id, 0)
    assert exec_of(programs, process_id).arguments == arguments


# ---- Which file it is ----


def test_a_relative_name_comes_with_its_folder(programs: Programs, tmp_path: Path) -> None:
    deep = tmp_path / ("a" * 200) / ("b" * 255) / "c"
    deep.mkdir(parents=True)
    shutil.copy(TRUE, deep / "tool")
    values = exec_of(programs, run(["./tool"], cwd=deep)).exec()
    assert (values["given"], values["folder"]) == (b"./tool", os.fsencode(deep))
    assert values["path"] == os.fsencode(deep / "tool")


def test_the_root_as_folder(programs: Programs) -> None:
    values = exec_of(programs, run([TRUE[1:]], cwd="/")).exec()
    assert (values["folder"], values["given"], values["path"]) == (b"/", TRUE[1:].encode(), TRUE.encode())


def test_a_path_through_mounts(programs: Programs, tmp_path: Path) -> None:
    """A bind mount inside of a mount, in a mount namespace of its own."""
    script = f"mount -t tmpfs t {tmp_path} && mkdir {tmp_path}/a && mount --bind /usr/bin {tmp_path}/a"
    process_id = run(["unshare", "-m", "/bin/sh", "-c", f"{script} && exec {tmp_path}/a/{Path(TRUE).name}"])
    assert exec_of(programs, process_id).exec()["path"] == os.fsencode(tmp_path / "a" / Path(TRUE).name)


def test_a_script(programs: Programs, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh -e\nexit 0\n")
    script.chmod(0o755)
    record = exec_of(programs, run([script, "x"]))
    values = record.exec()
    assert record.flags & SCRIPT
    assert (values["given"], values["path"]) == (os.fsencode(script), os.path.realpath("/bin/sh").encode())
    assert record.arguments == [b"/bin/sh", b"-e", os.fsencode(script), b"x"]
    assert not exec_of(programs, run(["/bin/true"])).flags & SCRIPT


def test_a_file_without_a_name(programs: Programs) -> None:
    memory = os.memfd_create("tool")
    os.write(memory, Path(TRUE).read_bytes())
    values = exec_of(programs, run([f"/proc/self/fd/{memory}"], pass_fds=[memory])).exec()
    assert (values["path"], values["link_count"]) == (b"/memfd:tool", 0)
    assert values["inode"] == os.fstat(memory).st_ino
    os.close(memory)


def test_a_deleted_file(programs: Programs, tmp_path: Path) -> None:
    tool = tmp_path / "tool"
    shutil.copy(TRUE, tool)
    descriptor = os.open(tool, os.O_RDONLY)
    tool.unlink()
    values = exec_of(programs, run([f"/proc/self/fd/{descriptor}"], pass_fds=[descriptor])).exec()
    assert (values["path"], values["link_count"]) == (os.fsencode(tool), 0)
    os.close(descriptor)


def test_a_name_that_is_too_deep_leaves_the_path_out(programs: Programs, tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["d"] * 150)
    deep.mkdir(parents=True)
    shutil.copy(TRUE, deep / "tool")
    record = exec_of(programs, run([deep / "tool"]))
    assert record.flags & INCOMPLETE
    assert (record.exec()["path"], record.exec()["given"]) == (b"", os.fsencode(deep / "tool"))


def test_an_execution_by_another_thread(programs: Programs) -> None:
    """The thread gets the first one's id; the first one and others end without the process's end."""
    code = "import os, threading, time\n" + (
        "[threading.Thread(target=time.sleep, args=(100,), daemon=True).start() for _ in range(3)]\n"
        "t = threading.Thread(target=lambda: (print(threading.get_native_id(), flush=True), "
        "os.execv('/bin/true', ['other'])))\n"
        "t.start()\ntime.sleep(100)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    thread_id = int(process.communicate()[0])
    told = programs.read_process(process.pid)
    execution = [record for record in told if record.type == EXEC][-1]
    assert execution.exec()["old_thread_id"] == thread_id
    assert (execution.thread_id, execution.arguments) == (process.pid, [b"other"])
    ends = [record for record in told if record.type == EXIT]
    threads = [record.thread_id for record in told if record.type == FORK]
    expected = collections.Counter([*threads, process.pid])
    expected[thread_id] -= 1
    assert collections.Counter(record.thread_id for record in ends) == +expected
    assert [record.flags & LAST for record in ends] == [0] * (len(ends) - 1) + [LAST]


# ---- The masks ----


def test_nobody_is_woken_without_need(programs: Programs) -> None:
    for _ in range(50):
        run(["/bin/true"])
    assert programs.setting("waked") == 0
    assert sum(record.type == EXEC for record in programs.read()) >= 50


@pytest.mark.parametrize(
    ("mask", "count"),
    [(PROCESS_CREATION, 1), (THREAD_CREATION, 1), (PROCESS_TERMINATION, 1), (THREAD_TERMINATION, 1), (0, 0)],
)
def test_what_a_mask_wants_wakes(programs: Programs, mask: int, count: int) -> None:
    """A shell that forks one child, which executes; only the child has the mask."""
    process = start("/bin/true; :")
    programs.set_task(process.pid, 0, child_mask=mask)
    process.communicate(b"\n")
    assert programs.setting("waked") == count


def test_a_doze_wakes_nobody(programs: Programs) -> None:
    programs.set(default_mask=PROCESS_CREATION | PROCESS_TERMINATION, is_dozing=1)
    run(["/bin/true"])
    assert programs.setting("waked") == 0
    programs.set(is_dozing=0)
    run(["/bin/true"])
    assert programs.setting("waked") >= 2


def test_a_fork_inherits_and_an_end_forgets(programs: Programs) -> None:
    process = start("sleep 1000 & echo $!; read b")
    mask = PROCESS_CREATION | THREAD_CREATION
    programs.set_task(process.pid, 0, child_mask=mask, child_strip=5, strip=1, start=7)
    child = int(ask(process))
    entry = programs.task(child)
    assert entry is not None
    assert (entry["mask"], entry["child_mask"], entry["strip"], entry["child_strip"]) == (mask, mask, 5, 5)
    assert entry["creator"] == process.pid
    os.kill(child, signal.SIGKILL)
    process.communicate(b"\n")
    programs.read_process(process.pid)
    assert programs.task(child) is None
    assert programs.task(process.pid) is None


def test_exempt_processes_have_exempt_children(programs: Programs) -> None:
    programs.set(unknown_mask=0x3F)
    process = start("sleep 1000 & echo $!; read b")
    programs.set_task(process.pid, EXEMPT | 0x3F, child_mask=0x3F)
    child = int(ask(process))
    entry = programs.task(child)
    assert entry is not None
    assert entry["mask"] & EXEMPT
    os.kill(child, signal.SIGKILL)
    process.communicate(b"\n")
    assert programs.setting("waked") == 0


def test_what_a_worker_starts_is_exempt(programs: Programs) -> None:
    programs.set(controller_process_id=os.getpid(), default_mask=0x3F)
    ids: dict[str, int] = {}

    def start(name: str, is_worker: bool) -> None:
        if is_worker:
            programs.set_task(threading.get_native_id(), FIRST_THREAD)
        ids[name] = subprocess.Popen(["/bin/sleep", "1000"]).pid

    for name, is_worker in (("worker", True), ("other", False)):
        thread = threading.Thread(target=start, args=(name, is_worker))
        thread.start()
        thread.join()
    masks = {name: (programs.task(process_id) or {"mask": -1})["mask"] for name, process_id in ids.items()}
    told = {record.process_id: record for record in programs.read() if record.type == FORK}
    for process_id in ids.values():
        os.kill(process_id, signal.SIGKILL)
        os.waitpid(process_id, 0)
    assert masks == {"worker": EXEMPT, "other": 0x3F}
    assert told[ids["worker"]].flags & WORKER
    assert not told[ids["other"]].flags & WORKER
    assert not own_threads(programs) - {os.getpid()}, "the worker's entry goes with it"


def test_an_unknown_image_has_the_mask_of_unknown_ones(programs: Programs) -> None:
    """An execution makes a process with name rules unknown until its entry says that the image is known."""
    programs.set(unknown_mask=PROCESS_TERMINATION)
    process = start("exec cat")
    list(programs.read())
    programs.set_task(process.pid, NAMES)
    ask(process, wanted=b"x\n")
    execution = exec_record_of(programs, process.pid)
    assert programs.setting("waked") == 1, "an execution of a process with name rules wakes"
    programs.set_task(process.pid, NAMES, execution_count=execution.exec()["execution_count"])
    process.communicate()
    programs.read_process(process.pid)
    assert programs.setting("waked") == 1, "a known image does not"


def test_an_unknown_image_is_still_unknown_at_its_end(programs: Programs) -> None:
    programs.set(unknown_mask=PROCESS_TERMINATION)
    process = start("exec /bin/true")
    programs.set_task(process.pid, NAMES)
    process.communicate(b"\n")
    programs.read_process(process.pid)
    assert programs.setting("waked") == 2


# ---- Decided executions ----


@pytest.mark.parametrize("is_same", [True, False])
def test_a_decided_execution(programs: Programs, is_same: bool) -> None:
    process = start("exec /bin/true")
    programs.set_task(process.pid, PROCESS_CREATION)
    programs.decide(process.pid, TRUE if is_same else "/bin/sh")
    list(programs.read())
    process.communicate(b"\n")
    told = programs.read_process(process.pid)
    execution = next(record for record in told if record.type == EXEC)
    assert bool(execution.flags & DECIDED) is is_same
    assert programs.setting("waked") == (0 if is_same else 1)
    left = programs.decided.get(process.pid % records.DECIDED_COUNT)
    assert left is not None
    thread_id, taken_thread_id, taken_stamp, _, _ = records.DECIDED_VALUE.unpack(left)
    assert thread_id == 0
    assert (taken_thread_id, taken_stamp != 0) == ((process.pid, True) if is_same else (0, False))


# ---- Many ----

STORM = """
import os, sys, threading
count = int(sys.argv[1])
for number in range(count):
    child = os.fork()
    if child == 0:
        if number % 2:
            os.execv("/bin/true", ["true", str(number)])
        threads = [threading.Thread(target=int) for _ in range(2)]
        [thread.start() for thread in threads]
        os._exit(number % 256)
    os.waitpid(child, 0)
"""


def test_a_storm_is_told_completely(programs: Programs) -> None:
    count = 500
    processes = [subprocess.Popen([sys.executable, "-c", STORM, str(count)]) for _ in range(2)]
    told: list[Record] = []
    while any(process.poll() is None for process in processes):
        told += programs.read()
        time.sleep(0.01)
    told += programs.read()
    assert programs.lost == [0] * records.LOST_COUNT
    for process in processes:
        # Ids come again during a storm, so a process is an id and a start.
        children = {
            (record.process_id, record.start_ns)
            for record in told
            if record.type == FORK and record.fork()[0] == process.pid and not record.fork()[3] & 0x10000
        }
        assert len(children) == count
        kinds = collections.Counter(
            (record.type, bool(record.flags & LAST))
            for record in told
            if (record.process_id, record.start_ns) in children
        )
        assert kinds[(EXEC, False)] == count // 2
        assert kinds[(EXIT, True)] == count, "each process ends once"
        assert kinds[(FORK, False)] == kinds[(EXIT, True)] + kinds[(EXIT, False)]
        entries = ((key, programs.task(key)) for key in list(programs.tasks.keys()))
        left = {(key, entry["start"]) for key, entry in entries if entry}
        assert not children & left, "no entry stays"


def test_what_is_lost_is_counted_exactly() -> None:
    count = 800
    with Programs(ring_size=16 * 4096) as programs:
        process = subprocess.Popen([sys.executable, "-c", STORM, str(count)])
        while process.poll() is None:
            time.sleep(0.01)
        # Others on this machine are told as well, so only sums of all can be compared.
        told = collections.Counter(record.type for record in programs.read())
        assert told[FORK] + programs.lost[FORK] >= 2 * count
        assert told[EXEC] + programs.lost[EXEC] >= count // 2
        assert programs.lost[FORK] > 0
        assert programs.lost[0] == 0
        run(["/bin/true"])
        assert len([record for record in programs.read() if record.type == EXEC]) >= 1, "it goes on"


def test_a_full_ring_wakes(programs: Programs) -> None:
    """A quarter of the ring is enough for that."""
    pad = "x" * 120_000
    for _ in range(3 * (16 << 20) // 4 // 240_000):
        run(["/bin/true", pad, pad])
    assert programs.setting("waked") > 0


def test_one_end_of_each_process_with_many_threads(programs: Programs) -> None:
    code = (
        "import os, threading, time\n"
        "for _ in range(200):\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        [threading.Thread(target=time.sleep, args=(9,), daemon=True).start() for _ in range(8)]\n"
        "        os._exit(1)\n"
        "    os.waitpid(child, 0)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    process.wait()
    told = programs.read_until(
        lambda r: r.type == EXIT and r.process_id == process.pid and r.flags & LAST > 0
    )
    children = {(r.process_id, r.start_ns) for r in told if r.type == FORK and r.fork()[0] == process.pid}
    ends = [r for r in told if r.type == EXIT and (r.process_id, r.start_ns) in children]
    last = collections.Counter((r.process_id, r.start_ns) for r in ends if r.flags & LAST)
    assert last == collections.Counter(children)
    late = sum(
        not r.flags & LAST
        for at, r in enumerate(ends)
        if any(e.process_id == r.process_id and e.flags & LAST for e in ends[:at])
    )
    assert late <= len(children) // 20, "threads that come after the process's end are rare"


def test_objects_do_not_stay_loaded() -> None:
    listed = shutil.which("bpftool") or pytest.skip("bpftool is not installed")
    with Programs():
        pass
    out = subprocess.run([listed, "prog"], capture_output=True, text=True, check=True).stdout
    own = [line for line in out.splitlines() if "tell_exec" in line and f"({os.getpid()})" in line]
    assert not own


def test_the_table_of_programs() -> None:
    tool = Path(__file__).resolve().parents[3] / "tools" / "bpf_table.py"
    done = subprocess.run(
        [sys.executable, str(tool), str(records.objects_folder())],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("| processes |")]
    assert {"`tell_fork`", "`tell_exec`", "`tell_exit`"} <= {row.split("|")[2].strip() for row in rows}
