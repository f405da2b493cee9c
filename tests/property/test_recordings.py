"""Recordings: whatever is written is read again; and whatever is damaged or cut off, wherever, gives an error
that names an offset, everything before it being there and right."""

from __future__ import annotations

import re
import sys
import tempfile
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbprocess import CBProcess, CBProcessError, constants, script
from cbprocess._binding import layouts, wire
from cbprocess.recording import Recording
from cbprocess.testing import PRODUCT_GUID

NAMES = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=30
) | st.sampled_from(["/bin/\udcff\udc80", "/usr/bin/näme", "/" + "x" * 3000])
IDS = st.integers(1, 2**32 - 1)


@st.composite
def operations(draw: st.DrawFn) -> script.Operation:
    kind = draw(st.sampled_from(["process_creation", "process_termination", "thread_creation", "handle"]))
    common: dict[str, Any] = {
        "process_id": draw(IDS),
        "start_time": draw(st.integers(0, 2**64 - 1)),
        "time_ns": draw(st.integers(1, 2**64 - 1)),
    }
    if kind == "process_creation":
        return script.process_creation(
            process_name=draw(NAMES),
            image_file_name=draw(NAMES),
            arguments=draw(st.lists(st.just("") | NAMES, max_size=4)),
            creating_process_id=draw(IDS),
            user_id=draw(st.integers(0, 2**32 - 1)),
            **common,
        )
    if kind == "process_termination":
        thread = script.thread_termination(thread_id=draw(IDS), **common)
        return thread + script.process_termination(exit_status=draw(st.integers(-64, 255)), **common)
    if kind == "thread_creation":
        return script.thread_creation(thread_id=draw(IDS), creating_thread_id=draw(IDS), **common)
    return script.process_handle_operation(
        originator_process_id=draw(IDS), desired_access=draw(st.integers(0, 2**32 - 1)), **common
    )


def contents(recording: Recording) -> list[tuple[Any, ...]]:
    return [
        (
            type(item.event).__name__,
            item.event.process_id,
            item.event.start_time,
            item.event.time_ns,
            getattr(item.event, "process_name", None),
            getattr(item.event, "arguments", None),
            getattr(item.event, "exit_status", None),
            getattr(item.event, "original_desired_access", None),
        )
        for item in recording
    ]


def expected(played: list[script.Operation]) -> list[tuple[Any, ...]]:
    """What the reader has to give, from the operations themselves."""
    rows: list[tuple[Any, ...]] = []
    for operation in played:
        for kind, _ in operation.items:
            texts = [text.decode("utf-8", "surrogateescape") for text in operation.texts]
            creation, end = kind == 1, kind in (2, 16)
            status = operation.fields.get("exit_status", 0)
            rows.append(
                (
                    {
                        1: "CBProcessProcessCreationEventParams",
                        2: "CBProcessProcessTerminationEventParams",
                        4: "CBProcessProcessHandleOperationEventParams",
                        8: "CBProcessThreadCreationEventParams",
                        16: "CBProcessThreadTerminationEventParams",
                    }[kind],
                    operation.process_id,
                    operation.fields["start_time"],
                    operation.fields["time_ns"],
                    texts[0] if kind in (1, 2) else None,
                    texts[2].split("\0")[:-1] if creation else None,
                    (-(status & 127) or status >> 8) if end else None,
                    operation.fields.get("original_desired_access") if kind == 4 else None,
                )
            )
    return rows


FOLDER = tempfile.TemporaryDirectory(prefix="cbp-recordings-")
PATH = Path(FOLDER.name) / "recording"


@settings(max_examples=150, deadline=None)
@given(st.lists(operations(), max_size=8))
def test_what_is_saved_is_read(played: list[script.Operation]) -> None:
    script.save(PATH, played)
    recording = Recording(PATH)
    assert recording.trouble is None
    assert recording.driver == "script"
    assert contents(recording) == expected(played)
    assert len(recording) == len(expected(played))


