"""Corners of Linux where the list of events alone does not tell that a program works as without a tracer."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import supervised
from live_tools import (
    GUID,
    LIFETIMES,
    PROGRAMS,
    Programs,
    Task,
    is_alive,
    of_session,
    reaches_the_package,
    recording,
    run_checked,
    tracer_of,
    wait_until,
)
from terminals import open_terminal
from test_equality import ERRNO_MODE, MODES

import cbprocess


@MODES
def test_signals_during_stops(
    options: tuple[str, ...], programs: Programs, environment: dict[str, str], tmp_path: Path
) -> None:
    """Queued signals arrive once each and in order while their target keeps being stopped by the tracer."""
    command = [programs["signals"], "during", "400", programs["status"]]
    events, done = supervised.run(command, tmp_path / "events", *options, env=environment)
    assert (done.returncode, done.stderr) == (0, b"")
    supervised.tree(events)


@MODES
def test_thousands_of_processes(
    options: tuple[str, ...], programs: Programs, environment: dict[str, str], tmp_path: Path
) -> None:
    command = [programs["processes"], "alive", "3000", programs["status"]]
    events, done = supervised.run(command, tmp_path / "events", *options, env=environment)
    assert (done.returncode, done.stderr) == (0, b"")
    ends = [child.end for child in supervised.tree(events).children]
    assert (len(ends), ends.count(-signal.SIGKILL), ends.count(0)) == (3020, 3000, 20)


def test_untraced_clone(programs: Programs, environment: dict[str, str], tmp_path: Path) -> None:
    """A child that asks not to be traced escapes where there is no filter of system calls. Where there is one
    the wish is not granted to clone, and clone3, where it cannot be seen, does not exist."""

    def run(call: str, *options: str) -> tuple[bytes, list[int | None]]:
        command = [programs["processes"], "clone-untraced", call, programs["status"]]
        events, done = supervised.run(command, tmp_path / "events", *options, env=environment)
        return done.stdout, [child.end for child in supervised.tree(events).children]

    assert run("clone") == run("clone3") == (b"executed\nstatus 9\n", [])
    assert run("clone", *ERRNO_MODE) == (b"executed\nstatus 9\n", [9])
    assert run("clone3", *ERRNO_MODE) == (f"no child: errno {errno.ENOSYS}\n".encode(), [])


def setuid_program_of_the_system() -> str | None:
    for name in ("mount", "umount", "su", "passwd", "newgrp"):
        path = shutil.which(name)
        details = Path(path).stat() if path else None
        if details and details.st_uid == 0 and details.st_mode & stat.S_ISUID:
            return path
    return None


def effective_users(setting: str, program: str) -> list[int]:
    """The effective user ids that the system's setuid program has at its end, supervised by this user."""
    users: list[int] = []

    def decide(kind: str, event: Any) -> None:
        if kind == "process_termination" and event.process_name == program:
            text = Path(f"/proc/{event.process_id}/status").read_text()
            users.extend(int(number) for number in re.findall(r"^Uid:\s+\d+\s+(\d+)", text, re.MULTILINE))

    with recording(setting, decide=decide) as recorder:
        run_checked(recorder, [program, "--version"], stdin=subprocess.DEVNULL)
    return users


def check_setuid_program_of_an_ordinary_user(setting: str, programs: Programs, folder: Path) -> None:
    """Root makes a setuid program and starts an ordinary user's controller, which runs it."""
    folder.chmod(0o755)
    program = programs.copy("identity", folder / "identity")
    Path(program).chmod(0o4755)
    user: dict[str, Any] = {"user": 65534, "group": 65534, "extra_groups": []}
    if not reaches_the_package(user):
        pytest.skip("an ordinary user cannot read this Python or this package")
    assert subprocess.check_output([program], text=True, **user) == "65534 0\n"
    script = shutil.copy2(PROGRAMS / "run_one.py", folder)
    line = [sys.executable, script, setting, program]
    assert subprocess.check_output(line, text=True, timeout=60, cwd="/", **user) == "65534 65534\n"


@pytest.mark.parametrize("setting", ["RefuseWith=errno", "RefuseWith=kill"])
def test_setuid_program_runs_without_the_privilege(setting: str, programs: Programs) -> None:
    """As under any tracer that has no privilege itself: the program runs, with its caller's rights."""
    if os.getuid() == 0:
        with tempfile.TemporaryDirectory(dir="/tmp") as folder:
            check_setuid_program_of_an_ordinary_user(setting, programs, Path(folder))
        return
    program = setuid_program_of_the_system()
    if program is None:
        pytest.skip("this system has no setuid program")
    assert effective_users(setting, program) == [os.getuid()]


