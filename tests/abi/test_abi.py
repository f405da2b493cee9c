"""The hand-written ctypes structures and the generated constants against what the library was built with:
every row, both ways, so that neither side has anything that the other lacks."""

from __future__ import annotations

import ctypes
import re
from ctypes import byref, c_uint32
from pathlib import Path
from typing import NamedTuple

import pytest
from abi.headers import header_text
from abi.wire import STRUCTURES

from cbprocess import constants, events
from cbprocess._api import statistics
from cbprocess._binding import abi, library

ALL_STRUCTURES: dict[str, type[ctypes.Structure]] = {
    **STRUCTURES,
    "event": abi.Event,
    "statistics": abi.Statistics,
    "process_record": abi.ProcessRecord,
    "callbacks": abi.Callbacks,
    "snapshot": abi.Snapshot,
    "abi_row": abi.AbiRow,
}


class Row(NamedTuple):
    kind: str
    owner: str
    name: str
    text: str
    offset: int
    size: int


def read_rows() -> list[Row]:
    count = c_uint32()
    rows = library.load().cbp_abi_rows(byref(count))
    return [
        Row(row.kind.decode(), row.owner.decode(), row.name.decode(), row.text.decode(), row.offset, row.size)
        for row in rows[: count.value]
    ]


ROWS = read_rows()
FIELD_ROWS = [row for row in ROWS if row.kind == "field"]
CONSTANT_ROWS = [row for row in ROWS if row.kind == "const"]


def test_there_are_rows_of_every_known_kind_only() -> None:
    assert {row.kind for row in ROWS} == {"struct", "field", "const"}
    assert len({(row.kind, row.owner, row.name) for row in ROWS}) == len(ROWS)


def test_the_same_structures_with_the_same_sizes() -> None:
    built = {row.name: row.size for row in ROWS if row.kind == "struct"}
    assert built == {name: ctypes.sizeof(structure) for name, structure in ALL_STRUCTURES.items()}


@pytest.mark.parametrize("name", ALL_STRUCTURES)
def test_the_same_fields_at_the_same_places(name: str) -> None:
    built = [(row.name, row.offset, row.size) for row in FIELD_ROWS if row.owner == name]
    by_hand = []
    for field_name, *_ in ALL_STRUCTURES[name]._fields_:
        field = getattr(ALL_STRUCTURES[name], field_name)
        by_hand.append((field_name, field.offset, field.size))
    assert by_hand == built


@pytest.mark.parametrize("name", ALL_STRUCTURES)
def test_no_gap_in_a_structure(name: str) -> None:
    position = 0
    for row in FIELD_ROWS:
        if row.owner == name:
            assert row.offset == position, row
            position += row.size
    assert position == ctypes.sizeof(ALL_STRUCTURES[name])


def test_the_same_constants_with_the_same_values() -> None:
    built = {row.name: c_uint32(row.offset).value for row in CONSTANT_ROWS}
    generated = {name: c_uint32(getattr(constants, name)).value for name in constants.__all__}
    assert generated == built


def test_every_constant_has_a_sentence() -> None:
    assert [row.name for row in CONSTANT_ROWS if not row.text] == []


def test_error_messages_are_the_constants_sentences() -> None:
    for row in CONSTANT_ROWS:
        if row.owner == "error":
            assert library.load().cbp_error_message(row.offset).decode() == row.text
    assert library.load().cbp_error_message(0x7FFFFFFF) == b"unknown error"


WORD_NAMES = [
    name
    for name, value in vars(events).items()
    if re.fullmatch(r"[A-Z_]+", name) and type(value) is int and hasattr(abi.Event, name.lower())
]


@pytest.mark.parametrize("name", WORD_NAMES)
def test_word_indexes_of_event_objects(name: str) -> None:
    field = getattr(abi.Event, name.lower())
    assert (field.offset, field.size) == (getattr(events, name) * 4, 4)


@pytest.mark.parametrize("name", ["SEQUENCE_64", "TIME_NS_64", "START_TIME_64"])
def test_double_word_indexes_of_event_objects(name: str) -> None:
    field = getattr(abi.Event, name[: -len("_64")].lower())
    assert (field.offset, field.size) == (getattr(events, name) * 8, 8)


def test_the_lists_of_indexes_are_not_empty() -> None:
    assert len(WORD_NAMES) >= 18
    assert ctypes.sizeof(abi.Event) == events.FIXED_SIZE


def test_statistics_objects_have_every_native_count() -> None:
    native = {field[0] for field in abi.Statistics._fields_}
    assert set(statistics.Statistics.__slots__) == native | {"failed_in_handler"}
    assert set(statistics.Statistics.__annotations__) == set(statistics.Statistics.__slots__)


def test_every_exported_function_is_declared_with_its_parameters(checkout: Path) -> None:
    text = re.sub(r"/\*.*?\*/", " ", header_text(checkout), flags=re.DOTALL)
    declared = {
        name: 0 if parameters.strip() == "void" else parameters.count(",") + 1
        for name, parameters in re.findall(r"CBP_API[^;(]*?\bCBP_CALL (cbp_\w+)\(([^)]*)\)", text)
    }
    assert declared == {name: len(arguments) for name, (_, arguments) in abi.FUNCTIONS.items()}


def test_header_limits(checkout: Path) -> None:
    match = re.search(r"#define CBP_EVENT_SIZE_INLINE (\d+)u", header_text(checkout))
    assert match is not None and int(match.group(1)) == abi.EVENT_SIZE_INLINE