# ---- Damage ----

PLAYED = [
    script.process_creation(process_id=10, process_name="/bin/a", arguments=["a", "b"], time_ns=1),
    script.thread_creation(process_id=10, thread_id=11, time_ns=2),
    script.thread_termination(process_id=10, thread_id=11, time_ns=3)
    + script.process_termination(process_id=10, process_name="/bin/a", time_ns=4),
]


def sound_file() -> tuple[bytes, list[int]]:
    """A file, and where each record of it ends."""
    script.save(PATH, PLAYED)
    data = PATH.read_bytes()
    ends, offset = [], len(script.MAGIC)
    while offset < len(data):
        size = int.from_bytes(data[offset : offset + 4], sys.byteorder)
        offset += 8 + (size + 7) // 8 * 8
        ends.append(offset)
    return data, ends


SOUND, ENDS = sound_file()
EVENTS_UP_TO = [0, 1, 2, 4, 4]


def read(data: bytes) -> tuple[list[tuple[Any, ...]], int, int]:
    """What can be read, the error's code and the offset that it names."""
    PATH.write_bytes(data)
    try:
        recording = Recording(PATH)
    except CBProcessError as error:
        return [], error.code, offset_in(error)
    if recording.trouble is None:
        return contents(recording), 0, len(data)
    return contents(recording), recording.trouble.code, offset_in(recording.trouble)


def offset_in(error: CBProcessError) -> int:
    match = re.search(r"offset (\d+):", error.message)
    assert match is not None, error
    return int(match.group(1))


def check_damaged(data: bytes, first_difference: int) -> None:
    seen, code, offset = read(data)
    complete = [end for end in ENDS if end <= first_difference]
    whole = EVENTS_UP_TO[len(complete) - 1] if complete else 0
    assert seen == expected(PLAYED)[:whole]
    assert code in (constants.ERROR_INVALID_DATA, constants.ERROR_BAD_FORMAT)
    assert offset <= first_difference
    assert offset in (0, len(script.MAGIC), *ENDS)
    if complete:
        assert code == constants.ERROR_INVALID_DATA
        assert offset == complete[-1]


def test_the_sound_file() -> None:
    assert read(SOUND) == (expected(PLAYED), 0, len(SOUND))
    assert len(ENDS) == 5


def test_cut_off_anywhere() -> None:
    for size in range(len(SOUND)):
        check_damaged(SOUND[:size], size)


@settings(max_examples=1500, deadline=None)
@given(st.integers(0, len(SOUND) - 1), st.integers(1, 255))
def test_a_wrong_byte_anywhere(offset: int, change: int) -> None:
    data = bytearray(SOUND)
    data[offset] ^= change
    check_damaged(bytes(data), offset)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(SOUND)), st.integers(0, 60), st.binary(max_size=60))
def test_a_stretch_replaced(offset: int, size: int, new: bytes) -> None:
    data = SOUND[:offset] + new + SOUND[offset + size :]
    if data == SOUND:
        return
    same = next((i for i, (a, b) in enumerate(zip(data, SOUND)) if a != b), min(len(data), len(SOUND)))
    check_damaged(data, same)


def test_bytes_behind_the_end() -> None:
    seen, code, offset = read(SOUND + b"\0")
    assert (seen, code, offset) == (expected(PLAYED), constants.ERROR_INVALID_DATA, len(SOUND))


def record(message: bytes) -> bytes:
    order = sys.byteorder
    return len(message).to_bytes(4, order) + zlib.crc32(message).to_bytes(4, order) + wire.padded(message)


def test_a_later_version_is_refused() -> None:
    first = bytearray(SOUND[len(script.MAGIC) + 8 : ENDS[0]])
    size = int.from_bytes(first[:4], sys.byteorder)
    first[24:28] = (2).to_bytes(4, sys.byteorder)
    data = script.MAGIC + record(bytes(first[:size])) + SOUND[ENDS[0] :]
    assert read(data) == ([], constants.ERROR_BAD_FORMAT, len(script.MAGIC))