class Terminal:
    """A program at a terminal of its own."""

    def __init__(self, line: list[str], environment: dict[str, str]) -> None:
        self.master, other = open_terminal()
        starter = [sys.executable, str(PROGRAMS / "at_terminal.py")]
        self.process = subprocess.Popen(
            [*starter, *line], stdin=other, stdout=other, stderr=other, env=environment
        )
        os.close(other)
        self.text = ""
        os.set_blocking(self.master, False)

    @property
    def session(self) -> int:
        return self.process.pid

    def type(self, text: str) -> None:
        self.text = ""
        os.write(self.master, text.encode())

    def expect(self, pattern: str, timeout: float = 20) -> str:
        """Waits for the pattern in what was written since the last typing."""

        def found() -> Any:
            self._read()
            return re.search(pattern, self.text)

        try:
            return str(wait_until(found, timeout, f"{pattern!r} at the terminal").group(0))
        except AssertionError as error:
            raise AssertionError(f"{error}; the terminal says {self.text!r}") from None

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError, OSError):
            self.text += os.read(self.master, 65536).decode(errors="replace")

    def end(self, timeout: float = 20) -> int:
        """Waits for the program's end: its exit code."""

        def ended() -> bool:
            self._read()  # a terminal that nobody reads blocks its writers
            return self.process.poll() is not None

        wait_until(ended, timeout, "the end of the program at the terminal")
        return self.process.returncode

    def close(self) -> None:
        for task in of_session(self.session):
            with contextlib.suppress(ProcessLookupError):
                os.kill(task.process_id, signal.SIGKILL)
        self.process.wait(20)
        os.close(self.master)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()


def foreground_sleeps(terminal: Terminal) -> bool:
    group = os.tcgetpgrp(terminal.master)
    return any(task.name == "sleep" and task.group == group for task in of_session(terminal.session))


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@MODES
def test_job_control(options: tuple[str, ...], environment: dict[str, str], tmp_path: Path) -> None:
    output = tmp_path / "events"
    line = [*supervised.COMMAND_LINE, "run", "--json", "--output", str(output), *options]
    shell = ["--", "bash", "--norc", "--noprofile", "-i"]
    with Terminal(
        line + shell, {**environment, "PS1": "ready> ", "TERM": "dumb", "HISTFILE": ""}
    ) as terminal:
        terminal.expect("ready> ")
        terminal.type("sleep 98\n")
        wait_until(lambda: foreground_sleeps(terminal), 20, "sleep in the foreground")
        terminal.type("\x1a")
        terminal.expect(r"Stopped.*\n(?s:.*)ready> ")
        stopped = [task for task in of_session(terminal.session) if task.name == "sleep"]
        assert [task.state for task in stopped] in (["T"], ["t"])
        terminal.type("jobs -r | wc -l; jobs -s | wc -l\n")
        terminal.expect(r"\n0\s+1\s")
        terminal.type("bg\n")
        terminal.expect(r"sleep 98 &(?s:.*)ready> ")
        wait_until(
            lambda: [t.state for t in of_session(terminal.session) if t.name == "sleep"] == ["S"], 20, "bg"
        )
        terminal.type("jobs -r | wc -l\n")
        terminal.expect(r"\n1\s")
        terminal.type("fg\n")
        wait_until(lambda: foreground_sleeps(terminal), 20, "sleep in the foreground again")
        terminal.type("\x1a")
        terminal.expect(r"Stopped.*\n(?s:.*)ready> ")
        terminal.type("fg\n")
        wait_until(lambda: foreground_sleeps(terminal), 20, "sleep in the foreground once more")
        terminal.type("\x03")
        terminal.expect("ready> ")
        terminal.type("echo status=$?\n")
        terminal.expect("status=130")
        terminal.type("sleep 97 | sleep 97\n")
        wait_until(lambda: foreground_sleeps(terminal), 20, "a pipeline in the foreground")
        terminal.type("\x1c")
        terminal.expect("ready> ")
        terminal.type("exit 5\n")
        assert terminal.end() == 5
    tree = supervised.tree(supervised.read(output))
    ends = sorted(node.end or 0 for node in tree.walk() if node.images and node.images[-1][0] == "sleep")
    assert ends == [-signal.SIGQUIT, -signal.SIGQUIT, -signal.SIGINT]


def test_interrupt_at_a_terminal(environment: dict[str, str], tmp_path: Path) -> None:
    """Ctrl-C ends the command; cbprocess reports its end and exits with its status, without a traceback."""
    line = [
        *supervised.COMMAND_LINE,
        "run",
        "--json",
        "--output",
        str(tmp_path / "events"),
        "--",
        "sleep",
        "96",
    ]
    with Terminal(line, environment) as terminal:
        wait_until(lambda: foreground_sleeps(terminal), 20, "sleep in the foreground")
        terminal.type("\x03")
        assert terminal.end() == 128 + signal.SIGINT
        assert "Traceback" not in terminal.text
    assert supervised.tree(supervised.read(tmp_path / "events")).end == -signal.SIGINT


