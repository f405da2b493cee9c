"""A protected server lives through whatever is done to it from inside its tree, notices nothing of it, and is
not hindered itself. Each attack does harm to a server that is not protected."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from live_tools import PROGRAMS, Programs, name_of, recording, run_checked
from supervised import COMMAND_LINE, read

import cbprocess

ATTACKS = [
    "kill",
    "kill-command",
    "pkill",
    "pidfd",
    "stop",
    "group",
    "tgkill",
    "gdb",
    "ptrace",
    "ptrace-thread",
    "memory",
    "limit",
    "priority",
    "descriptor",
]
PROGRAM_OF = {"gdb": "gdb", "pkill": "pkill"}
# What any process may be protected from.
ALL_RIGHTS = 0x1FFFFF & ~(cbprocess.PROCESS_QUERY_LIMITED_INFORMATION | cbprocess.PROCESS_SYNCHRONIZE)
LEAST_PRIORITY = 19
# All of this may run under nice.
UNHARMED = {"word": 1111, "nice": os.nice(0), "core": 4096, "refused": 0, "signalled": True}


@pytest.fixture
def server(tmp_path: Path) -> str:
    """A script that goes by a name of its own."""
    script = tmp_path / "guarded-server"
    text = (PROGRAMS / "guarded.py").read_text(encoding="utf-8")
    script.write_text(f"#!{sys.executable}\n{text}", encoding="utf-8")
    script.chmod(0o755)
    return str(script)


def attack_line(attack: str, server: str) -> list[str]:
    program = PROGRAM_OF.get(attack)
    if program and shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    if attack == "priority" and os.nice(0) == LEAST_PRIORITY:
        pytest.skip("the tests run with the least priority already: it cannot be taken")
    return [sys.executable, str(PROGRAMS / "attack.py"), attack, server]


def without_protection(attack: str, server: str) -> dict[str, Any]:
    line = attack_line(attack, server)
    done = subprocess.run(line, stdout=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 0
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def assert_harmed(attack: str, outcome: dict[str, Any]) -> None:
    assert outcome["result"] == 0, "the attack fails anyway: it proves nothing"
    if attack != "descriptor":  # which only reads
        assert outcome["state"] != "alive" or outcome["server"] != UNHARMED


def assert_unharmed(outcome: dict[str, Any]) -> None:
    assert outcome["result"] in (1, errno.EPERM), outcome
    assert (outcome["state"], outcome.get("server"), outcome["end"]) == ("alive", UNHARMED, 3)
    assert outcome["workers"]["worker"] == {"status": -15}


@pytest.mark.parametrize("attack", ATTACKS)
def test_attack(attack: str, server: str, tmp_path: Path) -> None:
    """Under `cbprocess run --protect`: the attacker gets EPERM, and an event tells of it."""
    assert_harmed(attack, without_protection(attack, server))
    output = tmp_path / "events"
    options = ["--protect", "guarded*", "--json", "--output", str(output)]
    line = [*COMMAND_LINE, "run", *options, "--", *attack_line(attack, server)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert_unharmed(json.loads(done.stdout))
    events = read(output)
    # Not its children, which go by its name as well.
    started = [event for event in events if event["event"] == "process_creation"]
    servers = [event["process_id"] for event in started if event["image_file_name"] == server]
    stripped = [event for event in events if "desired_access" in event]
    refused = [row for row in stripped if row["desired_access"] != row["original_desired_access"]]
    assert refused and all("decided_by_rule" in event["flags"] for event in refused)
    assert servers and set(servers) <= {event["process_id"] for event in refused}


@pytest.mark.parametrize("attack", ATTACKS)
def test_attack_with_a_rule_alone(attack: str, server: str) -> None:
    """Under a strip rule of the API, while no handler asks for anything."""
    with recording(events=0) as recorder:
        recorder.filter.add_rule(name="guarded*", action="strip", access=ALL_RIGHTS)
        status, output, errors = run_checked(recorder, attack_line(attack, server))
    assert (status, errors, recorder.events) == (0, "", [])
    assert_unharmed(json.loads(output))


@pytest.mark.parametrize("kind", ["worker", "fork"])
def test_ends_its_own_workers(kind: str, server: str) -> None:
    """What a protected server has started it can end: programs, and processes that it has merely forked."""
    with recording(events=0) as recorder:
        recorder.filter.add_rule(name="guarded*", action="strip", access=ALL_RIGHTS)
        _, output, _ = run_checked(recorder, attack_line("none", server))
    assert json.loads(output)["workers"][kind] == {"status": -15}


def test_rights_that_are_left(server: str) -> None:
    """A rule takes what it says and nothing else."""
    with recording(events=0) as recorder:
        recorder.filter.add_rule(name="guarded*", action="strip", access=cbprocess.PROCESS_VM_WRITE)
        for attack in ("memory", "ptrace"):
            assert_unharmed(json.loads(run_checked(recorder, attack_line(attack, server))[1]))
        for attack in ("kill", "limit", "priority", "descriptor"):
            outcome = json.loads(run_checked(recorder, attack_line(attack, server))[1])
            assert_harmed(attack, outcome)


@pytest.mark.parametrize("children", [True, False])
def test_protection_by_process_id(children: bool) -> None:
    """A rule for one process protects that one, and if it says so whoever it has started as well."""
    # A sibling of the sleeper's asks for its end: who has created it could.
    text = 'sleep 88 & echo $!; read line; sh -c "kill -9 $!"; echo $?; read line; wait $!; echo $?'
    with recording(events=cbprocess.PROC_EVT_ALL) as recorder:
        process = recorder.filter.popen(["sh", "-c", text], stdin=-1, stdout=-1, stderr=-3, text=True)
        sleeper = int(process.stdout.readline())
        recorder.filter.add_rule(
            process_id=process.pid, action="strip", access=ALL_RIGHTS, include_children=children
        )
        found = []
        for _ in range(2):
            process.stdin.write("\n")
            process.stdin.flush()
            found.append(process.stdout.readline())
            if children and len(found) == 1:
                os.kill(sleeper, signal.SIGTERM)  # from outside of the tree, whom no rule concerns
        process.communicate(timeout=20)
    assert found == (["1\n", "143\n"] if children else ["0\n", "137\n"])


STORM = ["4", "0", "20"]  # 20,000 signals, one after the other
GO = ["4", "10000", "60"]  # each of four threads every 10 ms, as Go's runtime does


def seconds(line: list[str], recorder: Any = None) -> float:
    """How long a run of `preempt` takes, and that no signal was refused."""
    if recorder is None:
        output = subprocess.run(line, stdout=subprocess.PIPE, text=True, timeout=60).stdout
    else:
        output = run_checked(recorder, line)[1]
    found = json.loads(output)
    assert found["sent"] > 0 and found["received"] > 0
    return float(found["seconds"])


@pytest.mark.parametrize(
    ("arguments", "events", "bound"),
    [
        pytest.param(GO, 0, 1.3, id="go-by-rule"),
        pytest.param(GO, cbprocess.PROC_EVT_ALL, 1.3, id="go-with-handlers"),
        pytest.param(STORM, 0, 1.5, id="storm-by-rule"),
    ],
)
def test_preemption(arguments: list[str], events: int, bound: float, programs: Programs) -> None:
    """Threads that signal one another all the time are as fast as without protection. The fastest of several
    runs counts, because the machine is shared."""
    line = [programs["preempt"], *arguments]
    with recording(events=events) as recorder:
        recorder.filter.add_rule(name="preempt", action="strip", access=ALL_RIGHTS)
        bare: list[float] = []
        protected: list[float] = []
        for _ in range(8):
            bare.append(seconds(line))
            protected.append(seconds(line, recorder))
            if len(bare) >= 3 and min(protected) < min(bare) * bound:
                break
        assert min(protected) < min(bare) * bound, (bare, protected)
        assert recorder.handle_operations() == []
        assert all(name_of(event["process_name"]) == "preempt" for event in recorder.of("process_creation"))
