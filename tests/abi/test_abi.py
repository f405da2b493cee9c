"""The structures in ctypes, the generated layouts and constants against what the library was built with:
every row, both ways, so that neither side has anything that the other lacks. The messages in wire.py are
written by hand."""

from __future__ import annotations

import ctypes
import re
from ctypes import byref, c_uint32, c_uint64
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from abi.headers import header_text
from abi.wire import MESSAGE_TYPES, STRUCTURES

from cbprocess import _event_fields as event_fields
from cbprocess import constants
from cbprocess._api import statistics
from cbprocess._binding import abi, layouts, library, structures
from cbprocess.drivers import DRIVERS

ROOT = Path(__file__).resolve().parents[2]

ALL_STRUCTURES: dict[str, type[ctypes.Structure]] = {
    **STRUCTURES,
    "event": structures.Event,
    "statistics": structures.Statistics,
    "process_record": structures.ProcessRecord,
    "callbacks": structures.Callbacks,
    "snapshot": structures.Snapshot,
    "abi_row": structures.AbiRow,
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


@pytest.mark.parametrize("name", sorted(layouts.FIELDS.keys() & STRUCTURES.keys()))
def test_generated_layouts_are_those_written_by_hand(name: str) -> None:
    """Without a message's header and an event message's items."""
    kinds = {c_uint32: "I", c_uint64: "Q"}
    fields: list[tuple[str, Any]] = [field[:2] for field in STRUCTURES[name]._fields_]
    assert list(layouts.FIELDS[name]) == [(key, kinds[kind]) for key, kind in fields if kind in kinds]


def test_generated_numbers_of_messages_are_those_written_by_hand() -> None:
    renamed = {"session": "session_settings", "event": "event_message"}
    numbers = {
        key[len("MESSAGE_") :].lower(): value for key, value in vars(layouts).items() if "MESSAGE_" in key
    }
    assert {renamed.get(key, key): value for key, value in numbers.items()} == MESSAGE_TYPES


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
    name for name in vars(event_fields) if name.isupper() and hasattr(structures.Event, name.lower())
]


@pytest.mark.parametrize("name", WORD_NAMES)
def test_word_indexes_of_event_objects(name: str) -> None:
    field = getattr(structures.Event, name.lower())
    assert (field.offset, field.size) == (getattr(event_fields, name) * 4, 4)


@pytest.mark.parametrize("name", [name for name in vars(event_fields) if name.endswith("_64")])
def test_double_word_indexes_of_event_objects(name: str) -> None:
    field = getattr(structures.Event, name[: -len("_64")].lower())
    assert (field.offset, field.size) == (getattr(event_fields, name) * 8, 8)


def test_the_lists_of_indexes_are_not_empty() -> None:
    assert len(WORD_NAMES) == 22
    assert ctypes.sizeof(structures.Event) == event_fields.FIXED_SIZE


def test_statistics_objects_have_every_native_count() -> None:
    native = {field[0] for field in structures.Statistics._fields_}
    assert set(statistics.Statistics.__slots__) == native | {"failed_in_handler"}
    assert set(statistics.Statistics.__annotations__) == set(statistics.Statistics.__slots__)


def test_every_exported_function_is_declared_with_its_parameters(checkout: Path) -> None:
    text = re.sub(r"/\*.*?\*/", " ", header_text(checkout), flags=re.DOTALL)
    declared = {
        name: 0 if parameters.strip() == "void" else parameters.count(",") + 1
        for name, parameters in re.findall(r"CBP_API[^;(]*?\bCBP_CALL (cbp_\w+)\(([^)]*)\)", text)
    }
    assert declared == {name: len(abi.signature(name)[1]) for name in abi.FUNCTIONS}


def test_header_limits(checkout: Path) -> None:
    match = re.search(r"#define CBP_EVENT_SIZE_INLINE (\d+)u", header_text(checkout))
    assert match is not None and int(match.group(1)) == layouts.EVENT_SIZE_INLINE


def test_python_knows_the_names_of_the_builds_drivers() -> None:
    """Both lists have the drivers of all platforms, so neither can be made from what one build has."""
    text = (ROOT / "cmake/drivers.cmake").read_text(encoding="utf-8")
    names = re.search(r"set\(CBP_DRIVER_NAMES ([^)]*)\)", text)
    assert names and tuple(names[1].split()) == DRIVERS
