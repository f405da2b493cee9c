"""Checks a driver's file. Each check of CHECKS looks at one thing that the system, or somebody who reviews a
driver, asks of it, and yields a sentence for each fault. Knows no compiler and no build."""

import re
import struct
from collections.abc import Iterator
from typing import Callable

import allowed
from image import (
    BOUND_IMPORTS,
    DEBUG,
    DELAYED_IMPORTS,
    EXECUTABLE,
    EXPORTS,
    IMPORT_ADDRESSES,
    LOAD_CONFIGURATION,
    RELOCATIONS,
    RESOURCES,
    TLS,
    WRITABLE,
    Image,
)

MACHINES = {"x64": 0x8664, "arm64": 0xAA64}
SUBSYSTEM_NATIVE = 1
HIGH_ENTROPY, DYNAMIC_BASE, FORCE_INTEGRITY, NX, GUARD = 0x20, 0x40, 0x80, 0x100, 0x4000
RELOCATION_NONE, RELOCATION_64 = 0, 10
GUARD_INSTRUMENTED, GUARD_TABLE = 0x100, 0x400
FRAME_MAX = 3072  # bytes of stack that one function may take; a stack of the kernel has 24 KB
DRIVER_FILE, SYSTEM_DRIVER = 3, 7

Check = Callable[[Image, "Expected"], Iterator[str]]


class Expected:
    """What a check cannot see in the file itself."""

    def __init__(self, machine: str, has_guard: bool, version: str) -> None:
        self.machine = machine
        self.has_guard = has_guard
        self.version = version


def machine(image: Image, expected: Expected) -> Iterator[str]:
    if image.machine != MACHINES[expected.machine]:
        yield f"machine {image.machine:#x}"
    if image.characteristics & 0x2000:
        yield "it is a DLL"
    if not image.characteristics & 2:
        yield "it cannot be executed"


def subsystem(image: Image, expected: Expected) -> Iterator[str]:
    if image.subsystem != SUBSYSTEM_NATIVE:
        yield f"subsystem {image.subsystem}"
    if image.subsystem_version != (10, 0) or image.system_version != (10, 0):
        yield f"for system {image.system_version}, subsystem {image.subsystem_version}"


def flags(image: Image, expected: Expected) -> Iterator[str]:
    """FORCE_INTEGRITY is what the process callback needs; the others are what HVCI and randomization do."""
    names = {"FORCE_INTEGRITY": FORCE_INTEGRITY, "NX_COMPAT": NX, "DYNAMIC_BASE": DYNAMIC_BASE}
    for name, bit in {**names, "HIGH_ENTROPY_VA": HIGH_ENTROPY}.items():
        if not image.flags & bit:
            yield f"no {name}"
    if bool(image.flags & GUARD) != expected.has_guard:
        yield f"GUARD_CF is {'missing' if expected.has_guard else 'claimed, and the compiler has it not'}"


def checksum(image: Image, expected: Expected) -> Iterator[str]:
    if image.checksum != image.computed_checksum():
        yield f"{image.checksum:#x} in the header, {image.computed_checksum():#x} computed"


def sections(image: Image, expected: Expected) -> Iterator[str]:
    if image.section_alignment % 0x1000:
        yield f"aligned to {image.section_alignment:#x}, which is no page"
    for section in image.sections:
        if section.flags & EXECUTABLE and section.flags & WRITABLE:
            yield f"{section.name} is writable and executable"
        if bool(section.flags & EXECUTABLE) != (section.name == ".text"):
            yield f"{section.name} has flags {section.flags:#x}"
        if section.address % image.section_alignment:
            yield f"{section.name} begins at {section.address:#x}"
    if image.section_at(image.entry).name != ".text":
        yield "the entry is not in .text"


def imports(image: Image, expected: Expected) -> Iterator[str]:
    known = allowed.imports()
    for name in sorted(known - allowed.OF_COMPILERS - {name for _, name in image.imports()}):
        yield f"{name} is allowed, and nothing calls it"
    for library, name in image.imports():
        if library.lower() not in allowed.LIBRARIES:
            yield f"from {library}: {name}"
        elif name not in known:
            yield f"{name or 'by number'} is not allowed"
    for index, what in {DELAYED_IMPORTS: "delayed", BOUND_IMPORTS: "bound"}.items():
        if image.directory(index) != (0, 0):
            yield f"there are {what} imports"
    if image.directory(IMPORT_ADDRESSES) == (0, 0):
        yield "the table of addresses is not named"


