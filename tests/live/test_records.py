"""`--json` of real commands: valid for the JSON Schema and for strict readers, whatever the tree does."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import supervised

from cbprocess import records

Record = dict[str, Any]
# One byte that is no text, and what else a program may do to the readers of its log.
HOSTILE = [
    b"\xff",
    b"\xed\xb0\x80x",
    b"a\xc0\xaf",
    b"\xf0\x9f\x98",
    "\u2028\U0001f600".encode(),
    b'"\\ud800\n\x1b[2J',
]
SCRIPT = """
import os, sys
os.execv("/bin/true", [b"true", *map(bytes.fromhex, sys.argv[1:])])
"""
PASSWORD = "hunter2-of-test"


def cbprocess(*line: Any, **options: Any) -> subprocess.CompletedProcess[bytes]:
    command = [*supervised.COMMAND_LINE, *map(str, line)]
    return subprocess.run(command, capture_output=True, timeout=60, **options)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All events of a tree in which a program is executed with hostile arguments, and signals another."""
    folder = tmp_path_factory.mktemp("hostile") / os.fsdecode(b"\xfe folder")
    folder.mkdir()
    path = folder.parent / "events.jsonl"
    arguments = " ".join(argument.hex() for argument in HOSTILE)
    command = f"sleep 60 & kill $!; {sys.executable} -c '{SCRIPT}' {arguments}; exit 3"
    options = ("--events", "all", "--json", "--summary", "--enrich", "cwd,cgroup,terminal,user", "-o", path)
    done = cbprocess("run", *options, "--", "sh", "-c", command, cwd=folder)
    assert (done.returncode, done.stderr) == (3, b"")
    return path


def creations(path: Path) -> list[Record]:
    return [record for record in records.read_lines(path) if record["event"] == "process_creation"]


def test_the_exact_bytes_come_back(hostile: Path) -> None:
    (record,) = [record for record in creations(hostile) if record["arguments"][0] == "true"]
    assert records.exact(record, "arguments") == [b"true", *HOSTILE]
    assert record["arguments"][1:] == [argument.decode("utf-8", "replace") for argument in HOSTILE]
    assert records.exact(record, "working_directory") == os.fsencode(hostile.parent) + b"/\xfe folder"
    assert record["session_id"] == os.getsid(0) and record["cgroup"]


