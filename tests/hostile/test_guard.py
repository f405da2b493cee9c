"""The helper and the controller are out of the reach of their own tree: by system calls wherever a filter is
installed, and through /proc, the helper always and the controller if it hides. Honest programs that signal
their process group are served."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import pty
import random
import signal
import subprocess
import sys
import time
from typing import Any, Callable

import pytest
from hostile_tools import FOLDER, SETTINGS, Setting
from terminals import need_terminal

PROGRAMS = FOLDER / "programs"
FILTERS = [setting for setting in SETTINGS if setting.has_filter]
each_filter = pytest.mark.parametrize("setting", FILTERS, ids=lambda setting: setting.name.replace(" ", "-"))
LANDLOCK_CREATE_RULESET = 444
AS_ROOT = "root opens and traces whatever it likes"


def landlock_version() -> int:
    return int(ctypes.CDLL(None).syscall(LANDLOCK_CREATE_RULESET, None, 0, 1))


def under_controller(setting: Setting, *command: str, more: tuple[str, ...] = ()) -> dict[str, Any]:
    refuse_with = "kill" if "RefuseWith=kill" in setting.config else "errno"
    script = str(PROGRAMS / "controller.py")
    line = [sys.executable, script, refuse_with, str(setting.events), *more, "--", *command]
    done = subprocess.run(line, capture_output=True, text=True, timeout=100, start_new_session=True)
    assert done.returncode == 0, (done.returncode, done.stderr)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def reach(setting: Setting, *arguments: str, more: tuple[str, ...] = ()) -> dict[str, dict[str, Any]]:
    command = [sys.executable, str(PROGRAMS / "reach.py"), *arguments]
    told = under_controller(setting, *command, more=more)
    assert told["status"] == 0 and told["errors"] == [], told
    found: dict[str, dict[str, Any]] = json.loads(told["out"])
    return found


@each_filter
def test_no_call_reaches_helper_or_controller(setting: Setting) -> None:
    found = reach(setting, "HELPER", "CONTROLLER")
    rows = {name: row for name, row in found.items() if not name.endswith("/files")}
    assert len(rows) >= 4, "by the ids of their threads, too"
    wrong = {(name, way): r for name, row in rows.items() for way, r in row.items() if r != "EPERM"}
    assert wrong == {}


@each_filter
def test_helper_and_controller_are_neither_stopped_nor_ended(setting: Setting) -> None:
    found = reach(setting, "end", "HELPER", "CONTROLLER")
    assert {r for row in found.values() for r in row.values()} == {"EPERM"}


def assert_out_of_reach(found: dict[str, dict[str, str]]) -> None:
    (files,) = [row for name, row in found.items() if name.endswith("/files")]
    assert set(files.values()) <= {"EACCES", "EPERM"}, files
    for name, row in found.items():
        if not name.endswith("/files"):
            ways = ["PTRACE_SEIZE", "PTRACE_ATTACH", "process_vm_readv", "process_vm_writev", "pidfd_getfd"]
            assert {row[way] for way in ways} == {"EPERM"}, row


@pytest.mark.skipif(os.getuid() == 0, reason=AS_ROOT)
def test_the_helper_cannot_be_opened_or_traced(setting: Setting) -> None:
    found = reach(setting, "HELPER")
    assert_out_of_reach(found)


SCRIPTS = {
    "the script's end": ('trap "exit 7" TERM; sleep 60 & sleep 0.3; kill 0; wait; exit 9', 7),
    "without a trap": ("sleep 60 & kill 0; sleep 60", -signal.SIGTERM),
    "by the group's id": ("sleep 60 & kill -KILL -$0; sleep 60", -signal.SIGKILL),
    "another signal": ('trap "exit 5" USR1; sleep 60 & sleep 0.3; kill -USR1 0; wait; exit 9', 5),
    "deaf to it": ('sleep 60 & trap "" TERM; kill 0 && wait; exit 4', 4),
}


@each_filter
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_that_signals_its_group_reaches_all_but_the_controller(
    setting: Setting, script: str
) -> None:
    """The output ends when the script's children have ended, who hold it open, too. A child that the signal
    meets in its execution is told of as taken back; nothing else is an error."""
    text, status = SCRIPTS[script]
    started = time.monotonic()
    told = under_controller(setting, "sh", "-c", text, "GROUP")
    errors = [said for _, said in told["errors"] if not said.endswith("its process has ended in it")]
    assert told["status"] == status and errors == [], told
    assert time.monotonic() - started < 30, "its children were reached as well"


@each_filter
def test_a_group_that_is_changed_while_it_is_signalled(setting: Setting, attack: Callable[..., str]) -> None:
    told = under_controller(setting, attack("change_group"), "GROUP")
    assert told["status"] == 0 and told["errors"] == [], told


@pytest.mark.skipif(os.getuid() != 0, reason="takes a user that nothing else runs as, which only root can be")
def test_a_signal_for_everybody_spares_the_controller() -> None:
    user = random.randrange(2**20, 2**30)
    script = 'sleep 60 & trap "" TERM; kill -TERM -1; wait; exit 6'
    line = [sys.executable, str(PROGRAMS / "controller.py"), "errno", "27", "--", "sh", "-c", script]
    unreachable = "another user cannot reach the folder of the package that is tested"
    try:
        done = subprocess.run(
            line, capture_output=True, text=True, timeout=100, user=user, group=user, extra_groups=[], cwd="/"
        )
    except PermissionError:
        pytest.skip(unreachable)
    if "ModuleNotFoundError" in done.stderr or "Permission denied" in done.stderr:
        pytest.skip(unreachable)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == 6


def test_a_command_that_stops_its_group_gives_the_terminal_back() -> None:
    """As an editor does on Ctrl-Z: the shell, here the test, must see its job stop."""
    need_terminal()
    pid, terminal = pty.fork()
    if pid == 0:  # the shell
        ready, go = os.pipe()
        job = os.fork()
        if job == 0:
            os.read(ready, 1)
            script = "kill -TSTP 0; exit 7"
            line = [sys.executable, "-m", "cbprocess", "run", "--deny", "nothing", "--", "sh", "-c", script]
            os.chdir("/")
            os.execv(line[0], line)
        os.setpgid(job, job)
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        os.tcsetpgrp(0, job)
        os.write(go, b"!")
        signal.alarm(60)
        _, status = os.waitpid(job, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            os._exit(3)
        os.killpg(job, signal.SIGCONT)
        _, status = os.waitpid(job, 0)
        os._exit(os.waitstatus_to_exitcode(status))
    with contextlib.suppress(OSError):
        while os.read(terminal, 1024):
            pass
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


@pytest.mark.skipif(os.getuid() == 0, reason=AS_ROOT)
def test_a_hidden_controller_cannot_be_opened_or_traced(setting: Setting) -> None:
    found = reach(setting, "CONTROLLER", more=("HideController=True",))
    assert_out_of_reach(found)


@pytest.mark.skipif(os.getuid() == 0, reason=AS_ROOT)
def test_the_command_line_hides_itself() -> None:
    script = "cat /proc/$PPID/environ >/dev/null || exit 5"
    line = [sys.executable, "-m", "cbprocess", "run", "--", "sh", "-c", script]
    assert subprocess.run(line, capture_output=True, timeout=60, cwd="/").returncode == 5


scoped = pytest.mark.skipif(landlock_version() < 6, reason="this kernel's Landlock cannot scope signals")


@scoped
def test_scoped_signals_stay_in_the_tree(setting: Setting) -> None:
    found = reach(setting, "end", "HELPER", "CONTROLLER", more=("ScopeSignals=True",))
    assert {r for row in found.values() for r in row.values()} == {"EPERM"}


@scoped
@pytest.mark.skipif(os.getuid() == 0, reason=AS_ROOT)
def test_a_scope_keeps_the_memory_of_a_controller_that_does_not_hide(setting: Setting) -> None:
    found = reach(setting, "CONTROLLER", more=("ScopeSignals=True",))
    (files,) = [row for name, row in found.items() if name.endswith("/files")]
    assert {files[name] for name in ("mem", "environ", "fd/0", "auxv")} == {"EACCES"}, files
    for name, row in found.items():
        if not name.endswith("/files"):
            ways = ["PTRACE_SEIZE", "PTRACE_ATTACH", "process_vm_readv", "process_vm_writev", "pidfd_getfd"]
            assert {row[way] for way in ways} == {"EPERM"}, row


@scoped
def test_scoped_signals_reach_the_tree(setting: Setting) -> None:
    script = "sleep 60 & kill $!; wait $!; echo $?; kill 0; sleep 60"
    told = under_controller(setting, "sh", "-c", script, more=("ScopeSignals=True",))
    assert (told["status"], told["out"], told["errors"]) == (-signal.SIGTERM, "143\n", []), told


@scoped
def test_the_command_line_scopes_signals() -> None:
    script = "kill -CONT $PPID 2>/dev/null && exit 5; exit 6"
    line = [sys.executable, "-m", "cbprocess", "run", "--scope-signals", "--", "sh", "-c", script]
    assert subprocess.run(line, capture_output=True, timeout=60, cwd="/").returncode == 6
