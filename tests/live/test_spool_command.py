"""`cbprocess run --spool` and `cbprocess ship`, on real programs: nothing waits, and everything is there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import supervised
from live_tools import Programs, is_alive, tracer_of, wait_until

from cbprocess import Rule, records, spool
from cbprocess.fleet import following
from cbprocess.rule_files import RuleSet


def command(*line: Any, **options: Any) -> subprocess.CompletedProcess[str]:
    words = [*supervised.COMMAND_LINE, *map(str, line)]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, **options)


def spooled(root: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in spool.follow(root, stop=lambda: True)]


def events(found: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [record for record in found if record["event"] == name]


def test_the_spool_has_every_event_and_nothing_is_printed(tmp_path: Path) -> None:
    done = command("run", "--spool", tmp_path / "spool", "--", "sh", "-c", "/bin/true; echo here; exit 3")
    assert (done.returncode, done.stdout, done.stderr) == (3, "here\n", "")
    found = spooled(tmp_path / "spool")
    assert [record["number"] for record in found] == list(range(1, len(found) + 1))
    assert [record["event"] for record in found] == [
        "process_creation",
        "process_creation",
        "process_termination",
        "process_termination",
        "session_end",
    ]
    assert [record["command_line"] for record in found[:2]][1] == "/bin/true"
    assert found[1]["parent_process_id"] == found[0]["process_id"]
    assert found[1]["parent_start_time"] == found[0]["start_time"]
    assert found[3]["exit_status"] == 3
    # Nothing has waited.
    assert all("held" not in record["flags"] for record in found[:4])


def test_parents_that_have_only_forked_have_identities(tmp_path: Path) -> None:
    """Nothing waits, so that most of these creators have ended when their child's event is read."""
    script = "i=0; while [ $i -lt 60 ]; do ( ( exec /bin/true ) & ); i=$((i+1)); done; wait; sleep 0.2"
    assert command("run", "--spool", tmp_path / "spool", "--", "sh", "-c", script).returncode == 0
    found = spooled(tmp_path / "spool")
    created = events(found, "process_creation")
    assert len(created) > 60
    assert [record for record in created if record["creator_start_time"] is None] == []
    assert [record for record in created if record["parent_start_time"] is None] == []
    # What is heard for that has no record of its own.
    assert not events(found, "thread_creation")


def test_events_are_printed_where_that_is_asked_for(tmp_path: Path) -> None:
    root, output = tmp_path / "spool", tmp_path / "output"
    line = ("--json", "--events", "process", "-o", output)
    assert command("run", "--spool", root, *line, "--", "true").returncode == 0
    printed = [record["event"] for record in records.read_lines(output)]
    assert printed == ["process_creation", "process_termination"]
    assert [record["event"] for record in spooled(root)] == [*printed, "session_end"]


def test_no_operation_waits_for_a_reader(programs: Programs, tmp_path: Path) -> None:
    """Lines are printed to a pipe that nobody reads: the command ends, and the spool has what came before."""
    reading, writing = os.pipe()
    root, done = tmp_path / "spool", tmp_path / "done"
    script = f"i=0; while [ $i -lt 300 ]; do {programs['status']} 0; i=$((i+1)); done; : > {done}"
    line = ["run", "--spool", str(root), "--json", "-o", f"/proc/self/fd/{writing}", "--", "sh", "-c", script]
    child = subprocess.Popen([*supervised.COMMAND_LINE, *line], pass_fds=[writing])
    os.close(writing)
    try:
        # 300 programs print far more than a pipe holds.
        wait_until(done.exists, 60, "the command is through")
    finally:
        os.close(reading)
    assert child.wait(60) == 0
    assert len(events(spooled(root), "process_creation")) == 301


def test_rules_that_refuse_are_in_force(tmp_path: Path) -> None:
    root = tmp_path / "spool"
    done = command("run", "--spool", root, "--deny", "*/cat", "--", "sh", "-c", "cat /etc/hostname")
    assert done.returncode == 126
    refused = [record for record in events(spooled(root), "process_creation") if record["result_code"]]
    assert {record["image_file_name"].rpartition("/")[2] for record in refused} == {"cat"}
    done = command(
        "run", "--spool", root, "--deny", "*", "--allow", "/bin/sh", "--", "/bin/sh", "-c", "/bin/ls"
    )
    assert done.returncode == 126


