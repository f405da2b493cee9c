"""Checks that a cbprocess.dll exports what programs compiled against the library rely on, and nothing else:

    python3 tools/windows_exports.py cbprocess.dll

The names stand in tests/abi/abi.txt. Prints the DLL's machine and the number of names; says what is missing
or too much, and ends with status 1. Reads PE files of 64 bits; needs no tool beside Python."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

LIST = Path(__file__).resolve().parent.parent / "tests" / "abi" / "abi.txt"
MACHINES = {0x8664: "x64", 0xAA64: "ARM64"}
PE32_PLUS = 0x20B


class Image:
    """A PE file, read by addresses as they are once it is loaded."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        header = struct.unpack_from("<I", data, 0x3C)[0]
        if (
            data[header : header + 4] != b"PE\0\0"
            or struct.unpack_from("<H", data, header + 24)[0] != PE32_PLUS
        ):
            raise ValueError("no PE file of 64 bits")
        self.machine, section_count = struct.unpack_from("<HH", data, header + 4)
        sections = header + 24 + struct.unpack_from("<H", data, header + 20)[0]
        self.exports = struct.unpack_from("<I", data, header + 24 + 112)[0]
        # Size and address once loaded, size and offset in the file.
        self._sections = [
            struct.unpack_from("<4I", data, sections + 40 * i + 8) for i in range(section_count)
        ]

    def offset(self, address: int) -> int:
        for _loaded_size, start, size, offset in self._sections:
            if start <= address < start + size:
                return int(offset + address - start)
        raise ValueError(f"nothing stands at {address:#x}")

    def words(self, address: int, count: int) -> tuple[int, ...]:
        return struct.unpack_from(f"<{count}I", self._data, self.offset(address))

    def text(self, address: int) -> str:
        start = self.offset(address)
        return self._data[start : self._data.index(b"\0", start)].decode("ascii")

    def exported_names(self) -> set[str]:
        if not self.exports:
            return set()
        count, _functions, names = self.words(self.exports + 24, 3)
        return {self.text(address) for address in self.words(names, count)}


def main() -> int:
    lines = LIST.read_text(encoding="utf-8").splitlines()
    wanted = {line.split()[1] for line in lines if line.startswith("symbol ")}
    image = Image(Path(sys.argv[1]).read_bytes())
    found = image.exported_names()
    for names, what in ((wanted - found, "not exported"), (found - wanted, "exported and not listed")):
        for name in sorted(names):
            print(f"{what}: {name}", file=sys.stderr)
    print(f"{MACHINES.get(image.machine, hex(image.machine))}: {len(found)} functions")
    return 0 if found == wanted else 1


if __name__ == "__main__":
    sys.exit(main())
