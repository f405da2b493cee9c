"""`cbprocess attach` on programs that run already, and `cbprocess run --protect`."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import supervised
from live_tools import Task, is_alive, name_of, tasks, tracer_of, wait_until

from cbprocess import Rule
from cbprocess.fleet.following import write_rules
from cbprocess.rule_files import RuleSet

ATTACH = [*supervised.COMMAND_LINE, "attach"]
RUN = [*supervised.COMMAND_LINE, "run"]
BUSY = "while :; do /bin/true; sleep 0.05; done"


# The rule is in force a moment after the processes are traced, and with --json nothing says so. It is when
# neither the command nor its helper has anything left to do, however long that takes on a busy machine.
AT_REST_LOOKS = 5


@contextlib.contextmanager
def running(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program that runs outside of any filter; it and what it started are ended afterwards."""
    process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=30)


@contextlib.contextmanager
def attached(*line: Any, to: list[int], is_busy: bool = False) -> Iterator[subprocess.Popen[str]]:
    """A running `cbprocess attach`, once it has the processes, and its rule is in force unless they are
    busy."""
    process = subprocess.Popen([*ATTACH, *map(str, line)], stderr=subprocess.PIPE, text=True)
    try:
        wait_until(lambda: all(map(tracer_of, to)) or process.poll() is not None, 20, "attached")
        if not is_busy:
            # The tracer of now may still be an earlier one, which is about to let go.
            wait_until(
                lambda: process.poll() is not None or are_at_rest(process.pid, *map(tracer_of, to)),
                20,
                "the rule is in force",
            )
        yield process
    finally:
        process.kill()
        process.communicate(timeout=30)


def are_at_rest(*process_ids: int) -> bool:
    """Whether these processes are there, and all their threads sleep, for some looks one after the other."""
    for _ in range(AT_REST_LOOKS):
        for process_id in set(process_ids):
            try:
                stats = [
                    file.read_text(errors="replace")
                    for file in Path(f"/proc/{process_id}").glob("task/*/stat")
                ]
            except (FileNotFoundError, ProcessLookupError):
                return False
            if not stats or any(stat.rpartition(")")[2].split()[0] != "S" for stat in stats):
                return False
        time.sleep(0.02)
    return True


def cbprocess_attach(*line: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*ATTACH, *map(str, line)], capture_output=True, text=True, timeout=60)


def assert_as_before(process_id: int) -> None:
    """Nobody traces the process any more, and it runs or sleeps as it did."""
    wait_until(lambda: tracer_of(process_id) == 0, 10, "let go")
    assert is_alive(process_id) and Task(process_id).state not in "tT"


