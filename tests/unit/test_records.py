"""Events as records: their keys and values, strict JSON, and the lines read again (cbprocess.records)."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from unit.event_blocks import dispatch_once, make_event
from unit.held_events import Tickets, hold
from unit.instances import assert_code

from cbprocess import constants, events, records, running
from cbprocess._streams.held import Ledger

ORIGIN = records.Origin("web1", "b00t", "5e55")
TIME_NS = 1_795_887_058_773_698_714
HEAD = {"schema": 1, "host": "web1", "boot": "b00t", "session": "5e55", "number": None}
FIELDS: dict[str, Any] = {
    "process_id": 70,
    "start_time": 900,
    "user_id": 1000,
    "time_ns": TIME_NS,
    "sequence": 5,
    "flags": constants.EVENT_FLAG_HELD | constants.EVENT_FLAG_REFUSABLE,
}
COMMON = {
    **HEAD,
    "time": "2026-11-28T17:30:58.773698714Z",
    "time_ns": "1795887058773698714",
    "sequence": 5,
    "process_id": 70,
    "start_time": "900",
    "user_id": None if sys.platform == "win32" else 1000,
    "flags": ["held", "refusable"],
    "result_code": 0,
}
KIND = {kind.name: kind.type for kind in events.OPERATIONS}


def record_made(kind: str, recorder: records.Recorder, **fields: Any) -> dict[str, Any]:
    made: list[dict[str, Any]] = []
    memory = make_event(KIND[kind], **{**FIELDS, **fields})
    dispatch_once(memory, lambda event: made.append(recorder.record(event)))
    return made[0]


def recorder() -> records.Recorder:
    return records.Recorder(ORIGIN)


def test_the_time_in_these_tests_is_what_another_library_says() -> None:
    time = datetime.fromtimestamp(TIME_NS // 10**9, timezone.utc)
    assert f"{time:%Y-%m-%dT%H:%M:%S}.773698714Z" == COMMON["time"]


def test_a_creation() -> None:
    made = record_made(
        "process_creation",
        recorder(),
        process_name=b"/usr/bin/gcc-12",
        image_file_name=b"/usr/bin/cc",
        arguments=[b"cc", b"a b.c", b""],
        parent_process_id=60,
        originator_process_id=70,
        originator_thread_id=71,
        result_code=5,
    )
    assert made == {
        **COMMON,
        "event": "process_creation",
        "result_code": 5,
        "process_name": "/usr/bin/gcc-12",
        "image_file_name": "/usr/bin/cc",
        "arguments": ["cc", "a b.c", ""],
        "command_line": "cc 'a b.c' ''",
        "parent_process_id": 60,
        "parent_start_time": None,
        "creating_process_id": 70,
        "creating_thread_id": 71,
        "creator_start_time": "900",
    }
    assert list(made)[:8] == ["schema", "host", "boot", "session", "number", "event", "time", "time_ns"]


def test_where_users_are_no_numbers_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """0 would be root for every other program that reads it."""
    monkeypatch.setattr(sys, "platform", "win32")
    made = record_made("process_termination", recorder(), process_name=b"x", exit_status=0)
    (own,) = [process for process in running.snapshot() if process.process_id == os.getpid()]
    found = records.record_of(own, ORIGIN)
    assert made["user_id"] is found["user_id"] is None
    jsonschema = pytest.importorskip("jsonschema")
    for record in (made, found):
        jsonschema.Draft202012Validator(records.schema()).validate(record)


def test_an_end_and_threads() -> None:
    end = record_made("process_termination", recorder(), process_name=b"/bin/sh", exit_status=9)
    names = {"process_name": "/bin/sh", "image_file_name": ""}
    assert end == {**COMMON, "event": "process_termination", **names, "exit_status": -9}
    whose = {"thread_id": 72, "originator_process_id": 70, "originator_thread_id": 70}
    assert record_made("thread_creation", recorder(), **whose) == {
        **COMMON,
        "event": "thread_creation",
        "thread_id": 72,
        "creating_process_id": 70,
        "creating_thread_id": 70,
        "creator_start_time": "900",
    }
    thread_end = record_made("thread_termination", recorder(), thread_id=72, exit_status=3 << 8)
    assert thread_end == {**COMMON, "event": "thread_termination", "thread_id": 72, "exit_status": 3}


def test_handle_operations_name_rights_and_flags() -> None:
    asked = constants.PROCESS_TERMINATE | constants.PROCESS_VM_READ | 0x8000
    of = {
        "originator_process_id": 8,
        "originator_thread_id": 9,
        "original_desired_access": asked,
        "desired_access": 0x8000,
        "thread_id": 72,
    }
    made = record_made("process_handle_operation", recorder(), **of)
    assert made["original_desired_access"] == ["terminate", "vm_read", "0x8000"]
    assert made["desired_access"] == ["0x8000"]
    assert (made["originator_process_id"], made["originator_thread_id"]) == (8, 9)
    assert made["originator_start_time"] is None
    assert not {"source_process_id", "thread_id"} & set(made)
    of["flags"] = constants.EVENT_FLAG_DUPLICATION | constants.EVENT_FLAG_DECIDED_BY_RULE | 1 << 30
    of["original_desired_access"] = constants.THREAD_GET_CONTEXT
    made = record_made("thread_handle_operation", recorder(), source_process_id=1, target_process_id=2, **of)
    assert made["original_desired_access"] == ["get_context"]
    assert made["flags"] == ["decided_by_rule", "duplication", "0x40000000"]
    assert (made["source_process_id"], made["target_process_id"], made["thread_id"]) == (1, 2, 72)


def test_every_flag_and_right_has_its_name() -> None:
    from cbprocess.enums import EventFlag, ProcessAccess, ThreadAccess

    for name, bit in EventFlag.__members__.items():
        made = record_made("thread_termination", recorder(), flags=int(bit))
        assert made["flags"] == [name.lower()]
    for kind, rights in (
        ("process_handle_operation", ProcessAccess),
        ("thread_handle_operation", ThreadAccess),
    ):
        for name, bit in rights.__members__.items():
            made = record_made(kind, recorder(), original_desired_access=int(bit), originator_process_id=70)
            assert made["original_desired_access"] == [name.lower()]


# ---- Ancestors ----


def test_ancestors_are_named_by_what_was_told_before() -> None:
    made_by = recorder()
    record_made("process_creation", made_by, process_id=60, start_time=800)
    child = record_made("process_creation", made_by, parent_process_id=60, originator_process_id=60)
    assert (child["parent_start_time"], child["creator_start_time"]) == ("800", "800")
    assert records.process_identity(child) == "web1:b00t:70:900"
    assert records.process_identity(child, "parent") == "web1:b00t:60:800"
    assert records.process_identity(child, "creator") == "web1:b00t:60:800"
    # A child may be told of after its creator's end; the id is then another process's at some time.
    record_made("process_termination", made_by, process_id=60, start_time=800)
    late = record_made("process_creation", made_by, process_id=71, originator_process_id=60)
    assert late["creator_start_time"] == "800"
    record_made("process_creation", made_by, process_id=60, start_time=950)
    assert record_made("process_creation", made_by, originator_process_id=60)["creator_start_time"] == "800"
    younger = record_made("process_creation", made_by, start_time=960, originator_process_id=60)
    assert younger["creator_start_time"] == "950"


def test_a_note_is_enough_to_be_remembered() -> None:
    made_by = recorder()
    for kind, start_time in (
        ("thread_creation", 700),
        ("process_termination", 700),
        ("thread_creation", 880),
    ):
        memory = make_event(KIND[kind], process_id=60, start_time=start_time)
        dispatch_once(memory, made_by.note)
    assert record_made("process_creation", made_by, parent_process_id=60)["parent_start_time"] == "880"


def test_an_id_without_a_start_time_has_no_identity() -> None:
    made = record_made("process_creation", recorder(), parent_process_id=0, start_time=0)
    assert made["start_time"] is made["parent_start_time"] is None
    assert records.process_identity(made) is records.process_identity(made, "parent") is None
    assert records.process_identity(made, "originator") is None
    assert_code(87, records.process_identity, made, "other")


def start_time_of(process_id: int) -> str:
    return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[19]


@pytest.mark.skipif(sys.platform == "win32", reason="/proc is Linux's")
def test_running_ancestors_are_asked_for_on_this_machine_only() -> None:
    own = os.getpid()
    made = record_made(
        "process_creation",
        records.Recorder(),
        start_time=2**40,
        parent_process_id=own,
        originator_process_id=os.getppid(),
    )
    assert made["parent_start_time"] == start_time_of(own)
    assert made["creator_start_time"] == start_time_of(os.getppid())
    # An ancestor is not younger: the id belongs to another process by now.
    made = record_made("process_creation", records.Recorder(), start_time=1, parent_process_id=own)
    assert made["parent_start_time"] is None
    for origin in (ORIGIN, records.Origin(None, None, "x")):
        made = record_made("process_creation", records.Recorder(origin), parent_process_id=own)
        assert made["parent_start_time"] is None


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    from cbprocess._records import lineage

    monkeypatch.setattr(lineage, "LIVING_MAX", 3)
    monkeypatch.setattr(lineage, "ENDED_MAX", 2)
    made = lineage.Lineage(can_ask=False)
    for number in range(1, 6):
        made.saw(number, number)
    assert [made.start_time(number, 0) for number in range(1, 6)] == [None, None, 3, 4, 5]
    for number in range(3, 6):
        made.ended(number, number)
    assert [made.start_time(number, 0) for number in range(3, 6)] == [None, 4, 5]


# ---- Other things than operations ----


def test_a_held_event_has_the_record_of_its_operation() -> None:
    ledger = Ledger()
    tickets = Tickets(ledger)
    event = hold(ledger, **FIELDS)
    made = records.record_of(event, ORIGIN, number=3)
    assert (made["event"], made["number"], made["flags"]) == ("process_creation", 3, ["held", "refusable"])
    event.deny(constants.ERROR_BUSY)
    assert records.record_of(event, ORIGIN)["result_code"] == constants.ERROR_BUSY
    late = hold(ledger, **FIELDS)
    tickets.expired |= tickets.open
    assert not late.allow()
    assert records.record_of(late, ORIGIN)["flags"] == ["held", "refusable", "timed_out"]


def test_a_record_of_an_error() -> None:
    made = records.record_of(events.CBProcessErrorEventParams(31, "no\udcff", 7, 2), ORIGIN)
    assert abs(int(made.pop("time_ns")) - datetime.now().timestamp() * 1e9) < 60e9
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", made.pop("time"))
    assert made == {
        **HEAD,
        "event": "error",
        "sequence": 7,
        "error_code": 31,
        "description": "no\ufffd",
        "description_bytes": base64.b64encode(b"no\xff").decode(),
        "os_error": 2,
    }


def test_a_running_process() -> None:
    (own,) = [process for process in running.snapshot() if process.process_id == os.getpid()]
    made = records.record_of(own, ORIGIN)
    assert made["event"] == "running_process" and made["schema"] == 1
    assert (made["process_id"], made["parent_process_id"]) == (os.getpid(), os.getppid())
    assert made["start_time"] == str(own.start_time) and made["arguments"] == own.arguments
    assert made["command_line"] == own.command_line and made["thread_count"] == own.thread_count
    # ORIGIN is another machine: nothing is asked of this one, and a snapshot tells of parents itself.
    assert made["parent_start_time"] is None
    whole = recorder()
    for process in running.snapshot(False):
        whole.note(process)
    if sys.platform != "win32":
        assert whole.record(own)["parent_start_time"] == start_time_of(os.getppid())


def test_what_is_no_event_has_no_record() -> None:
    for wrong in (object(), None, {}, "event", events.CBProcessWorkerThreadCreationEventParams()):
        assert_code(87, records.record_of, wrong)


def test_other_records_are_made_by_name() -> None:
    made = records.made("lost", ORIGIN, count=3, reason="size\udc80", rows=[{"name": "\udcff"}])
    assert (made["event"], made["count"], made["reason"]) == ("lost", 3, "size\ufffd")
    assert (made["reason_bytes"], made["rows"][0]["name"]) == ("c2l6ZYA=", "\ufffd")
    assert_code(87, records.made, "process_creation")
    assert_code(87, records.made, 5)
    assert records.made("unsupervised", process_ids=[1])["session"] == records.here().session


# ---- Strictness ----


HOSTILE = [b"\xff", b"\xed\xb0\x80", b"\xc0\xaf", "\u2028\U0001f600".encode(), b'"\\u0000\n\x7f', b"\\udcff"]


def test_the_line_of_any_name_is_valid_json_and_keeps_its_bytes() -> None:
    made = record_made(
        "process_creation",
        recorder(),
        process_name=b"/caf\xe9",
        image_file_name=b"/caf\xe9 \xf0\x9f\x98\x80",
        arguments=HOSTILE,
    )
    line = records.line_of(made)
    assert line.isascii() and line.endswith(b"}\n") and line.count(b"\n") == 1
    back = json.loads(line)
    assert back == made
    json.dumps(back, ensure_ascii=False).encode()  # is Unicode, at every place
    assert back["arguments"] == [argument.decode("utf-8", "replace") for argument in HOSTILE]
    assert [row is None for row in back["arguments_bytes"]] == [False, False, False, True, True, True]
    assert records.exact(back, "arguments") == HOSTILE
    assert records.exact(back, "process_name") == b"/caf\xe9"
    assert back["image_file_name"] == "/caf\ufffd \U0001f600"
    assert b"\xed\xb0\x80" in records.exact(back, "command_line")  # type: ignore[operator]


def test_plain_names_have_no_bytes_beside_them() -> None:
    made = record_made("process_creation", recorder(), process_name="/ü".encode(), arguments=["é".encode()])
    assert not [key for key in made if key.endswith("_bytes")]
    assert records.exact(made, "arguments") == ["é".encode()]


def test_a_line_of_any_dictionary_is_strict() -> None:
    given = {"a": "\ud800", "b": ["x", "\udcff"], "c": {"d": "\udcff"}, "e": [1, ["\udc80"]], "\udcff": 1}
    before = json.dumps(given)
    back = json.loads(records.line_of(given))
    assert json.dumps(given) == before
    assert back["a"] == "\ufffd\ufffd\ufffd" and back["b"] == ["x", "\ufffd"]
    assert base64.b64decode(back["b_bytes"][1]) == b"\xff" and back["b_bytes"][0] is None
    assert back["c"]["d"] == "\ufffd" and back["e"] == [1, ["\ufffd"]] and back["\ufffd"] == 1
    loop: dict[str, Any] = {}
    loop["loop"] = loop
    for wrong in ({"a": {1}}, {"a": float("nan")}, {(1, 2): 1}, loop):
        assert_code(87, records.line_of, wrong)


def test_exact_bytes_that_are_damaged_are_told() -> None:
    assert_code(87, records.exact, {"a": 1}, "a")
    assert_code(87, records.exact, {}, "a")
    assert_code(13, records.exact, {"a": "x", "a_bytes": "?"}, "a")
    assert_code(13, records.exact, {"a": "x", "a_bytes": 5}, "a")
    assert_code(13, records.exact, {"a": ["x"], "a_bytes": []}, "a")
    assert_code(13, records.exact, {"a": ["x"], "a_bytes": ["*"]}, "a")
    # What was cut for a fleet's server is not the text of the system any more.
    assert_code(13, records.exact, {"a": "x", "b": "y", "cut": ["a"]}, "a")
    assert records.exact({"a": "x", "b": "y", "cut": ["a"]}, "b") == b"y"
    assert records.exact({"a": "x", "cut": 5}, "a") == b"x"


# ---- Origins ----


def test_origins() -> None:
    first, second = records.Origin.here(), records.Origin.here()
    assert first.host and first[:2] == second[:2] and first.session != second.session
    assert records.here() is records.here() and records.here().is_this_boot
    assert records.Origin.here("web1", "s")[::2] == ("web1", "s")
    for wrong in ("", 5, "a\nb", "\udcff"):
        assert_code(87, records.Origin.here, wrong)
        assert_code(87, records.Origin.here, None, wrong)
    if sys.platform != "win32":
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        assert first.boot == boot.replace("-", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="has no fork")
def test_a_fork_has_a_session_of_its_own() -> None:
    session = records.here().session
    program = (
        # Each line is one write: two processes write at once.
        "import os; from cbprocess import records;"
        "tell = lambda: os.write(1, f'{records.here().session}\\n'.encode());"
        "tell(); os.fork(); tell()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)
    sessions = done.stdout.split()
    assert len(sessions) == 3 and len(set(sessions)) == 2 and session not in sessions


# ---- Reading ----


def test_lines_are_read_again(tmp_path: Path) -> None:
    rows = [records.made("lost", ORIGIN, count=number) for number in range(3)]
    path = tmp_path / "f.jsonl"
    path.write_bytes(b"".join(map(records.line_of, rows)) + b"\n" + records.line_of(rows[0])[:-1])
    assert list(records.read_lines(path)) == list(records.read_lines(str(path))) == rows
    assert list(records.read_lines(path, torn=False)) == [*rows, rows[0]]
    with path.open("rb") as file:
        file.readline()
        assert list(records.read_lines(file)) == rows[1:]
        assert not file.closed
    path.write_bytes(records.line_of(rows[0]) + records.line_of(rows[1])[:40])
    assert list(records.read_lines(path)) == rows[:1]
    assert_code(13, lambda: list(records.read_lines(path, torn=False)))
    with pytest.raises(FileNotFoundError):
        list(records.read_lines(tmp_path / "none"))


def test_a_line_of_others_is_unicode_when_it_has_been_read() -> None:
    line = b'{"schema": 1, "event": "a\\ud800", "l": ["\\uDFFF", "\\ud83d\\ude00"], "\\udc80": 1}\n'
    (record,) = records.read_lines(io.BytesIO(line))
    assert record["event"].startswith("a\ufffd") and record["l"][1] == "\U0001f600"
    text = json.dumps(record, ensure_ascii=False)
    assert text.encode().decode() == text


def test_a_line_may_be_wide_but_not_deep() -> None:
    wide = json.dumps({"schema": 1, "rows": [{"a": []}] * 1000}).encode() + b"\n"
    assert len(next(records.read_lines(io.BytesIO(wide)))["rows"]) == 1000


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"{", 13),
        (b"[1]", 13),
        (b"\xff", 13),
        (b"[" * 100_000, 13),
        (b'{"schema": 1, "x": ' + b"[" * 70 + b"]" * 70 + b"}", 13),
        (b'{"schema": 1, "x": NaN}', 13),
        (b'{"schema": 1, "x": 1e999}', 13),
        (b'{"schema": 1, "x": "\xed\xa0\x80"}', 13),
        (b'{"schema": 2}', 11),
        (b'{"schema": true}', 11),
        (b"{}", 11),
    ],
)
def test_lines_that_are_no_records_are_told_by_their_number(line: bytes, code: int) -> None:
    good = records.line_of(records.made("lost", ORIGIN, count=1))
    reading = records.read_lines(io.BytesIO(good + line + b"\n"))
    assert next(reading)["count"] == 1
    with pytest.raises(Exception, match="line 2 is no") as caught:
        next(reading)
    assert caught.value.code == code  # type: ignore[attr-defined]
