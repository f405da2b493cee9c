"""`cbprocess attach` is told by signals and closed outputs what `env` and `cat` would be told; whom it has
attached to notices nothing of them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sameness
from attach_tools import assert_let_go
from early_signals import AT_THE_START, ENDS, MOMENTS_MS, without_core_file
from live_tools import PROGRAMS, Programs, tracer_of, wait_until
from sleepers import assert_undisturbed, sleeper
from terminals import open_terminal

ATTACH = [sameness.PROGRAM, "attach", "-q"]


@contextlib.contextmanager
def attach(*line: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*ATTACH, *line],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=without_core_file,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def result_of(process: subprocess.Popen[str]) -> tuple[str, str, int]:
    output, errors = process.communicate(timeout=100)
    return output, errors, sameness.shell_status(process.returncode)


# ---- Signals ----


@pytest.mark.parametrize("number", ENDS)
def test_a_signal_while_the_interpreter_begins(
    number: int,
    programs: Programs,
    undisturbed: dict[str, int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "sitecustomize.py").write_text(AT_THE_START)
    with sleeper(programs, tmp_path / "sleeper") as target:
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        monkeypatch.setenv("NUMBER", str(int(number)))
        with attach(str(target.pid)) as process:
            assert result_of(process) == ("", "", 128 + number)
        assert tracer_of(target.pid) == 0
        assert_undisturbed(target, undisturbed)


@pytest.mark.parametrize("number", ENDS)
def test_a_signal_at_any_moment(
    number: int, programs: Programs, undisturbed: dict[str, int], tmp_path: Path
) -> None:
    """It ends by it, whatever it was doing, and all that it had attached to sleeps on."""
    found = {}
    with sleeper(programs, tmp_path / "sleeper") as target:
        for moment in MOMENTS_MS:
            with attach(str(target.pid)) as process:
                # Whatever has been reached by then, the result holds.
                time.sleep(moment / 1000)
                process.send_signal(number)
                found[moment] = result_of(process)
        assert found == dict.fromkeys(MOMENTS_MS, ("", "", 128 + number))
        assert_let_go(target.pid)
        assert_undisturbed(target, undisturbed)


@pytest.mark.parametrize("number", ENDS)
def test_a_signal_once_it_has_attached(
    number: int, programs: Programs, undisturbed: dict[str, int], tmp_path: Path
) -> None:
    with sleeper(programs, tmp_path / "sleeper") as target:
        with attach(str(target.pid)) as process:
            wait_until(lambda: tracer_of(target.pid), 100, "it has attached")
            process.send_signal(number)
            assert result_of(process) == ("", "", 128 + number)
        assert_let_go(target.pid)
        assert_undisturbed(target, undisturbed)


@pytest.mark.parametrize("key", [b"\x03", b"\x1c"])
def test_a_key_at_the_terminal(
    key: bytes, programs: Programs, undisturbed: dict[str, int], tmp_path: Path
) -> None:
    """It is for `attach`, not for a process of another session."""
    master, slave = open_terminal()
    at_terminal = [sys.executable, str(PROGRAMS / "at_terminal.py")]
    with sleeper(programs, tmp_path / "sleeper") as target:
        process = subprocess.Popen(
            [*at_terminal, *ATTACH, str(target.pid)],
            stdin=slave,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=without_core_file,
        )
        try:
            wait_until(lambda: tracer_of(target.pid), 100, "it has attached")
            os.write(master, key)
            errors = process.communicate(timeout=100)[1]
        finally:
            process.kill()
            process.communicate()
            os.close(master)
            os.close(slave)
        number = {b"\x03": signal.SIGINT, b"\x1c": signal.SIGQUIT}[key]
        assert (errors, sameness.shell_status(process.returncode)) == ("", 128 + number)
        assert_let_go(target.pid)
        assert_undisturbed(target, undisturbed)


# It starts a shell, which its own terminal can interrupt, and becomes the program that attaches to it. That
# leads the session: at its end all others in it get SIGHUP.
OF_ONE_JOB = """
import os, sys
counter = "trap '' HUP; trap 'echo got it' INT; echo ready; read x; exit 7"
pipe, end = os.pipe()
process_id = os.fork()
if process_id == 0:
    os.dup2(pipe, 0)
    os.execv("/bin/sh", ["sh", "-c", counter])
os.set_inheritable(end, True)
os.execv(sys.argv[1], [*sys.argv[1:], str(process_id)])
"""


def test_a_key_for_a_whole_job() -> None:
    """Who is in the foreground with it has it from the terminal, once, as without `attach`."""
    master, slave = open_terminal()
    at_terminal = [sys.executable, str(PROGRAMS / "at_terminal.py"), sys.executable, "-c", OF_ONE_JOB]
    process = subprocess.Popen([*at_terminal, *ATTACH], stdin=slave, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        (target,) = wait_until(lambda: children_that_are_traced(process.pid), 100, "it has attached")
        os.write(master, b"\x03")
        assert process.wait(timeout=100) == 128 + signal.SIGINT
        # The shell reads on; what it reads from ends with `attach`.
        assert process.stdout.read() == "got it\n"
        wait_until(lambda: not Path(f"/proc/{target}").exists(), 100, "the shell has ended by itself")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        os.close(master)
        os.close(slave)


def children_that_are_traced(process_id: int) -> list[int]:
    try:
        children = Path(f"/proc/{process_id}/task/{process_id}/children").read_text().split()
    except OSError:
        return []
    return [int(child) for child in children if tracer_of(int(child))]


# ---- Outputs that nobody reads ----


def closed_output() -> None:
    os.close(1)


def no_reader() -> None:
    pipe, end = os.pipe()
    os.close(pipe)
    os.dup2(end, 1)
    os.close(end)


def full() -> None:
    os.dup2(os.open("/dev/full", os.O_WRONLY), 1)


def all_closed() -> None:
    os.closerange(0, 3)


FAILED = "cbprocess: events could not be written: "


@pytest.mark.parametrize(
    ("set_up", "said"),
    [
        (closed_output, f"{FAILED}Bad file descriptor"),
        (no_reader, ""),
        (full, f"{FAILED}No space left on device"),
        (all_closed, ""),
    ],
)
def test_an_output_that_takes_nothing(set_up: sameness.SetUp, said: str, tmp_path: Path) -> None:
    """It stays as long as the process lives, which ends as it would have."""
    target = subprocess.Popen(
        ["sh", "-c", "read x; /bin/true; echo done; exit 7"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        with open(tmp_path / "errors", "w+") as errors:
            process = subprocess.Popen(
                [sameness.PROGRAM, "attach", "-o", "-", str(target.pid)], stderr=errors, preexec_fn=set_up
            )
            wait_until(lambda: tracer_of(target.pid) or process.poll() is not None, 100, "it has attached")
            output = target.communicate("\n", timeout=100)[0]
            status = process.wait(timeout=100)
            errors.seek(0)
            assert (output, target.returncode, status) == ("done\n", 7, 0)
            lines = [line for line in errors.read().splitlines() if "attached to" not in line]
            assert lines == [said] * bool(said)
    finally:
        target.kill()
        target.communicate()
