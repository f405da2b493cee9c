"""Writes cabinets (.cab), the archives of drivers on Windows, after Microsoft's published format.

One folder, compressed with MSZIP: blocks of 32 KiB, each a deflate stream that knows the block before it.
Knows nothing of what is in the files. Names are ASCII; the dates of files are the caller's."""

from __future__ import annotations

import struct
import time
import zlib

BLOCK_SIZE = 32768
COMPRESSED_SIZE_MAX = BLOCK_SIZE + 12
MSZIP = 1
ARCHIVE = 0x20  # the attribute that ordinary files have
FORMAT_VERSION = (3, 1)  # minor, major
HEADER = struct.Struct("<4sIIIIIBBHHHHH")
FOLDER = struct.Struct("<IHH")
FILE = struct.Struct("<IIHHHH")
DATA = struct.Struct("<IHH")


def checksum(data: bytes, seed: int = 0) -> int:
    """The sum that a block of data is checked by: words of 32 bits, and what is left over in reverse."""
    whole = len(data) // 4 * 4
    for (word,) in struct.iter_unpack("<I", data[:whole]):
        seed ^= word
    return seed ^ int.from_bytes(data[whole:], "big")


def compressed(block: bytes, history: bytes) -> bytes:
    """A block in MSZIP. Where deflate makes it larger than a block may be, it is stored."""
    for level in (9, 0):
        packer = zlib.compressobj(level, zlib.DEFLATED, -15, 9, zlib.Z_DEFAULT_STRATEGY, history)
        data = b"CK" + packer.compress(block) + packer.flush()
        if len(data) <= COMPRESSED_SIZE_MAX:
            return data
    raise ValueError("a block cannot be stored")


def data_blocks(content: bytes) -> list[bytes]:
    blocks, history = [], b""
    for start in range(0, len(content), BLOCK_SIZE):
        block = content[start : start + BLOCK_SIZE]
        packed = compressed(block, history)
        sizes = struct.pack("<HH", len(packed), len(block))
        total = checksum(sizes, checksum(packed))
        blocks.append(DATA.pack(total, len(packed), len(block)) + packed)
        history = block
    return blocks


def dos_time(seconds: int) -> tuple[int, int]:
    """Date and time as a cabinet has them. They begin with 1980."""
    at = time.gmtime(max(seconds, 315532800))
    return (
        (at.tm_year - 1980) << 9 | at.tm_mon << 5 | at.tm_mday,
        at.tm_hour << 11 | at.tm_min << 5 | at.tm_sec // 2,
    )


def cabinet(files: list[tuple[str, bytes]], seconds: int) -> bytes:
    """The bytes of a cabinet with these files, by name and content, all of that time (seconds since 1970)."""
    date, clock = dos_time(seconds)
    entries, offset = [], 0
    for name, content in files:
        entry = FILE.pack(len(content), offset, 0, date, clock, ARCHIVE)
        entries.append(entry + name.encode("ascii") + b"\0")
        offset += len(content)
    blocks = data_blocks(b"".join(content for _, content in files))
    files_at = HEADER.size + FOLDER.size
    data_at = files_at + sum(map(len, entries))
    size = data_at + sum(map(len, blocks))
    header = HEADER.pack(b"MSCF", 0, size, 0, files_at, 0, *FORMAT_VERSION, 1, len(files), 0, 0, 0)
    folder = FOLDER.pack(data_at, len(blocks), MSZIP)
    return b"".join([header, folder, *entries, *blocks])
