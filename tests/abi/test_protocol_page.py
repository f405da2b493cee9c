"""docs/protocol.md says of the wire messages what the built library says: types, sizes, places of fields."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path

import pytest

from cbprocess._binding import library

# name: size, and the fields with offset and size
Layouts = dict[str, tuple[int, list[tuple[str, int, int]]]]


def documented(page: str) -> Layouts:
    layouts: Layouts = {}
    for section in re.split(r"^### ", page, flags=re.MULTILINE)[1:]:
        heading, _, body = section.partition("\n")
        named = re.search(r"`(\w+)`, (\d+) bytes$", heading)
        if named:
            rows = re.findall(r"^\| (\d+) \| (\d+) \| `(\w+)` \|", body, re.MULTILINE)
            layouts[named[1]] = (int(named[2]), [(name, int(at), int(size)) for at, size, name in rows])
    return layouts


def built(names: set[str]) -> Layouts:
    count = ctypes.c_uint32()
    rows = library.load().cbp_abi_rows(ctypes.byref(count))[: count.value]
    layouts: Layouts = {
        row.name.decode(): (row.size, [])
        for row in rows
        if row.kind == b"struct" and row.name.decode() in names
    }
    for row in rows:
        if row.kind == b"field" and row.owner.decode() in layouts:
            layouts[row.owner.decode()][1].append((row.name.decode(), row.offset, row.size))
    return layouts


@pytest.fixture(scope="module")
def page(checkout: Path) -> str:
    return (checkout / "docs" / "protocol.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def header(checkout: Path) -> str:
    text = (checkout / "driver" / "protocol" / "cbp_message.h").read_text(encoding="utf-8")
    return text.replace("\\\n", " ")


def test_every_structure_as_it_is_built(page: str, header: str) -> None:
    listed = re.search(r"^#define CBP_STRUCTURES\(X\)(.*)$", header, re.MULTILINE)
    assert listed is not None
    names = set(re.findall(r"X\((\w+),", listed[1]))
    assert len(names) >= 15
    layouts = documented(page)
    assert set(layouts) == names
    for name, layout in built(names).items():
        assert layouts[name] == layout, name


def test_every_message_type(page: str, header: str) -> None:
    defined = {name: int(number) for name, number in re.findall(r"X\((MESSAGE_\w+), (\d+)u,", header)}
    named = {
        name: int(number)
        for name, number in re.findall(r"^### `(MESSAGE_\w+)` \((\d+)\)", page, re.MULTILINE)
    }
    assert named == defined and len(defined) >= 13


def test_magic_and_version(page: str, header: str) -> None:
    magic = re.search(r"^#define CBP_PROTOCOL_MAGIC (0x\w+)u", header, re.MULTILINE)
    version = re.search(r"^#define CBP_PROTOCOL_VERSION (\d+)u", header, re.MULTILINE)
    assert magic is not None and version is not None
    assert f"the magic number {magic[1]} and the version of the protocol, now {version[1]}." in " ".join(
        page.split()
    )
