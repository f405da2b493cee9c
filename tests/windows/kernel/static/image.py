"""Reads an executable of Windows (PE32+) as the loader of the system does. Knows nothing of drivers."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

EXPORTS, IMPORTS, RESOURCES, UNWINDING, SIGNATURES, RELOCATIONS, DEBUG = range(7)
TLS, LOAD_CONFIGURATION, BOUND_IMPORTS, IMPORT_ADDRESSES, DELAYED_IMPORTS = 9, 10, 11, 12, 13

EXECUTABLE, READABLE, WRITABLE = 0x20000000, 0x40000000, 0x80000000


class Malformed(Exception):
    """The file is no such executable."""


class Section(NamedTuple):
    name: str
    size: int  # in memory
    address: int  # relative, as all addresses here are
    file_size: int
    file_offset: int
    flags: int


class Unwinding(NamedTuple):
    """One row of the table of functions."""

    begin: int
    end: int
    info: int


class Image:
    """One file. Raises Malformed where an address leads out of it."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        if data[:2] != b"MZ":
            raise Malformed("no DOS header")
        self.header = self._u32(0x3C)
        if data[self.header : self.header + 4] != b"PE\0\0":
            raise Malformed("no PE header")
        self.machine, section_count = struct.unpack_from("<HH", data, self.header + 4)
        self.characteristics = self._u16(self.header + 22)
        self.optional = self.header + 24
        if self._u16(self.optional) != 0x20B:
            raise Malformed("not PE32+")
        table = self.optional + self._u16(self.header + 20)
        self.section_headers = [table + 40 * i for i in range(section_count)]
        self.sections = [self._section(at) for at in self.section_headers]

    @classmethod
    def of(cls, path: Path) -> "Image":
        return cls(path.read_bytes())

    def _u16(self, offset: int) -> int:
        return struct.unpack_from("<H", self.data, offset)[0]

    def _u32(self, offset: int) -> int:
        return struct.unpack_from("<I", self.data, offset)[0]

    def _section(self, at: int) -> Section:
        name = self.data[at : at + 8].rstrip(b"\0").decode("ascii")
        size, address, file_size, file_offset = struct.unpack_from("<IIII", self.data, at + 8)
        return Section(name, size, address, file_size, file_offset, self._u32(at + 36))

    # ---- The optional header ----

    @property
    def entry(self) -> int:
        return self._u32(self.optional + 16)

    @property
    def base(self) -> int:
        return struct.unpack_from("<Q", self.data, self.optional + 24)[0]

    @property
    def section_alignment(self) -> int:
        return self._u32(self.optional + 32)

    @property
    def system_version(self) -> tuple[int, int]:
        return self._u16(self.optional + 40), self._u16(self.optional + 42)

    @property
    def subsystem_version(self) -> tuple[int, int]:
        return self._u16(self.optional + 48), self._u16(self.optional + 50)

    @property
    def size(self) -> int:
        return self._u32(self.optional + 56)

    @property
    def checksum_offset(self) -> int:
        return self.optional + 64

    @property
    def checksum(self) -> int:
        return self._u32(self.checksum_offset)

    @property
    def subsystem(self) -> int:
        return self._u16(self.optional + 68)

    @property
    def flags(self) -> int:
        """DllCharacteristics."""
        return self._u16(self.optional + 70)

    def directory(self, index: int) -> tuple[int, int]:
        """Address and size; 0, 0: there is none."""
        address, size = struct.unpack_from("<II", self.data, self.optional + 112 + 8 * index)
        return address, size

    # ---- Memory ----

    def section_at(self, address: int) -> Section:
        for section in self.sections:
            if section.address <= address < section.address + max(section.size, section.file_size):
                return section
        raise Malformed(f"no section at {address:#x}")

    def read(self, address: int, size: int) -> bytes:
        section = self.section_at(address)
        at = section.file_offset + address - section.address
        if address + size > section.address + section.file_size:
            raise Malformed(f"{size} bytes at {address:#x} are not in the file")
        return self.data[at : at + size]

    def u32(self, address: int) -> int:
        return struct.unpack("<I", self.read(address, 4))[0]

    def u64(self, address: int) -> int:
        return struct.unpack("<Q", self.read(address, 8))[0]

    def text(self, address: int) -> str:
        section = self.section_at(address)
        at = section.file_offset + address - section.address
        return self.data[at : self.data.index(b"\0", at)].decode("ascii")

    # ---- Tables ----

    def imports(self) -> Iterator[tuple[str, str]]:
        """Library and name of each; an import by number has an empty name."""
        at, _ = self.directory(IMPORTS)
        while at and self.u32(at + 12):
            library = self.text(self.u32(at + 12))
            row = self.u32(at) or self.u32(at + 16)
            while self.u64(row):
                value = self.u64(row)
                yield library, "" if value >> 63 else self.text((value & 0x7FFFFFFF) + 2)
                row += 8
            at += 20

    def relocations(self) -> Iterator[tuple[int, int]]:
        """Kind and address of each."""
        at, size = self.directory(RELOCATIONS)
        end = at + size
        while at < end:
            page, block = self.u32(at), self.u32(at + 4)
            if block < 8:
                raise Malformed("a block of relocations is empty")
            for entry in struct.unpack(f"<{(block - 8) // 2}H", self.read(at + 8, block - 8)):
                yield entry >> 12, page + (entry & 0xFFF)
            at += block

    def functions(self) -> list[Unwinding]:
        """Of x64."""
        at, size = self.directory(UNWINDING)
        if size == 0:
            return []
        return [Unwinding(*row) for row in struct.iter_unpack("<III", self.read(at, size))]

    def frame_size(self, info: int) -> int:
        """Gives how many bytes of stack a function of x64 takes with its prologue."""
        version, _, count, _ = self.read(info, 4)
        codes = struct.unpack(f"<{count}H", self.read(info + 4, 2 * count))
        size, i = 0, 0
        while i < count:
            operation, argument = codes[i] >> 8 & 0xF, codes[i] >> 12
            if operation == 0:  # a register is pushed
                size, i = size + 8, i + 1
            elif operation == 1 and argument == 0:
                size, i = size + 8 * codes[i + 1], i + 2
            elif operation == 1:
                size, i = size + codes[i + 1] + (codes[i + 2] << 16), i + 3
            elif operation == 2:
                size, i = size + 8 * (argument + 1), i + 1
            elif operation == 3:  # there is a frame pointer
                i += 1
            elif operation == 4:
                i += 2
            else:
                raise Malformed(f"unwind operation {operation} at {info:#x}")
        if version & 7 != 1:
            raise Malformed(f"unwind version {version & 7}")
        return size

    def computed_checksum(self) -> int:
        """Adds up the file as the documentation of ImageHlp's CheckSumMappedFile() has it."""
        data = bytearray(self.data)
        data[self.checksum_offset : self.checksum_offset + 4] = bytes(4)
        if len(data) % 2:
            data.append(0)
        total = sum(word for (word,) in struct.iter_unpack("<H", bytes(data)))
        while total >> 16:
            total = (total & 0xFFFF) + (total >> 16)
        return total + len(self.data)
