#!/usr/bin/env python3
"""Writes driver/rules/cbp_case.c, the simple upper-case mapping of UTF-16 units, from Python's own data.

With --check it writes nothing and ends with status 1 when the file is not what it would write. A mapping of
Unicode never changes; later versions only add some. Where Python's Unicode is another than the table's, the
units that both map are compared."""

from __future__ import annotations

import argparse
import re
import sys
import unicodedata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "driver" / "rules" / "cbp_case.c"
UNIT_COUNT = 0x10000
SURROGATES = range(0xD800, 0xE000)
PAGE_BITS = 5
PAGE_SIZE = 1 << PAGE_BITS
LINE_WIDTH = 108

HEAD = """\
/* Maps UTF-16 units to upper case: the simple mapping of Unicode {version}.
 * Made by tools/generate_case_table.py; not to be edited. */
#include "cbp_pattern.h"

/* clang-format off */
"""


def upper(unit: int) -> int:
    """The simple mapping. Python has the full one, in which ß becomes SS; where that is longer than one
    character, the simple mapping is the title-case letter if that is one, and else the unit itself."""
    if unit in SURROGATES:
        return unit
    for text in (chr(unit).upper(), chr(unit).title()):
        if len(text) == 1 and ord(text) < UNIT_COUNT:
            return ord(text)
    return unit


def lines_of(numbers: list[int]) -> str:
    lines, line = [], "   "
    for number in numbers:
        if len(line) + len(f" {number},") > LINE_WIDTH:
            lines.append(line)
            line = "   "
        line += f" {number},"
    return "\n".join([*lines, line])


def table_text(mapping: list[int]) -> str:
    """Two stages: which page holds the differences for a run of units, and the pages, each once."""
    pages: dict[tuple[int, ...], int] = {}
    page_of = []
    for first in range(0, UNIT_COUNT, PAGE_SIZE):
        units = range(first, first + PAGE_SIZE)
        page = tuple((mapping[unit] - unit) % UNIT_COUNT for unit in units)
        page_of.append(pages.setdefault(page, len(pages)))
    return (
        HEAD.format(version=unicodedata.unidata_version)
        + f"const uint8_t cbpd_case_page_of[{len(page_of)}] = {{\n{lines_of(page_of)}\n}};\n\n"
        + f"const uint16_t cbpd_case_pages[{len(pages)}][{PAGE_SIZE}] = {{\n"
        + "\n".join(f"    {{\n{lines_of(list(page))}\n    }}," for page in pages)
        + "\n};\n"
    )


def read_mapping(text: str) -> list[int]:
    """The mapping of a table, read from its text."""
    bodies = re.findall(r"= \{\n(.*?)\n\};", text, re.DOTALL)
    page_of, differences = ([int(number) for number in re.findall(r"\d+", body)] for body in bodies)
    return [
        (unit + differences[page_of[unit >> PAGE_BITS] * PAGE_SIZE + unit % PAGE_SIZE]) % UNIT_COUNT
        for unit in range(UNIT_COUNT)
    ]


def is_current(mapping: list[int]) -> bool:
    text = TABLE.read_text(encoding="utf-8")
    if f"Unicode {unicodedata.unidata_version}." in text:
        return text == table_text(mapping)
    pairs = zip(read_mapping(text), mapping)
    return all(theirs == ours for unit, (theirs, ours) in enumerate(pairs) if unit not in (theirs, ours))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="compare only")
    check = parser.parse_args().check
    mapping = [upper(unit) for unit in range(UNIT_COUNT)]
    if any(mapping[mapped] != mapped for mapped in mapping):
        raise SystemExit("an upper-case letter has another upper case: the engine folds only once")
    if not check:
        TABLE.write_text(table_text(mapping), encoding="utf-8")
    elif not is_current(mapping):
        print(
            f"{TABLE.relative_to(ROOT)} is not up to date: run tools/generate_case_table.py", file=sys.stderr
        )
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
