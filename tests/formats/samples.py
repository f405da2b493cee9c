"""Records as docs/records.md has them, written by hand: one of each kind, and some that are
hard to convert."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from cbprocess.formats import _fields

Record = dict[str, Any]

HOST = {"schema": 1, "host": "web1", "boot": "8a0c5c0e27a14c3a9d2e5f6f0e3c1b7d", "session": "5e" * 16}
TIME_NS = 1767323045123456789
TIME = "2026-01-02T03:04:05.123456789Z"


def record(event: str, number: int | None = 7, **fields: Any) -> Record:
    """A record with what all of them have."""
    head = HOST if number is None else {**HOST, "number": number}
    return {**head, "event": event, "time": TIME, "time_ns": str(TIME_NS), **fields}


def operation(event: str, **fields: Any) -> Record:
    common = {
        "sequence": 12,
        "process_id": 4102,
        "start_time": "8812345",
        "user_id": 1000,
        "flags": ["held", "refusable"],
        "result_code": 0,
    }
    return record(event, **{**common, **fields})


def creation(**fields: Any) -> Record:
    common = {
        "process_name": "/usr/bin/ls",
        "image_file_name": "/bin/ls",
        "arguments": ["ls", "-l", "a b"],
        "command_line": "ls -l 'a b'",
        "parent_process_id": 4101,
        "parent_start_time": "8812300",
        "creating_process_id": 4102,
        "creating_thread_id": 4102,
        "creator_start_time": "8812345",
    }
    return operation("process_creation", **{**common, **fields})


def handle_operation(event: str, **fields: Any) -> Record:
    common = {
        "originator_process_id": 4200,
        "originator_thread_id": 4201,
        "originator_start_time": "8812400",
        "original_desired_access": ["terminate", "vm_read"],
        "desired_access": ["terminate", "vm_read"],
    }
    return operation(event, **{**common, **fields})


ENRICHED = {
    "working_directory": "/srv/app",
    "cgroup": "/system.slice/app.service",
    "container_id": "ab" * 32,
    "session_id": 4000,
    "terminal": "/dev/pts/3",
    "user_name": "app",
}

# Each sample by what is special about it.
SAMPLES: dict[str, Record] = {
    "creation": creation(),
    "refused creation": creation(result_code=5, flags=["decided_by_rule"]),
    "failed creation": creation(os_error=8),
    "enriched creation": creation(**ENRICHED),
    "creation without facts": creation(
        process_name="",
        image_file_name="",
        arguments=[],
        command_line="",
        parent_start_time=None,
        creator_start_time=None,
    ),
    "creation that is not Unicode": creation(
        process_name="/tmp/\ufffd",
        process_name_bytes="L3RtcC//",
        arguments=["\ufffd", "x"],
        arguments_bytes=["/w==", None],
        command_line="'\ufffd' x",
        command_line_bytes="J/8nIHg=",
    ),
    "creation on Windows": creation(
        process_name="C:\\Windows\\System32\\cmd.exe",
        arguments=["cmd /c dir"],
        command_line="cmd /c dir",
        user_id=None,
    ),
    "fork": creation(flags=["held", "refusable", "fork"]),
    "deleted image": creation(flags=["held", "image_deleted"]),
    "number beyond 64 bits of JSON": creation(start_time=str(2**64 - 1), creator_start_time=str(2**63)),
    "termination": operation(
        "process_termination",
        process_name="/usr/bin/ls",
        image_file_name="/bin/ls",
        exit_status=-9,
        flags=[],
    ),
    "thread creation": operation(
        "thread_creation",
        thread_id=4105,
        creating_process_id=4102,
        creating_thread_id=4102,
        creator_start_time="8812345",
        flags=[],
    ),
    "thread termination": operation("thread_termination", thread_id=4105, exit_status=0, flags=[]),
    "process handle": handle_operation("process_handle_operation"),
    "stripped process handle": handle_operation(
        "process_handle_operation",
        desired_access=["terminate"],
        flags=["decided_by_rule"],
    ),
    "duplication": handle_operation(
        "process_handle_operation", flags=["duplication"], source_process_id=1, target_process_id=2
    ),
    "thread handle": handle_operation(
        "thread_handle_operation", thread_id=4105, original_desired_access=["terminate", "0x10000"]
    ),
    "error": record(
        "error", sequence=0, error_code=31, description='Traceback:\n  File "x"\nValueError: x', os_error=0
    ),
    "lost": record("lost", count=12, reason="memory", first_number=8, last_number=19),
    "lost, nobody knows how many": record(
        "lost", count=None, reason="killed", first_number=None, last_number=None
    ),
    "session end": record("session_end", last_number=7),
    "unsupervised": record("unsupervised", number=None, process_ids=[1, 2]),
    "running process": record(
        "running_process",
        number=None,
        process_id=1,
        start_time="5",
        parent_process_id=0,
        parent_start_time=None,
        thread_count=1,
        user_id=0,
        process_name="/sbin/init",
        arguments=["init"],
        command_line="init",
    ),
    "summary": record(
        "summary",
        number=None,
        counts={"process_creation": 3},
        programs=[{"program": "ls", "seconds": 0.5, "runs": 2, "more": [1, None]}],
        processes=[],
    ),
    "kind that does not exist yet": record("socket_opened", port=80, secure=True, ratio=0.5, note=None),
    "nothing": {},
    "nothing that fits into 64 bits": creation(
        process_id=2**70, parent_process_id=str(2**64), sequence=2**63, session_id=-(2**63) - 1
    ),
    "nothing but nonsense": {
        "schema": "x",
        "event": "process_creation",
        "time_ns": "soon",
        "process_id": "many",
        "flags": "none",
        "result_code": None,
        "arguments": "ls",
        "exit_status": [1],
        "host": None,
    },
}
OPERATIONS = [name for name, sample in SAMPLES.items() if "sequence" in sample and "flags" in sample]

# Texts, numbers and lists as records have them, also where they mean something else.
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(sorted({key for sample in SAMPLES.values() for key in sample})) | st.text(max_size=8)
RECORDS = st.fixed_dictionaries(
    {"event": st.sampled_from([*_fields.OPERATIONS, "error", "lost", "other"])}
).flatmap(lambda head: st.dictionaries(KEYS, VALUES, max_size=12).map(lambda rest: {**rest, **head}))
