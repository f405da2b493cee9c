"""Rule files of the command line on real programs: in force from the first program on, read again at SIGHUP
or when they change, and nothing changes where they are wrong."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import supervised
from live_tools import is_alive, tracer_of, wait_until
from terminals import open_terminal

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="SIGHUP is not on Windows")

COMMAND = supervised.COMMAND_LINE
# A line tells that a turn was made; each turn executes a program that the rules may deny.
TURNS = 'trap "echo hangup" HUP; while read turn; do /usr/bin/env true && echo may || echo not; done'


def write(path: Path, *rules: dict[str, Any]) -> None:
    """As editors do: beside it, and then in its place."""
    (path.parent / "new").write_text(json.dumps({"rules": rules}))
    os.replace(path.parent / "new", path)


DENY = {"name": "*/env", "action": "deny"}
STRIP = {"name": "sleep", "action": "strip", "access": ["TERMINATE"]}


@contextlib.contextmanager
def running(rules: Path, *options: str, program: str = TURNS) -> Iterator[subprocess.Popen[str]]:
    line = [*COMMAND, "run", "-q", "--rules", str(rules), *options, "--", "sh", "-c", program]
    pipe = subprocess.PIPE
    process = subprocess.Popen(line, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            assert stream is not None
            stream.close()


def turn(process: subprocess.Popen[str]) -> str:
    """What becomes of the program now."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write("x\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


def told(process: subprocess.Popen[str]) -> str:
    """The next line about the rules. The shell has lines of its own."""
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("cbprocess: "):
            return line
    raise AssertionError("nothing was told")


def test_a_file_is_in_force_and_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "rules.json"
    write(path, DENY)
    with running(path) as process:
        assert turn(process) == "not"
        write(path)
        assert turn(process) == "not"
        process.send_signal(signal.SIGHUP)
        assert told(process) == f"cbprocess: {path}: 0 rules in force: 1 removed (deny */env), 0 kept\n"
        # The command itself has got no signal.
        assert turn(process) == "may"
        write(path, DENY, {"name": "x", "action": "allow"})
        process.send_signal(signal.SIGHUP)
        text = "2 rules in force: 2 added (deny */env, allow x), 0 kept"
        assert told(process) == f"cbprocess: {path}: {text}\n"
        assert turn(process) == "not"
        # What is wrong, or not there, changes nothing.
        write(path, {"name": "y"})
        process.send_signal(signal.SIGHUP)
        line = told(process)
        assert "rule 1 ('y'): the action is missing" in line and "the rules stay as they are" in line
        path.unlink()
        process.send_signal(signal.SIGHUP)
        assert "No such file or directory; the rules stay as they are" in told(process)
        assert turn(process) == "not"
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(30) == 0


def test_a_file_is_followed(tmp_path: Path) -> None:
    path = tmp_path / "rules.json"
    write(path)
    with running(path, "--follow-rules") as process:
        assert turn(process) == "may"
        write(path, DENY)
        assert "1 added" in told(process)
        assert turn(process) == "not"
        # Written in place, in two parts: nothing is read before it is whole.
        with open(path, "w") as file:
            file.write('{"rules": [')
            file.flush()
            time.sleep(0.3)
            file.write("]}")
        assert "1 removed" in told(process)
        assert turn(process) == "may"


def test_without_a_file_sighup_is_the_commands(tmp_path: Path) -> None:
    line = [*COMMAND, "run", "-q", "--", "sh", "-c", TURNS]
    pipe = subprocess.PIPE
    process = subprocess.Popen(line, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)
    assert turn(process) == "may"
    process.send_signal(signal.SIGHUP)
    assert process.stdout is not None and process.stdout.readline() == "hangup\n"
    process.kill()
    process.communicate()


