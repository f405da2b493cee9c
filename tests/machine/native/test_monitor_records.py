"""What `cbprocess monitor` makes of the whole machine for others: a spool and its shipping, records of other
formats, the tree of processes; and a rule file that is read again while it runs. It only looks."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import uuid
from pathlib import Path
from typing import Any

import pytest
from machine.native.monitor_tools import (
    Starting,
    command,
    read_again,
    read_lines,
    run_marked,
    run_marked_shells,
    write_rules,
)
from machine.native.monitor_tools import monitor as monitor
from machine.native.monitor_tools import program as program

CREATION, TERMINATION = "process_creation", "process_termination"
FORMATS = ("ecs", "ocsf", "otel")


def own_start_time() -> str:
    """As /proc has it."""
    return Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]


# ---- A rule file ----


def test_a_rule_file_is_read_again_at_sighup(monitor: Starting, program: Path, tmp_path: Path) -> None:
    """The end of an ignored program is not told; its start is its creator's operation."""
    path = tmp_path / "rules.json"
    write_rules(path, {"name": program.name, "action": "ignore"})
    watching = monitor("--rules", str(path))
    marks = [run_marked(str(program))]
    watching.wait_for(run_marked())
    write_rules(path)
    read_again(watching, "1 removed (ignore program-of-the-rules)")
    marks.append(run_marked(str(program)))
    watching.wait_for(run_marked())
    path.write_text("{")
    read_again(watching, "the rules stay as they are")
    marks.append(run_marked(str(program)))
    watching.wait_for(run_marked())
    assert watching.stop() == 0
    events = watching.events()
    created = {
        event["arguments"][1]: (event["process_id"], event["start_time"])
        for event in events
        if event["event"] == CREATION and event["arguments"][:1] == [str(program)]
    }
    ended = {(event["process_id"], event["start_time"]) for event in events if event["event"] == TERMINATION}
    assert [created[mark] in ended for mark in marks] == [False, True, True]
    assert not any("held" in event["flags"] for event in events)


def test_nothing_is_watched_with_a_wrong_rule_file(tmp_path: Path) -> None:
    done = command("monitor", "--rules", str(tmp_path / "none.json"))
    assert done.returncode == 125 and "No such file or directory" in done.stderr
    assert done.stderr.count("\n") == 1 and done.stdout == ""


# ---- A spool ----


def test_a_spool_of_the_whole_machine(monitor: Starting, tmp_path: Path) -> None:
    """Each of many processes is in it with its start and its end, the numbers have no gap, and what is
    shipped is what was spooled."""
    watching = monitor(style=("--spool",))
    marks = run_marked_shells(100)
    watching.wait_for(marks[-1])
    watching.wait_for(run_marked())
    assert watching.stop() == 0
    assert watching.errors.read_text() == "" and not watching.output.exists()
    text = watching.text()
    events = read_lines(text)
    assert [event["number"] for event in events] == list(range(1, len(events) + 1))
    assert events[-1]["event"] == "session_end" and events[-1]["last_number"] == len(events)
    created = {event["arguments"][3]: event for event in events if is_marked(event)}
    assert set(marks) <= set(created)
    ends = {(e["process_id"], e["start_time"]): e for e in events if e["event"] == TERMINATION}
    for number, mark in enumerate(marks):
        event = created[mark]
        assert event["creating_process_id"] == os.getpid()
        assert event["creator_start_time"] == own_start_time()
        assert ends[event["process_id"], event["start_time"]]["exit_status"] == number
    shipped = tmp_path / "shipped.jsonl"
    done = command("ship", str(watching.spool), f"file:{shipped}", "--once")
    assert (done.returncode, done.stderr) == (0, "")
    assert shipped.read_text() == text
    assert not list(watching.spool.glob("*/*.jsonl"))


def is_marked(event: dict[str, Any]) -> bool:
    return event["event"] == CREATION and len(event["arguments"]) == 4


# ---- Formats ----


