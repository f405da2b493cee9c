"""What a refused execution looks like: by fanotify an execve that failed with EPERM, by the gate a process
that was killed before its first instruction; whatever the file is and however it is named."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Callable

import pytest
from live_tools import Programs, Recorder, name_of, refuse, wait_until
from machine import own_place
from machine.native.machine_tools import FANOTIFY, GATE, has_gate, run, watching

import cbprocess

CREATIONS = cbprocess.PROC_EVT_PROCESS_CREATION
# Executes its arguments in its own place; the status is the errno of a failure.
EXECUTE = (
    "import os, sys\ntry: os.execv(sys.argv[1], sys.argv[1:])\nexcept OSError as error: os._exit(error.errno)"
)
MEMFD = (
    "import os, sys\n"
    "descriptor = os.memfd_create('in-memory', 0)\n"
    "with open(sys.argv[1], 'rb') as file: os.write(descriptor, file.read())\n"
    "os.execve(descriptor, sys.argv[1:], {})\n"
)


@pytest.fixture(params=[FANOTIFY, GATE])
def setting(request: pytest.FixtureRequest) -> str:
    if request.param == GATE and not has_gate():
        pytest.skip("the bpf driver has no gate on this kernel")
    chosen: str = request.param
    return chosen


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One of the test's own on the file system that is marked."""
    made = own_place.own_place() / tmp_path.name
    made.mkdir(parents=True)
    return made


@pytest.fixture
def write(folder: Path) -> Callable[[str, str], Path]:
    def make(name: str, text: str) -> Path:
        path = folder / name
        path.write_text(text)
        path.chmod(0o755)
        return path

    return make


def execute(*line: Any) -> int:
    """The status of a process that executes this, or minus the signal that has killed it."""
    return run([sys.executable, "-c", EXECUTE, *line]).returncode


def refused(setting: str) -> int:
    return errno.EPERM if setting == FANOTIFY else -signal.SIGKILL


def creations(recorder: Recorder, name: str) -> list[dict[str, Any]]:
    return [
        row
        for row in recorder.of("process_creation")
        if name in (name_of(row["process_name"]), name_of(row["image_file_name"]))
    ]


@pytest.mark.parametrize("code", [5, 2, 8, 0xFFFFFFFF])
def test_a_handler_refuses(setting: str, code: int, programs: Programs, folder: Path) -> None:
    bad, good = (shutil.copy(programs["status"], folder / name) for name in ("bad", "good"))
    with watching(setting, events=CREATIONS, decide=refuse("bad", code)) as recorder:
        assert execute(good, "7") == 7
        assert execute(bad, "7") == refused(setting)
        assert execute(good, "8") == 8
        assert recorder.filter.statistics().refused == 1
        assert recorder.errors == []
    (row,) = creations(recorder, "bad")
    assert row["held"] and row["refusable"] and row["arguments"] == [str(bad), "7"]


def test_a_rule_refuses(setting: str, programs: Programs, folder: Path) -> None:
    """Also while every handler is busy, which is asked about something else."""
    bad, good = (shutil.copy(programs["status"], folder / name) for name in ("bad", "good"))
    gate, entered = threading.Event(), threading.Event()

    def wait(kind: str, event: Any) -> None:
        if not event.decided_by_rule:
            entered.set()
            assert gate.wait(60)

    with watching(setting, events=CREATIONS, everything=False, decide=wait) as recorder:
        recorder.filter.add_filtered_process_by_name("good", False)
        recorder.filter.add_rule(name="bad", action="deny")
        line = [sys.executable, "-c", EXECUTE, str(good), "3"]
        waiting = [subprocess.Popen(line) for _ in range(12)]
        assert entered.wait(60)
        assert execute(bad) == refused(setting)
        assert all(process.poll() is None for process in waiting)
        gate.set()
        assert [process.wait(60) for process in waiting] == [3] * 12
        wait_until(lambda: creations(recorder, "bad"), 20, "the event afterwards")
    (row,) = creations(recorder, "bad")
    assert row["decided_by_rule"] and not row["held"]


