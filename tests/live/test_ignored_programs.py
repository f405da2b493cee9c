"""Programs that a rule ignores, on the command line: their starts are records, and neither lines nor trees
show them as running, because nothing tells of their ends."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import supervised
from live_tools import PROGRAMS, wait_until

from cbprocess import Rule
from cbprocess.fleet.following import write_rules
from cbprocess.rule_files import RuleSet

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the programs are those of Linux")

COMMAND = supervised.COMMAND_LINE
SLEEP = Rule(name="sleep", action="ignore")
VIEWS = pytest.mark.parametrize(
    "view", [[], ["--tree"], ["--summary"], ["--tree", "--summary"]], ids=" ".join
)


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    RuleSet([SLEEP]).write_file(tmp_path / "rules.json")
    return tmp_path / "rules.json"


def shown(folder: Path, script: str, *options: object) -> str:
    """What is printed of a shell's script, whose text stands in no command line."""
    (folder / "script").write_text(script)
    output = folder / "output"
    line = [*COMMAND, "run", "-o", str(output), *map(str, options), "--", "/bin/sh", "script"]
    subprocess.run(line, cwd=folder, timeout=60, stderr=subprocess.DEVNULL)
    return output.read_text()


@VIEWS
def test_an_ignored_program_does_not_run_for_ever(tmp_path: Path, rules: Path, view: list[str]) -> None:
    script = "sleep 0.1; /usr/bin/env true; exit 0"
    assert "sleep" in shown(tmp_path, script, *view)
    text = shown(tmp_path, script, *view, "--rules", rules)
    assert "true" in text
    assert "sleep" not in text and "running" not in text


@VIEWS
def test_who_executes_an_ignored_program_has_executed_another(
    tmp_path: Path, rules: Path, view: list[str]
) -> None:
    text = shown(tmp_path, "exec sleep 0.1", *view, "--rules", rules)
    assert "sh script" in text
    assert "sleep" not in text and "running" not in text


@VIEWS
def test_a_refusal_of_an_ignored_program_is_shown(tmp_path: Path, rules: Path, view: list[str]) -> None:
    text = shown(tmp_path, "sleep 0.1; exit 0", *view, "--rules", rules, "--deny", "sleep")
    assert "refused EACCES" in text and "sleep" in text and "running" not in text


