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
from pathlib import Path

import pytest
from machine.programs import records
from machine.programs.programs_tools import TRUE, exec_of, run, start_ticks
from machine.programs.programs_tools import loaded as loaded
from machine.programs.programs_tools import programs as programs
from machine.programs.records import EXEC, EXIT, FORK, INCOMPLETE, LAST, SCRIPT, Programs

pytestmark = pytest.mark.skipif(bool(records.obstacle()), reason=records.obstacle() or "runs")

NS_PER_S = 1_000_000_000
WHOLE_SIZE = 1_900_000  # of an argument list: nearly what execve takes without another limit of the stack


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


# ---- The objects ----


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
