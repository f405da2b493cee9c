"""Recordings of real trees: a parallel build is recorded, and replayed through handlers and by `replay`.

What the recording has to agree with is what `run --json` printed of the same tree."""

from __future__ import annotations

import json
import shlex
import shutil
import signal
import subprocess
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import supervised
from compilers import c_compiler
from live_tools import wait_until

import cbprocess
from cbprocess import CBProcess, CBProcessError, EventFlag, constants
from cbprocess.recording import Recording

GUID = "{5ABD3A8B-6A3F-4C52-9F0C-5E1F0A1C7D11}"
# A time, or a place in the order of one run.
VOLATILE = {"sequence", "time", "time_ns"}
# What the driver made of it, which a rule's decision in the replay can change.
DECIDED = {"flags", "result_code"}
# Whose stream it is, and what was read beside the event: nobody can read that of a recording.
OF_THE_STREAM = {"host", "boot", "session", "number", "parent_start_time", "creator_start_time"}


def cbprocess_command(*line: Any, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [*supervised.COMMAND_LINE, *map(str, line)]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, **options)


def events_in(path: Path) -> list[dict[str, Any]]:
    records = map(json.loads, path.read_text().splitlines())
    return [record for record in records if record["event"] != "error"]


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """A recording of a parallel build, and the events that were printed of it. One step of it is refused."""
    if shutil.which("make") is None:
        pytest.skip("this machine has no make for a build")
    compiler = shlex.join(c_compiler())
    folder = tmp_path_factory.mktemp("build")
    names = [f"part{number}" for number in range(8)]
    for name in names:
        (folder / f"{name}.c").write_text(f"int {name}(void) {{ return 1; }}\n")
    (folder / "Makefile").write_text(
        f"all: {' '.join(f'{name}.o' for name in names)} touched\n\techo done\n"
        f"%.o: %.c\n\t{compiler} -c -o $@ $<\n"
        "touched:\n\t-dd if=/dev/null of=touched\n"
    )
    recording, printed = folder / "build.cbpr", folder / "build.json"
    options = ["--record", recording, "--json", "--output", printed, "--deny", "dd"]
    done = cbprocess_command("run", *options, "--", "make", "-j4", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert len(list(folder.glob("*.o"))) == 8
    assert not (folder / "touched").exists()
    return recording, events_in(printed)


def without(record: dict[str, Any], names: set[str]) -> str:
    return json.dumps({key: value for key, value in record.items() if key not in names}, sort_keys=True)


def by_process(records: list[dict[str, Any]], names: set[str]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = defaultdict(list)
    for record in records:
        found[record["process_id"]].append(without(record, names))
    return found


def test_the_recording_is_complete(build: tuple[Path, list[dict[str, Any]]]) -> None:
    path, printed = build
    recording = Recording(path)
    assert recording.trouble is None
    assert recording.driver == "ptrace"
    assert path.stat().st_mode & 0o777 == 0o600
    sequences = [item.event.sequence for item in recording]
    assert sequences == list(range(1, len(sequences) + 1)) == [record["sequence"] for record in printed]
    assert len(printed) > 100
    for item, record in zip(recording, printed):
        for name in ("process_id", "user_id", "result_code"):
            assert getattr(item.event, name) == record[name]
        for name in ("time_ns", "start_time"):
            assert str(getattr(item.event, name)) == record[name]
        assert [flag.name.lower() for flag in EventFlag if flag & item.event.flags] == record["flags"]
        assert item.verdict is not None
        assert item.verdict.state == ("answered" if item.event.held else "unasked")
        assert item.verdict.result_code == record["result_code"]
    refused = [item for item in recording if item.verdict is not None and item.verdict.result_code]
    assert refused
    assert all(item.verdict is not None and item.verdict.decided_by_rule for item in refused)


def test_the_command_line_replays_what_it_printed(
    build: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    path, printed = build
    again = tmp_path / "again.json"
    done = cbprocess_command("replay", path, "--json", "--output", again)
    assert (done.returncode, done.stderr) == (0, "")
    replayed = events_in(again)
    assert [without(record, OF_THE_STREAM) for record in replayed] == [
        without(record, OF_THE_STREAM) for record in printed
    ]


def test_handlers_get_the_same_events_in_each_processs_order(
    build: tuple[Path, list[dict[str, Any]]],
) -> None:
    """With many workers, and a handler that decides anew."""
    path, printed = build
    process = CBProcess()
    process.initialize(GUID)
    seen: list[tuple[int, tuple[int, int, str]]] = []
    refused: list[int] = []

    def handler(name: str) -> Any:
        def handle(event: Any) -> None:
            # Several workers: what nobody waits for may be handled in another order than it is sent.
            seen.append((event.sequence, (event.process_id, event.start_time, name)))
            if name == "process_creation" and event.process_name.endswith("/cc1"):
                event.result_code = 5
                if not event.decided_by_rule:
                    refused.append(event.process_id)
            time.sleep(0.0005)

        return handle

    for name in ("process_creation", "process_termination", "thread_creation", "thread_termination"):
        setattr(process, f"on_{name}", handler(name))
    process.add_filtered_process_by_id(-1, True)
    for setting in ("Driver=simulated", f"Script={path}", "EventsToFire=-1", "MinWorkerThreadCount=4"):
        process.config(setting)
    with process:
        process.start_filter(0)
        session = process._ready()
        session.library.cbp_script_wait(session.pointer, 60000)
        counts = process.statistics()
    assert counts.delivered == len(printed) == len(seen)
    assert refused
    recorded_refusals = sum(1 for record in printed if record["result_code"])
    assert counts.refused == len(refused) + recorded_refusals
    wanted: dict[int, list[tuple[int, int, str]]] = defaultdict(list)
    got: dict[int, list[tuple[int, int, str]]] = defaultdict(list)
    for record in printed:
        wanted[record["process_id"]].append(
            (record["process_id"], int(record["start_time"]), record["event"])
        )
    for _, row in sorted(seen):
        got[row[0]].append(row)
    assert got == wanted


def test_rules_of_the_replay_decide_too(build: tuple[Path, list[dict[str, Any]]], tmp_path: Path) -> None:
    path, printed = build
    again = tmp_path / "again.json"
    done = cbprocess_command("replay", path, "--json", "--output", again, "--deny", "cc1", "--deny", "as")
    assert done.returncode == 0, done.stderr
    replayed = events_in(again)
    left_out = VOLATILE | DECIDED | OF_THE_STREAM
    assert by_process(replayed, left_out) == by_process(printed, left_out)
    for record in replayed:
        if record["event"] == "process_creation":
            name = record["process_name"].rpartition("/")[2]
            given = record["image_file_name"].rpartition("/")[2]
            assert (record["result_code"] == 5) == bool({name, given} & {"cc1", "as", "dd"})


def test_names_and_events_choose(build: tuple[Path, list[dict[str, Any]]], tmp_path: Path) -> None:
    path, printed = build
    again = tmp_path / "again.json"
    options = ["--name", "as", "--no-children", "--events", "process_creation", "--json", "--output", again]
    assert cbprocess_command("replay", path, *options).returncode == 0
    wanted = [
        record["process_id"]
        for record in printed
        if record["event"] == "process_creation"
        and "as" in (record["process_name"].rpartition("/")[2], record["image_file_name"].rpartition("/")[2])
    ]
    assert wanted
    assert [record["process_id"] for record in events_in(again)] == wanted


def test_a_summary_of_a_recording(build: tuple[Path, list[dict[str, Any]]]) -> None:
    path, printed = build
    done = cbprocess_command("replay", path, "--summary", "--events", "process_creation")
    assert done.returncode == 0
    assert "processes\n" in done.stderr
    assert "still running" not in done.stderr
    roots = [line for line in done.stderr.splitlines() if line.startswith("  ") and "make -j4" in line]
    assert any(f"{printed[0]['process_id']} make -j4" in line for line in roots)


def test_a_cut_recording_says_where(build: tuple[Path, list[dict[str, Any]]], tmp_path: Path) -> None:
    path, _ = build
    cut, again = tmp_path / "cut", tmp_path / "again.json"
    cut.write_bytes(path.read_bytes()[:20000])
    done = cbprocess_command("replay", cut, "--json", "--output", again)
    assert done.returncode == 125
    assert f"{cut}: offset " in done.stderr
    assert events_in(again)


def test_as_recorded_takes_as_long(tmp_path: Path) -> None:
    path = tmp_path / "recording"
    script = "sleep 0.4; true; sleep 0.4; true"
    assert cbprocess_command("run", "--record", path, "--output", "/dev/null", "--", "sh", "-c", script)
    started = time.monotonic()
    assert cbprocess_command("replay", path, "--speed", "recorded").returncode == 0
    slow = time.monotonic() - started
    started = time.monotonic()
    assert cbprocess_command("replay", path).returncode == 0
    assert 0.8 < slow < 30
    assert time.monotonic() - started < slow


def test_a_recorder_that_is_killed_leaves_what_it_had(tmp_path: Path) -> None:
    path = tmp_path / "recording"
    command = [*supervised.COMMAND_LINE, "run", "--record", str(path), "--output", "/dev/null", "--"]
    child = subprocess.Popen([*command, "sh", "-c", "for i in 1 2 3; do true | cat; done; read x"], stdin=-1)
    try:

        def is_flushed() -> bool:
            try:
                return len(Recording(path)) > 10
            except (CBProcessError, OSError):
                return False

        wait_until(is_flushed, 30, "more than ten events in the file")
        child.send_signal(signal.SIGKILL)
        child.wait(30)
        recording = Recording(path)
        assert recording.trouble is not None
        assert recording.trouble.code == constants.ERROR_INVALID_DATA
        assert len(recording) > 10
    finally:
        child.kill()
        child.wait()
        if child.stdin is not None:
            child.stdin.close()


def test_wrong_files(tmp_path: Path) -> None:
    for path, text in (
        (tmp_path / "missing", "No such file"),
        (tmp_path, "Is a directory"),
        (Path("/etc/passwd"), "offset 0: this is no recording"),
        (Path("/dev/null"), "offset 0: the file is empty"),
    ):
        done = cbprocess_command("replay", path)
        assert done.returncode == 125
        assert text in done.stderr
        assert "Traceback" not in done.stderr
    done = cbprocess_command("run", "--record", tmp_path / "no" / "folder", "--", "true")
    assert done.returncode == 125
    assert "No such file" in done.stderr
    assert cbprocess.probe_driver("simulated").runs
