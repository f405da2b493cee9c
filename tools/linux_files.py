#!/usr/bin/env python3
"""Checks the files of a build for Linux, also of one for a machine that is not there to run them:

    python3 tools/linux_files.py BUILD_FOLDER x86_64|aarch64

All files of the package are in _native, programs and library are for that machine, those that open libraries
have a loader, and BPF programs read the registers that the machine's kernel has. Says what is wrong, and ends
with status 1. Reads ELF files and the types in BPF objects (BTF) by itself; needs no tool beside Python.
Source: the kernel's Documentation/bpf/btf.rst and llvm_reloc.rst."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

MACHINES = {"x86_64": 62, "aarch64": 183}
BPF = 247
PROGRAMS = {"cbprocess-guard": True, "cbprocess-ptrace": True, "cbprocess-launch": False}  # is it dynamic?
OTHERS = ("libcbprocess.so", "cbprocess-driver.version")
OBJECTS = (
    "gate",
    "gate7",
    "handles",
    "look",
    "lsm",
    "lsmgate",
    "lsmgate7",
    "processes",
    "processes7",
    "tasks",
)
PT_INTERP = 3
# What the objects read of registers and of the word that says whether a program is one of 32 bits.
BY_THREAD = "task_struct.thread_info."
ARGUMENTS = {
    "x86_64": {"pt_regs." + name for name in ("bx", "cx", "dx", "si", "di", "r8", "r10", "orig_ax")}
    | {BY_THREAD + "status"},
    "aarch64": {"pt_regs.regs", "pt_regs.syscallno", BY_THREAD + "flags"},
}
# The last one is that of programs of 32 bits.
STACK = {"x86_64": {"pt_regs.sp"}, "aarch64": {"pt_regs.sp", "pt_regs.regs.13"}}
READS_CALLS = ("handles", "look", "lsm", "lsmgate", "lsmgate7")

PTR, ARRAY, STRUCT, UNION, ENUM, TYPEDEF, VOLATILE, CONST, RESTRICT = 2, 3, 4, 5, 6, 8, 9, 10, 11
# Bytes behind a type for each of its parts; of those in ONCE there is one.
PARTS = {STRUCT: 12, UNION: 12, ENUM: 8, 13: 8, 15: 12, 19: 12}
ONCE = {1: 4, ARRAY: 12, 14: 4, 17: 4}


class Elf:
    """A file of 64 bits and little endian."""

    def __init__(self, path: Path) -> None:
        self.data = path.read_bytes()
        if self.data[:6] != b"\x7fELF\x02\x01":
            raise ValueError(f"{path.name} is no such file")
        self.machine = struct.unpack_from("<H", self.data, 18)[0]

    def has_loader(self) -> bool:
        offset = struct.unpack_from("<Q", self.data, 32)[0]
        size, count = struct.unpack_from("<HH", self.data, 54)
        return any(
            struct.unpack_from("<I", self.data, offset + i * size)[0] == PT_INTERP for i in range(count)
        )

    def section(self, name: str) -> bytes:
        offset = struct.unpack_from("<Q", self.data, 40)[0]
        size, count, names = struct.unpack_from("<HHH", self.data, 58)
        rows = [struct.unpack_from("<IIQQQQ", self.data, offset + i * size) for i in range(count)]
        for row in rows:
            start = rows[names][4] + row[0]
            if self.data[start : self.data.index(b"\0", start)] == name.encode():
                return self.data[row[4] : row[4] + row[5]]
        raise ValueError(f"there is no section {name}")


class Types:
    """The types of a BPF object, and what is to be found in the running kernel's."""

    def __init__(self, elf: Elf) -> None:
        data = elf.section(".BTF")
        header, at, size, strings, _ = struct.unpack_from("<IIIII", data, 4)
        self._strings = data[header + strings :]
        self._rows: list[tuple[str, int, int, bytes]] = [("", 0, 0, b"")]  # name, kind, type, the rest
        at, end = header + at, header + at + size
        while at < end:
            name, information, kind_of = struct.unpack_from("<III", data, at)
            kind, count = information >> 24 & 31, information & 0xFFFF
            rest = PARTS.get(kind, 0) * count + ONCE.get(kind, 0)
            self._rows.append((self._text(name), kind, kind_of, data[at + 12 : at + 12 + rest]))
            at += 12 + rest
        self._relocations = elf.section(".BTF.ext")

    def _text(self, offset: int) -> str:
        return self._strings[offset : self._strings.index(b"\0", offset)].decode()

    def _plain(self, number: int) -> tuple[str, int, int, bytes]:
        row = self._rows[number]
        while row[1] in (TYPEDEF, VOLATILE, CONST, RESTRICT):
            row = self._rows[row[2]]
        return row

    def _place(self, number: int, indexes: list[int]) -> str:
        """What these indexes lead to, beginning at a type: a.b.3; forms of other kernels under one name."""
        row = self._plain(number)
        words = [row[0].split("___")[0]]
        for index in indexes:
            if row[1] in (STRUCT, UNION):
                name, kind_of, _ = struct.unpack_from("<III", row[3], 12 * index)
                words.append(self._text(name))
            else:
                kind_of = struct.unpack_from("<I", row[3])[0]
                words.append(str(index))
            row = self._plain(kind_of)
        return ".".join(words)

    def places(self) -> set[str]:
        """All members that programs read."""
        data, found = self._relocations, set()
        header = struct.unpack_from("<I", data, 4)[0]
        at, size = struct.unpack_from("<II", data, 24)
        at, end = header + at + 4, header + at + size
        while at < end:
            count = struct.unpack_from("<I", data, at + 4)[0]
            for i in range(count):
                _, number, text, kind = struct.unpack_from("<IIII", data, at + 8 + 16 * i)
                if kind == 0:  # the offset of a member
                    indexes = [int(word) for word in self._text(text).split(":")[1:]]
                    found.add(self._place(number, indexes))
            at += 8 + 16 * count
        return found


def faults_of_object(folder: Path, name: str, machine: str) -> list[str]:
    elf = Elf(folder / f"{name}.bpf.o")
    if elf.machine != BPF:
        return [f"{name}.bpf.o is for the machine {elf.machine}"]
    found = {place for place in Types(elf).places() if place.startswith(("pt_regs.", BY_THREAD))}
    wanted = ARGUMENTS[machine] if name in READS_CALLS else set()
    if name == "look":
        wanted = wanted | STACK[machine]
    if found == wanted:
        return []
    return [f"{name}.bpf.o reads {' '.join(sorted(found)) or 'no registers'}, not {' '.join(sorted(wanted))}"]


def faults(folder: Path, machine: str) -> list[str]:
    names = [*PROGRAMS, *OTHERS, *(f"{name}.bpf.o" for name in OBJECTS)]
    found = [f"{name} is missing" for name in names if not (folder / name).exists()]
    if found:
        return found
    for name in [*PROGRAMS, OTHERS[0]]:
        elf = Elf(folder / name)
        if elf.machine != MACHINES[machine]:
            found.append(f"{name} is for the machine {elf.machine}")
        if name in PROGRAMS and elf.has_loader() != PROGRAMS[name]:
            found.append(f"{name} is {'static' if PROGRAMS[name] else 'dynamic'}")
    for name in OBJECTS:
        found += faults_of_object(folder, name, machine)
    return found


def main() -> int:
    folder, machine = Path(sys.argv[1]) / "_native", sys.argv[2]
    found = faults(folder, machine)
    for fault in found:
        print(fault)
    if not found:
        print(f"{len(PROGRAMS) + len(OTHERS) + len(OBJECTS)} files for {machine}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
