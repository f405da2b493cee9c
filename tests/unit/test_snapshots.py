"""Running processes: against children made for it, and against the listing of ps."""

from __future__ import annotations

import json
import os
import pwd
import shlex
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from unit.instances import GUID, assert_code

import cbprocess
from cbprocess import CBProcess, RunningProcess, constants, records, running_processes, snapshot

SLEEP = shutil.which("sleep") or "/bin/sleep"


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process whose arguments hold everything that arguments can; it ends with its standard input."""
    words = ["", "two words", "new\nline", b"\xff".decode("utf-8", "surrogateescape"), "é", "'\"$*"]
    program = [sys.executable, "-S", "-c", "input()", *words]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        yield process
        process.kill()


def find(process_id: int, processes: list[RunningProcess]) -> RunningProcess:
    (found,) = [process for process in processes if process.process_id == process_id]
    return found


def start_time(process_id: int) -> int:
    text = Path(f"/proc/{process_id}/stat").read_text(errors="replace")
    return int(text.rpartition(")")[2].split()[19])


def test_a_process_as_it_is(child: subprocess.Popen[bytes]) -> None:
    assert isinstance(child.args, list)
    found = find(child.pid, running_processes())
    assert found.arguments == child.args
    assert shlex.split(found.command_line) == child.args
    assert found.process_name == os.path.realpath(sys.executable)
    assert found.parent_process_id == os.getpid()
    assert found.thread_count == 1
    assert found.start_time == start_time(child.pid)
    assert str(child.pid) in repr(found)


def test_names_users_and_ends(child: subprocess.Popen[bytes]) -> None:
    found = find(child.pid, snapshot())
    assert found.path == found.process_name and found.name == os.path.basename(found.path)
    assert found.user_id == os.geteuid() and not found.ended
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    found = find(child.pid, snapshot())
    assert found.ended and found.path == "" and found.name == found.process_name != ""


def test_where_it_comes_from(child: subprocess.Popen[bytes]) -> None:
    assert find(child.pid, snapshot(source="proc")).arguments == child.args
    assert find(child.pid, running_processes()).arguments == child.args
    for source in ("", "Proc", "kernel", None, 1):
        assert_code(constants.ERROR_INVALID_PARAMETER, lambda value=source: snapshot(source=value))
    try:
        taken = snapshot(source="bpf")
    except cbprocess.CBProcessError as error:
        assert error.code == constants.ERROR_NOT_SUPPORTED
    else:
        assert find(child.pid, taken).arguments == child.args


def test_without_command_lines(child: subprocess.Popen[bytes]) -> None:
    found = find(child.pid, running_processes(False))
    assert (found.arguments, found.command_line) == ([], "")
    assert found.process_name == os.path.realpath(sys.executable)
    assert_code(constants.ERROR_INVALID_PARAMETER, running_processes, 2)


def test_a_process_that_has_ended_and_is_still_there() -> None:
    child = subprocess.Popen([SLEEP, "600"])
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    found = find(child.pid, running_processes())
    assert (found.process_name, found.arguments) == ("sleep", [])
    child.wait()
    assert child.pid not in [process.process_id for process in running_processes()]


PS_LINE = ["ps", "-e", "-ww", "-o", "pid=,ppid=,nlwp=,args="]


def ps_listing() -> dict[int, tuple[int, int, str]]:
    output = subprocess.run(PS_LINE, stdout=subprocess.PIPE, check=True, text=True, errors="replace").stdout
    rows = [line.split(maxsplit=3) for line in output.split("\n") if len(line.split()) > 3]
    return {int(row[0]): (int(row[1]), int(row[2]), row[3]) for row in rows if row[0].isdigit()}


@pytest.mark.skipif(shutil.which("ps") is None, reason="this machine has no ps")
def test_the_same_as_ps() -> None:
    """What ps shows alike before and after has to be in the snapshot between: whole, and with its parent."""
    children = [subprocess.Popen([SLEEP, "600", f"0.{number}"]) for number in range(20)]
    try:
        before = ps_listing()
        listed = {process.process_id: process for process in running_processes()}
        after = ps_listing()
    finally:
        for child in children:
            child.kill()
            child.wait()
    own = {child.pid for child in children}
    steady = {process_id for process_id in before if before[process_id] == after.get(process_id)}
    assert own < steady <= set(listed)
    for process_id in steady:
        assert listed[process_id].parent_process_id == before[process_id][0]
    for process_id in own:  # the others' threads and arguments may change meanwhile
        found = listed[process_id]
        assert (found.thread_count, " ".join(found.arguments)) == before[process_id][1:]


def test_ids_rise_and_are_unique() -> None:
    ids = [process.process_id for process in running_processes(False)]
    assert ids == sorted(set(ids)) and os.getpid() in ids


WITHOUT_DESCRIPTORS = """
import os, resource, cbprocess
cbprocess.running_processes()
fd = os.dup(0)
os.close(fd)
resource.setrlimit(resource.RLIMIT_NOFILE, (fd, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
try:
    cbprocess.running_processes()
except cbprocess.CBProcessError as error:
    print(error.code)
"""


def test_an_error_is_not_a_short_list() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_DESCRIPTORS], capture_output=True, timeout=30)
    assert done.stdout == b"4\n", done.stderr


# ---- The members of CBProcess ----


def test_the_arrays(process: CBProcess, child: subprocess.Popen[bytes]) -> None:
    assert process.running_process_count == process.get_running_process_count() == 0
    assert process.running_process_process_id == process.running_process_process_name == ()
    process.create_running_processes_snapshot()
    count = process.running_process_count
    assert count == process.get_running_process_count() == len(process.running_process_process_id) > 1
    index = process.running_process_process_id.index(child.pid)
    assert process.get_running_process_process_id(index) == child.pid
    name = os.path.realpath(sys.executable)
    assert process.get_running_process_process_name(index) == name == process.get_process_name(child.pid)
    assert process.running_process_process_name[index] == name
    process.close_running_processes_snapshot()
    assert process.running_process_count == 0
    process.close_running_processes_snapshot()


def test_a_snapshot_stays_as_it_is_until_the_next(process: CBProcess) -> None:
    process.create_running_processes_snapshot()
    child = subprocess.Popen([SLEEP, "600"])
    assert child.pid not in process.running_process_process_id
    process.create_running_processes_snapshot()
    assert child.pid in process.running_process_process_id
    child.kill()
    child.wait()
    assert child.pid in process.running_process_process_id
    process.create_running_processes_snapshot()
    assert child.pid not in process.running_process_process_id


def test_command_lines_only_when_they_are_tracked(process: CBProcess, child: subprocess.Popen[bytes]) -> None:
    assert process.track_command_line is process.get_track_command_line() is False
    process.create_running_processes_snapshot()
    assert set(process.running_process_command_line) == {""}
    process.track_command_line = True
    assert process.track_command_line is True
    assert set(process.running_process_command_line) == {""}  # a snapshot is what it was taken as
    process.create_running_processes_snapshot()
    index = process.running_process_process_id.index(child.pid)
    assert isinstance(child.args, list)
    expected = shlex.join(child.args)
    assert process.get_running_process_command_line(index) == expected
    assert process.running_process_command_line[index] == expected
    process.set_track_command_line(False)
    process.create_running_processes_snapshot()
    assert set(process.running_process_command_line) == {""}


GETTERS = ("process_id", "process_name", "command_line")


@pytest.mark.parametrize("name", GETTERS)
def test_indexes_out_of_range(process: CBProcess, name: str) -> None:
    getter: Callable[[Any], object] = getattr(process, f"get_running_process_{name}")
    assert_code(constants.ERROR_INVALID_PARAMETER, getter, 0)
    process.create_running_processes_snapshot()
    count = process.running_process_count
    getter(count - 1)
    for index in (-1, count, 2**40, True, "0", None, 0.0):
        assert_code(constants.ERROR_INVALID_PARAMETER, getter, index)
    process.close_running_processes_snapshot()
    assert_code(constants.ERROR_INVALID_PARAMETER, getter, 0)


def test_read_only(process: CBProcess) -> None:
    for name in ("count", *GETTERS):
        with pytest.raises(AttributeError):
            setattr(process, f"running_process_{name}", 1)


def test_a_boolean_as_the_references_users_write_it(process: CBProcess) -> None:
    process.track_command_line = 1  # type: ignore[assignment]
    assert process.track_command_line is True
    process.strict_altitude = 1  # type: ignore[assignment]
    assert process.strict_altitude is True
    process.add_filtered_process_by_name("a", 1)  # type: ignore[arg-type]
    process.remove_filtered_process_by_name("a")


@pytest.mark.parametrize("value", [2, -1, None, "True"])
def test_what_is_no_boolean(process: CBProcess, value: Any) -> None:
    assert_code(constants.ERROR_INVALID_PARAMETER, process.set_track_command_line, value)


def test_tracking_is_fixed_while_active_and_snapshots_are_not(process: CBProcess) -> None:
    process.start_filter(0)
    assert_code(constants.ERROR_CONNECTION_ACTIVE, process.set_track_command_line, True)
    process.create_running_processes_snapshot()
    assert os.getpid() in process.running_process_process_id
    process.stop_filter()
    process.track_command_line = True


def test_not_in_a_handler_and_the_events_process_is_the_snapshots(process: CBProcess) -> None:
    codes: list[int] = []
    start_times: list[int] = []

    def created(event: Any) -> None:
        start_times.append(event.start_time)
        start_times.append(find(event.process_id, running_processes()).start_time)
        process.get_running_process_count()
        for call in (
            process.create_running_processes_snapshot,
            process.close_running_processes_snapshot,
            lambda: process.set_track_command_line(True),
        ):
            codes.append(assert_code(constants.ERROR_POSSIBLE_DEADLOCK, call).code)

    failures: list[str] = []
    process.on_process_creation = created
    process.on_error = lambda event: failures.append(event.description)
    process.config(f"EventsToFire={constants.PROC_EVT_PROCESS_CREATION}")
    process.create_running_processes_snapshot()
    process.start_filter(0)
    process.popen(["true"]).wait()
    process.stop_filter()
    assert failures == []
    assert len(codes) == 3 and process.running_process_count > 0
    assert start_times[0] == start_times[1] > 0


BEFORE_INITIALIZE = f"""
import os, cbprocess
process = cbprocess.CBProcess()
calls = {{
    "create": process.create_running_processes_snapshot,
    "close": process.close_running_processes_snapshot,
}}
for name, call in calls.items():
    try:
        call()
    except cbprocess.CBProcessError as error:
        assert error.code == cbprocess.ERROR_NOT_READY, (name, error)
    else:
        raise AssertionError(name)
assert process.running_process_count == 0 and process.running_process_process_name == ()
assert process.track_command_line is False
process.track_command_line = True
process.initialize("{GUID}")
process.create_running_processes_snapshot()
assert process.get_running_process_command_line(process.running_process_process_id.index(os.getpid()))
print(len(cbprocess.running_processes()) > 1)
"""


def test_before_initialize() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BEFORE_INITIALIZE], capture_output=True, text=True, timeout=30
    )
    assert (done.stdout, done.stderr) == ("True\n", "")


IN_A_FORK = f"""
import os, cbprocess
process = cbprocess.CBProcess()
process.initialize("{GUID}")
process.create_running_processes_snapshot()
child = os.fork()
if child == 0:
    try:
        process.create_running_processes_snapshot()
    except cbprocess.CBProcessError as error:
        os._exit(error.code)
    os._exit(0)
print(os.waitpid(child, 0)[1] >> 8, process.running_process_count > 0)
"""


def test_in_a_fork() -> None:
    done = subprocess.run([sys.executable, "-c", IN_A_FORK], capture_output=True, text=True, timeout=30)
    assert (done.stdout, done.stderr) == ("21 True\n", "")


# ---- The command ----


def run_command(*arguments: str, **keywords: Any) -> subprocess.CompletedProcess[bytes]:
    line = [sys.executable, "-m", "cbprocess", "snapshot", *arguments]
    return subprocess.run(line, capture_output=True, timeout=30, **keywords)


def test_the_command_in_json(child: subprocess.Popen[bytes]) -> None:
    done = run_command("--json")
    assert (done.returncode, done.stderr) == (0, b"")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    (record,) = [record for record in rows if record["process_id"] == child.pid]
    assert isinstance(child.args, list)
    assert (record.pop("host"), record.pop("boot")) == records.here()[:2]
    assert len({record["session"] for record in rows}) == 1 and record.pop("session")
    assert record.pop("time") and record.pop("time_ns").isdigit()
    beside = record.pop("arguments_bytes", None), record.pop("command_line_bytes", None)
    texts = {"arguments": record.pop("arguments"), "command_line": record.pop("command_line")}
    assert record == {
        "schema": 1,
        "number": None,
        "event": "running_process",
        "process_id": child.pid,
        "parent_process_id": os.getpid(),
        "parent_start_time": str(start_time(os.getpid())),
        "start_time": str(start_time(child.pid)),
        "thread_count": 1,
        "user_id": os.geteuid(),
        "process_name": os.path.realpath(sys.executable),
    }
    texts.update(arguments_bytes=beside[0], command_line_bytes=beside[1])
    assert records.exact(texts, "arguments") == list(map(os.fsencode, child.args))
    assert records.exact(texts, "command_line") == os.fsencode(shlex.join(child.args))


def test_the_command_hides_values_and_knows_working_directories(tmp_path: Path) -> None:
    line = [sys.executable, "-c", "input()", "--token=hunter2", "--pin", "hunter3"]
    with subprocess.Popen(line, stdin=subprocess.PIPE, cwd=tmp_path) as process:
        options = ("--redact", "--redact-also", "pin")
        done = run_command("--json", "--enrich", "cwd,user", *options)
        words = run_command(*options)
        assert process.stdin is not None
        process.stdin.close()
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    (record,) = [record for record in rows if record["process_id"] == process.pid]
    assert record["arguments"][3:] == ["--token=[redacted]", "--pin", "[redacted]"]
    assert record["working_directory"] == str(tmp_path)
    assert record["user_name"] == pwd.getpwuid(os.geteuid()).pw_name
    assert b"hunter" not in done.stdout + words.stdout and b"--token=[redacted]" in words.stdout
    assert run_command("--enrich", "shoes").returncode == run_command("--redact-also", "=").returncode == 2


def test_a_file_of_it_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "list"
    assert run_command("-o", str(path)).returncode == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_command_in_words(child: subprocess.Popen[bytes]) -> None:
    done = run_command()
    assert (done.returncode, done.stderr) == (0, b"")
    heading, *lines = done.stdout.decode().splitlines()
    assert heading.split() == ["PID", "PARENT", "THREADS", "COMMAND"]
    (line,) = [line.split(maxsplit=3) for line in lines if line.split()[0] == str(child.pid)]
    assert line[1:3] == [str(os.getpid()), "1"]
    assert "new\\nline" in line[3] and "'two words'" in line[3] and "\\xff" in line[3]


@pytest.mark.parametrize("option", [[], ["--json"]])
def test_the_command_when_its_reader_has_left(option: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    line = [sys.executable, "-m", "cbprocess", "snapshot", *option]
    done = subprocess.run(line, stdout=writer, stderr=subprocess.PIPE, timeout=30)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_the_command_takes_no_command() -> None:
    assert run_command("--", "true").returncode == 2
    assert run_command("--no-such-option").returncode == 2


def test_public_names() -> None:
    assert {"RunningProcess", "running_processes", "snapshot"} <= set(cbprocess.__all__)
