"""--name, --ignore and --no-children: who is not to be shown stands nowhere, and who is shown has an end, in
lines, JSON, summary, timeline and trace."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import supervised
from live_tools import tracer_of, wait_until

# Each notes its id in a file of its own, and so does a program that it starts.
PROGRAM = "#!/bin/sh\necho $$ >>{0}.ids\nsh -c 'echo $$ >>{0}.ids; exit 0'\nexit 0\n"
COMMAND = "echo $$ >main.ids; ./keep; ./drop; exit 0"
OUTPUTS = ["--output", "output", "--timeline", "page", "--trace", "trace", "--summary", "--tree"]
NAMES = ("main", "keep", "drop")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in NAMES[1:]:
        (tmp_path / name).write_text(PROGRAM.format(name))
        (tmp_path / name).chmod(0o755)
    return tmp_path


def known(folder: Path) -> dict[int, str]:
    """What the processes are called: keep for the program, keep 1 for what it has started."""
    lists = {name: folder / f"{name}.ids" for name in NAMES}
    rows = [(name, file.read_text().split()) for name, file in lists.items() if file.exists()]
    return {int(word): name + (" 1" if index else "") for name, ids in rows for index, word in enumerate(ids)}


def pictures(folder: Path) -> dict[str, set[int]]:
    """The processes of the timeline and of the trace, in which nobody is still running."""
    page = (folder / "page").read_text()
    rows = json.JSONDecoder().raw_decode(page, page.index("const data = ") + len("const data = "))[0]["rows"]
    assert all(row["end"] is not None and row["status"] != "still running" for row in rows)
    trace = (folder / "trace").read_text()
    assert "still running" not in trace
    records = json.loads(trace)["traceEvents"]
    return {"timeline": {row["pid"] for row in rows}, "trace": {record["pid"] for record in records}}


def lines(folder: Path) -> dict[str, set[int]]:
    text = (folder / "output").read_text()
    assert "still running" not in text
    rows, _, rest = text.partition("\nevents\n")
    tree = rest.partition("\nprocesses\n")[2]
    return {
        "lines": {int(row) for row in re.findall(r"^ *\d+\.\d+  .{24} +(\d+)  ", rows, re.MULTILINE)},
        "summary": {int(row) for row in re.findall(r"^ +(\d+) .*\[", tree, re.MULTILINE)},
    }


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(row) for row in (folder / "output").read_text().splitlines()]


def json_lines(folder: Path) -> dict[str, set[int]]:
    *told, summary = records(folder)
    created = {record["process_id"] for record in told if record["event"] == "process_creation"}
    ended = {record["process_id"] for record in told if record["event"] == "process_termination"}
    assert created == ended
    return {
        "JSON": {record["process_id"] for record in told},
        "its summary": {process["process_id"] for process in summary["processes"]},
    }


CHOICES = [
    (["--ignore", "drop"], {"main", "keep", "keep 1"}),
    (["--name", "keep"], {"keep", "keep 1"}),
    (["--name", "keep", "--name", "dr?p"], {"keep", "keep 1", "drop", "drop 1"}),
    (["--name", "keep", "--no-children"], {"keep"}),
    (["--no-children"], {"main"}),
    (["--name", "*/sh", "--name", "sh", "--ignore", "drop"], {"main", "keep", "keep 1"}),
    (["--ignore", "sh", "--name", "keep"], set()),
    (["--ignore", "drop", "--ignore", "keep", "--no-children"], {"main"}),
]


@pytest.mark.parametrize("form", ["default", "each event", "json"])
@pytest.mark.parametrize(("options", "shown"), CHOICES)
@pytest.mark.limit(150)
def test_who_is_shown(folder: Path, options: list[str], shown: set[str], form: str) -> None:
    form_options = {"default": [], "each event": ["--events", "all"], "json": ["--json", "--events", "all"]}[
        form
    ]
    line = [*supervised.COMMAND_LINE, "run", *OUTPUTS, *options, *form_options, "--", "sh", "-c", COMMAND]
    subprocess.run(line, cwd=folder, check=True, timeout=120)
    found = {**pictures(folder), **(json_lines(folder) if form == "json" else lines(folder))}
    names = known(folder)
    assert set(names.values()) == {"main", "keep", "keep 1", "drop", "drop 1"}
    told = {output: {names.get(process_id, "another") for process_id in ids} for output, ids in found.items()}
    assert told == {output: shown for output in found}


def test_a_process_that_goes_on_as_what_is_ignored(folder: Path) -> None:
    """It ends where it executes that."""
    line = [*supervised.COMMAND_LINE, "run", *OUTPUTS, "--ignore", "drop", "--"]
    subprocess.run([*line, "sh", "-c", "echo $$ >main.ids; exec ./drop"], cwd=folder, check=True, timeout=120)
    text = (folder / "output").read_text()
    main = int((folder / "main.ids").read_text())
    assert set.union(*lines(folder).values(), *pictures(folder).values()) == {main}
    assert text.count("executed another") == 2, "once in its line, once in the summary"
    assert "./drop" not in text.replace("exec ./drop", "")


def test_a_refused_program_is_what_was_asked_for(folder: Path) -> None:
    """Who was refused it, the shell's child, is nobody's concern."""
    line = [*supervised.COMMAND_LINE, "run", *OUTPUTS, "--deny", "keep", "--json"]
    for options, expected in ((["--name", "keep"], 1), (["--ignore", "keep"], 0)):
        subprocess.run(
            [*line, *options, "--", "sh", "-c", "./keep; exit 0"], cwd=folder, timeout=120, check=True
        )
        refused = [e for e in records(folder) if e["event"] == "process_creation" and e["result_code"]]
        assert len(refused) == expected
        pictures(folder)


@pytest.mark.limit(300)
@pytest.mark.parametrize(
    ("options", "shown"), [(["--no-children"], {"main"}), (["--name", "keep"], {"keep", "keep 1"})]
)
def test_running_processes_likewise(folder: Path, options: list[str], shown: set[str]) -> None:
    """Of an attached shell, its child that runs already, and what it starts later."""
    text = (
        "echo $$ >main.ids; sh -c 'echo $$ >drop.ids; read x <go; exit 0' & read x; ./keep; echo x >go; wait"
    )
    subprocess.run(["mkfifo", "go"], cwd=folder, check=True)
    with subprocess.Popen(["sh", "-c", text], cwd=folder, stdin=subprocess.PIPE, text=True) as program:
        wait_until(lambda: (folder / "drop.ids").exists(), 60, "the child runs")
        line = [*supervised.COMMAND_LINE, "attach", *OUTPUTS, "--json", *options, str(program.pid)]
        with subprocess.Popen(line, cwd=folder) as process:
            wait_until(lambda: tracer_of(program.pid), 90, "attached")
            program.communicate("\n", timeout=90)
            assert process.wait(90) == 0
    *told, summary = records(folder)
    names = known(folder)
    found = {
        "JSON": {record["process_id"] for record in told if "process_id" in record},
        "summary": {record["process_id"] for record in summary["processes"]},
        **pictures(folder),
    }
    if options == ["--no-children"]:
        # It has executed nothing since, so that its own events are its end's.
        assert {record["event"] for record in told} <= {"thread_termination", "process_termination"}
    for output, ids in found.items():
        assert {names.get(process_id, "another") for process_id in ids} == shown, output