@pytest.mark.parametrize(
    "message",
    [
        wire.header(0, 13) + b"",
        wire.header(wire.STEP.size, layouts.MESSAGE_SCRIPT_STEP) + wire.STEP.pack(0, 0),
        wire.header(wire.STEP.size, layouts.MESSAGE_SCRIPT_STEP) + wire.STEP.pack(99, 0),
        wire.event_message(1, [], (b"", b"", b"")),
        wire.event_message(1, [(3, 0, 0, 0)], (b"", b"", b"")),
        wire.event_message(1, [(1, 0, 0, 0)], (b"a\0b", b"", b"")),
    ],
    ids=["type", "no step", "unknown step", "no item", "two bits", "NUL"],
)
def test_a_record_that_is_no_sound_message(message: bytes) -> None:
    data = SOUND[: ENDS[1]] + record(message) + SOUND[ENDS[1] :]
    assert read(data) == (expected(PLAYED)[:1], constants.ERROR_INVALID_DATA, ENDS[1])


# ---- Replayed ----

KINDS = (
    "process_creation",
    "process_termination",
    "thread_creation",
    "thread_termination",
    "process_handle_operation",
)


def replay(path: Path, **settings: str) -> tuple[list[tuple[Any, ...]], list[tuple[int, str]]]:
    """What a handler gets from a file, and what on_error gets."""
    process = CBProcess()
    process.initialize(PRODUCT_GUID)
    seen: list[tuple[Any, ...]] = []
    errors: list[tuple[int, str]] = []

    def note(event: Any) -> None:
        seen.append((event.sequence, event.process_id, type(event).__name__))

    for name in KINDS:
        setattr(process, f"on_{name}", note)
    process.on_error = lambda params: errors.append((params.error_code, params.description))
    process.serialize_events = 1
    process.add_filtered_process_by_id(-1, True)
    for name, value in {"Driver": "simulated", "EventsToFire": "-1", "Script": str(path), **settings}.items():
        process.config(f"{name}={value}")
    process.start_filter(0)
    session = process._ready()
    session.library.cbp_script_wait(session.pointer, 20000)
    process.stop_filter()
    return seen, errors


@pytest.mark.parametrize("count", range(len(ENDS) + 1))
def test_a_damaged_recording_is_replayed_as_far_as_it_is_sound(count: int, tmp_path: Path) -> None:
    path = tmp_path / "cut"
    size = ENDS[count - 1] if count else 4
    path.write_bytes(SOUND[:size])
    if count == 0:
        with pytest.raises(CBProcessError) as raised:
            replay(path)
        assert raised.value.code == constants.ERROR_INVALID_DATA
        assert "offset 0" in raised.value.message
        return
    seen, errors = replay(path)
    assert [sequence for sequence, _, _ in seen] == list(range(1, EVENTS_UP_TO[count - 1] + 1))
    if count == len(ENDS):
        assert errors == []
    else:
        assert [(code, f"offset {size}:" in text) for code, text in errors] == [(13, True)]


@settings(max_examples=40, deadline=None)
@given(st.lists(operations(), min_size=1, max_size=12))
def test_a_recorded_session_replays_the_same(played: list[script.Operation]) -> None:
    """Recording what a script gives, and replaying that recording, gives the same events."""
    script.save(PATH, played)
    copy = PATH.with_name("copy")
    first, errors = replay(PATH, RecordTo=str(copy))
    assert errors == []
    second, errors = replay(copy)
    assert errors == []
    assert first == second
    recorded = Recording(copy)
    assert recorded.trouble is None
    assert [item.event.sequence for item in recorded] == [sequence for sequence, _, _ in first]
    assert all(item.verdict is not None and item.verdict.state == "answered" for item in recorded)