def test_nothing_of_it_runs(setting: str, folder: Path, programs: Programs) -> None:
    """A hundred times, half of them refused: those leave no trace, and each of the others does."""
    names = [f"{'bad' if number % 2 else 'good'}-{number}" for number in range(100)]
    touch = shutil.which("touch")
    assert touch
    for name in names:
        shutil.copy(touch, folder / name)

    def decide(kind: str, event: Any) -> None:
        if name_of(event.process_name).startswith("bad"):
            event.result_code = 5

    with watching(setting, events=CREATIONS, decide=decide):
        line = [sys.executable, "-c", EXECUTE]
        processes = [
            subprocess.Popen([*line, str(folder / name), str(folder / f"{name}.ran")]) for name in names
        ]
        statuses = [process.wait(60) for process in processes]
    assert statuses == [0, refused(setting)] * 50
    ran = sorted(path.name for path in folder.glob("*.ran"))
    assert ran == sorted(f"{name}.ran" for name in names if name.startswith("good"))


# ---- Files of every kind ----


def test_a_script(setting: str, write: Callable[[str, str], Path]) -> None:
    """Script, interpreter and loader are one execution, which is the script's."""
    good, bad = (write(name, "#!/bin/sh\nexit 6\n") for name in ("good", "bad"))
    with watching(setting, events=CREATIONS, decide=refuse("bad")) as recorder:
        assert execute(good, "a b") == 6
        assert execute(bad, "a b") == refused(setting)
    for path, script in ((good, "good"), (bad, "bad")):
        (row,) = creations(recorder, script)
        assert row["image_file_name"] == str(path) or row["process_name"] == str(path)
        assert str(path) in row["arguments"] and row["arguments"][-1] == "a b"


def test_an_interpreter_by_its_own_name(
    setting: str, folder: Path, write: Callable[[str, str], Path]
) -> None:
    """Who refuses an interpreter refuses its scripts."""
    shutil.copy("/bin/sh", folder / "own-sh")
    script = write("script", f"#!{folder}/own-sh\nexit 6\n")
    assert execute(script) == 6
    with watching(setting, events=CREATIONS, everything=False) as recorder:
        recorder.filter.add_rule(name="own-sh", action="deny")
        assert execute(script) == refused(setting)
        recorder.filter.remove_rule(name="own-sh", action="deny")
        assert execute(script) == 6


@pytest.mark.parametrize("how", ["hard-link", "symbolic-link", "relative", "descriptor"])
def test_other_names(setting: str, how: str, folder: Path, programs: Programs) -> None:
    bad = folder / "bad"
    shutil.copy(programs["status"], bad)
    line: list[Any] = [bad, "7"]
    text, options = EXECUTE, {}
    if how == "hard-link":
        os.link(bad, folder / "other")
        line = [folder / "other", "7"]
    elif how == "symbolic-link":
        (folder / "other").symlink_to(bad)
        line = [folder / "other", "7"]
    elif how == "relative":
        line, options = ["./bad", "7"], {"cwd": folder}
    else:
        text = EXECUTE.replace("sys.argv[1],", "os.open(sys.argv[1], os.O_PATH),").replace("execv", "execve")
        text = text.replace("sys.argv[1:]", "sys.argv[1:], {}")
    name = "other" if how == "hard-link" else "bad"
    with watching(setting, events=CREATIONS, decide=refuse(name)) as recorder:
        done = run([sys.executable, "-c", text, *line], **options)
        assert done.returncode == refused(setting), done.stderr
    (row,) = creations(recorder, name)
    assert row["process_name"] == str(folder / name)


def test_a_file_in_memory(setting: str, programs: Programs) -> None:
    """fanotify cannot mark it. It is told; it can be refused where the gate is, and is killed then."""
    with watching(setting, events=CREATIONS, decide=refuse("memfd:in-memory")) as recorder:
        status = run([sys.executable, "-c", MEMFD, programs["status"], "7"]).returncode
        assert status == (refused(GATE) if has_gate() else 7)
        wait_until(lambda: [row for row in recorder.events if "memfd" in row["process_name"]], 20, "it")
    (row,) = [row for row in recorder.events if "memfd" in row["process_name"]]
    assert row["arguments"] == [programs["status"], "7"]