def failing(folder: Path, *options: object) -> str:
    """What is printed of a program that fails to execute `bad`."""
    shutil.copy2(os.path.realpath("/bin/true"), folder / "bad")
    RuleSet([Rule(name="bad", action="ignore")]).write_file(folder / "rules.json")
    line = [sys.executable, str(PROGRAMS / "failing.py"), "busy", str(folder / "bad")]
    output = folder / "output"
    # Without a filter for refusals a program is seen only once it has been executed.
    more = [*map(str, options), "--deny", "*/never-executed"]
    words = [*COMMAND, "run", "-o", str(output), *more, "--", *line]
    subprocess.run(words, timeout=60, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    return output.read_text()


@VIEWS
def test_an_ignored_program_that_fails_to_start(tmp_path: Path, view: list[str]) -> None:
    """It is taken back, and its process goes on as what it was."""
    assert "ETXTBSY" in failing(tmp_path, *view)
    text = failing(tmp_path, *view, "--rules", tmp_path / "rules.json")
    assert "failing.py" in text
    assert "ETXTBSY" not in text and "running" not in text


def test_an_ignored_program_that_fails_to_start_is_taken_back_in_records(tmp_path: Path) -> None:
    lines = failing(tmp_path, "--json", "--rules", tmp_path / "rules.json").splitlines()
    found = [json.loads(line) for line in lines]
    started = [record["sequence"] for record in found if record.get("image_file_name", "").endswith("/bad")]
    failed = [record["sequence"] for record in found if record["event"] == "error"]
    assert failed and set(failed) <= set(started)


def test_the_start_of_an_ignored_program_is_a_record(tmp_path: Path, rules: Path) -> None:
    text = shown(tmp_path, "sleep 0.1; exit 0", "--json", "--rules", rules)
    found = [json.loads(line) for line in text.splitlines()]
    (started,) = [record for record in found if record.get("arguments", [""])[0] == "sleep"]
    told = [record["event"] for record in found if record["process_id"] == started["process_id"]]
    assert "process_creation" in told and "process_termination" not in told


def least_seconds(*line: str) -> float:
    """The time of a command: the least of three, since the machine may have other work."""
    times = []
    for _ in range(3):
        begun_s = time.monotonic()
        subprocess.run([*COMMAND, *line], check=True, timeout=60, stderr=subprocess.DEVNULL)
        times.append(time.monotonic() - begun_s)
    return min(times)


@pytest.mark.parametrize("command", [["sleep", "0.1"], ["sh", "-c", "/bin/true; exec sleep 0.1"]], ids=len)
def test_the_end_of_an_ignored_command_is_not_awaited(
    tmp_path: Path, rules: Path, command: list[str]
) -> None:
    """It will not be told, so each such run took two seconds more."""
    plain_s = least_seconds("run", "--", *command)
    assert least_seconds("run", "--rules", str(rules), "--", *command) < plain_s + 1


def test_the_end_of_a_command_that_a_fleet_ignores_is_not_awaited(tmp_path: Path) -> None:
    """Nothing is held here, so the command may have ended before its start is read."""
    line = ("--", "sleep", "0.1")
    plain_s = least_seconds("run", "--spool", str(tmp_path / "plain"), *line)
    write_rules(tmp_path / "spool", RuleSet([SLEEP]))
    assert least_seconds("run", "--spool", str(tmp_path / "spool"), *line) < plain_s + 1


def names_of_children(process_id: int) -> list[str]:
    children = Path(f"/proc/{process_id}/task/{process_id}/children").read_text().split()
    return [Path(f"/proc/{child}/comm").read_text().strip() for child in children]


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A shell by another name that runs already, with a child that sleeps; it ends both at a line."""
    shutil.copy(os.path.realpath("/bin/sh"), tmp_path / "keeper")
    (tmp_path / "script").write_text("sleep 60 & read line; kill $!; wait; exit 0")
    line = [str(tmp_path / "keeper"), "script"]
    process = subprocess.Popen(line, cwd=tmp_path, stdin=subprocess.PIPE, start_new_session=True)
    try:
        wait_until(lambda: names_of_children(process.pid) == ["sleep"], 20, "it has its child")
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=30)


def attached(keeper: Any, folder: Path, *rules: Rule) -> tuple[str, float]:
    """The tree of the attached keeper, and the time from its end to that of the command."""
    RuleSet(rules).write_file(folder / "rules.json")
    output = folder / "output"
    output.touch()
    options = ["--tree", "-o", str(output), "--rules", str(folder / "rules.json")]
    watcher = subprocess.Popen([*COMMAND, "attach", *options, str(keeper.pid)], stderr=subprocess.PIPE)
    with watcher:
        try:
            wait_until(lambda: "attached to" in output.read_text(), 30, "it is attached to")
            keeper.stdin.write(b"\n")
            keeper.stdin.flush()
            keeper.wait(30)
            begun_s = time.monotonic()
            assert watcher.wait(30) == 0
            return output.read_text(), time.monotonic() - begun_s
        finally:
            watcher.kill()


def running(text: str) -> list[str]:
    """The lines about programs that run already."""
    return [line for line in text.splitlines() if " running " in line]


class TestAttach:
    def test_what_runs_is_shown(self, keeper: Any, tmp_path: Path) -> None:
        text, _ = attached(keeper, tmp_path)
        assert len(running(text)) == 2

    def test_an_ignored_program_that_runs_is_not(self, keeper: Any, tmp_path: Path) -> None:
        text, _ = attached(keeper, tmp_path, SLEEP)
        assert len(running(text)) == 1 and "sleep" not in text

    def test_nor_what_an_ignored_one_has_started(self, keeper: Any, tmp_path: Path) -> None:
        rule = Rule(name="keeper", action="ignore", include_children=True)
        text, seconds = attached(keeper, tmp_path, rule)
        assert running(text) == []
        # Its end is not awaited either, which took two seconds.
        assert seconds < 1.9