def test_an_attached_program_follows_the_rules_of_the_fleet(tmp_path: Path) -> None:
    """`attach --spool` is a session of the fleet as `run --spool` is one."""
    root = tmp_path / "spool"
    following.write_rules(root, RuleSet([Rule(name="*/cat", action="deny")]))
    script = "read x; cat /etc/hostname; echo $?; exit 5"
    program = subprocess.Popen(
        ["sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    line = [*supervised.COMMAND_LINE, "attach", "--spool", str(root), str(program.pid)]
    with subprocess.Popen(line, stderr=subprocess.PIPE) as attached:
        try:
            wait_until(lambda: tracer_of(program.pid) or attached.poll() is not None, 20, "attached")
            time.sleep(0.3)
            said, _ = program.communicate(b"\n", timeout=30)
            attached.communicate(timeout=30)
        finally:
            program.kill()
            attached.kill()
    # It has no filter that could refuse with an error.
    assert (program.returncode, said, attached.returncode) == (5, b"137\n", 0)
    assert [record["result_code"] for record in events(spooled(root), "process_creation")] == [5]


def test_a_failed_execution_is_taken_back(tmp_path: Path) -> None:
    program = tmp_path / "bad"
    program.write_bytes(b"\x7fELF" + b"\0" * 100)
    program.chmod(0o755)
    root = tmp_path / "spool"
    command("run", "--spool", root, "--", "sh", "-c", f"{program}; exit 0")
    found = spooled(root)
    told = [record for record in events(found, "process_creation") if record["process_name"] == str(program)]
    taken_back = {record["sequence"] for record in events(found, "error") if record["sequence"]}
    assert {record["sequence"] for record in told} <= taken_back


@pytest.mark.parametrize("options", [[], ["--json", "-o", "/dev/null"]], ids=["alone", "beside_json"])
def test_who_goes_on_unsupervised_is_in_the_spool(tmp_path: Path, options: list[str]) -> None:
    """It was printed by --json alone, so that a fleet did not hear of it."""
    root = tmp_path / "spool"
    script = f"mkfifo {tmp_path}/go; (read line <{tmp_path}/go) >/dev/null 2>&1 & exit 3"
    assert command("run", "--spool", root, *options, "--", "sh", "-c", script).returncode == 3
    found = spooled(root)
    told, end = found[-2:]
    assert (told["event"], end["event"]) == ("unsupervised", "session_end")
    (process_id,) = told["process_ids"]
    assert is_alive(process_id)
    assert process_id not in [record["process_id"] for record in events(found, "process_termination")]
    (tmp_path / "go").write_text("")
    # Everything that reads a spool takes it.
    sink = tmp_path / "shipped"
    assert command("ship", root, f"file:{sink}", "--once").returncode == 0
    assert [record["event"] for record in records.read_lines(sink)][-2:] == ["unsupervised", "session_end"]
    for form in ("cbprocess", "ecs", "ocsf", "otel"):
        converted = command("convert", sink, "--format", form)
        assert converted.returncode == 0 and str(process_id) in converted.stdout.splitlines()[-2]


def test_nobody_left_is_nothing_to_tell_in_the_spool(tmp_path: Path) -> None:
    root = tmp_path / "spool"
    command("run", "--spool", root, "--", "sh", "-c", "true & wait; exit 3")
    assert not events(spooled(root), "unsupervised")


def test_who_is_attached_to_and_leaves_others_behind(tmp_path: Path) -> None:
    root = tmp_path / "spool"
    script = f"mkfifo {tmp_path}/go; read x; (read line <{tmp_path}/go) >/dev/null 2>&1 & exit 0"
    program = subprocess.Popen(["sh", "-c", script], stdin=subprocess.PIPE, start_new_session=True)
    line = [*supervised.COMMAND_LINE, "attach", "--spool", str(root), str(program.pid)]
    with subprocess.Popen(line, stderr=subprocess.DEVNULL) as attached:
        try:
            wait_until(lambda: tracer_of(program.pid) or attached.poll() is not None, 20, "attached")
            time.sleep(0.3)
            program.communicate(b"\n", timeout=30)
            assert attached.wait(30) == 0
        finally:
            program.kill()
            attached.kill()
    (told,) = events(spooled(root), "unsupervised")
    assert [is_alive(process_id) for process_id in told["process_ids"]] == [True]
    (tmp_path / "go").write_text("")


def test_what_is_hidden_and_what_is_added(tmp_path: Path) -> None:
    root = tmp_path / "spool"
    # It does not wait for the spool, so it has to live until somebody looks at its folder.
    words = ("sh", "-c", "sleep 1; exit 0", "--password=geheim")
    line = ("run", "--spool", root, "--redact", "--enrich", "cwd", "--", *words)
    assert command(*line, cwd=tmp_path).returncode == 0
    assert not any(b"geheim" in path.read_bytes() for path in root.rglob("*.jsonl"))
    created = events(spooled(root), "process_creation")[0]
    assert created["arguments"][3].startswith("--password=")
    assert created["working_directory"] == str(tmp_path)


def test_only_what_is_chosen(tmp_path: Path) -> None:
    root = tmp_path / "spool"
    script = "/bin/true; sh -c '/bin/ls / >/dev/null; exit 0'"
    command("run", "--spool", root, "--name", "*/ls", "--", "sh", "-c", script)
    names = {
        record["process_name"].rpartition("/")[2] for record in events(spooled(root), "process_creation")
    }
    assert names == {"ls"}


def test_many_commands_share_a_spool(tmp_path: Path) -> None:
    root = tmp_path / "spool"
    words = [*supervised.COMMAND_LINE, "run", "--spool", str(root), "--", "sh", "-c", "true; true; exit 0"]
    children = [subprocess.Popen(words) for _ in range(4)]
    assert [child.wait(60) for child in children] == [0] * 4
    found = spooled(root)
    assert len({record["session"] for record in found}) == 4
    for session in {record["session"] for record in found}:
        numbers = [record["number"] for record in found if record["session"] == session]
        assert numbers == list(range(1, len(numbers) + 1))


def test_a_killed_command_leaves_whole_lines(programs: Programs, tmp_path: Path) -> None:
    root = tmp_path / "spool"
    # It outlives the command that watched it, and ends then.
    going = tmp_path / "going"
    going.touch()
    script = f"while [ -e {going} ]; do {programs['status']} 0; done"
    words = [*supervised.COMMAND_LINE, "run", "--spool", str(root), "--", "sh", "-c", script]
    child = subprocess.Popen(words)
    wait_until(lambda: len(spooled(root)) > 50, 30, "events are there")
    child.send_signal(signal.SIGKILL)
    child.wait(20)
    going.unlink()
    sink = tmp_path / "shipped"
    done = command("ship", root, f"file:{sink}", "--once")
    assert (done.returncode, done.stderr) == (0, "")
    found = list(records.read_lines(sink))
    assert [record["number"] for record in found] == list(range(1, len(found) + 1))
    assert [record.get("reason") for record in found[-2:]] == ["killed", None]


class TestShip:
    def test_it_ships_beside_the_command_until_a_signal(self, tmp_path: Path) -> None:
        root, sink = tmp_path / "spool", tmp_path / "shipped"
        shipper = subprocess.Popen([*supervised.COMMAND_LINE, "ship", str(root), f"file:{sink}"])
        wait_until(root.exists, 20, "it has begun")
        for _ in range(2):
            command("run", "--spool", root, "--", "sh", "-c", "true; exit 0")
        wait_until(lambda: not spool.sessions(root), 20, "everything is shipped")
        assert command("ship", root, f"file:{sink}").returncode == 125  # one shipper
        shipper.send_signal(signal.SIGTERM)
        assert shipper.wait(10) == 0
        found = list(records.read_lines(sink))
        assert len(events(found, "session_end")) == 2

    def test_what_stays_is_told(self, tmp_path: Path) -> None:
        root = tmp_path / "spool"
        command("run", "--spool", root, "--", "true")
        began = time.monotonic()
        done = command("ship", root, "otlp+http://127.0.0.1:1", "--once", "--seconds", "0.5")
        assert time.monotonic() - began < 20
        assert done.returncode == 125 and "stay" in done.stderr and "Traceback" not in done.stderr
        assert len(spool.sessions(root)) == 1

    @pytest.mark.parametrize("url", ["nowhere:x", "kafka://h", "file:/"])
    def test_a_wrong_place(self, tmp_path: Path, url: str) -> None:
        done = command("ship", tmp_path / "spool", url)
        assert done.returncode == 125 and url.partition(":")[0] in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "line",
    [["--spool-limit", "1"], ["--spool-limit", "9X"], ["--spool-limit", ""], ["--spool"]],
)
def test_wrong_options(tmp_path: Path, line: list[str]) -> None:
    done = command("run", *line, "--", "true")
    assert done.returncode == 2 and "--spool" in done.stderr


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = command("run", "--spool", tmp_path / "file", "--", "touch", tmp_path / "ran")
    assert done.returncode == 125 and "file" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "ran").exists()
