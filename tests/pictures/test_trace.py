"""The file of --trace, held against the rules of the Trace Event format."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from pictures.made_up import MS, START_NS, Author, large_build, small_build

from cbprocess.cli.chronicle import Chronicle
from cbprocess.cli.trace import trace_object

Record = dict[str, Any]

# What each phase needs besides ph, pid and tid.
NEEDED = {
    "M": {"name", "args"},
    "X": {"name", "cat", "ts", "dur"},
    "i": {"name", "cat", "ts", "s"},
    "s": {"name", "cat", "ts", "id"},
    "f": {"name", "cat", "ts", "id", "bp"},
}
ALLOWED = {"ph", "pid", "tid", "name", "cat", "ts", "dur", "s", "id", "bp", "args"}
METADATA = {
    "process_name": ("name", str),
    "thread_name": ("name", str),
    "process_sort_index": ("sort_index", int),
}

# Microseconds with a rest of nanoseconds, as sums of them round.
ROUNDING = 0.001


def refuse_constant(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")


def check_format(text: str) -> list[Record]:
    """Everything that the format asks of a file; its records."""
    trace = json.loads(text, parse_constant=refuse_constant)
    assert trace["displayTimeUnit"] in ("ms", "ns")
    assert all(isinstance(value, str) for value in trace["otherData"].values())
    records: list[Record] = trace["traceEvents"]
    for record in records:
        check_record(record)
    check_slices_nest(records)
    check_arrows(records)
    check_metadata(records)
    return records


def check_record(record: Record) -> None:
    assert record["ph"] in NEEDED, record
    assert NEEDED[record["ph"]] <= set(record) <= ALLOWED, record
    assert type(record["pid"]) is type(record["tid"]) is int, record
    assert isinstance(record["name"], str) and record["name"], record
    assert isinstance(record.get("args", {}), dict), record
    for key in {"ts", "dur"} & set(record):
        assert isinstance(record[key], (int, float)) and math.isfinite(record[key]), record
        assert record[key] >= 0, record
    if record["ph"] == "i":
        assert record["s"] in "gpt", record
    if record["ph"] == "f":
        assert record["bp"] == "e", record


def check_slices_nest(records: list[Record]) -> None:
    """Slices of one track lie in one another or apart."""
    tracks: dict[tuple[int, int], list[tuple[float, float]]] = defaultdict(list)
    for record in records:
        if record["ph"] == "X":
            tracks[record["pid"], record["tid"]].append((record["ts"], record["ts"] + record["dur"]))
    for slices in tracks.values():
        open_ends: list[float] = []
        for begin, end in sorted(slices, key=lambda span: (span[0], -span[1])):
            while open_ends and open_ends[-1] <= begin + ROUNDING:
                open_ends.pop()
            assert not open_ends or end <= open_ends[-1] + ROUNDING
            open_ends.append(end)


def check_arrows(records: list[Record]) -> None:
    """Each has two ends in the right order, each in a slice."""
    arrows: dict[int, dict[str, Record]] = defaultdict(dict)
    for record in records:
        if record["ph"] in "sf":
            assert record["ph"] not in arrows[record["id"]], record
            arrows[record["id"]][record["ph"]] = record
    for ends in arrows.values():
        assert set(ends) == {"s", "f"}
        assert ends["s"]["ts"] <= ends["f"]["ts"]
        assert ends["s"]["cat"] == ends["f"]["cat"] and ends["s"]["name"] == ends["f"]["name"]
        assert all(slices_around(records, end) for end in ends.values()), ends


def slices_around(records: list[Record], end: Record) -> list[Record]:
    return [
        record
        for record in records
        if record["ph"] == "X"
        and (record["pid"], record["tid"]) == (end["pid"], end["tid"])
        and record["ts"] - ROUNDING <= end["ts"] <= record["ts"] + record["dur"] + ROUNDING
    ]


def check_metadata(records: list[Record]) -> None:
    told: set[tuple[str, int, int]] = set()
    for record in records:
        if record["ph"] == "M":
            key, kind = METADATA[record["name"]]
            assert set(record["args"]) == {key} and type(record["args"][key]) is kind, record
            told.add((record["name"], record["pid"], record["tid"]))
    assert len(told) == sum(record["ph"] == "M" for record in records)
    named = {process_id for name, process_id, _ in told if name == "process_name"}
    assert named == {record["pid"] for record in records}


def text_of(chronicle: Chronicle, length_ms: float = 1000, lost: int = 0) -> str:
    return json.dumps(trace_object(chronicle, START_NS, START_NS + int(length_ms * MS), lost))


def slices_of(records: list[Record], process_id: int) -> list[tuple[int, str, float, float]]:
    return [
        (record["tid"], record["name"], record["ts"] / 1000, record["dur"] / 1000)
        for record in records
        if record["ph"] == "X" and record["pid"] == process_id
    ]


def test_what_a_trace_says() -> None:
    records = check_format(text_of(small_build()))
    assert slices_of(records, 10) == [(10, "make", 10, 990)]
    assert slices_of(records, 11) == [
        (11, "cc", 100, 300),
        (111, "thread", 120, 80),
        (11, "ld", 800, 100),
    ]
    assert slices_of(records, 12) == [(12, "cc", 150, 50), (12, "as", 200, 100)]
    assert slices_of(records, 16) == [(16, "sleep", 610, 390), (116, "thread", 700, 300)]
    arguments = {
        record["pid"]: record["args"]
        for record in records
        if record["ph"] == "X" and record["cat"] == "process" and record["args"]
    }
    assert arguments[12] == {"command line": "as a.s", "end of the process": "exit 0"}
    assert arguments[15]["end of the process"] == "killed by SIGKILL"
    assert arguments[16]["end of the process"] == "still running"
    instants = [
        (record["name"], record["pid"], record["ts"], record["args"])
        for record in records
        if record["ph"] == "i"
    ]
    assert instants == [
        ("refused", 13, 410_000, {"command line": "curl evil", "error": 5}),
        ("timed out", 14, 460_000, {}),
    ]
    arrows = [(start["pid"], end["pid"]) for start, end in zip(*ends_of_arrows(records))]
    assert arrows == [(10, 11), (11, 12), (10, 13), (10, 14), (10, 15), (10, 16), (10, 11)]


def ends_of_arrows(records: list[Record]) -> tuple[list[Record], list[Record]]:
    return [record for record in records if record["ph"] == "s"], [
        record for record in records if record["ph"] == "f"
    ]


def test_head_of_a_trace() -> None:
    trace = json.loads(text_of(small_build(), lost=3))
    assert trace["otherData"] == {
        "command": "make -j4",
        "started": "1700000000.000000000",
        "lost events": "3",
    }
    assert json.loads(text_of(Chronicle()))["traceEvents"] == []


def test_a_name_that_is_no_text_is_one_in_the_trace() -> None:
    author = Author()
    author.execute(5, 1, 0, b"\xff", b"a\nb", name=b"/tmp/\xff\x1b")
    records = check_format(text_of(author.chronicle))
    assert slices_of(records, 5)[0][1] == "\\xff\\x1b"
    text_of(author.chronicle).encode("utf-8")


def test_many_processes() -> None:
    records = json.loads(text_of(large_build(5000), 10_000))["traceEvents"]
    assert sum(record["ph"] == "X" for record in records) == 5000


THREADS = """
import subprocess, threading, time
thread = threading.Thread(target=time.sleep, args=(0.05,))
thread.start()
subprocess.run(["sleep", "0.01"])
thread.join()
"""


@pytest.mark.parametrize("deny", [False, True])
def test_a_real_program(tmp_path: Path, deny: bool) -> None:
    path = tmp_path / "trace.json"
    line = [sys.executable, "-m", "cbprocess", "run", "--output", "/dev/null", "--trace", path]
    line += ["--deny", "uname"] if deny else []
    line += ["--", "sh", "-c", f"uname; {sys.executable} -c '{THREADS}'"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    records = check_format(path.read_text(encoding="ascii"))
    names = [record["name"] for record in records if record["ph"] == "X"]
    assert "sleep" in names and "thread" in names
    assert any(record["name"] == "refused" for record in records) is deny
    sleep = next(record for record in records if record["ph"] == "X" and record["name"] == "sleep")
    assert sleep["args"] == {"command line": "sleep 0.01", "end of the process": "exit 0"}
    assert 10_000 <= sleep["dur"] < 10_000_000
