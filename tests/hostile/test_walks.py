"""Walks over processes, for attaching: each has an end, and nobody waits for it."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from attach_tools import assert_let_go
from live_tools import Task, helper_is_sanitized, recording, start_controller, tasks, tracer_of, wait_until

import cbprocess

LIMIT_S = 5  # of one walk: WALK_LIMIT_MS of attach.c
COMMAND_LINE = [sys.executable, "-m", "cbprocess"]


@contextlib.contextmanager
def running(*command: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A program that runs outside of any filter; its whole session is ended afterwards."""
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True, **options
    )
    try:
        yield process
    finally:
        for signal_number in (signal.SIGSTOP, signal.SIGKILL):
            for task in tasks():
                if task.session == process.pid:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(task.process_id, signal_number)
        process.communicate(timeout=30)


def children_of(process_id: int, name: str) -> list[int]:
    return [task.process_id for task in tasks() if task.parent == process_id and task.name.startswith(name)]


def test_attaching_to_ones_own_ancestor(tmp_path: Path) -> None:
    """`cbprocess attach $$`: shell and children are attached, the controller is not, and Ctrl-C lets go."""
    attach = shlex.join([*COMMAND_LINE, "attach"])
    text = f"sleep 1000 & exec 2> {tmp_path / 'errors'}; {attach} $$; echo attached $?; read x; echo done"
    with running("bash", "-c", text) as shell:
        (controller,) = wait_until(lambda: children_of(shell.pid, "python"), 10, "the controller")
        (sleeper,) = children_of(shell.pid, "sleep")
        wait_until(lambda: tracer_of(shell.pid) and tracer_of(sleeper), 10, "the shell is attached")
        helper = tracer_of(shell.pid)
        assert tracer_of(controller) == 0 and tracer_of(sleeper) == helper != 0
        assert Task(shell.pid).state not in "tT"
        os.kill(controller, signal.SIGINT)
        begin = time.monotonic()
        assert shell.stdout is not None and shell.stdout.readline().startswith("attached ")
        assert time.monotonic() - begin < LIMIT_S
        assert_let_go(shell.pid, sleeper)
        assert shell.stdin is not None
        shell.stdin.write("\n")
        shell.stdin.flush()
        assert shell.stdout.readline() == "done\n"


def test_a_walk_without_an_end(attack: Callable[..., str]) -> None:
    """The walk is given up after its limit, and meanwhile the operations of others are held and go on."""
    # Where the program itself gets no processor, a look may find no new child: then the walk ends.
    assert any(a_walk_has_no_end(attack("endless_children")) for _ in range(5))


def a_walk_has_no_end(program: str) -> bool:
    """Whether a bystander got on while the program was walked through."""
    with running(program) as hostile, recording(timeout_ms=3000) as recorder:
        assert hostile.stdout is not None and hostile.stdout.readline() == "ready\n"
        bystander = recorder.filter.popen(["sh", "-c", "while :; do /bin/true; sleep 0.02; done"])
        attaching = threading.Thread(
            target=recorder.filter.add_filtered_process_by_id, args=(hostile.pid, True)
        )
        try:
            attaching.start()
            wait_until(lambda: tracer_of(hostile.pid), 20, "the walk has begun")
            seen = len(recorder.executed())
            wait_until(
                lambda: len(recorder.executed()) > seen + 20 or not attaching.is_alive(),
                30,
                "somebody goes on",
            )
            is_on = attaching.is_alive()
            attaching.join(LIMIT_S * 6)
            assert not attaching.is_alive(), "the walk does not end"
            assert not is_on or recorder.filter.statistics().timed_out == 0
        finally:
            bystander.kill()
            bystander.wait()
    assert_let_go(hostile.pid)
    return is_on


def test_the_controller_dies_during_a_walk(attack: Callable[..., str]) -> None:
    with running(attack("endless_children")) as hostile:
        assert hostile.stdout is not None and hostile.stdout.readline() == "ready\n"
        controller = start_controller("controller_attach.py", str(hostile.pid), "children")
        try:
            wait_until(lambda: tracer_of(hostile.pid), 10, "the walk has begun")
            controller.kill()
            begin = time.monotonic()
            assert_let_go(hostile.pid)
            assert time.monotonic() - begin < LIMIT_S / 2
        finally:
            controller.kill()
            controller.communicate(timeout=10)


def test_a_walk_by_name_that_is_given_up_says_so(
    attack: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It succeeded with one that matches left out, on a machine that was too busy for the walk's limit."""
    if helper_is_sanitized():
        pytest.skip("a sanitizer's library has to be the first that is loaded")
    is_slow = tmp_path / "slow"
    program = tmp_path / f"outsider_{os.getpid()}"
    shutil.copy("/bin/sleep", program)
    monkeypatch.setenv("LD_PRELOAD", attack("long_steps", "-shared", "-fPIC"))
    monkeypatch.setenv("SLOW_WHILE", str(is_slow))
    with running(str(program), "1000") as outsider, recording() as recorder:
        add = recorder.filter.add_filtered_process_by_name
        is_slow.touch()
        with pytest.raises(cbprocess.CBProcessError) as caught:
            add(program.name, True)
        assert (caught.value.code, tracer_of(outsider.pid)) == (cbprocess.ERROR_TIMEOUT, 0)
        is_slow.unlink()
        add(program.name, True)
        assert tracer_of(outsider.pid) != 0
