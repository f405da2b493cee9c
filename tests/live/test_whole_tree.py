"""What `cbprocess run` and `attach` do about those who outlive the command: what is forbidden stays forbidden
to the last of them, and who goes on without a filter is told."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import supervised
from live_tools import is_alive, tasks, tracer_of, wait_until

from cbprocess.cli.run import Signals

RUN = [*supervised.COMMAND_LINE, "run", "--json"]
ATTACH = [*supervised.COMMAND_LINE, "attach", "--json"]
# The command ends at once; its child waits until somebody opens the other end of the pipe.
LATER = "mkfifo go; (read x <go; exec cat word >copy 2>/dev/null) & exit 3"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Whoever was started in it and is left is ended."""
    (tmp_path / "word").write_text("word\n")
    yield tmp_path
    for task in tasks():
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{task.process_id}/cwd") == str(tmp_path):
                os.kill(task.process_id, signal.SIGKILL)


def begin(folder: Path, *options: str, text: str = LATER) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*RUN, "--output", "events", *options, "--", "sh", "-c", text],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def let_go_on(folder: Path) -> None:
    """Once the child waits it is let go on."""
    with (folder / "go").open("w") as pipe:
        pipe.write("\n")


def records(folder: Path) -> list[dict[str, Any]]:
    # The last line may be half written while it is read.
    lines = (folder / "events").read_text().split("\n")[:-1] if (folder / "events").exists() else []
    return [json.loads(line) for line in lines]


def wait_for_end_of_command(folder: Path) -> None:
    def has_ended() -> bool:
        return any(e["event"] == "process_termination" and e["exit_status"] == 3 for e in records(folder))

    wait_until(has_ended, 20, "the command has ended")


def test_what_is_denied_stays_so_until_the_tree_has_ended(folder: Path) -> None:
    with begin(folder, "--deny", "cat") as process:
        wait_for_end_of_command(folder)
        time.sleep(0.5)
        assert process.poll() is None
        let_go_on(folder)
        assert process.wait(30) == 3
    assert (folder / "copy").read_text() == ""
    refused = [e for e in records(folder) if e["event"] == "process_creation" and e["result_code"]]
    assert [e["arguments"] for e in refused] and all(e["arguments"] == ["cat", "word"] for e in refused)
    # Nothing of the last one's end is missing.
    assert records(folder)[-1]["event"] == "process_termination"


def test_who_is_protected_is_so_until_the_tree_has_ended(folder: Path) -> None:
    text = "mkfifo go; sleep 1000 & (read x <go; kill $! 2>denied; echo $? >status; kill -9 $PPID) & exit 3"
    # The attacker cannot end the sleeper, which outlives it: so the second signal ends the wait.
    with begin(folder, "--protect", "sleep", "--events", "process", text=text) as process:
        wait_for_end_of_command(folder)
        sleeper = next(e for e in records(folder) if e.get("arguments", [""])[0] == "sleep")["process_id"]
        let_go_on(folder)
        wait_until(lambda: (folder / "status").exists() and (folder / "status").read_text(), 20, "attacked")
        assert (folder / "status").read_text() != "0\n" and is_alive(sleeper)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        # It is passed on to the sleeper, which knows nothing of it.
        assert process.wait(30) == 3
    assert not is_alive(sleeper)


def test_wait_all(folder: Path) -> None:
    with begin(folder, "--wait-all") as process:
        wait_for_end_of_command(folder)
        time.sleep(0.3)
        assert process.poll() is None
        let_go_on(folder)
        assert process.wait(30) == 3
    assert (folder / "copy").read_text() == "word\n"
    created = [e["arguments"] for e in records(folder) if e["event"] == "process_creation"]
    assert created[-1] == ["cat", "word"]


def test_who_goes_on_unsupervised_is_told(folder: Path) -> None:
    with begin(folder) as process:
        assert process.wait(30) == 3
    told = records(folder)[-1]
    assert told["event"] == "unsupervised" and len(told["process_ids"]) == 1
    assert is_alive(told["process_ids"][0])
    let_go_on(folder)
    wait_until(lambda: not is_alive(told["process_ids"][0]), 20, "it has ended")
    assert (folder / "copy").read_text() == "word\n"


def test_the_line_for_people(folder: Path) -> None:
    line = [*supervised.COMMAND_LINE, "run", "--events", "process", "--output", "events", "--"]
    # They hold no copy of the pipe that is read here to its end.
    text = "mkfifo go; (read x <go) 2>&- & (read x <go) 2>&- & exit 3"
    process = subprocess.Popen(
        [*line, "sh", "-c", text], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    with process:
        errors = process.communicate(timeout=30)[1]
        let_go_on(folder)
    assert process.returncode == 3
    assert errors == (b"cbprocess: 2 processes go on unsupervised (--wait-all stays until they have ended)\n")


def test_nobody_left_is_nothing_to_tell(folder: Path) -> None:
    with begin(folder, text="true | true; true & wait; exit 3") as process:
        assert process.communicate(timeout=30)[1] == b"" and process.returncode == 3
    assert "unsupervised" not in (folder / "events").read_text()


def test_the_second_signal_leaves_the_tree(folder: Path) -> None:
    text = "mkfifo go; (trap '' TERM; read x <go) & exit 3"
    with begin(folder, "--deny", "cat", text=text) as process:
        wait_for_end_of_command(folder)
        # It is told of a moment before it takes no signals any more.
        command = records(folder)[0]["process_id"]
        wait_until(lambda: not is_alive(command), 20, "it is gone")
        assert process.stderr is not None
        process.send_signal(signal.SIGTERM)
        assert b"next signal" in process.stderr.readline()
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 128 + signal.SIGTERM
    told = records(folder)[-1]
    assert told["event"] == "unsupervised"
    let_go_on(folder)


def test_a_signal_at_the_command_s_end_is_one_for_the_tree() -> None:
    """The command has ended, and nobody has reaped it yet: it would take the signal and nothing would come of
    it."""
    with Signals() as signals, subprocess.Popen(["true"]) as child:
        signals.forward_to(child)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        os.kill(os.getpid(), signal.SIGTERM)
        wait_until(lambda: signals.late == [signal.SIGTERM], 20, "it is kept for the tree")


@pytest.mark.parametrize("options", [["--deny", "cat"], ["--wait-all"]])
def test_attached_trees_likewise(folder: Path, options: list[str]) -> None:
    """The process that is attached ends; its child, which is killed for its execution, later."""
    program = subprocess.Popen(
        ["sh", "-c", "mkfifo go; read x; (read x <go; cat word >copy; exit 0) & exit 3"],
        cwd=folder,
        stdin=subprocess.PIPE,
    )
    line = [*ATTACH, "--output", "events", *options, str(program.pid)]
    with subprocess.Popen(line, cwd=folder) as process:
        wait_until(lambda: tracer_of(program.pid), 20, "attached")
        program.communicate(b"\n", timeout=30)
        wait_for_end_of_command(folder)
        time.sleep(0.3)
        assert process.poll() is None
        let_go_on(folder)
        assert process.wait(30) == 0
    assert (folder / "copy").read_text() == ("" if "--deny" in options else "word\n")
