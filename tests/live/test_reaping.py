"""Orphans of the tree that come to `cbprocess`, because it is process 1 of a container or a reaper, are
waited for at once, whatever it is waiting for itself. A program that uses the library gets none of the
library's own making."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import sameness
import supervised
from live_tools import PROGRAMS, wait_until
from terminals import open_terminal

from cbprocess._binding.library import FOLDER_VARIABLE, native_folder

PR_SET_CHILD_SUBREAPER = 36
AS_PROCESS_1 = ["unshare", "-pf", "--kill-child", "--mount-proc"]

# Lets processes become orphans, and waits until each of them is gone: as a zombie it would stay for ever. 7:
# all are. First it waits until it is an orphan itself, if a parent's id is given.
LEAVING_ORPHANS = """
import os, subprocess, sys, time

def wait_until(condition):
    limit = time.monotonic() + 90
    while not condition():
        if time.monotonic() > limit:
            os._exit(1)
        time.sleep(0.01)

if sys.argv[1:]:
    wait_until(lambda: os.getppid() == int(sys.argv[1]))
made = []
for _ in range(3):
    line = ["sh", "-c", "sleep 0 > /dev/null & echo $!"]
    made.append(subprocess.run(line, stdout=subprocess.PIPE).stdout.decode().strip())
wait_until(lambda: not any(os.path.exists("/proc/" + number) for number in made))
if sys.argv[2:]:
    open(sys.argv[2], "w").close()
sys.exit(7)
"""
# Python that another user can execute, too.
PYTHON = "/usr/bin/python3"


def reaper() -> None:
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


@pytest.mark.parametrize("way", sorted(sameness.WAYS))
def test_while_run_stays(way: str, tmp_path: Path) -> None:
    """Its command has ended, and what is left of the tree makes orphans."""
    file = tmp_path / "all are gone"
    script = '"$@" "$PPID" "$FILE" & exit 3'
    line = [*sameness.WAYS[way], "run", "-q", "--wait-all", "--", "sh", "-c", script, "sh"]
    done = sameness.called(
        [*line, sys.executable, "-c", LEAVING_ORPHANS],
        tmp_path / "output",
        reaper,
        {**os.environ, "FILE": str(file)},
    )
    assert done == (3, "", "")
    assert file.exists()


# Becomes `cbprocess attach`, which inherits a child that makes orphans when it is told to begin.
ATTACHING = """
import os, sys
attach, leaving, file = sys.argv[1].split("\\n"), sys.argv[2], sys.argv[3]
parent, (pipe, end) = os.getpid(), os.pipe()
process_id = os.fork()
if process_id == 0:
    os.close(end)
    os.read(pipe, 1)
    os.execv(sys.executable, [sys.executable, "-c", leaving, str(parent), file])
os.close(pipe)
os.dup2(end, 1)
os.execv(attach[0], [*attach, str(process_id)])
"""


@pytest.mark.parametrize("way", sorted(sameness.WAYS))
def test_while_attach_waits(way: str, tmp_path: Path) -> None:
    """Its output is the pipe that the child reads from: the first line of an event begins it all."""
    file = tmp_path / "all are gone"
    attach = "\n".join([*sameness.WAYS[way], "attach", "-o", "-"])
    done = subprocess.run(
        [sys.executable, "-c", ATTACHING, attach, LEAVING_ORPHANS, str(file)],
        stderr=subprocess.PIPE,
        text=True,
        timeout=110,
        preexec_fn=reaper,
    )
    assert (done.returncode, file.exists()) == (0, True), done.stderr


def can_be_process_1() -> bool:
    if os.getuid() != 0 or shutil.which("unshare") is None:
        return False
    return subprocess.run([*AS_PROCESS_1, "true"], stderr=subprocess.DEVNULL, timeout=30).returncode == 0


@pytest.mark.skipif(not can_be_process_1(), reason="only root makes a PID namespace, and --user is root's")
@pytest.mark.parametrize("user", [(), ("--user", "nobody")], ids=["own", "another user"])
def test_while_a_terminal_is_passed_on(user: tuple[str, ...]) -> None:
    master, slave = open_terminal()
    line = [*supervised.COMMAND_LINE, "run", "--output", os.devnull, *user, "--"]
    at_terminal = [sys.executable, str(PROGRAMS / "at_terminal.py")]
    process = subprocess.Popen(
        [*at_terminal, *AS_PROCESS_1, *line, PYTHON, "-c", LEAVING_ORPHANS],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        cwd="/",
    )
    try:
        wait_until(lambda: process.poll() is not None, 110, "the command has ended")
        assert process.returncode == 7
    finally:
        process.kill()
        process.wait()
        os.close(master)
        os.close(slave)


# ---- The library ----

APPLICATION = """
import ctypes, os, signal, sys, time
import cbprocess

ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # orphans come to us, as to process 1


def children():
    found = []
    for thread in os.listdir("/proc/self/task"):
        with open(f"/proc/self/task/{thread}/children") as file:
            found += map(int, file.read().split())
    return found


def session(act):
    instance = cbprocess.CBProcess()
    instance.initialize("{5ABD3A8B-6A3F-4C52-9F0C-5E1F0A1C7D11}")
    instance.config("RefuseWith=errno")
    instance.add_rule(name="nothing", action="deny")
    instance.on_error = lambda error: None
    instance.start_filter(0)
    assert instance.popen(["true"]).wait() == 0
    try:
        return act(instance)
    finally:
        instance.stop_filter()


def wait_for_the_end_of(helper):
    while open(f"/proc/{helper}/stat").read().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.01)


def nothing(instance):
    return None


def killed(instance):
    (helper,) = children()
    os.kill(helper, signal.SIGKILL)
    wait_for_the_end_of(helper)


def needed(instance):
    (helper,) = children()
    return helper, instance.popen(["sleep", "600"])


made = session(globals()[sys.argv[1]])
if made:
    helper, program = made
    left = children()
    program.kill()
    program.wait()
    assert sorted(left) == sorted([helper, program.pid])
    wait_for_the_end_of(helper)
# On a slow machine one may take its time to end. It is waited for by the next one then.
for _ in range(20):
    if not made and not children():
        sys.exit(7)
    made = session(nothing)
print(children())
"""


@pytest.mark.parametrize("what", ["nothing", "killed", "needed"])
def test_no_helper_is_left_to_an_application(what: str) -> None:
    line = [sys.executable, "-c", APPLICATION, what]
    done = subprocess.run(line, capture_output=True, text=True, timeout=110)
    assert (done.returncode, done.stdout, done.stderr) == (7, "", "")


FAILING = """
import ctypes, os
import cbprocess

ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
instance = cbprocess.CBProcess()
instance.initialize("{5ABD3A8B-6A3F-4C52-9F0C-5E1F0A1C7D11}")
try:
    instance.start_filter(0)
except cbprocess.CBProcessError as error:
    print(error.code, open(f"/proc/self/task/{os.getpid()}/children").read().split())
"""


def test_nor_one_that_could_not_be_executed(tmp_path: Path) -> None:
    folder = tmp_path / "native"
    shutil.copytree(native_folder(), folder)
    (folder / "cbprocess-ptrace").write_text("no program")
    done = subprocess.run(
        [sys.executable, "-c", FAILING],
        env={**os.environ, FOLDER_VARIABLE: str(folder)},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "588 []\n", "")
