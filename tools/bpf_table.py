#!/usr/bin/env python3
"""Loads each BPF object on the running kernel and prints a Markdown table of its programs.

    python tools/bpf_table.py [folder of *.bpf.o]

The folder is cbprocess/_native beside this file if none is given. The table has, for each program, the number
of instructions that the verifier went through (kernels from 5.16 on), and the sizes that the program has in
the kernel. Status 1: a program that this kernel should take was refused. Nothing is attached, and nothing
stays loaded. Needs root and libbpf.so.1. Tests use the classes, too.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import platform
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

FIRST_OF_COPIES = (7, 0)
LEVEL_OF_DETAILS = 2  # of libbpf's messages
# Which kernels take an object that is not for all; (first, end).
KERNELS = {
    "handles": ((5, 17), (99, 0)),
    "processes": ((5, 17), (99, 0)),
    "processes7": ((7, 0), (99, 0)),
    "tasks": ((5, 17), (99, 0)),
    "tasks58": ((5, 12), (99, 0)),  # before that the core reads /proc
    "gate": ((6, 18), (7, 0)),
    "gate7": ((7, 0), (99, 0)),
    "look": ((6, 10), (99, 0)),
    "lsm": ((5, 15), (99, 0)),
    "lsmgate": ((6, 18), (7, 0)),
    "lsmgate7": ((7, 0), (99, 0)),
}


def kernel_version() -> tuple[int, int]:
    major, minor = platform.release().split(".")[:2]
    return int(major), int("".join(c for c in minor if c.isdigit()))


class Refused(Exception):
    """The kernel or libbpf takes an object not; the text is what libbpf has said."""


class Libbpf:
    def __init__(self) -> None:
        self._library = ctypes.CDLL("libbpf.so.1", use_errno=True)
        self.messages: list[str] = []
        # libbpf calls this with a va_list, which on this architecture is passed as a pointer.
        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
        libc = ctypes.CDLL(None)

        def note(level: int, text: bytes, arguments: int) -> int:
            if level >= LEVEL_OF_DETAILS:
                return 0
            buffer = ctypes.create_string_buffer(1 << 16)
            libc.vsnprintf(buffer, ctypes.c_size_t(len(buffer)), text, ctypes.c_void_p(arguments))
            self.messages.append(buffer.value.decode(errors="replace"))
            return 0

        self._note = kind(note)
        self._library.libbpf_set_print(self._note)

    def pointer(self, name: str, *arguments: object) -> int:
        function = getattr(self._library, name)
        function.restype = ctypes.c_void_p
        return int(function(*arguments) or 0)

    def number(self, name: str, *arguments: object) -> int:
        function = getattr(self._library, name)
        function.restype = ctypes.c_int
        return int(function(*arguments))

    def text(self, name: str, *arguments: object) -> str:
        function = getattr(self._library, name)
        function.restype = ctypes.c_char_p
        value: bytes = function(*arguments) or b""
        return value.decode()


class Program:
    def __init__(self, libbpf: Libbpf, handle: int) -> None:
        self._libbpf = libbpf
        self.handle = ctypes.c_void_p(handle)
        self.name = libbpf.text("bpf_program__name", self.handle)
        self.section = libbpf.text("bpf_program__section_name", self.handle)

    @property
    def descriptor(self) -> int:
        return self._libbpf.number("bpf_program__fd", self.handle)

    @property
    def is_copy(self) -> bool:
        return self.name[-2:-1] == "_" and self.name[-1].isdigit()

    def set_autoload(self, on: bool) -> None:
        self._libbpf.number("bpf_program__set_autoload", self.handle, ctypes.c_bool(on))

    def information(self) -> dict[str, int]:
        """Members of struct bpf_prog_info of linux/bpf.h."""
        information = ctypes.create_string_buffer(232)
        size = ctypes.c_uint32(len(information))
        if (
            self._libbpf.number("bpf_obj_get_info_by_fd", self.descriptor, information, ctypes.byref(size))
            != 0
        ):
            raise Refused(f"{self.name}: no information")
        jited, translated = struct.unpack_from("II", information, 16)
        misses, verified = struct.unpack_from("QI", information, 208)
        return {"jited": jited, "translated": translated, "misses": misses, "verified": verified}


class BpfObject:
    """An object file: open at first, then loaded, then with programs attached; close() undoes all of it."""

    def __init__(self, libbpf: Libbpf, path: Path) -> None:
        self._libbpf = libbpf
        self.name = path.name.split(".")[0]
        self._links: list[int] = []
        self._handle = ctypes.c_void_p(
            libbpf.pointer("bpf_object__open_file", os.fsencode(path), ctypes.c_void_p(None))
        )
        if not self._handle.value:
            raise Refused(f"{path.name}: {''.join(libbpf.messages)}")
        for program in self.programs():
            program.set_autoload(not program.is_copy or kernel_version() >= FIRST_OF_COPIES)

    def _each(self, name: str) -> Iterator[int]:
        item = 0
        while True:
            item = self._libbpf.pointer(name, self._handle, ctypes.c_void_p(item))
            if not item:
                return
            yield item

    def programs(self) -> list[Program]:
        return [Program(self._libbpf, item) for item in self._each("bpf_object__next_program")]

    def map(self, name: str) -> ctypes.c_void_p:
        for item in self._each("bpf_object__next_map"):
            if self._libbpf.text("bpf_map__name", ctypes.c_void_p(item)) == name:
                return ctypes.c_void_p(item)
        raise KeyError(name)

    def map_names(self) -> list[str]:
        maps = self._each("bpf_object__next_map")
        return [self._libbpf.text("bpf_map__name", ctypes.c_void_p(item)) for item in maps]

    def map_descriptor(self, name: str) -> int:
        return self._libbpf.number("bpf_map__fd", self.map(name))

    def set_map_size(self, name: str, count: int) -> None:
        self._libbpf.number("bpf_map__set_max_entries", self.map(name), ctypes.c_uint32(count))

    def share_maps(self, other: BpfObject) -> None:
        """Takes the maps that the other object, which is loaded, has under the same names."""
        for name in set(self.map_names()) & set(other.map_names()):
            if not name.startswith("."):
                self._libbpf.number("bpf_map__reuse_fd", self.map(name), other.map_descriptor(name))

    def load(self) -> None:
        self._libbpf.messages.clear()
        if self._libbpf.number("bpf_object__load", self._handle) != 0:
            raise Refused("".join(self._libbpf.messages))
        # libbpf goes on without types. Functions that are verified once then are verified at each call.
        if any("loading .BTF" in message for message in self._libbpf.messages):
            raise Refused(f"{self.name}: its types: {''.join(self._libbpf.messages)}")

    def attach(self) -> None:
        for program in self.programs():
            if program.descriptor < 0:
                continue
            link = self._libbpf.pointer("bpf_program__attach", program.handle)
            if not link:
                raise Refused(f"{program.name}: {''.join(self._libbpf.messages)}")
            self._links.append(link)

    def detach(self) -> None:
        while self._links:
            self._libbpf.number("bpf_link__destroy", ctypes.c_void_p(self._links.pop()))

    def close(self) -> None:
        self.detach()
        if self._handle.value:
            self._libbpf.pointer("bpf_object__close", self._handle)
            self._handle = ctypes.c_void_p(None)


def is_lsm_active() -> bool:
    """BPF programs may stand in the kernel's security hooks; securityfs has to be mounted."""
    names = Path("/sys/kernel/security/lsm")
    return names.exists() and "bpf" in names.read_text(encoding="ascii").split(",")


