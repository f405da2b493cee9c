#!/usr/bin/env python3
"""Writes cbprocess/constants.py and cbprocess/enums.py from the X-lists of driver/protocol/cbp_constants.h.

Reads the header as text; needs neither a compiler nor the built library. With --check it writes nothing and
ends with status 1 when a file is not what it would write.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
HEADER = ROOT / "driver" / "protocol" / "cbp_constants.h"
CONSTANTS = ROOT / "cbprocess" / "constants.py"
ENUMS = ROOT / "cbprocess" / "enums.py"


class Constant(NamedTuple):
    name: str
    value: int
    literal: str
    text: str


class EnumClass(NamedTuple):
    name: str
    base: str
    prefix: str
    summary: str


# These groups have a class in enums.py. The other groups are plain numbers only.
ENUM_CLASSES = {
    "event": EnumClass("EventType", "IntFlag", "PROC_EVT_", "Kinds of operations."),
    "error": EnumClass("ErrorCode", "IntEnum", "ERROR_", "Codes of CBProcessError."),
    "process_access": EnumClass("ProcessAccess", "IntFlag", "PROCESS_", "Rights of a process handle."),
    "thread_access": EnumClass("ThreadAccess", "IntFlag", "THREAD_", "Rights of a thread handle."),
    "action": EnumClass("Action", "IntEnum", "ACTION_", "Actions of rules."),
    "timeout_action": EnumClass(
        "TimeoutAction", "IntEnum", "TIMEOUT_ACTION_", "Ends of a creation at its deadline."
    ),
    "refuse": EnumClass(
        "RefuseWith", "IntEnum", "REFUSE_WITH_", "Ways to refuse an execution, of a tree driver."
    ),
    "event_flag": EnumClass("EventFlag", "IntFlag", "EVENT_FLAG_", "Marks of one event."),
    "capability": EnumClass("Capability", "IntFlag", "CAP_", "Abilities of a driver."),
    "module_status": EnumClass("ModuleStatus", "IntEnum", "MODULE_STATUS_", "Status of a driver."),
    "install": EnumClass("InstallFlag", "IntFlag", "INSTALL_", "Flags of install."),
    "uninstall": EnumClass("UninstallFlag", "IntFlag", "UNINSTALL_", "Flags of uninstall."),
    "serialize": EnumClass("Serialize", "IntEnum", "SERIALIZE_", "Values of serialize_events."),
}

ENTRY = re.compile(r'X\(\s*(\w+)\s*,\s*(-?\w+)\s*,\s*((?:"(?:[^"\\]|\\.)*"\s*)+)\)')


def read_groups(header: str) -> dict[str, list[Constant]]:
    """The groups of CBP_CONSTANT_GROUPS with their constants, in the header's order."""
    text = header.replace("\\\n", " ")
    lists = {
        match.group(1): match.group(2)
        for match in re.finditer(r"^#define (CBP_\w+_LIST)\(X\)(.*)$", text, re.MULTILINE)
    }
    groups = re.search(r"^#define CBP_CONSTANT_GROUPS\(G\)(.*)$", text, re.MULTILINE)
    if groups is None:
        raise SystemExit(f"{HEADER}: CBP_CONSTANT_GROUPS is missing")
    result = {}
    for group, list_name in re.findall(r"G\((\w+),\s*(\w+)\)", groups.group(1)):
        body = lists[list_name]
        constants = [read_constant(*entry) for entry in ENTRY.findall(body)]
        if len(constants) != body.count("X("):
            raise SystemExit(f"{HEADER}: an entry of {list_name} could not be read")
        result[group] = constants
    return result


def read_constant(name: str, literal: str, quoted: str) -> Constant:
    number = literal.rstrip("uU")
    text = "".join(re.findall(r'"((?:[^"\\]|\\.)*)"', quoted))
    return Constant(name, int(number, 0), number, text)


def constants_module(groups: dict[str, list[Constant]]) -> str:
    lines = [
        '"""Constants by their bare names, as plain ints. enums.py has them as enumerations.',
        "",
        "Made by tools/generate_constants.py from driver/protocol/cbp_constants.h; not to be edited.",
        '"""',
        "",
        "from __future__ import annotations",
        "",
        "TYPE_CHECKING = False",
        "if TYPE_CHECKING:",
        "    from typing import Final",
        "",
    ]
    for group, constants in groups.items():
        # A type checker needs them to tell the events of a monitor().
        kind = ": Final" if group == "event" else ""
        lines += [f"{item.name}{kind} = {item.literal}  # {item.text}" for item in constants] + [""]
    lines += [
        "if not TYPE_CHECKING:",
        "    # A type checker takes every name, and cannot compute a list.",
        '    __all__ = sorted(name for name in globals() if name.isupper() and name != "TYPE_CHECKING")',
    ]
    return "\n".join(lines) + "\n"


def enums_module(groups: dict[str, list[Constant]]) -> str:
    lines = [
        '"""The constants as IntFlag and IntEnum classes; a member is equal to the plain constant.',
        "",
        "Made by tools/generate_constants.py from driver/protocol/cbp_constants.h; not to be edited.",
        '"""',
        "",
        "from enum import IntEnum, IntFlag",
        "",
        "",
    ]
    for group, shape in ENUM_CLASSES.items():
        lines += [*enum_class(shape, groups[group]), "", ""]
    lines += ["__all__ = [", *(f'    "{shape.name}",' for shape in sorted(ENUM_CLASSES.values())), "]"]
    return "\n".join(lines) + "\n"


def enum_class(shape: EnumClass, constants: list[Constant]) -> list[str]:
    lines = [f"class {shape.name}({shape.base}):", f'    """{shape.summary}"""', ""]
    for item in constants:
        literal = item.literal
        if shape.base == "IntFlag" and item.value < 0:
            # A negative flag means different things to different Python versions; all bits mean the same.
            literal = f"0x{all_bits(constants):02X}"
        lines.append(f"    {item.name[len(shape.prefix) :]} = {literal}  # {item.text}")
    return lines


def all_bits(constants: list[Constant]) -> int:
    bits = 0
    for item in constants:
        bits |= item.value if item.value > 0 else 0
    return bits


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="compare only")
    check = parser.parse_args().check
    groups = read_groups(HEADER.read_text(encoding="utf-8"))
    stale = False
    for path, text in ((CONSTANTS, constants_module(groups)), (ENUMS, enums_module(groups))):
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale = True
        if check:
            print(
                f"{path.relative_to(ROOT)} is not up to date: run tools/generate_constants.py",
                file=sys.stderr,
            )
        else:
            path.write_text(text, encoding="utf-8")
    return 1 if check and stale else 0


if __name__ == "__main__":
    raise SystemExit(main())
