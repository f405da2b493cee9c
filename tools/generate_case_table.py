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
LINE_WIDTH = 108

FILE = """\
/* Maps UTF-16 units to upper case: the simple mapping of Unicode {version}.
 * Made by tools/generate_case_table.py; not to be edited. */
#include "cbp_pattern.h"

/* The units from first to last become upper case by an addition: all of them, or every second one. */
static const struct {{
    uint16_t first, last, is_every_second;
    int32_t difference;
}} ranges[] = {{
    /* clang-format off */
{ranges}
    /* clang-format on */
}};

uint32_t cbp_upper_case(uint32_t unit)
{{
    const size_t count = sizeof ranges / sizeof ranges[0];
    size_t low = 0, high = count;
    while (low < high) {{
        size_t middle = (low + high) / 2;
        if (ranges[middle].last < unit)
            low = middle + 1;
        else
            high = middle;
    }}
    int is_lower = low < count && unit >= ranges[low].first &&
                   ((unit - ranges[low].first) & ranges[low].is_every_second) == 0;
    return is_lower ? (uint32_t) ((int32_t) unit + ranges[low].difference) : unit;
}}
"""

Range = tuple[int, int, int, int]  # first, last, is_every_second, difference


def upper(unit: int) -> int:
    """The simple mapping. Python has the full one, in which ß becomes SS; where that is longer than one
    character, the simple mapping is the title-case letter if that is one, and else the unit itself."""
    if unit in SURROGATES:
        return unit
    for text in (chr(unit).upper(), chr(unit).title()):
        if len(text) == 1 and ord(text) < UNIT_COUNT:
            return ord(text)
    return unit


def ranges_of(mapping: list[int]) -> list[Range]:
    ranges: list[Range] = []
    for unit, mapped in enumerate(mapping):
        difference = mapped - unit
        if difference == 0:
            continue
        if ranges:
            first, last, skips, same = ranges[-1]
            gap = unit - last - 1
            if same == difference and (gap == skips or (first == last and gap == 1)):
                ranges[-1] = (first, unit, gap, difference)
                continue
        ranges.append((unit, unit, 0, difference))
    return ranges


def table_text(mapping: list[int]) -> str:
    lines = ["   "]
    for first, last, skips, difference in ranges_of(mapping):
        text = f" {{{first:#06x}, {last:#06x}, {skips}, {difference}}},"
        if len(lines[-1]) + len(text) > LINE_WIDTH:
            lines.append("   ")
        lines[-1] += text
    return FILE.format(version=unicodedata.unidata_version, ranges="\n".join(lines))


def read_mapping(text: str) -> list[int]:
    """The mapping of a table, read from its text."""
    mapping = list(range(UNIT_COUNT))
    for numbers in re.findall(r"\{(0x\w+), (0x\w+), (\d), (-?\d+)\}", text):
        first, last, skips, difference = (int(number, 0) for number in numbers)
        for unit in range(first, last + 1, 1 + skips):
            mapping[unit] = unit + difference
    return mapping


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