def test_a_supervised_tree_in_a_supervised_tree(environment: dict[str, str], tmp_path: Path) -> None:
    """The inner one works, or is refused with the error that says why; the outer one goes on either way."""
    inner = [
        *supervised.COMMAND_LINE,
        "run",
        "--json",
        "--output",
        str(tmp_path / "inner"),
        "--",
        "sh",
        "-c",
        "exit 4",
    ]
    outer = ["sh", "-c", '"$@"; echo status $?', "sh", *inner]
    events, done = supervised.run(outer, tmp_path / "outer", env=environment)
    assert done.returncode == 0
    tree = supervised.tree(events)
    assert tree.end == 0
    if done.stdout == b"status 4\n":
        assert supervised.tree(supervised.read(tmp_path / "inner")).end == 4
    else:
        assert b"170" in done.stderr and b"Traceback" not in done.stderr


def test_another_tracer_in_a_supervised_tree(environment: dict[str, str], tmp_path: Path) -> None:
    """A debugger inside cannot attach to what is traced already, and says so; the tree is unharmed."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    events, done = supervised.run(["sh", "-c", "strace true; exit 3"], tmp_path / "events", env=environment)
    assert done.returncode == 3 and b"ermitted" in done.stderr
    supervised.tree(events)


@contextlib.contextmanager
def sleeping_tree(program: str) -> Iterator[tuple[cbprocess.CBProcess, subprocess.Popen[Any]]]:
    """A filter with one program under it that keeps running."""
    instance = cbprocess.CBProcess()
    instance.initialize(GUID)
    instance.config(f"EventsToFire={LIFETIMES}")
    instance.start_filter(0)
    process = instance.popen([program, "95"])
    try:
        yield instance, process
    finally:
        instance.stop_filter()
        process.kill()
        process.wait(20)


@pytest.mark.parametrize("setting", ["errno", "kill"])
def test_a_stopped_filter_leaves_the_program_alone(setting: str, programs: Programs) -> None:
    """After stop_filter a program that lives on is not traced or, where it has a filter of system calls, is
    passed through: it can still start other programs."""
    with recording(f"RefuseWith={setting}") as recorder:
        text = "read line; /bin/true && echo started"
        process = recorder.filter.popen(["sh", "-c", text], stdin=-1, stdout=-1, text=True)
        assert tracer_of(process.pid) != 0
        recorder.filter.stop_filter()
        count = len(recorder.events)
        if setting == "kill":
            wait_until(lambda: tracer_of(process.pid) == 0, 10, "the program is let go")
        assert process.communicate("\n", timeout=20)[0] == "started\n" and process.returncode == 0
    assert len(recorder.events) == count


def test_a_second_filter_of_the_same_process_shares_the_helper(programs: Programs) -> None:
    """Several instances of one controller are active at once; each sees what its own rules speak of."""
    with recording() as first, recording() as second:
        assert run_checked(first, [programs["status"], "3"])[0] == 3
        assert run_checked(second, [programs["status"], "4"])[0] == 4
        with sleeping_tree("sleep") as (_, third):
            assert tracer_of(third.pid) != 0
    assert [event["arguments"][1] for event in first.of("process_creation")] == ["3"]
    assert [event["arguments"][1] for event in second.of("process_creation")] == ["4"]


def test_own_children_are_not_disturbed() -> None:
    """The helper is no child that os.wait() returns or SIGCHLD announces."""
    signals: list[int] = []
    before = signal.signal(signal.SIGCHLD, lambda number, frame: signals.append(number))
    try:
        with recording(), pytest.raises(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)
        time.sleep(0.3)
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert signals == []


@pytest.mark.parametrize("setting", ["RefuseWith=errno", "RefuseWith=kill"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP])
def test_a_signal_for_a_held_process(number: signal.Signals, setting: str, programs: Programs) -> None:
    """A held process can be killed. Other signals wait until it is let go, and are not lost."""
    held: list[int] = []
    leave = threading.Event()

    def decide(kind: str, event: Any) -> None:
        if kind == "process_creation" and event.process_name == programs["status"]:
            held.append(event.process_id)
            leave.wait(20)

    with recording(setting, decide=decide) as recorder:
        text = f"{programs['status']} 3; echo $?"
        process = recorder.filter.popen(["sh", "-c", text], stdout=subprocess.PIPE, text=True)
        wait_until(lambda: held, 10, "the held process")
        os.kill(held[0], number)
        if number == signal.SIGKILL:
            assert process.communicate(timeout=10)[0] == "137\n"
        leave.set()
        if number == signal.SIGSTOP:
            wait_until(lambda: Task(held[0]).state in "Tt" and recorder.events, 10, "the stop")
            time.sleep(0.2)
            assert is_alive(held[0]) and process.poll() is None
            os.kill(held[0], signal.SIGCONT)
        expected = {signal.SIGKILL: -9, signal.SIGTERM: -15, signal.SIGSTOP: 3}[number]
        if number != signal.SIGKILL:
            assert process.communicate(timeout=10)[0] == f"{expected if expected > 0 else 143}\n"
        assert process.returncode == 0

        def ends() -> list[int]:
            rows = recorder.of("process_termination")
            return [row["exit_status"] for row in rows if row["process_id"] == held[0]]

        assert wait_until(ends, 10, "the end of the held process") == [expected]
    assert recorder.errors == []
