#!/usr/bin/env python3
"""Writes the layouts that Python reads, from the X-lists of driver/protocol and native/include:
cbprocess/_binding/layouts.py (messages and structures) and _event_fields.py (an event's fields).

Reads the headers as text; needs neither a compiler nor the built library. With --check it writes nothing and
ends with status 1 when a file is not what it would write.
"""

from __future__ import annotations

import argparse
import re
import sys
import textwrap

from generate_constants import ENTRY, ROOT, Constant, read_constant

HEADERS = (
    "driver/protocol/cbp_message.h",
    "native/include/cbprocess.h",
    "native/include/cbp_snapshot.h",
)
PACKAGE = ROOT / "cbprocess"
LAYOUTS = PACKAGE / "_binding" / "layouts.py"
EVENT_FIELDS = PACKAGE / "_event_fields.py"

# Python takes these structures apart or makes them. Recordings and scripts consist of messages.
STRUCTURES = (
    "message_header",
    "event_item",
    "event_message",
    "recording",
    "recording_end",
    "verdict",
    "script_step",
    "event",
    "statistics",
    "process_record",
)
NUMBER_LISTS = ("CBP_MESSAGE_LIST", "CBP_VERDICT_LIST", "CBP_SCRIPT_LIST")
WIDTH, INDENT = 105, " " * 12
NUMBERS = ("RECORDING_VERSION", "EVENT_SIZE_INLINE")

# Module struct has these letters for types, and these sizes.
TYPES = {"uint32_t": ("I", 4), "uint64_t": ("Q", 8)}
FIELD = re.compile(r"X\(S,\s*([\w ]+?),\s*(\w+)\)")

Fields = list[tuple[str, str]]  # name and type in C


def read_headers() -> str:
    """The text of all headers, without comments and with each definition in one line."""
    text = "\n".join((ROOT / header).read_text(encoding="utf-8") for header in HEADERS)
    return re.sub(r"/\*.*?\*/", " ", text, flags=re.DOTALL).replace("\\\n", " ")


def definition(text: str, name: str) -> str:
    found = re.search(rf"^#define {name}(?:\([^)]*\))?([ \t].*)$", text, re.MULTILINE)
    if found is None:
        raise SystemExit(f"{name} is missing in {', '.join(HEADERS)}")
    return found[1]


def read_fields(text: str, structure: str) -> Fields:
    body = definition(text, f"CBP_FIELDS_{structure}")
    fields = [(name, kind) for kind, name in FIELD.findall(body)]
    if len(fields) != body.count("X("):
        raise SystemExit(f"an entry of CBP_FIELDS_{structure} could not be read")
    return fields


def read_numbers(text: str, name: str) -> list[Constant]:
    body = definition(text, name)
    numbers = [read_constant(*entry) for entry in ENTRY.findall(body)]
    if len(numbers) != body.count("X("):
        raise SystemExit(f"an entry of {name} could not be read")
    return numbers


def heading(summary: str) -> list[str]:
    origin = "Made by tools/generate_layouts.py from the X-lists of the C headers; not to be edited."
    return [f'"""{summary}', "", origin, '"""', ""]


def layouts_module(text: str) -> str:
    lines = heading("The layouts of messages and of the native library's structures, field by field.")
    for name in NUMBER_LISTS:
        lines += [f"{item.name} = {item.literal}  # {item.text}" for item in read_numbers(text, name)] + [""]
    lines += [f"{name} = {definition(text, f'CBP_{name}').strip().rstrip('u')}" for name in NUMBERS]
    lines += [
        "",
        "# Each structure has its fields here, with their types as module struct names these. The header of",
        "# a message is left out, and so are an event message's items, which follow its other fields.",
        "FIELDS: dict[str, list[tuple[str, str]]] = {",
        "    structure: [(field[:-2], field[-1]) for field in fields.split()]",
        "    for structure, fields in {",
    ]
    for structure in STRUCTURES:
        fields = [f"{name}:{TYPES[kind][0]}" for name, kind in read_fields(text, structure) if kind in TYPES]
        lines.append(f'        "{structure}": """')
        lines += textwrap.wrap(" ".join(fields), WIDTH, initial_indent=INDENT, subsequent_indent=INDENT)
        lines[-1] += '""",'
    return "\n".join([*lines, "    }.items()", "}"]) + "\n"


def event_fields_module(text: str) -> str:
    lines = heading("Places of the fields of struct cbp_event: indexes of words, with _64 of double words.")
    offset = 0
    for name, kind in read_fields(text, "event"):
        size = TYPES[kind][1]
        suffix = "" if size == 4 else "_64"
        lines.append(f"{name.upper()}{suffix} = {offset // size}")
        offset += size
    return "\n".join([*lines, "", f"FIXED_SIZE = {offset}"]) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description="Writes the layouts that Python reads.")
    parser.add_argument("--check", action="store_true", help="compare only")
    check = parser.parse_args().check
    headers = read_headers()
    stale = False
    for path, text in ((LAYOUTS, layouts_module(headers)), (EVENT_FIELDS, event_fields_module(headers))):
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale = True
        if check:
            name = path.relative_to(ROOT)
            print(f"{name} is not up to date: run tools/generate_layouts.py", file=sys.stderr)
        else:
            path.write_text(text, encoding="utf-8")
    return 1 if check and stale else 0


if __name__ == "__main__":
    raise SystemExit(main())
