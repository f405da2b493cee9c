"""In a tree with the filter every task is traced by the helper, or not made; none gets another tracer."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from hostile_tools import SETTINGS, Setting
from live_tools import name_of, recording, refuse, run_checked

FILTERED = [setting for setting in SETTINGS if setting.has_filter]
WAYS = [
    "clone",
    "clone3",
    "clone3-ptrace",
    "i386-clone",
    "i386-clone3",
    "x32-clone",
    "x32-clone3",
]
# clone without the flag is a clone; clone3 does not exist in the tree; x32 exists on few kernels.
MADE = {"clone", "i386-clone"}


@pytest.mark.parametrize("filtered", FILTERED, ids=lambda setting: setting.name.replace(" ", "-"))
@pytest.mark.parametrize("tracing", ["traceme", "seize", "attach", "none"])
def test_nobody_else_traces(
    tracing: str, filtered: Setting, attack: Callable[..., str], tmp_path: Path
) -> None:
    program, file = attack("leave_mark"), tmp_path / "mark"
    with recording(*filtered.config, events=filtered.events, decide=refuse(name_of(program))) as recorder:
        for way in WAYS:
            command = [attack("untraced"), way, tracing, program, str(file)]
            status, output, errors = run_checked(recorder, command, timeout=20)
            assert (status, errors, file.exists()) == (0, "", False), (way, output)
            made = way in MADE or (way == "x32-clone" and "made" in output)
            expected = "made" if made else os.strerror(errno.ENOSYS)
            assert output == f"{way}: {expected}\n"
    assert recorder.errors == []


def test_a_task_that_is_traced_untold_has_rules(attack: Callable[..., str], tmp_path: Path) -> None:
    """Without the filter a task can be made the helper's, and its parent's sibling, without an event."""
    program, file = attack("leave_mark"), tmp_path / "mark"
    hostile = [attack("untraced"), "clone3-ptrace", "none", program, str(file)]
    with recording("RefuseWith=kill", decide=refuse(name_of(program))) as recorder:
        status, output, errors = run_checked(recorder, ["sh", "-c", '"$@"; sleep 1', "sh", *hostile])
        assert (status, output, errors) == (0, "clone3-ptrace: made\n", "")
        assert recorder.filter.statistics().guessed == 1
    assert [program, str(file)] in recorder.executed() and not file.exists()


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """One in which everybody may read, execute and write."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        yield Path(name)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can start programs as somebody else")
@pytest.mark.parametrize("way", ["clone", "clone3"])
def test_nobody_else_traces_under_another_user(
    way: str, attack: Callable[..., str], public_folder: Path
) -> None:
    program, hostile = (shutil.copy(attack(name), public_folder) for name in ("leave_mark", "untraced"))
    line = [sys.executable, "-m", "cbprocess", "run", "--user", "nobody"]
    for mark, rules in (("denied", ["--deny", name_of(program)]), ("free", [])):
        command = [*line, *rules, "--", hostile, way, "traceme", program, str(public_folder / mark)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert f"{way}: " in done.stdout, done.stderr
    # Without the rule there is no filter, and the program runs.
    assert [path.name for path in public_folder.iterdir() if path.name in ("denied", "free")] == ["free"]


# What a task with our filter can do that nobody traces: the filter is installed as the launcher installs it.
PROBE = """
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "cbp_message.h"
#include "launch_steps.h"
int main(int count, char **arguments)
{
    char *line[] = {"/bin/true", NULL};
    (void) arguments;
    /* Argument 1: the parts; with a second one it waits, for somebody to attach. */
    struct cbp_launch_go go = {.flags = (uint32_t) (arguments[1][0] - '0')};
    if (cbpd_install_launch_filter(&go) != 0)
        return 2;
    if (count > 2) {
        puts("ready");
        fflush(stdout);
        return read(0, line, 1) < 0;
    }
    long traced = ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0 ? 0 : errno;
    long cloned = syscall(SYS_clone3, NULL, 0) == 0 ? 0 : errno;
    long hidden = syscall(SYS_clone, 0x00800011L, 0L, 0L, 0L, 0L) == 0 ? 0 : errno;
    long executed = execv(line[0], line) == 0 ? 0 : errno;
    printf("%ld %ld %ld %ld", traced, cloned, hidden, executed);
}
"""
EXECUTIONS, FOR_HANDLES = 1, 2


@pytest.fixture(scope="module")
def filtered_task(compile_c: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> str:
    driver = Path(__file__).resolve().parents[2] / "driver"
    source = tmp_path_factory.mktemp("filter") / "filter_probe.c"
    source.write_text(PROBE)
    folders = ("protocol", "linux/bare", "linux/facts", "linux/launch")
    options = ["-D_GNU_SOURCE", *(f"-I{driver}/{folder}" for folder in folders)]
    return str(compile_c(source, *options, str(driver / "linux" / "launch" / "launch_filter.c")))


@pytest.mark.parametrize("parts", [EXECUTIONS, FOR_HANDLES, EXECUTIONS | FOR_HANDLES])
def test_what_a_task_can_do_that_nobody_traces(parts: int, filtered_task: str) -> None:
    done = subprocess.run(
        [filtered_task, str(parts)], capture_output=True, text=True, timeout=10, check=False
    )
    expected = [errno.EPERM, errno.ENOSYS, errno.ENOSYS, errno.ENOSYS if parts & EXECUTIONS else 0]
    # Where executions are not watched, the program is another one by then.
    assert done.stdout.split() == [str(code) for code in expected if parts & EXECUTIONS]
    assert done.returncode == 0


@pytest.mark.parametrize("filtered", FILTERED, ids=lambda setting: setting.name.replace(" ", "-"))
@pytest.mark.parametrize("has_filter", [True, False], ids=["with-our-filter", "without"])
@pytest.mark.parametrize("request_name", ["attach", "seize"])
def test_attaching_from_the_tree(
    request_name: str, has_filter: bool, filtered: Setting, filtered_task: str, attack: Callable[..., str]
) -> None:
    """A task that the helper does not trace can be traced by the tree if our filter is not in it."""
    line = [filtered_task, "3", "wait"] if has_filter else ["sh", "-c", "echo ready; read line"]
    victim: Any = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert victim.stdout.readline() == "ready\n"
        with recording(*filtered.config, events=filtered.events) as recorder:
            status, output, errors = run_checked(
                recorder, [attack("attach_to"), request_name, str(victim.pid)]
            )
        assert (status, errors) == (0, "")
        assert output == ("Operation not permitted\n" if has_filter else "Success\n")
    finally:
        victim.kill()  # an attach has left it stopped
        victim.communicate(timeout=10)