def records(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_it_ends_when_all_have_ended() -> None:
    with (
        running("sh", "-c", "read x; exit 3") as first,
        running("sh", "-c", "read x; /bin/true; exit 4") as last,
    ):
        ids = [first.pid, last.pid]
        with attached("--json", *ids, to=ids) as process:
            first.communicate(b"\n", timeout=30)
            wait_until(lambda: not is_alive(first.pid), 10, "the first has ended")
            assert process.poll() is None
            last.communicate(b"\n", timeout=30)
            events = records(process.communicate(timeout=30)[1])
            assert process.returncode == 0
    ends = [(e["process_id"], e["exit_status"]) for e in events if e["event"] == "process_termination"]
    assert {ends[0], ends[-1]} == {(first.pid, 3), (last.pid, 4)} and len(ends) == 3
    created = [e for e in events if e["event"] == "process_creation"]
    assert [(e["arguments"], e["creating_process_id"]) for e in created] == [(["/bin/true"], last.pid)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_and_nothing_else(number: signal.Signals) -> None:
    with (
        running("sh", "-c", BUSY) as program,
        attached(program.pid, to=[program.pid], is_busy=True) as process,
    ):
        assert (
            process.stderr is not None and "exit 0" in process.stderr.readline() + process.stderr.readline()
        )
        process.send_signal(number)
        errors = process.communicate(timeout=30)[1]
        assert process.returncode == 128 + number and "Traceback" not in errors
        assert_as_before(program.pid)


def test_what_was_ignored_stays_ignored() -> None:
    line = ["sh", "-c", "trap '' HUP; exec \"$@\"", "sh", *ATTACH]
    with running("sh", "-c", BUSY) as program:
        process = subprocess.Popen([*line, str(program.pid)], stderr=subprocess.DEVNULL)
        wait_until(lambda: tracer_of(program.pid), 20, "attached")
        process.send_signal(signal.SIGHUP)
        time.sleep(0.3)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 128 + signal.SIGTERM


def offspring(process_id: int) -> list[int]:
    children = [task.process_id for task in tasks() if task.parent == process_id]
    return children + [other for child in children for other in offspring(child)]


def test_what_is_attached_is_said() -> None:
    """Each process that was named with its command, and how many descendants run already; once for one that
    was named twice. Nothing with -q, and of no process that is not there."""
    text = "read x; exit 0"
    with (
        running("sh", "-c", f"exec 3<&0; (sh -c '{text}' <&3; exit 0) & wait; exit 0") as program,
        running("sh", "-c", text) as other,
    ):
        wait_until(lambda: len(offspring(program.pid)) == 2, 20, "the tree is there")
        ids = [program.pid, other.pid]
        named = (program.pid, "-p", other.pid, "-p", program.pid)
        for options, more in (((), " and 2 descendants"), (("--no-children",), "")):
            with attached(*options, *named, to=ids) as process:
                process.send_signal(signal.SIGTERM)
                said = process.communicate(timeout=30)[1].splitlines()[0]
            assert re.fullmatch(
                rf"attached to {ids[0]} \(sh -c .*\), {ids[1]} \(sh -c '{text}'\){more}", said
            ), said
        with attached("-q", *named, to=ids) as process:
            process.send_signal(signal.SIGTERM)
            assert process.communicate(timeout=30)[1] == ""


def test_descendants_that_run_already_and_later_ones() -> None:
    """A shell in a subshell waits for a line; what it starts then is new."""
    text = "(sh -c 'read x; /bin/echo inner; exit 0' <&3; exit 0) & wait; exit 0"
    with running("sh", "-c", "exec 3<&0; " + text) as program:
        wait_until(lambda: len(offspring(program.pid)) >= 2, 10, "the tree is there")
        tree = [program.pid, *offspring(program.pid)]
        with attached("--json", program.pid, to=tree) as process:
            assert len({tracer_of(number) for number in tree}) == 1
            program.communicate(b"\n", timeout=30)
            events = records(process.communicate(timeout=30)[1])
            assert process.returncode == 0
    created = [event for event in events if event["event"] == "process_creation"]
    assert [event["arguments"] for event in created] == [["/bin/echo", "inner"]]
    ended = {event["process_id"] for event in events if event["event"] == "process_termination"}
    assert ended == {*tree, created[0]["process_id"]}


def test_creators_that_ran_already_and_have_ended_have_identities(tmp_path: Path) -> None:
    """Nothing waits for a spool: the command stands still until a subshell that ran already has started a
    program and has ended."""
    spool = tmp_path / "spool"
    with running("sh", "-c", "exec 3<&0; (read x <&3; /bin/true & wait) & wait; sleep 0.2") as program:
        wait_until(lambda: offspring(program.pid), 20, "the tree is there")
        tree = [program.pid, *offspring(program.pid)]
        with attached("--spool", spool, program.pid, to=tree) as process:
            process.send_signal(signal.SIGSTOP)
            program.communicate(timeout=30)
            process.send_signal(signal.SIGCONT)
            assert process.communicate(timeout=30)[1] == "" and process.returncode == 0
    events = [event for path in spool.rglob("*.jsonl") for event in records(path.read_text())]
    (created,) = [
        e for e in events if e["event"] == "process_creation" and e["image_file_name"] == "/bin/true"
    ]
    assert created["creating_process_id"] in tree
    assert created["creator_start_time"] is not None and created["parent_start_time"] is not None


def test_rules_of_the_fleet_that_are_in_the_spool_are_followed(tmp_path: Path) -> None:
    """As `run --spool` does: the agent of the host counts this session among those that have them."""
    spool, told = tmp_path / "spool", tmp_path / "told"
    spool.mkdir(mode=0o700)
    write_rules(spool, RuleSet([Rule(name="*/true", action="deny")]))
    text = f"read x; /bin/true; echo $? > {told}"
    with (
        running("sh", "-c", text) as program,
        attached("--spool", spool, program.pid, to=[program.pid]) as process,
    ):
        program.communicate(b"\n", timeout=30)
        assert process.communicate(timeout=30)[1] == "" and process.returncode == 0
    # A refused execution ends an attached program: there is no filter in it.
    assert told.read_text() == f"{128 + signal.SIGKILL}\n"


def test_without_children() -> None:
    text = "while :; do sh -c '/bin/true; exit 0'; sleep 0.05; done"
    with (
        running("sh", "-c", text) as program,
        attached(
            "--json", "--no-children", "-e", "process", program.pid, to=[program.pid], is_busy=True
        ) as process,
    ):
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        events = records(process.communicate(timeout=30)[1])
    assert events == [], "the shell itself executes nothing and goes on"


def test_choice_of_names() -> None:
    text = "while :; do /bin/true; /bin/echo > /dev/null; sleep 0.05; done"
    with (
        running("sh", "-c", text) as program,
        attached(
            "--json", "--name", "echo", "-e", "process", program.pid, to=[program.pid], is_busy=True
        ) as process,
    ):
        assert process.stderr is not None
        lines = [process.stderr.readline() for _ in range(4)]
        process.send_signal(signal.SIGINT)
        events = records("".join(lines) + process.communicate(timeout=30)[1])
        assert_as_before(program.pid)
    assert {event["event"] for event in events} == {"process_creation", "process_termination"}
    assert {name_of(event["process_name"]) for event in events} == {name_of(str(Path("/bin/echo").resolve()))}


def test_refused_executions_end_their_process() -> None:
    with (
        running("sh", "-c", "read x; /bin/echo never; exit $?") as program,
        attached("--deny", "echo", program.pid, to=[program.pid]) as process,
    ):
        program.communicate(b"\n", timeout=30)
        assert program.returncode == 128 + signal.SIGKILL
        errors = process.communicate(timeout=30)[1]
        assert process.returncode == 0 and "refused EACCES" in errors and "/bin/echo never" in errors


def test_summary_of_what_ran_already() -> None:
    with (
        running("sh", "-c", "read x; /bin/true; exit 3") as program,
        attached("--summary", "--json", program.pid, to=[program.pid]) as process,
    ):
        program.communicate(b"\n", timeout=30)
        summary = records(process.communicate(timeout=30)[1])[-1]
    first, second = summary["processes"]
    assert (first["process_id"], first["exit_status"], first["programs"]) == (program.pid, 3, [])
    assert first["command_line"] == "sh -c 'read x; /bin/true; exit 3'"
    assert (second["parent_index"], second["command_line"], second["exit_status"]) == (0, "/bin/true", 0)
    assert summary["counts"]["process_termination"] == 2


def test_a_process_that_there_is_not_leaves_nothing_attached() -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    with running("sh", "-c", BUSY) as program:
        done = cbprocess_attach(program.pid, gone.pid)
        assert (done.returncode, done.stdout) == (125, "")
        assert done.stderr == f"cbprocess: process {gone.pid}: No such process\n"
        assert_as_before(program.pid)


def test_a_process_of_another_controller() -> None:
    """170, with a sentence; and what came first on the line is let go again."""
    with (
        running("sh", "-c", BUSY) as first,
        running("sh", "-c", BUSY) as second,
        attached(second.pid, to=[second.pid], is_busy=True) as other,
    ):
        tracer = tracer_of(second.pid)
        done = cbprocess_attach(first.pid, second.pid)
        assert done.returncode == 125 and "another tracer" in done.stderr and "(error 170)" in done.stderr
        assert str(second.pid) in done.stderr and "Traceback" not in done.stderr
        assert_as_before(first.pid)
        assert tracer_of(second.pid) == tracer
        other.send_signal(signal.SIGINT)
        other.communicate(timeout=30)
        assert_as_before(second.pid)


def test_what_cannot_be_done_for_running_processes() -> None:
    with running("sh", "-c", BUSY) as program:
        for option in (["--protect", "sh"], ["--events", "handle"]):
            done = cbprocess_attach(*option, program.pid)
            assert (done.returncode, done.stdout) == (125, "") and "cbprocess run" in done.stderr
        assert tracer_of(program.pid) == 0
    own = subprocess.run(
        ["sh", "-c", 'exec "$@" $$', "sh", *ATTACH], capture_output=True, text=True, timeout=60
    )
    assert own.returncode == 125 and "itself" in own.stderr


# ---- run --protect ----

ATTACKER = """
import os, signal, subprocess, sys
quiet = subprocess.DEVNULL
server = subprocess.Popen([sys.argv[1], "60"], stdout=quiet, stderr=quiet)
for number in (signal.SIGKILL, signal.SIGSTOP, 0):
    try:
        os.kill(server.pid, number)
        print(int(number), "done", flush=True)
    except PermissionError as error:
        print(int(number), error.errno, flush=True)
assert server.poll() is None
print(server.pid)
"""


def protected_run(program: str, *options: str) -> tuple[list[str], str]:
    """What the attacker said, and what cbprocess printed. It stays until the program has been ended, which
    only somebody outside of the tree can do."""
    line = [*RUN, "--protect", name_of(program), *options, "--", sys.executable, "-c", ATTACKER, program]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = [process.stdout.readline().strip() for _ in range(4)]
    if said[3]:
        os.kill(int(said[3]), signal.SIGKILL)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 0, errors
    return said[:3], errors


@pytest.fixture
def server(tmp_path: Path) -> str:
    path = tmp_path / "my-server"
    path.symlink_to("/bin/sleep")
    return str(path)


def test_protection(server: str) -> None:
    said, errors = protected_run(server)
    assert said == ["9 1", "19 1", "0 done"]
    assert errors.count("[stripped by a rule: TERMINATE]") == 1
    assert errors.count("[stripped by a rule: SUSPEND_RESUME]") == 1


def test_protection_in_json(server: str) -> None:
    said, errors = protected_run(server, "--json")
    assert said == ["9 1", "19 1", "0 done"]
    rows = [e for e in records(errors) if "decided_by_rule" in e.get("flags", ())]
    assert [(e["original_desired_access"], e["desired_access"]) for e in rows] == [
        (["terminate"], []),
        (["suspend_resume"], []),
    ]


def test_protection_without_handle_events(server: str) -> None:
    said, errors = protected_run(server, "--events", "process")
    assert said == ["9 1", "19 1", "0 done"]
    assert "handle_operation" not in errors and "exit 0, " in errors