def test_rules_of_the_options_stay(tmp_path: Path) -> None:
    path = tmp_path / "rules.json"
    write(path, DENY)
    with running(path, "--deny", "*/env") as process:
        assert turn(process) == "not"
        write(path)
        process.send_signal(signal.SIGHUP)
        assert "nothing has changed, 1 rule in force" in told(process)
        assert turn(process) == "not"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"rules": [{"name": "a"}]}', "rule 1 ('a'): the action is missing"),
        ("{", "no JSON"),
        (None, "No such file"),
    ],
)
def test_nothing_begins_with_a_wrong_file(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "rules.json"
    if text is not None:
        path.write_text(text)
    with subprocess.Popen(["sleep", "60"]) as program:
        for what in (["run", "--", "touch", str(tmp_path / "made")], ["attach", str(program.pid)]):
            line = [*COMMAND, what[0], "--rules", str(path), *what[1:]]
            done = subprocess.run(line, capture_output=True, text=True, timeout=60)
            assert done.returncode == 125 and message in done.stderr and "Traceback" not in done.stderr
        assert tracer_of(program.pid) == 0
        program.kill()
    assert not (tmp_path / "made").exists()


SLEEPER = """
sleep 60 & until read name < /proc/$!/comm && test $name = sleep; do :; done; echo ready
while read turn; do kill $! 2>/dev/null && echo killed || echo kept; done
"""


def test_a_strip_rule_holds_from_the_beginning_or_is_refused(tmp_path: Path) -> None:
    """Only programs that were started while such a rule was there have the filter that it takes."""
    path = tmp_path / "rules.json"
    write(path, STRIP)
    with running(path, program=SLEEPER) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        assert turn(process) == "kept"
        write(path)
        process.send_signal(signal.SIGHUP)
        assert "1 removed" in told(process)
        write(path, STRIP)
        process.send_signal(signal.SIGHUP)
        assert "1 added" in told(process)
        assert turn(process) == "kept"
        write(path)
        process.send_signal(signal.SIGHUP)
        assert "1 removed" in told(process)
        assert turn(process) == "killed"
    with running(path, program=SLEEPER) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        write(path, STRIP, DENY)
        process.send_signal(signal.SIGHUP)
        assert "a strip rule would not hold for what runs already" in told(process)
        write(path, DENY)
        process.send_signal(signal.SIGHUP)
        assert "1 added" in told(process)
        assert turn(process) == "killed"


@contextlib.contextmanager
def attached(rules: Path, **keywords: Any) -> Iterator[tuple[subprocess.Popen[str], subprocess.Popen[str]]]:
    pipe = subprocess.PIPE
    program = subprocess.Popen(["sh", "-c", TURNS], stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    line = [*COMMAND, "attach", "-q", "--rules", str(rules), str(program.pid)]
    watcher = subprocess.Popen(line, stderr=pipe, text=True, **keywords)
    try:
        wait_until(lambda: tracer_of(program.pid) or watcher.poll() is not None, 30, "attached")
        yield program, watcher
    finally:
        for process in (watcher, program):
            process.kill()
            process.communicate()


def test_attach_reads_again_and_still_ends_by_other_signals(tmp_path: Path) -> None:
    path = tmp_path / "rules.json"
    write(path)
    with attached(path) as (program, watcher):
        assert turn(program) == "may"
        for rules, text, becomes in (([DENY], "1 added", "not"), ([], "1 removed", "may")):
            write(path, *rules)
            watcher.send_signal(signal.SIGHUP)
            assert text in told(watcher)
            assert turn(program) == becomes
        write(path, STRIP)
        watcher.send_signal(signal.SIGHUP)
        assert "strip rules cannot be kept among processes that run already" in told(watcher)
        watcher.send_signal(signal.SIGTERM)
        assert watcher.wait(30) == 128 + signal.SIGTERM
        assert is_alive(program.pid) and turn(program) == "may"


def test_sighup_that_is_ignored_stays_ignored(tmp_path: Path) -> None:
    """As under nohup."""
    path = tmp_path / "rules.json"
    write(path)
    ignore = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with attached(path) as (program, watcher):
            signal.signal(signal.SIGHUP, ignore)
            write(path, DENY)
            watcher.send_signal(signal.SIGHUP)
            watcher.send_signal(signal.SIGTERM)
            assert watcher.wait(30) == 128 + signal.SIGTERM
            assert watcher.stderr is not None and "in force" not in watcher.stderr.read()
            assert turn(program) == "may"
    finally:
        signal.signal(signal.SIGHUP, ignore)


# The command's own driver takes root, and is about the whole machine. Here nothing is attached to.
MONITOR = """
import sys
from cbprocess import cli
from cbprocess.cli import monitor, printer
look_around = printer.Printer.look_around
def tell(self):
    look_around(self)
    print("ready", flush=True)
printer.Printer.look_around = tell
sys.exit(monitor.observe(cli.parse(sys.argv[1:]), "ptrace"))
"""


def test_monitor_reads_again(tmp_path: Path) -> None:
    path = tmp_path / "rules.json"
    write(path)
    line = [sys.executable, "-c", MONITOR, "monitor", "-q", "--rules", str(path)]
    watcher = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert watcher.stdout is not None and watcher.stdout.readline() == "ready\n"
        write(path, DENY)
        watcher.send_signal(signal.SIGHUP)
        # With the rule of the command itself, by which nothing waits.
        assert "1 added" in told(watcher)
        watcher.send_signal(signal.SIGINT)
        assert watcher.wait(30) == 0
    finally:
        watcher.kill()
        watcher.communicate()


# A SIGHUP at the last moment before the command is started: it waits when that is looked for, and comes then.
HANGUP_AT_THE_START = """
import os, signal, sys, time
from cbprocess import cli
from cbprocess.cli import forwarding
early, pending = forwarding.Signals.early, signal.sigpending
def early_and_hangup(self):
    signal.sigpending = lambda: {signal.SIGHUP}
    number = early(self)
    signal.sigpending = pending
    os.kill(os.getpid(), signal.SIGHUP)
    time.sleep(0.5)
    return number
forwarding.Signals.early = early_and_hangup
sys.exit(cli.main(sys.argv[1:]))
"""


def test_sighup_while_the_command_is_started_is_not_the_commands(tmp_path: Path) -> None:
    path = tmp_path / "rules.json"
    write(path, DENY)
    command = ["run", "-q", "--rules", str(path), "--", "sh", "-c", "sleep 0.5; exit 3"]
    line = [sys.executable, "-c", HANGUP_AT_THE_START, *command]
    done = subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert done.returncode == 3, done.stderr
    assert done.stderr == f"cbprocess: {path}: nothing has changed, 1 rule in force\n"


def test_the_end_of_the_terminal_is_still_the_end(tmp_path: Path) -> None:
    """The kernel sends SIGHUP there, too, which must not be taken for the wish to read again."""
    path = tmp_path / "rules.json"
    write(path)
    master, slave = open_terminal()
    leader = (
        "import fcntl, os, sys, termios; slave = int(sys.argv[1]); os.setsid(); "
        "fcntl.ioctl(slave, termios.TIOCSCTTY, 0); os.close(slave); os.execvp(sys.argv[2], sys.argv[2:])"
    )
    pipe = subprocess.PIPE
    program = subprocess.Popen(["sh", "-c", TURNS], stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    line = [*COMMAND, "attach", "-q", "--rules", str(path), str(program.pid)]
    watcher = subprocess.Popen(
        [sys.executable, "-c", leader, str(slave), *line],
        stderr=pipe,
        text=True,
        pass_fds=(slave,),
        stdin=subprocess.DEVNULL,
    )
    os.close(slave)
    try:
        wait_until(lambda: tracer_of(program.pid) or watcher.poll() is not None, 30, "attached")
        watcher.send_signal(signal.SIGHUP)
        assert "nothing has changed" in told(watcher)
        os.close(master)
        assert watcher.wait(30) == 128 + signal.SIGHUP
        assert turn(program) == "may"
    finally:
        for process in (watcher, program):
            process.kill()
            process.communicate()


def test_a_replay_is_decided_by_a_file(tmp_path: Path) -> None:
    recording, path = tmp_path / "recording", tmp_path / "rules.json"
    write(path, DENY)
    made = [*COMMAND, "run", "-q", "--record", str(recording), "--", "sh", "-c", "/usr/bin/env true; exit 0"]
    subprocess.run(made, check=True, timeout=60)
    replay = [*COMMAND, "replay", "--json", "-o", "-", "--rules", str(path), str(recording)]
    text = subprocess.run(replay, check=True, timeout=60, capture_output=True, text=True).stdout
    found = [json.loads(line) for line in text.splitlines()]
    refused = [record["arguments"][0] for record in found if record.get("result_code")]
    assert refused == ["/usr/bin/env"]


def test_check_tells_mistakes_and_doubts(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    write(good, DENY, STRIP, {"process_id": -1, "action": "allow", "include_children": True})
    write(bad, {"name": "a"}, {"name": "b", "action": "deny", "x": 1})
    good.chmod(0o622)
    done = subprocess.run(
        [*COMMAND, "rules", "check", "--list", str(good), str(bad), str(tmp_path / "none")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1 and done.stderr == ""
    assert done.stdout.splitlines() == [
        f"{good}: doubtful: {good} can be written by others than its owner, who can change the rules",
        f"{good}: 3 rules",
        "  deny */env (code 5)",
        "  strip sleep (TERMINATE)",
        "  allow everything and descendants",
        f"{bad}: wrong: rule 1 ('a'): the action is missing: ask, ignore, allow, deny or strip",
        f"{bad}: wrong: rule 2 ('b'): a rule has no 'x'; possible: name, process_id, action, code, access, "
        "include_children, id, comment",
        f"{tmp_path / 'none'}: wrong: No such file or directory",
    ]
    good.chmod(0o600)
    done = subprocess.run(
        [*COMMAND, "rules", "check", "--json", str(good)], capture_output=True, text=True, timeout=60
    )
    found = json.loads(done.stdout)
    assert done.returncode == 0 and found["mistakes"] == found["warnings"] == [] and len(found["rules"]) == 3
