"""Event objects: what they show of an event's memory, what can be set, and what a kept one can still do."""

from __future__ import annotations

import ctypes
import sys
from typing import Any, Callable

import pytest
from unit.event_blocks import dispatch_once, fields_of, make_event

import cbprocess
import cbprocess.script
import cbprocess.testing
from cbprocess import constants, events

ANSWER = {"result_code"}
COMMON = {
    "process_id",
    "result_code",
    "sequence",
    "time",
    "time_ns",
    "start_time",
    "user_id",
    "flags",
    "capabilities",
    "held",
    "refusable",
    "decided_by_rule",
    "timed_out",
}
HANDLE = {
    "duplication",
    "originator_process_id",
    "originator_thread_id",
    "source_process_id",
    "target_process_id",
    "original_desired_access",
    "desired_access",
}
# The class of each operation: its own properties (besides COMMON), and those that can be set.
SURFACE = {
    "ProcessCreation": (
        {
            "parent_process_id",
            "creating_process_id",
            "creating_thread_id",
            "process_name",
            "image_deleted",
            "image_file_name",
            "file_open_name_available",
            "command_line",
            "arguments",
        },
        ANSWER,
    ),
    "ProcessTermination": ({"process_name", "image_file_name", "image_deleted", "exit_status"}, ANSWER),
    "ThreadCreation": ({"thread_id", "creating_process_id", "creating_thread_id"}, ANSWER),
    "ThreadTermination": ({"thread_id", "exit_status"}, ANSWER),
    "ProcessHandleOperation": (HANDLE, ANSWER | {"desired_access"}),
    "ThreadHandleOperation": (HANDLE | {"thread_id"}, ANSWER | {"desired_access"}),
}


def event_class(name: str) -> type[events.EventParams]:
    found: type[events.EventParams] = getattr(cbprocess, f"CBProcess{name}EventParams")
    return found


def properties(cls: type) -> dict[str, property]:
    return {
        name: value
        for base in cls.__mro__
        for name, value in vars(base).items()
        if isinstance(value, property)
    }


def in_handler(memory: Any, action: Callable[[Any], Any]) -> Any:
    """What action(event) gives inside the handler."""
    results: list[Any] = []
    dispatch_once(memory, lambda event: results.append(action(event)))
    return results[0]


def read_all(event: events.EventParams) -> dict[str, object]:
    return {name: getattr(event, name) for name in properties(type(event))}


@pytest.mark.parametrize("name", SURFACE)
def test_properties_are_exactly_these(name: str) -> None:
    own, settable = SURFACE[name]
    found = properties(event_class(name))
    assert set(found) == own | COMMON
    assert {key for key, value in found.items() if value.fset is not None} == settable


@pytest.mark.parametrize("name", SURFACE)
def test_every_property_says_what_it_is(name: str) -> None:
    for key, value in properties(event_class(name)).items():
        assert value.__doc__, key


@pytest.mark.parametrize("name", SURFACE)
def test_nothing_else_can_be_set(name: str) -> None:
    kind = {cls: bit for bit, cls in events.EVENT_CLASSES.items()}[event_class(name)]

    def attempt(event: Any) -> None:
        for key in [*(set(properties(type(event))) - SURFACE[name][1]), "no_such_name"]:
            with pytest.raises(AttributeError):
                setattr(event, key, 1)

    in_handler(make_event(kind), attempt)


def test_fields_of_a_creation() -> None:
    memory = make_event(
        process_name="/usr/bin/grün".encode(),
        image_file_name=b"./script\xff",
        arguments=[b"a", b"", b"with space", b"\xfe"],
        process_id=11,
        parent_process_id=12,
        originator_process_id=13,
        originator_thread_id=14,
        user_id=15,
        capabilities=16,
        sequence=2**64 - 1,
        time_ns=1_500_000_000_250_000_000,
        start_time=2**40,
    )
    values = in_handler(memory, read_all)
    assert values == {
        "process_id": 11,
        "parent_process_id": 12,
        "creating_process_id": 13,
        "creating_thread_id": 14,
        "user_id": 15,
        "capabilities": 16,
        "sequence": 2**64 - 1,
        "time_ns": 1_500_000_000_250_000_000,
        "time": 1_500_000_000.25,
        "start_time": 2**40,
        "process_name": "/usr/bin/grün",
        "image_deleted": False,
        "image_file_name": "./script\udcff",
        "file_open_name_available": False,
        "arguments": ["a", "", "with space", "\udcfe"],
        "command_line": "a '' 'with space' '\udcfe'",
        "result_code": 0,
        "flags": 0,
        "held": False,
        "refusable": False,
        "decided_by_rule": False,
        "timed_out": False,
    }


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [([], []), ([b""], [""]), ([b"", b""], ["", ""]), ([b"a", b""], ["a", ""]), ([b"", b"a"], ["", "a"])],
)
def test_argument_lists_with_empty_ones(arguments: list[bytes], expected: list[str]) -> None:
    assert in_handler(make_event(arguments=arguments), lambda event: event.arguments) == expected


