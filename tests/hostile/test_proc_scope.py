"""ScopeProcFiles: a launch that can write no file below /proc, and read nobody's outside of it. It is the
kernel that checks, at the file that an open has come to: there is no path, and no moment, to get by with."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hostile_tools import FOLDER, Setting, assert_impossible_without_landlock, without_landlock
from live_tools import recording, run_checked
from test_guard import landlock_version, reach

ATTACK = [sys.executable, str(FOLDER / "programs/proc_scope.py")]
scoped = pytest.mark.skipif(
    landlock_version() < 2, reason="this kernel's Landlock keeps files in their folders"
)
unprivileged = pytest.mark.skipif(os.getuid() == 0, reason="root is outside of the threat model")
REFUSED = {"EACCES", "EPERM"}
MISSING = {"ENOENT"}  # not every kernel has each of these files, nor every process each descriptor


@contextlib.contextmanager
def supervised(setting: Setting, *more: str) -> Iterator[Any]:
    with recording(*setting.config, *more, events=setting.events) as recorder:
        yield recorder


def told_by(recorder: Any, *arguments: str) -> dict[str, Any]:
    status, output, errors = run_checked(recorder, [*ATTACK, *arguments])
    assert (status, errors) == (0, ""), errors
    told: dict[str, Any] = json.loads(output)
    return told


@contextlib.contextmanager
def server_beside() -> Iterator[str]:
    """A process of the same user that the attacker's launch has not created."""
    with subprocess.Popen(["sleep", "300"]) as server:
        try:
            yield str(server.pid)
        finally:
            server.kill()


@scoped
@unprivileged
def test_nobody_outside_is_opened(setting: Setting) -> None:
    with server_beside() as server, supervised(setting, "ScopeProcFiles=True") as recorder:
        found = told_by(recorder, "files", server)
    assert set(found["facts"].values()) == {0}, "what everybody may know stays open"
    for kind in ("read", "changed"):
        ways = {(p, w): r for p, row in found[kind].items() for w, r in row.items() if r not in MISSING}
        assert len(ways) > 100
        assert {k: r for k, r in ways.items() if r not in REFUSED} == {}


@scoped
@unprivileged
def test_nothing_of_ones_own_is_written(setting: Setting) -> None:
    with supervised(setting, "ScopeProcFiles=True") as recorder:
        found = told_by(recorder, "own", "sleep", "300")
    for row in found["changed"].values():
        assert set(row.values()) <= REFUSED | MISSING, row
    assert found["environ of a child"] == 0, "inside of a launch they read each other"


@scoped
@unprivileged
def test_an_exchanged_link(setting: Setting, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with server_beside() as server, supervised(setting, "ScopeProcFiles=True") as recorder:
        found = told_by(recorder, "race", server, str(file))
    assert found["got by"] == 0 and found["opened"] > 0, found


@scoped
@unprivileged
def test_mounts_do_not_lead_there(setting: Setting) -> None:
    with server_beside() as server, supervised(setting, "ScopeProcFiles=True") as recorder:
        found = told_by(recorder, "mount", server)
    assert found["changed"] in REFUSED
    assert {found["bind"], found["proc"]} == {"EPERM"}, found


@scoped
@unprivileged
def test_helper_and_controller_that_does_not_hide(setting: Setting) -> None:
    found = reach(setting, "HELPER", "CONTROLLER", more=("ScopeProcFiles=True",))
    rows = [row for name, row in found.items() if name.endswith("/files")]
    assert len(rows) == 2
    for row in rows:
        assert set(row.values()) <= REFUSED | MISSING and row["oom_score_adj"] in REFUSED, row


@scoped
@unprivileged
def test_both_scopes_are_one_domain(setting: Setting) -> None:
    if landlock_version() < 6:
        pytest.skip("this kernel's Landlock cannot scope signals")
    found = reach(setting, "CONTROLLER", more=("ScopeProcFiles=True", "ScopeSignals=True"))
    (files,) = [row for name, row in found.items() if name.endswith("/files")]
    assert set(files.values()) <= REFUSED | MISSING and files["mem"] in REFUSED, files
    signals = {r for name, row in found.items() for way, r in row.items() if "kill" in way}
    assert signals == {"EPERM"}


@scoped
@unprivileged
def test_a_server_that_another_launch_has_started(setting: Setting) -> None:
    with (
        supervised(setting, "ScopeProcFiles=True") as recorder,
        recorder.filter.popen(["sleep", "300"]) as server,
    ):
        try:
            found = told_by(recorder, "files", str(server.pid))
        finally:
            server.kill()
    for kind in ("read", "changed"):
        results = {r for row in found[kind].values() for r in row.values()}
        assert results & REFUSED and results <= REFUSED | MISSING, found[kind]


@scoped
@unprivileged
def test_without_it_these_files_are_open(setting: Setting) -> None:
    """What the others show is the option's work."""
    with server_beside() as server, supervised(setting) as recorder:
        found = told_by(recorder, "files", server)
    assert set(found["changed"][f"/proc/{server}/oom_score_adj"].values()) == {0}


HONEST = {
    "modules in threads": (
        f"{sys.executable} -c 'import threading\n"
        't = [threading.Thread(target=__import__, args=(m,)) for m in ("json", "email", "xml.dom")]\n'
        "[x.start() for x in t], [x.join() for x in t], print(len(t))'"
    ),
    "grep": "cd /etc && grep -r -s -c root passwd group",
    "compiler": "cd $(mktemp -d) && echo 'int main(void) { return 3; }' > a.c && cc a.c && ./a.out; echo $?",
    "process substitution": "cat <(echo hi)",
    "standard descriptors": "echo a | cat /dev/stdin > /dev/stdout; echo b > /dev/stderr; echo > /dev/null",
    "own facts": "head -c 4 /proc/self/maps >/dev/null; wc -l < /proc/self/limits; ls /proc/self/fd | wc -l",
    "files move": "cd $(mktemp -d) && mkdir a b && echo y > a/f && mv a/f b/g && ln b/g a/h && cat a/h",
    "files of a root folder's child": "f=$(mktemp) && echo z > $f && cat $f && rm $f",
    "others' facts": "cat /proc/1/comm",
}


@pytest.mark.parametrize("name", HONEST)
@scoped
def test_honest_programs(name: str) -> None:
    command = ["bash", "-c", HONEST[name]]
    bare = subprocess.run(command, capture_output=True, text=True, timeout=60)
    line = [sys.executable, "-m", "cbprocess", "run", "--scope-proc-files", "--output", os.devnull, "--"]
    done = subprocess.run([*line, *command], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (bare.returncode, bare.stdout, bare.stderr)


def test_where_the_kernel_cannot() -> None:
    assert_impossible_without_landlock("ScopeProcFiles=True")


def test_doctor_says_where_the_kernel_cannot() -> None:
    start = "import sys\nsys.argv = ['cbprocess', 'doctor']\nfrom cbprocess.cli import main\nmain()"
    done = without_landlock(start)
    assert "ScopeProcFiles" in done.stdout, done
    bare = subprocess.run([sys.executable, "-m", "cbprocess", "doctor"], capture_output=True, text=True)
    assert ("ScopeProcFiles" in bare.stdout) == (landlock_version() < 2)
