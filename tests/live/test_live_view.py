"""`cbprocess top` and `run --live` on a terminal: what they show, what is typed, and what is left
afterwards."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest
import supervised
from live_terminal import ALTERNATE, NORMAL, Terminal, plain
from live_tools import tracer_of, wait_until

from cbprocess import Rule
from cbprocess.rule_files import RuleSet

pytest.importorskip("rich", reason="the extra tui is not installed")

# A text that the command prints is written in its script in two parts: the page shows the script, too.


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    made = Terminal()
    yield made
    made.close()


def test_a_command_is_shown_and_its_output_comes_afterwards(terminal: Terminal, tmp_path: Path) -> None:
    """Its tree, refusals and output are on the page. When it has ended, the terminal has all that it has
    printed, one line about it, and its modes again."""
    go = tmp_path / "go"
    script = (
        "echo out; echo err >&2; cat /etc/hostname; sleep 60 & "
        f"while ! test -e {go}; do sleep 0.1; done; kill $!; exit 5"
    )
    terminal.start("run", "--live", "--deny", "*/cat", "--", "sh", "-c", script)
    for wanted in (b"sleep 60", b"refused EACCES", b"under the filter"):
        terminal.wait_for(wanted)
    terminal.wait_for(b"printed by the command")
    page = terminal.page()
    assert re.search(r"^ *\d+ +[\d.]+ m?s +  sleep 60", page, re.MULTILINE), page
    assert ALTERNATE in terminal.text and NORMAL not in terminal.text
    assert termios.tcgetattr(terminal.slave)[3] != terminal.modes[3]
    go.touch()
    assert terminal.wait_for_end() == 5
    lines = terminal.after().splitlines()
    assert lines[:2] == ["out", "err"] and "Permission denied" in lines[2]
    assert re.fullmatch(r"exit 5 after [\d.]+ m?s: \d+ programs, \d+ failed, \d refused", lines[-1]), lines
    assert termios.tcgetattr(terminal.slave) == terminal.modes


def test_the_view_can_be_left_and_the_command_goes_on(terminal: Terminal, tmp_path: Path) -> None:
    go = tmp_path / "go"
    script = f"echo be''fore; while ! test -e {go}; do sleep 0.1; done; echo after; exit 0"
    terminal.start("run", "--live", "--", "sh", "-c", script)
    terminal.wait_for(b"before")
    terminal.type(b"nq")
    terminal.wait_for(NORMAL)
    wait_until(lambda: termios.tcgetattr(terminal.slave) == terminal.modes, 60, "the terminal is as it was")
    terminal.read()
    terminal.wait_for(b"before\r\n")
    go.touch()
    assert terminal.wait_for_end() == 0
    after = terminal.after()
    assert after.index("before\n") < after.index("after\n") and "exit 0, " in after
    assert after.splitlines()[-1].startswith("exit 0 after ")


def test_a_secret_is_on_no_page(terminal: Terminal) -> None:
    """Neither in the title nor in the tree."""
    words = ["sh", "-c", "echo rea''dy; sleep 1; exit 0", "--password", "s3cret"]
    terminal.start("run", "--live", "--redact", "--", *words)
    terminal.wait_for(b"ready")
    assert terminal.wait_for_end() == 0
    assert b"--password" in terminal.text and b"s3cret" not in terminal.text


@pytest.mark.parametrize("key", [b"q", b"\x03"], ids=["q", "Ctrl-C"])
def test_top_of_a_process(terminal: Terminal, key: bytes) -> None:
    """It is shown, and goes on afterwards without a filter."""
    with subprocess.Popen(["sleep", "60"]) as program:
        terminal.start("top", str(program.pid))
        terminal.wait_for(b"sleep 60")
        assert tracer_of(program.pid)
        terminal.type(b"\x1b[B\x1b[6~jG" + key)
        assert terminal.wait_for_end() == 0
        assert program.poll() is None and not tracer_of(program.pid)
        assert terminal.after().strip() == ""
        program.kill()


def test_top_has_records_in_a_file_alone(terminal: Terminal) -> None:
    """Nothing was printed, and nothing said so."""
    terminal.start("top", "--format", "ecs", "1")
    assert terminal.wait_for_end() == 2
    assert b"--json and --format need -o" in terminal.text


def test_top_leaves_out_what_a_rule_ignores(terminal: Terminal, tmp_path: Path) -> None:
    RuleSet([Rule(name="sleep", action="ignore")]).write_file(tmp_path / "rules.json")
    (tmp_path / "script").write_text("sleep 60 & read line; sleep 0.1; /usr/bin/env true; read line; kill $!")
    # The view cuts a long path.
    with subprocess.Popen(["sh", "script"], cwd=tmp_path, stdin=subprocess.PIPE, bufsize=0) as program:
        assert program.stdin is not None
        try:
            children = Path(f"/proc/{program.pid}/task/{program.pid}/children")
            wait_until(children.read_text, 20, "it has a child")
            terminal.start("top", "--rules", str(tmp_path / "rules.json"), str(program.pid))
            terminal.wait_for(b"script")
            program.stdin.write(b"\n")
            terminal.wait_for(b"true")
            terminal.type(b"q")
            assert terminal.wait_for_end() == 0
            assert b"sleep" not in terminal.text
            program.stdin.write(b"\n")
            program.wait(30)
        finally:
            program.kill()


def test_ctrl_c_is_the_command_s(terminal: Terminal) -> None:
    terminal.start(
        "run",
        "--live",
        "--",
        "sh",
        "-c",
        "trap 'echo caught; exit 7' INT; echo rea''dy; while :; do sleep 0.1; done",
    )
    terminal.wait_for(b"ready")
    terminal.type(b"\x03")
    assert terminal.wait_for_end() == 7
    assert "caught" in terminal.after()


def test_other_streams_stay_what_they_are(terminal: Terminal, tmp_path: Path) -> None:
    """Of the command, and of our lines; the page is on the terminal all the same."""
    with open(tmp_path / "out", "wb") as out, open(tmp_path / "err", "wb") as err:
        terminal.start(
            "run", "--live", "--", "sh", "-c", "echo text; sleep 0.5; exit 0", stdout=out, stderr=err
        )
        terminal.wait_for(b"sleep 0.5")
        assert terminal.wait_for_end() == 0
    assert (tmp_path / "out").read_text() == "text\n"
    lines = (tmp_path / "err").read_text().splitlines()
    assert [line.split()[-1] for line in lines[:1]] == ["0.5"] and lines[-1].startswith("exit 0 after ")
    assert "\x1b" not in (tmp_path / "err").read_text()


def test_what_outlives_the_command_can_still_print(terminal: Terminal, tmp_path: Path) -> None:
    """It gets no SIGPIPE, since nothing of ours reads what it writes."""
    mark = tmp_path / "mark"
    script = f"trap '' HUP; (sleep 0.5; echo late && echo fine >{mark}) & exit 0"
    terminal.start("run", "--live", "--", "sh", "-c", script)
    assert terminal.wait_for_end() == 0
    wait_until(lambda: mark.exists() and mark.read_text() == "fine\n", 60, "it has printed")


def test_a_terminal_that_goes_away_ends_the_view_alone(terminal: Terminal, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    script = f"trap '' HUP; echo be''gun; sleep 1; echo more; echo done >{mark}; exit 6"
    child = terminal.start("run", "--live", "--", "sh", "-c", script)
    terminal.wait_for(b"begun")
    os.close(terminal.master)
    os.close(terminal.slave)
    assert child.wait(60) == 6
    assert mark.read_text() == "done\n"


@pytest.mark.parametrize(
    ("environment", "said"),
    [({"TERM": "dumb"}, "cannot move its cursor"), ({"PYTHONPATH": "BROKEN"}, "cbprocess[tui]")],
    ids=["dumb terminal", "without rich"],
)
def test_no_view_is_said_before_anything_runs(
    terminal: Terminal, tmp_path: Path, environment: dict[str, str], said: str
) -> None:
    broken = tmp_path / "broken" / "rich"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ModuleNotFoundError('rich', name='rich')\n")
    values = {name: str(broken.parent) if value == "BROKEN" else value for name, value in environment.items()}
    terminal.start("run", "--live", "--", "touch", str(tmp_path / "ran"), environment=values)
    assert terminal.wait_for_end() == 125
    assert said in plain(terminal.text) and "Traceback" not in plain(terminal.text)
    assert not (tmp_path / "ran").exists()


def test_without_a_terminal_nothing_runs(tmp_path: Path) -> None:
    line = [*supervised.COMMAND_LINE, "run", "--live", "--", "touch", str(tmp_path / "ran")]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, start_new_session=True)
    assert done.returncode == 125 and "needs a terminal" in done.stderr
    assert not (tmp_path / "ran").exists()


def test_a_killed_command_line_leaves_the_command(terminal: Terminal, tmp_path: Path) -> None:
    """Killed with its view, it takes nothing with it that the command needs to print."""
    mark = tmp_path / "mark"
    child = terminal.start(
        "run", "--live", "--", "sh", "-c", f"trap '' HUP; echo be''gun; sleep 1; echo b && echo done >{mark}"
    )
    terminal.wait_for(b"begun")
    child.send_signal(signal.SIGKILL)
    child.wait(60)
    wait_until(lambda: mark.exists() and mark.read_text() == "done\n", 60, "the command has ended")