def test_truncated_argument_list_keeps_its_last_part() -> None:
    memory = make_event(arguments=[b"abc", b"defg"])
    fields_of(memory).arguments_size -= 3
    assert in_handler(memory, lambda event: event.arguments) == ["abc", "de"]


@pytest.mark.parametrize(("name", "full"), [(b"/bin/x", True), (b"bin/x", False), (b"", False)])
def test_whether_the_image_name_is_a_full_path(name: bytes, full: bool) -> None:
    memory = make_event(image_file_name=name)
    assert in_handler(memory, lambda event: event.file_open_name_available) is full


@pytest.mark.parametrize(
    ("flag", "name"),
    [
        (constants.EVENT_FLAG_HELD, "held"),
        (constants.EVENT_FLAG_REFUSABLE, "refusable"),
        (constants.EVENT_FLAG_IMAGE_DELETED, "image_deleted"),
        (constants.EVENT_FLAG_DECIDED_BY_RULE, "decided_by_rule"),
        (constants.EVENT_FLAG_TIMED_OUT, "timed_out"),
        (constants.EVENT_FLAG_DUPLICATION, "duplication"),
    ],
)
def test_each_flag_has_its_property(flag: int, name: str) -> None:
    kind = constants.PROC_EVT_PROCESS_HANDLE_OPERATION
    if name == "image_deleted":
        kind = constants.PROC_EVT_PROCESS_CREATION
    for flags in (flag, 0xFFFFFFFF & ~flag):
        values = in_handler(make_event(kind, flags=flags), read_all)
        assert values["flags"] == flags
        assert values[name] is (flags == flag)


@pytest.mark.skipif(sys.platform == "win32", reason="wait statuses are of POSIX")
@pytest.mark.parametrize(
    "kind", [constants.PROC_EVT_PROCESS_TERMINATION, constants.PROC_EVT_THREAD_TERMINATION]
)
@pytest.mark.parametrize(("status", "expected"), [(0, 0), (0x0100, 1), (0xFF00, 255), (9, -9), (0x8B, -11)])
def test_exit_status(kind: int, status: int, expected: int) -> None:
    assert in_handler(make_event(kind, exit_status=status), lambda event: event.exit_status) == expected


def test_answers_reach_the_memory() -> None:
    memory = make_event(constants.PROC_EVT_PROCESS_HANDLE_OPERATION, original_desired_access=0xF0)
    fields_of(memory).desired_access = 0xF0

    def answer(event: Any) -> tuple[int, int]:
        event.result_code = 5
        event.desired_access = 0x30
        return event.result_code, event.desired_access

    assert in_handler(memory, answer) == (5, 0x30)
    assert (fields_of(memory).result_code, fields_of(memory).desired_access) == (5, 0x30)


def test_access_can_only_be_lost() -> None:
    memory = make_event(constants.PROC_EVT_THREAD_HANDLE_OPERATION, original_desired_access=0x0F)

    def widen(event: Any) -> int:
        event.desired_access = 0xFFFFFFFF
        return int(event.desired_access)

    assert in_handler(memory, widen) == 0x0F


@pytest.mark.parametrize("name", ["result_code", "desired_access"])
@pytest.mark.parametrize("value", [True, False, -1, 2**32, 2**70, 1.0, "1", None, b"1", [1]])
def test_wrong_answers_are_refused(name: str, value: object) -> None:
    memory = make_event(
        constants.PROC_EVT_PROCESS_HANDLE_OPERATION, original_desired_access=7, desired_access=7
    )

    def attempt(event: Any) -> None:
        with pytest.raises(cbprocess.CBProcessError) as raised:
            setattr(event, name, value)
        assert raised.value.code == constants.ERROR_INVALID_PARAMETER
        assert name in raised.value.message

    in_handler(memory, attempt)
    assert (fields_of(memory).result_code, fields_of(memory).desired_access) == (0, 7)


def test_a_kept_event_can_be_read_for_ever_but_not_answered() -> None:
    kind = constants.PROC_EVT_PROCESS_HANDLE_OPERATION
    memory = make_event(kind, process_id=7, original_desired_access=3, desired_access=3)
    kept: list[Any] = []
    dispatch_once(memory, kept.append)
    before = read_all(kept[0])
    ctypes.memset(ctypes.addressof(memory), 0xFF, ctypes.sizeof(memory))
    assert read_all(kept[0]) == before
    assert before["process_id"] == 7
    for attempt in (
        lambda event: setattr(event, "result_code", 1),
        lambda event: setattr(event, "desired_access", 1),
        lambda event: event.defer(),
    ):
        with pytest.raises(cbprocess.CBProcessError) as raised:
            attempt(kept[0])
        assert raised.value.code == constants.ERROR_NO_CALLBACK_ACTIVE
    assert read_all(kept[0]) == before