def found_at_run_time(image: Image, expected: Expected) -> Iterator[str]:
    pattern = rb"(?:[A-Za-z0-9]\0){6,}"
    for match in re.finditer(pattern, image.data):
        name = match.group().decode("utf-16-le")
        is_routine = re.fullmatch(r"(Ex|Hal|Io|Ke|Mm|Nt|Ob|Ps|Rtl|Se|Zw)[A-Z][a-z]+[A-Z]\w+", name)
        if is_routine and name not in allowed.FOUND_AT_RUN_TIME:
            yield f"{name} is not allowed"
    for name in allowed.FOUND_AT_RUN_TIME:
        if name.encode("utf-16-le") not in image.data:
            yield f"{name} is allowed, and nothing looks for it"


def nothing_else(image: Image, expected: Expected) -> Iterator[str]:
    for index, what in {EXPORTS: "exports", TLS: "thread-local storage"}.items():
        if image.directory(index) != (0, 0):
            yield f"there are {what}"
    at, size = image.directory(DEBUG)
    for row in range(at, at + size, 28):
        kind, length, where = struct.unpack("<III", image.read(row + 12, 12))
        if kind == 2 and length > 25:  # CodeView: 24 bytes, then the path of the symbols
            yield f"a path of symbols: {image.read(where + 24, length - 24)!r}"
    for text in (b"/home/", b"/tmp/", b"/work", b"/root/", b":\\Users"):
        if text in image.data:
            yield f"{text.decode()} of the machine that built it is in the file"


def relocations(image: Image, expected: Expected) -> Iterator[str]:
    count = 0
    for kind, address in image.relocations() if image.directory(RELOCATIONS)[1] else ():
        if kind == RELOCATION_NONE:
            continue
        count += 1
        target = image.u64(address) - image.base if kind == RELOCATION_64 else -1
        if not 0 <= target < image.size:
            yield f"kind {kind} at {address:#x} leads to {target:#x}"
    if count == 0 or image.characteristics & 1:
        yield "it has none, so it has one address"


def unwinding(image: Image, expected: Expected) -> Iterator[str]:
    if expected.machine != "x64":
        if image.directory(3)[1] == 0:
            yield "there is no table"
        return
    functions = image.functions()
    if not functions:
        yield "there is no table"
    end = 0
    for function in functions:
        if function.begin < end or function.begin >= function.end:
            yield f"the function at {function.begin:#x} is out of order"
        if image.section_at(function.begin).name != ".text":
            yield f"the function at {function.begin:#x} is not in .text"
        size = image.frame_size(function.info)
        if size > FRAME_MAX:
            yield f"the function at {function.begin:#x} takes {size} bytes of stack"
        end = function.end


def guard(image: Image, expected: Expected) -> Iterator[str]:
    at, size = image.directory(LOAD_CONFIGURATION)
    if not expected.has_guard:
        if size:
            yield "there is a load configuration"
        return
    if size < 148:
        yield "there is no load configuration"
        return
    table, count = image.u64(at + 128) - image.base, image.u64(at + 136)
    bits = image.u32(at + 144)
    if not bits & GUARD_INSTRUMENTED or not bits & GUARD_TABLE or count == 0:
        yield f"flags {bits:#x}, {count} functions"
        return
    stride = 4 + (bits >> 28)
    for i in range(count):
        if image.section_at(image.u32(table + stride * i)).name != ".text":
            yield f"function {i} is not in .text"
    for offset in (112, 120):  # the pointers that the system sets
        pointer = image.u64(at + offset) - image.base
        if image.section_at(pointer).flags & WRITABLE:
            yield "a pointer of the guard can be written"
        if image.section_at(image.u64(pointer) - image.base).name != ".text":
            yield "a pointer of the guard does not lead to code"


def version(image: Image, expected: Expected) -> Iterator[str]:
    at, size = image.directory(RESOURCES)
    data = image.read(at, size) if size else b""
    fixed = data.find(struct.pack("<I", 0xFEEF04BD))
    if fixed < 0:
        yield "there is no version resource"
        return
    _, _, high, low, _, _, _, _, _, kind, subtype = struct.unpack_from("<11I", data, fixed)
    found = f"{high >> 16}.{high & 0xFFFF}.{low >> 16}"
    if found != expected.version:
        yield f"version {found} of {expected.version}"
    if (kind, subtype) != (DRIVER_FILE, SYSTEM_DRIVER):
        yield f"file type {kind}, {subtype}"
    for text in ("OriginalFilename", "cbprocess.sys", "FileDescription", "LegalCopyright"):
        if text.encode("utf-16-le") not in data:
            yield f"no {text}"


CHECKS: dict[str, Check] = {
    check.__name__: check
    for check in (
        machine,
        subsystem,
        flags,
        checksum,
        sections,
        imports,
        found_at_run_time,
        nothing_else,
        relocations,
        unwinding,
        guard,
        version,
    )
}


def complaints(image: Image, expected: Expected) -> dict[str, list[str]]:
    """By the name of the check, for those that found something."""
    found = {name: list(check(image, expected)) for name, check in CHECKS.items()}
    return {name: faults for name, faults in found.items() if faults}