def is_expected(name: str, kernel: tuple[int, int]) -> bool:
    first, end = KERNELS.get(name, ((5, 8), (99, 0)))
    return first <= kernel < end and (not name.startswith("lsm") or is_lsm_active())


def rows(folder: Path) -> Iterator[tuple[str, str, str, dict[str, int] | str]]:
    """Object, program and section, and the program's numbers or the reason of its refusal."""
    libbpf = Libbpf()
    paths = sorted(folder.glob("*.bpf.o"), key=lambda path: (not path.name.startswith("processes"), path))
    first = None
    try:
        for path in paths:
            if not is_expected(path.name.split(".")[0], kernel_version()):
                continue
            loaded = BpfObject(libbpf, path)
            if first is not None:
                loaded.share_maps(first)
            try:
                loaded.load()
            except Refused as refusal:
                yield loaded.name, "", "", str(refusal)
                loaded.close()
                continue
            for program in loaded.programs():
                if program.descriptor >= 0:
                    yield loaded.name, program.name, program.section, program.information()
            if first is None and loaded.name in ("processes", "processes58"):
                first = loaded
            else:
                loaded.close()
    finally:
        if first is not None:
            first.close()


def main() -> int:
    parser = argparse.ArgumentParser(description="Prints a table of the BPF programs on this kernel.")
    default = Path(__file__).resolve().parent.parent / "cbprocess" / "_native"
    parser.add_argument("folder", nargs="?", type=Path, default=default)
    folder = parser.parse_args().folder
    if not list(folder.glob("*.bpf.o")):
        print(f"{folder} has no *.bpf.o", file=sys.stderr)
        return 2
    status = 0
    print(f"Linux {platform.release()}\n")
    print("| object | program | instructions verified | of the program | bytes of machine code |")
    print("| --- | --- | ---: | ---: | ---: |")
    for name, program, _, numbers in rows(folder):
        if isinstance(numbers, str):
            print(f"| {name} | refused | | | |")
            print(numbers, file=sys.stderr)
            status = 1
        else:
            # An instruction has 8 bytes.
            count, size = numbers["translated"] // 8, numbers["jited"]
            print(f"| {name} | `{program}` | {numbers['verified']:,} | {count:,} | {size:,} |")
    return status


if __name__ == "__main__":
    sys.exit(main())