def test_a_kept_creation_keeps_its_texts() -> None:
    memory = make_event(process_name=b"/a/b", image_file_name=b"/c", arguments=[b"x", b"y z"])
    kept: list[Any] = []
    dispatch_once(memory, kept.append)
    ctypes.memset(ctypes.addressof(memory), 0, ctypes.sizeof(memory))
    event = kept[0]
    assert (event.process_name, event.image_file_name, event.command_line) == ("/a/b", "/c", "x 'y z'")


def test_repr_names_class_sequence_and_process() -> None:
    text = in_handler(make_event(sequence=3, process_id=4), repr)
    assert text == "<CBProcessProcessCreationEventParams 3: process 4>"


def test_error_and_worker_events() -> None:
    error = cbprocess.CBProcessErrorEventParams(574, "text")
    assert (error.error_code, error.description) == (574, "text")
    with pytest.raises(AttributeError):
        error.error_code = 1  # type: ignore[misc]
    worker = cbprocess.CBProcessWorkerThreadCreationEventParams()
    assert worker.result_code == 0
    worker.result_code = 8
    assert worker.result_code == 8
    for value in (-1, 2**32, "1", True, None):
        with pytest.raises(cbprocess.CBProcessError) as raised:
            worker.result_code = value  # type: ignore[assignment]
        assert raised.value.code == constants.ERROR_INVALID_PARAMETER
    with pytest.raises(AttributeError):
        cbprocess.CBProcessWorkerThreadTerminationEventParams().result_code = 1  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("kind", "fields", "text"),
    [
        (
            "process_creation",
            {"process_name": b"/usr/bin/make", "arguments": [b"make", b"a b"]},
            "process_creation 77 /usr/bin/make, make 'a b'",
        ),
        (
            "process_creation",
            {"process_name": b"/bin/x\n\xff", "arguments": [b"\x1b[2J"], "result_code": 5},
            "process_creation 77 /bin/x\\n\\xff, '\\x1b[2J', refused with 5",
        ),
        (
            "process_termination",
            {"process_name": b"/usr/bin/make", "exit_status": 9},
            "process_termination 77 /usr/bin/make, exit status -9",
        ),
        (
            "thread_creation",
            {"process_name": b"", "thread_id": 78, "originator_process_id": 76},
            "thread_creation 77, thread 78 made by 76",
        ),
        (
            "thread_termination",
            {"process_name": b"/bin/sh", "thread_id": 78, "exit_status": 0x300},
            "thread_termination 77 /bin/sh, thread 78, exit status 3",
        ),
        (
            "process_handle_operation",
            {
                "process_name": b"/bin/sh",
                "originator_process_id": 5,
                "original_desired_access": 0x11,
                "desired_access": 1,
            },
            "process_handle_operation 77 /bin/sh, rights 0x1 of 0x11 for 5",
        ),
        (
            "thread_handle_operation",
            {
                "process_name": b"",
                "thread_id": 78,
                "originator_process_id": 5,
                "original_desired_access": 2,
                "desired_access": 0,
            },
            "thread_handle_operation 77, thread 78, rights 0x0 of 0x2 for 5",
        ),
    ],
)
def test_an_event_as_text_names_the_program(kind: str, fields: dict[str, Any], text: str) -> None:
    operation = next(operation for operation in events.OPERATIONS if operation.name == kind)
    memory = make_event(operation.type, process_id=77, sequence=3, **fields)
    kept: list[Any] = []
    assert in_handler(memory, lambda event: (str(event), kept.append(event))[0]) == text
    assert str(kept[0]) == text  # also when its handler has returned
    assert repr(kept[0]) == f"<{operation.event_class.__name__} 3: process 77>"


def test_an_error_as_text() -> None:
    assert str(events.CBProcessErrorEventParams(31, "it failed")) == "it failed (error 31)"


def test_the_table_of_operations_names_what_there_is() -> None:
    assert [operation.name for operation in events.OPERATIONS] == [
        "process_creation",
        "process_termination",
        "thread_creation",
        "thread_termination",
        "process_handle_operation",
        "thread_handle_operation",
    ]
    for operation in events.OPERATIONS:
        assert operation.type == cbprocess.EventType[operation.name.upper()]
        assert isinstance(getattr(cbprocess.CBProcess, operation.handler), property)
        assert callable(getattr(cbprocess.script, operation.name))
        assert callable(getattr(cbprocess.testing.Simulator, operation.name))