def starts_of(kind: str, document: dict[str, Any]) -> list[Any]:
    """Whose start the document tells of, as process id and command line."""
    if kind == "ecs":
        process = document["process"]
        return [process["pid"], process["command_line"]] if document["event"]["action"] == "exec" else []
    if kind == "ocsf":
        process = document["process"]
        return [process["pid"], process["cmd_line"]] if document.get("activity_name") == "Launch" else []
    (record,) = document["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
    values = {row["key"]: row["value"] for row in record["attributes"]}
    if record["eventName"] != "cbprocess.process_creation":
        return []
    words = [word["stringValue"] for word in values["process.command_args"]["arrayValue"]["values"]]
    return [int(values["process.pid"]["intValue"]), shlex.join(words)]


def test_the_whole_machine_in_other_formats(monitor: Starting, tmp_path: Path) -> None:
    """Whatever its processes are, there is one document for each record."""
    watching = monitor()
    mark = uuid.uuid4().hex
    child = subprocess.Popen(["/bin/sh", "-c", "exit 3", mark])
    child.wait()
    watching.wait_for(mark)
    assert watching.stop() == 0
    records = len(watching.events())
    for kind in FORMATS:
        output = tmp_path / kind
        done = command("convert", str(watching.output), "--format", kind, "-o", str(output))
        assert (done.returncode, done.stderr) == (0, "")
        documents = read_lines(output.read_text())
        assert len(documents) == records
        starts = [starts_of(kind, document) for document in documents]
        assert starts.count([child.pid, f"/bin/sh -c 'exit 3' {mark}"]) == 1, kind


def test_formats_while_it_runs(monitor: Starting, program: Path) -> None:
    """Of one program alone: three monitors of everything at a time would be too much for a busy machine."""
    watching = {
        kind: monitor("--format", kind, "--name", program.name, waits=False, style=()) for kind in FORMATS
    }
    for each in watching.values():
        each.wait_for_start(str(program))
    mark = uuid.uuid4().hex
    child = subprocess.Popen([program, mark])
    child.wait()
    for kind, each in watching.items():
        each.wait_for(mark)
        assert each.stop() == 0
        starts = [starts_of(kind, document) for document in each.events()]
        assert starts.count([child.pid, f"{program} {mark}"]) == 1, kind


@pytest.mark.parametrize("source", ["proc", "bpf"])
def test_a_snapshot_in_other_formats(source: str) -> None:
    mark = uuid.uuid4().hex
    with subprocess.Popen(["/bin/sh", "-c", "read line", mark], stdin=subprocess.PIPE) as child:
        for kind in FORMATS:
            done = command("snapshot", "--format", kind, "--source", source)
            assert (done.returncode, done.stderr) == (0, "")
            found = [json.loads(line) for line in done.stdout.splitlines() if mark in line]
            assert any(str(child.pid) in json.dumps(document) for document in found), kind
            assert len(found) == 1, kind
        child.communicate(b"\n")


# ---- The tree ----

TREE_LINE = re.compile(r" *\d+\.\d{3}  (\w[^(]*?) +(\d+)  ( *)(.*)")


def test_the_tree_of_the_machine(monitor: Starting) -> None:
    """What runs already stands below its parent, kernel threads with their whole names; then it grows."""
    (kernel_thread,) = [
        path.parent for path in Path("/proc").glob("[0-9]*/comm") if path.read_text() == "ksoftirqd/0\n"
    ]
    mark = uuid.uuid4().hex
    with subprocess.Popen(["/bin/sh", "-c", "/bin/sleep 1000; exit 1", mark]) as shell:
        watching = monitor("--tree", style=())
        (sleeper,) = Path(f"/proc/{shell.pid}/task/{shell.pid}/children").read_text().split()
        os.kill(int(sleeper), signal.SIGTERM)
    watching.wait_for(run_marked())
    assert watching.stop() == 0
    rows = [
        match.groups()
        for match in map(TREE_LINE.fullmatch, watching.output.read_text().splitlines())
        if match
    ]
    running = {number: (len(indent), text) for label, number, indent, text in rows if label == "running"}
    assert running[kernel_thread.name][1] == "ksoftirqd/0"
    assert not [text for _, text in running.values() if " (of " in text], "each stands below its parent"
    depth, text = running[str(shell.pid)]
    assert text == f"sh -c '/bin/sleep 1000; exit 1' {mark}"
    assert running[sleeper] == (depth + 2, "sleep 1000")
    ends = {number: label for label, number, _, _ in rows if label.startswith(("exit", "killed"))}
    assert ends[sleeper].startswith("killed by SIGTERM, >")
    assert ends[str(shell.pid)].startswith("exit 1, >")
