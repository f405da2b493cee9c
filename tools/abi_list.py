#!/usr/bin/env python3
"""Keeps tests/abi/abi.txt, the list of a library's promises to programs compiled against it: symbols with
their versions, layouts of the public structures, constants.

    python tools/abi_list.py [--check] LIBRARY

Adds new lines. Refuses, with status 1, a library where something of the list is gone or different. With
--check it writes nothing and also refuses new lines. The wire messages are not in the list: they have a
version of their own. Reads ELF files of 64 bits; needs no tool beside Python."""

from __future__ import annotations

import argparse
import ctypes
import re
import struct
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
LIST = ROOT / "tests" / "abi" / "abi.txt"
MESSAGES = ROOT / "driver" / "protocol" / "cbp_message.h"

HEADING = """\
# What a program compiled against the library relies on; lines are only ever added (tools/abi_list.py).
# symbol NAME VERSION | struct NAME SIZE | field STRUCT NAME OFFSET SIZE | const GROUP NAME VALUE
"""

SHT_DYNSYM, SHT_GNU_VERSYM, SHT_GNU_VERDEF = 11, 0x6FFFFFFF, 0x6FFFFFFD
SHN_ABS = 0xFFF1


class Section(NamedTuple):
    type: int
    link: int
    data: bytes


class AbiRow(ctypes.Structure):
    """struct cbp_abi_row."""

    _fields_ = [
        *((name, ctypes.c_char_p) for name in ("kind", "owner", "name", "text")),
        ("offset", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
    ]


def read_sections(data: bytes) -> list[Section]:
    if data[:6] != b"\x7fELF\x02\x01":
        raise SystemExit("not an ELF file of 64 bits, little-endian")
    table, size, count = (*struct.unpack_from("<Q", data, 40), *struct.unpack_from("<HH", data, 58))
    sections = []
    for at in range(table, table + size * count, size):
        _, kind, _, _, offset, length, link = struct.unpack_from("<IIQQQQI", data, at)
        sections.append(Section(kind, link, data[offset : offset + length]))
    return sections


def text_at(strings: bytes, offset: int) -> str:
    return strings[offset : strings.index(b"\0", offset)].decode("ascii")


def version_names(sections: list[Section]) -> dict[int, str]:
    """Names of the version nodes that the library defines, by their index; the first is the library's own."""
    section = next((item for item in sections if item.type == SHT_GNU_VERDEF), None)
    names = {}
    at = 0
    while section is not None:
        (index,) = struct.unpack_from("<H", section.data, at + 4)
        auxiliary, following = struct.unpack_from("<II", section.data, at + 12)
        (name,) = struct.unpack_from("<I", section.data, at + auxiliary)
        names[index] = text_at(sections[section.link].data, name)
        if following == 0:
            break
        at += following
    return names


def exported_symbols(library: Path) -> dict[str, str]:
    """Every symbol that the library defines for others, with the name of its version ("" without one)."""
    sections = read_sections(library.read_bytes())
    names = version_names(sections)
    dynamic = next(item for item in sections if item.type == SHT_DYNSYM)
    versions = next((item.data for item in sections if item.type == SHT_GNU_VERSYM), b"")
    strings = sections[dynamic.link].data
    found = {}
    for number in range(1, len(dynamic.data) // 24):
        name, info, _, section = struct.unpack_from("<IBBH", dynamic.data, number * 24)
        is_local = info >> 4 == 0
        if is_local or section in (0, SHN_ABS):
            continue
        version = struct.unpack_from("<H", versions, number * 2)[0] & 0x7FFF if versions else 0
        found[text_at(strings, name)] = names.get(version, "")
    return found


def wire_structures() -> set[str]:
    text = MESSAGES.read_text(encoding="utf-8").replace("\\\n", " ")
    found = re.search(r"^#define CBP_STRUCTURES\(X\)(.*)$", text, re.MULTILINE)
    if found is None:
        raise SystemExit(f"{MESSAGES}: CBP_STRUCTURES is missing")
    return set(re.findall(r"X\((\w+),", found[1]))


def row_lines(library: Path) -> list[str]:
    """The rows of cbp_abi_rows()."""
    count = ctypes.c_uint32()
    function = ctypes.CDLL(str(library)).cbp_abi_rows
    function.restype = ctypes.POINTER(AbiRow)
    wire = wire_structures()
    lines = []
    for row in function(ctypes.byref(count))[: count.value]:
        kind, owner, name = (text.decode("ascii") for text in (row.kind, row.owner, row.name))
        if kind == "const":
            lines.append(f"const {owner} {name} 0x{row.offset:x}")
        elif kind == "struct" and name not in wire:
            lines.append(f"struct {name} {row.size}")
        elif kind == "field" and owner not in wire:
            lines.append(f"field {owner} {name} {row.offset} {row.size}")
    return lines


def built_lines(library: Path) -> list[str]:
    symbols = exported_symbols(library)
    return [f"symbol {name} {symbols[name]}".rstrip() for name in sorted(symbols)] + row_lines(library)


def listed_lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def broken_promises(listed: list[str], built: list[str]) -> list[str]:
    """The listed lines that no longer hold. A structure may grow: its fields have lines of their own."""
    sizes = {name: int(size) for kind, name, size in map(split_size, built) if kind == "struct"}
    present = set(built)
    broken = []
    for line in listed:
        kind, name, size = split_size(line)
        has_grown = kind == "struct" and sizes.get(name, 0) >= int(size)
        if line not in present and not has_grown:
            broken.append(line)
    return broken


def split_size(line: str) -> tuple[str, str, str]:
    kind, _, rest = line.partition(" ")
    name, _, size = rest.partition(" ")
    return kind, name, size


def main() -> int:
    parser = argparse.ArgumentParser(description="Keeps the list of what the library's ABI promises.")
    parser.add_argument("--check", action="store_true", help="compare only")
    parser.add_argument("library", type=Path, help="the built libcbprocess.so")
    options = parser.parse_args()
    built = built_lines(options.library.resolve())
    listed = listed_lines(LIST.read_text(encoding="ascii")) if LIST.exists() else []
    broken = broken_promises(listed, built)
    for line in broken:
        print(f"gone or different: {line}", file=sys.stderr)
    if broken:
        return 1
    if options.check:
        new = sorted(set(built) - set(listed))
        for line in new:
            print(f"not in {LIST.name}: {line}", file=sys.stderr)
        return 1 if new else 0
    LIST.write_text(HEADING + "\n".join(built) + "\n", encoding="ascii")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
