"""An execution that the system refuses although it was allowed is taken back; one that is bound to fail fires
nothing. The program itself says which of its calls failed (tests/programs/failing.py)."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from live_tools import GUID, PROGRAMS, Recorder, recording, wait_until

import cbprocess
from cbprocess import aio
from cbprocess.recording import Recording


@pytest.fixture(params=["program", "script"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    path = tmp_path / "target"
    if request.param == "program":
        shutil.copy2(os.path.realpath("/bin/true"), path)
    else:
        path.write_text("#!/bin/sh -e\nexit 0\n")
        path.chmod(0o755)
    return str(path)


class TakenBack(Recorder):
    def __init__(self) -> None:
        super().__init__()
        self.sequences: list[int] = []
        self.codes: list[int] = []
        self.filter.on_error = self._heard

    def _heard(self, error: Any) -> None:
        if error.sequence:
            self.sequences.append(error.sequence)
            assert error.error_code == cbprocess.ERROR_GEN_FAILURE
            assert f"event {error.sequence} " in error.description
            self.codes.append(error.os_error)
        self.errors.append((error.error_code, error.description))


def run(recorder: Recorder, way: str, target: str) -> tuple[list[int], subprocess.Popen[str]]:
    """What the calls gave. The program goes on until its input ends."""
    line = [sys.executable, str(PROGRAMS / "failing.py"), way, target]
    child = recorder.filter.popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    try:
        found = [json.loads(text) for text in iter(child.stdout.readline, '"done"\n') if text]
    except BaseException:
        child.kill()
        child.wait(60)
        raise
    return found, child


def finish(child: subprocess.Popen[str]) -> None:
    with child:
        assert child.stdin is not None
        child.stdin.close()
        assert child.wait(60) == 0


@pytest.mark.parametrize(("way", "code"), [("busy", errno.ETXTBSY), ("environment", errno.E2BIG)])
def test_it_is_taken_back(way: str, code: int, target: str, recorder_of_failures: TakenBack) -> None:
    recorder = recorder_of_failures
    found, child = run(recorder, way, target)
    try:
        failed = found.count(code)
        assert failed > 0 and set(found) <= {0, code}
        # While the program that has failed goes on.
        wait_until(lambda: len(recorder.sequences) == failed, 60, "all failures are told")
        assert child.poll() is None
    finally:
        finish(child)
    wait_until(lambda: not recorder.filter.statistics().queued, 60, "all is told")
    told = [event for event in recorder.of("process_creation") if event["image_file_name"] == target]
    assert recorder.filter.statistics().failed_after == failed == len(set(recorder.sequences))
    assert set(recorder.sequences) <= {event["sequence"] for event in told}
    assert len(told) - failed == found.count(0)
    assert set(recorder.codes) == {code}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user, who has too many processes")
def test_too_many_processes(recorder_of_failures: TakenBack) -> None:
    recorder = recorder_of_failures
    target = os.path.realpath("/bin/true")
    line = [sys.executable, str(PROGRAMS / "failing.py"), "processes", target]
    bare = subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    if bare.stdout.splitlines()[:1] != [str(errno.EAGAIN)]:
        pytest.skip("the system lets nobody become another user here, or does not count the processes of one")
    found, child = run(recorder, "processes", target)
    try:
        assert found == [errno.EAGAIN]
        wait_until(lambda: recorder.codes == [errno.EAGAIN], 60, "the failure is told")
    finally:
        finish(child)
    (told,) = [event for event in recorder.of("process_creation") if event["image_file_name"] == target]
    assert recorder.sequences == [told["sequence"]]


@pytest.mark.parametrize("way", ["argument", "sum"])
def test_what_is_bound_to_fail_fires_nothing(way: str, target: str, recorder_of_failures: TakenBack) -> None:
    recorder = recorder_of_failures
    found, child = run(recorder, way, target)
    finish(child)
    wait_until(lambda: not recorder.filter.statistics().queued, 60, "all is told")
    told = [event for event in recorder.of("process_creation") if event["image_file_name"] == target]
    assert found.count(errno.E2BIG) > 0 and set(found) == {0, errno.E2BIG}
    assert (len(told), recorder.sequences) == (found.count(0), [])


@pytest.fixture
def recorder_of_failures(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr("live_tools.Recorder", TakenBack)
    with recording("RefuseWith=errno", events=cbprocess.PROC_EVT_PROCESS_CREATION) as recorder:
        yield recorder


def test_it_is_told_before_what_comes_next(tmp_path: Path) -> None:
    """So that whoever follows the events knows at each of them what runs."""
    target = tmp_path / "target"
    shutil.copy2(os.path.realpath("/bin/true"), target)
    rows: list[tuple[str, int]] = []
    with recording("RefuseWith=errno", "SerializeEvents=1") as recorder:
        recorder.decide = lambda name, event: rows.append((name, event.process_id))
        recorder.filter.on_error = lambda error: rows.append(("failed", error.sequence))
        _, child = run(recorder, "busy", str(target))
        finish(child)
        wait_until(lambda: ("process_termination", child.pid) in rows, 60, "the end is told")
    failed = [at for at, row in enumerate(rows) if row[0] == "failed"]
    assert len(failed) == 2
    for at in failed:
        # The event that is taken back stands right before it, but for those of the same execution.
        before = [name for name, _ in rows[:at] if name != "thread_creation"]
        assert before[-1] == "process_creation", rows


@pytest.fixture
def command_output(tmp_path: Path) -> dict[str, Any]:
    """What the command prints of a program that cannot execute a busy file, in each of its ways."""
    target = tmp_path / "busy-target"
    shutil.copy2(os.path.realpath("/bin/true"), target)
    program = [sys.executable, str(PROGRAMS / "failing.py"), "busy", str(target)]
    found: dict[str, Any] = {"target": str(target)}
    for way, options in {"text": ["--summary", "--tree"], "json": ["--json", "--summary"]}.items():
        line = [sys.executable, "-m", "cbprocess", "run", "-o", str(tmp_path / way), *options]
        line += ["--deny", "*/never-executed"]  # else a program is seen only once it has been executed
        pictures = ["--trace", str(tmp_path / "trace"), "--timeline", str(tmp_path / "timeline")]
        done = subprocess.run(
            [*line, *pictures, "--", *program], stdin=subprocess.DEVNULL, capture_output=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        found[way] = (tmp_path / way).read_text()
    found["trace"] = json.loads((tmp_path / "trace").read_text())
    found["timeline"] = (tmp_path / "timeline").read_text()
    return found


def test_the_command_counts_no_such_run(command_output: dict[str, Any]) -> None:
    target = command_output["target"]
    lines = command_output["text"].splitlines()
    told = [line for line in lines if target in line and "failing.py" not in line]
    assert told and all("failed ETXTBSY" in line for line in told), told
    rows = [json.loads(line) for line in command_output["json"].splitlines()]
    (summary,) = [row for row in rows if row["event"] == "summary"]
    events = [row for row in rows if row["event"] == "process_creation"]
    taken_back = {row["sequence"] for row in rows if row["event"] == "error" and row["os_error"]}
    assert len(taken_back) == 2
    happened = [row for row in events if row["sequence"] not in taken_back]
    assert summary["counts"]["process_creation"] == len(happened)
    assert sum(program["runs"] for program in summary["programs"]) == len(happened)
    assert target not in {program["program"] for program in summary["programs"]}
    assert not any(target in process["programs"] for process in summary["processes"])
    assert not any("busy-target" in record["name"] for record in command_output["trace"]["traceEvents"])
    assert json.dumps(target)[:-1] + '",' not in command_output["timeline"].replace("failing.py", "")


def test_a_thread_that_is_told_with_it_is_not_taken_back(tmp_path: Path) -> None:
    """Without creations wanted nothing has told of the execution."""
    target = tmp_path / "target"
    shutil.copy2(os.path.realpath("/bin/true"), target)
    heard: list[int] = []
    with recording("RefuseWith=errno", events=cbprocess.PROC_EVT_THREAD_CREATION) as recorder:
        recorder.filter.on_error = lambda error: heard.append(error.sequence)
        recorder.filter.add_rule(name="*/never-executed", action="deny")
        found, child = run(recorder, "spawned", str(target))
        finish(child)
        assert recorder.filter.statistics().failed_after == 0
        wait_until(lambda: recorder.of("thread_creation")[1:], 60, "the child's thread is told")
    assert (found, heard) == ([errno.ETXTBSY], [])


def records_of_command(output: Path, target: Path, *options: str) -> list[dict[str, Any]]:
    """What the command tells in JSON of a program that tries to execute a busy file, and goes on."""
    program = [sys.executable, str(PROGRAMS / "failing.py"), "busy", str(target)]
    line = [sys.executable, "-m", "cbprocess", "run", "--json", "--summary", "-o", str(output), *options]
    line += ["--deny", "*/never-executed", "--", *program]
    subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, timeout=120, check=True)
    return [json.loads(text) for text in output.read_text().splitlines()]


def test_what_is_ignored_is_not_taken_back_for_anybody_to_see(tmp_path: Path) -> None:
    """The program is shown again, since it has not become what is ignored."""
    target = tmp_path / "busy-target"
    shutil.copy2(os.path.realpath("/bin/true"), target)
    *told, summary = records_of_command(tmp_path / "output", target, "--ignore", str(target))
    assert not [record for record in told if record["event"] == "error"]
    assert not [record for record in told if record.get("image_file_name") == str(target)]
    (creation,) = [record for record in told if record["event"] == "process_creation"]
    ends = {record["process_id"]: record for record in told if record["event"] == "process_termination"}
    # The child that has failed ends as what it was, and so does the program itself.
    assert len(ends) == 2 and ends[creation["process_id"]]["exit_status"] == 0
    processes = {process["process_id"]: process for process in summary["processes"]}
    assert set(processes) == set(ends)
    assert all(process["exit_status"] == 0 for process in processes.values())


def test_what_is_shown_for_its_name_is_taken_back(tmp_path: Path) -> None:
    """Nobody else is shown, and nobody has run it."""
    target = tmp_path / "busy-target"
    shutil.copy2(os.path.realpath("/bin/true"), target)
    *told, summary = records_of_command(tmp_path / "output", target, "--name", str(target))
    created = [record["sequence"] for record in told if record["event"] == "process_creation"]
    taken_back = [record["sequence"] for record in told if record["event"] == "error"]
    assert len(created) == 2 and created == taken_back
    assert len(told) == 4, told
    assert (summary["processes"], summary["programs"]) == ([], [])


def test_lines_and_pictures_of_a_choice(tmp_path: Path) -> None:
    """Lines wait until it is sure that a process goes on as what is ignored."""
    target = tmp_path / "busy-target"
    shutil.copy2(os.path.realpath("/bin/true"), target)
    program = [sys.executable, str(PROGRAMS / "failing.py"), "busy", str(target)]
    for options, is_shown in ((["--ignore", str(target)], True), (["--name", str(target)], False)):
        line = [sys.executable, "-m", "cbprocess", "run", "-o", str(tmp_path / "output"), *options]
        line += ["--timeline", str(tmp_path / "page"), "--trace", str(tmp_path / "trace")]
        line += ["--deny", "*/never-executed", "--", *program]
        subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, timeout=120, check=True)
        text = (tmp_path / "output").read_text()
        assert "executed another" not in text and "error" not in text
        assert text.count("failed ETXTBSY") == (0 if is_shown else 2)
        page = (tmp_path / "page").read_text()
        rows = json.JSONDecoder().raw_decode(page, page.index("const data = ") + len("const data = "))[0]
        ids = {row["pid"] for row in rows["rows"]}
        records = json.loads((tmp_path / "trace").read_text())["traceEvents"]
        assert len(ids) == (2 if is_shown else 0)
        assert ids == {record["pid"] for record in records}
        assert all(row["status"] != "still running" for row in rows["rows"])


# ---- Iterators ----


def test_an_iterator_counts_no_such_run(target: str, tmp_path: Path) -> None:
    """The event that the loop has had says so afterwards; the program that has failed goes on."""
    line = [sys.executable, str(PROGRAMS / "failing.py"), "busy", target]
    creation = cbprocess.PROC_EVT_PROCESS_CREATION
    with cbprocess.monitor(line, events=creation, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as source:
        seen = list(source)
        assert source.process is not None and source.process.stdout is not None
        source.process.stdout.close()
    failed = [event for event in seen if event.outcome is cbprocess.Outcome.FAILED]
    ran = [event for event in seen if event.outcome is not cbprocess.Outcome.FAILED]
    assert {event.os_error for event in failed} == {errno.ETXTBSY}
    assert source.filter.statistics().failed_after == len(failed) == 2
    assert {event.image_file_name for event in failed} == {target}
    assert ran and {event.os_error for event in ran} == {None}
    assert all(event.image_file_name != target for event in ran)


def test_a_loop_of_coroutines_counts_no_such_run(target: str) -> None:
    async def main() -> list[tuple[cbprocess.Outcome, int | None]]:
        line = [sys.executable, str(PROGRAMS / "failing.py"), "busy", target]
        creation = cbprocess.PROC_EVT_PROCESS_CREATION
        source = aio.monitor(line, events=creation, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        seen = [event async for event in source]
        return [(event.outcome, event.os_error) for event in seen]

    assert asyncio.run(main()).count((cbprocess.Outcome.FAILED, errno.ETXTBSY)) == 2


def test_what_nobody_has_taken_yet_is_not_queued_any_more(target: str) -> None:
    """A rule that allows decides at once: the run has failed before the loop comes to its event."""
    told: list[int] = []
    instance = cbprocess.CBProcess()
    instance.initialize(GUID)
    instance.on_error = lambda error: told.append(error.sequence)
    line = [sys.executable, str(PROGRAMS / "failing.py"), "busy", target]
    creation = cbprocess.PROC_EVT_PROCESS_CREATION
    for name in ("*", "/*"):
        instance.add_rule(name=name, action="allow")
    source = cbprocess.monitor(
        line, process=instance, events=creation, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    with source:
        stream = iter(source)
        first = next(stream)
        wait_until(lambda: len(told) == 2, 60, "both are taken back")
        rest = list(stream)
    assert first.outcome is not cbprocess.Outcome.FAILED
    assert [event.image_file_name for event in rest if event.image_file_name == target] == []


# ---- Recordings ----


def test_a_recording_has_it_and_a_replay_takes_it_back(target: str, tmp_path: Path) -> None:
    path, lines, again = (tmp_path / name for name in ("recording", "lines", "again"))
    command = [sys.executable, "-m", "cbprocess"]
    program = [sys.executable, str(PROGRAMS / "failing.py"), "busy", target]
    line = [*command, "run", "--record", str(path), "-o", str(lines), "--deny", "*/never-executed"]
    done = subprocess.run([*line, "--", *program], stdin=subprocess.DEVNULL, capture_output=True, timeout=100)
    assert done.returncode == 0 and lines.read_text().count("failed ETXTBSY") == 2
    failed = [recorded for recorded in Recording(path) if recorded.os_error is not None]
    assert [recorded.os_error for recorded in failed] == [errno.ETXTBSY] * 2
    assert {recorded.event.image_file_name for recorded in failed} == {target}
    line = [*command, "replay", str(path), "-o", str(again)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert again.read_text().count("failed ETXTBSY") == 2