def test_a_deleted_file(setting: str, folder: Path, programs: Programs) -> None:
    bad = folder / "bad"
    shutil.copy(programs["status"], bad)
    descriptor = os.open(bad, os.O_RDONLY)
    os.set_inheritable(descriptor, True)
    bad.unlink()
    text = EXECUTE.replace("os.execv(sys.argv[1], sys.argv[1:])", "os.execve(int(sys.argv[1]), ['bad'], {})")

    def decide(kind: str, event: Any) -> None:
        if event.arguments == ["bad"]:
            event.result_code = 5

    line = [sys.executable, "-c", text, str(descriptor)]
    with watching(setting, events=CREATIONS, decide=decide) as recorder:
        assert run(line, close_fds=False).returncode == refused(setting)
    os.close(descriptor)
    assert ["bad"] in recorder.executed()


def test_another_mount_of_it(setting: str, folder: Path, programs: Programs) -> None:
    """A bind mount shows the file by another path, which is that of the event."""
    shutil.copy(programs["status"], folder / "bad")
    other = folder / "other"
    other.mkdir()
    subprocess.run(["mount", "--bind", folder, other], check=True, timeout=60)
    try:
        with watching(setting, events=CREATIONS, decide=refuse("bad")) as recorder:
            assert execute(other / "bad", "7") == refused(setting)
        (row,) = creations(recorder, "bad")
        assert row["process_name"] == str(other / "bad")
    finally:
        subprocess.run(["umount", other], check=True, timeout=60)


# ---- What is not refused ----


def test_what_is_bound_to_fail_is_not_told(
    setting: str, write: Callable[[str, str], Path], folder: Path
) -> None:
    """A search through PATH, a file without permission, one that is no program, a missing interpreter."""
    plain = write("plain", "no program\n")
    forbidden = write("forbidden", "#!/bin/sh\n")
    forbidden.chmod(0o644)
    orphan = write("orphan", "#!/nowhere/interpreter\n")
    with watching(setting, events=CREATIONS) as recorder:
        del recorder.events[:]
        assert execute(folder / "missing") == errno.ENOENT
        assert execute(forbidden) == errno.EACCES
        assert execute(plain) == errno.ENOEXEC
        assert execute(orphan) == errno.ENOENT
        own = [row for row in recorder.events if not name_of(row["process_name"]).startswith("python")]
    assert own == []


def test_what_is_elsewhere_is_only_observed(programs: Programs) -> None:
    """HoldPaths bounds what can wait: an execution on another file system is told, and goes on."""
    with watching(FANOTIFY, events=CREATIONS, decide=refuse("status")) as recorder:
        assert execute(programs["status"], "7") == (refused(GATE) if has_gate() else 7)
        wait_until(lambda: creations(recorder, "status"), 20, "the event")


def test_a_deadline_refuses_if_that_is_asked_for(setting: str, folder: Path, programs: Programs) -> None:
    slow = shutil.copy(programs["status"], folder / "slow")
    gate = threading.Event()

    def decide(kind: str, event: Any) -> None:
        if name_of(event.process_name) == "slow":
            gate.wait(60)

    settings = (setting, "TimeoutAction=deny")
    with watching(*settings, events=CREATIONS, timeout_ms=3000, decide=decide) as recorder:
        assert execute(slow) == refused(setting)
        gate.set()
        wait_until(lambda: recorder.filter.statistics().late == 1, 20, "the late answer")
        counts = recorder.filter.statistics()
        assert (counts.timed_out, counts.refused) == (1, 1)


@pytest.mark.skipif(not hasattr(os, "posix_spawn"), reason="this Python has no posix_spawn")
def test_a_vfork_is_refused_in_the_creator_s_eyes(setting: str, folder: Path, programs: Programs) -> None:
    """posix_spawn reports the child's errno; a killed child is one that has ended."""
    bad = str(shutil.copy(programs["status"], folder / "bad"))
    text = (
        "import os, sys\n"
        "try: pid = os.posix_spawn(sys.argv[1], sys.argv[1:], {})\n"
        "except OSError as error: os._exit(error.errno)\n"
        "os._exit(100 + os.WTERMSIG(os.waitpid(pid, 0)[1]))\n"
    )
    with watching(setting, events=CREATIONS, decide=refuse("bad")):
        status = run([sys.executable, "-c", text, bad]).returncode
    assert status == (errno.EPERM if setting == FANOTIFY else 100 + signal.SIGKILL)