def test_all_records_are_as_the_schema_says(hostile: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(records.schema())
    validator.check_schema(records.schema())
    found = list(records.read_lines(hostile))
    for record in found:
        validator.validate(record)
        assert set(record) <= set(records.schema()["properties"]), "each key is described"
    assert {record["event"] for record in found} >= {*records.OPERATIONS[:5], "summary"}
    assert [record["number"] for record in found] == list(range(1, len(found) + 1))
    assert len({(record["host"], record["boot"], record["session"]) for record in found}) == 1
    broken = dict(found[0])
    for key, wrong in (("time_ns", 5), ("flags", "held"), ("time", "now"), ("schema", 2), ("process_id", -1)):
        assert not validator.is_valid({**broken, key: wrong}), key
    del broken["command_line"]
    assert not validator.is_valid(broken)


def test_every_parent_is_a_process_of_the_stream(hostile: Path) -> None:
    found = list(records.read_lines(hostile))
    known = {records.process_identity(record) for record in found if "process_id" in record}
    first = records.process_identity(found[0])
    for record in found:
        if record["event"] in ("process_creation", "thread_creation"):
            creator = records.process_identity(record, "creator")
            assert creator in known or records.process_identity(record) == first, record
        if record["event"] == "process_handle_operation":
            assert records.process_identity(record, "originator") in known


def test_duckdb_reads_it(hostile: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    query = "select event, count(*), min(process_id), min(time_ns) from read_json_auto(?) group by event"
    rows = duckdb.execute(query, [str(hostile)]).fetchall()
    counts = {event: count for event, count, _, _ in rows}
    assert counts["process_creation"] == len(creations(hostile))
    assert min(row[3] for row in rows if row[0] == "process_creation") in {
        record["time_ns"] for record in creations(hostile)
    }


def test_arrow_reads_it(hostile: Path) -> None:
    reader = pytest.importorskip("pyarrow.json")
    table = reader.read_json(hostile)
    found = list(records.read_lines(hostile))
    assert table.num_rows == len(found)
    assert table["time_ns"].to_pylist() == [record["time_ns"] for record in found]


def test_orjson_reads_every_line(hostile: Path) -> None:
    orjson = pytest.importorskip("orjson")
    lines = hostile.read_bytes().splitlines()
    assert [orjson.loads(line) for line in lines] == [json.loads(line) for line in lines]


@pytest.mark.parametrize(
    "program",
    [
        ["node", "-e", "for (const l of require('fs').readFileSync(0, 'utf8').trim().split('\\n')) "
         "console.log(JSON.parse(l).time_ns)"],
        ["jq", "-r", ".time_ns"],
    ],
    ids=["node", "jq"],
)  # fmt: skip
def test_programs_with_floating_point_keep_all_digits(hostile: Path, program: list[str]) -> None:
    if shutil.which(program[0]) is None:
        pytest.skip(f"{program[0]} is not here")
    done = subprocess.run(program, input=hostile.read_bytes(), stdout=subprocess.PIPE, check=True, timeout=60)
    assert done.stdout.decode().split() == [record["time_ns"] for record in records.read_lines(hostile)]


@pytest.mark.parametrize("option", ["--output", "--timeline", "--trace", "--record"])
def test_files_with_command_lines_are_the_owners_alone(tmp_path: Path, option: str) -> None:
    made, old = tmp_path / "new", tmp_path / "old"
    old.touch()
    old.chmod(0o644)
    for path in (made, old):
        assert cbprocess("run", "-q", option, path, "--", "true", umask=0).returncode == 0
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    if option != "--record":
        assert stat.S_IMODE(old.stat().st_mode) == 0o644  # is as somebody has made it


def test_the_program_of_the_page_numbers_its_stream_and_keeps_it_private(
    checkout: Path, tmp_path: Path
) -> None:
    page = (checkout / "docs" / "records.md").read_text(encoding="utf-8")
    program = page.split("\n## Records in Python\n")[1].split("```python\n")[1].split("```")[0]
    line = [sys.executable, "-c", program]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, timeout=60, umask=0)
    assert (done.returncode, done.stderr) == (0, b"") and b"true" in done.stdout
    path = tmp_path / "events.jsonl"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    numbers = [record["number"] for record in records.read_lines(path)]
    assert len(numbers) >= 2 and numbers == list(range(1, len(numbers) + 1))


def test_hidden_values_are_in_no_output(tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in ("output", "timeline", "trace")}
    outputs = [item for name, path in files.items() for item in (f"--{name}", path)]
    command = ["sh", "-c", f"true --token={PASSWORD}; true --pin {PASSWORD}; false --password {PASSWORD}"]
    options = ("--redact", "--redact-also", "pin", "--summary", "--tree", "--wide")
    for more in ([], ["--json"], ["--events", "all"]):
        done = cbprocess("run", *options, *more, *outputs, "--", *command)
        assert done.returncode == 1
        for text in (done.stdout, done.stderr, *(path.read_bytes() for path in files.values())):
            assert PASSWORD.encode() not in text
        assert b"--token=[redacted]" in files["output"].read_bytes()
        assert b"--pin" in files["trace"].read_bytes()
    assert PASSWORD.encode() in cbprocess("run", "--wide", "--", *command).stderr


def test_what_cannot_be_done_is_refused() -> None:
    for line in (
        ["run", "--redact", "--record", "x", "--", "true"],
        ["replay", "x", "--enrich", "cwd"],
        ["run", "--enrich", "shoes", "--", "true"],
        ["run", "--redact-also", "a=b", "--", "true"],
    ):
        done = cbprocess(*line)
        assert done.returncode == 2 and b"error:" in done.stderr and b"Traceback" not in done.stderr


def test_a_replay_has_the_origin_of_its_recording(tmp_path: Path) -> None:
    recording = tmp_path / "r.cbpr"
    live = cbprocess("run", "--json", "--record", recording, "--", "sh", "-c", "true; exit 2")
    replays = [cbprocess("replay", "--json", recording).stderr for _ in range(2)]
    assert live.returncode == 2 and replays[0] == replays[1]
    of_recording = ("host", "boot", "session", "number", "flags")
    rows = [
        [{key: value for key, value in json.loads(line).items() if key not in of_recording} for line in text]
        for text in (live.stderr.splitlines(), replays[0].splitlines())
    ]
    # Nobody can be asked for those who were there before the tree.
    for record in rows[0][:2]:
        record.update({key: None for key in ("parent_start_time", "creator_start_time") if key in record})
    assert rows[0] == rows[1]
    first = json.loads(replays[0].splitlines()[0])
    assert (first["host"], first["boot"], first["number"]) == (None, None, None)
    assert len(first["session"]) == 24
