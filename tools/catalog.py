"""Writes security catalogs (.cat): lists of files by their SHA-256. They have no signature, for which there
are other tools. Reads of a driver what such lists need: its hash, its version, its machine.

A catalog is a PKCS #7 message whose content is a certificate trust list. Knows nothing of cabinets."""

from __future__ import annotations

import hashlib
import struct
import time
from typing import NamedTuple

MACHINES = {0x8664: "amd64", 0xAA64: "arm64"}

SIGNED_DATA = "1.2.840.113549.1.7.2"
TRUST_LIST = "1.3.6.1.4.1.311.10.1"
CATALOG_LIST = "1.3.6.1.4.1.311.12.1.1"
CATALOG_MEMBER = "1.3.6.1.4.1.311.12.1.3"  # by SHA-256; with SHA-1 it was another
NAME_AND_VALUE = "1.3.6.1.4.1.311.12.2.1"
INDIRECT_DATA = "1.3.6.1.4.1.311.2.1.4"
OF_PROGRAM = "1.3.6.1.4.1.311.2.1.15"
OF_OTHER_FILE = "1.3.6.1.4.1.311.2.1.25"
SHA256 = "2.16.840.1.101.3.4.2.1"

INTEGER, BITS, OCTETS, NULL, OBJECT = 0x02, 0x03, 0x04, 0x05, 0x06
UTC_TIME, BMP_STRING, SEQUENCE, SET = 0x17, 0x1E, 0x30, 0x31
ATTRIBUTE_FLAGS = 0x10010001  # authenticated, its value is a text
FILE_PLACEHOLDER = "<<<Obsolete>>>"  # as the format demands it


# ---- DER ----


def der(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content


def sequence(*parts: bytes) -> bytes:
    return der(SEQUENCE, *parts)


def set_of(*parts: bytes) -> bytes:
    return der(SET, *sorted(parts))  # a set has an order in DER


def context(number: int, *parts: bytes, constructed: bool = True) -> bytes:
    return der(0x80 | (0x20 if constructed else 0) | number, *parts)


def integer(value: int) -> bytes:
    return der(INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def object_id(text: str) -> bytes:
    first, second, *rest = map(int, text.split("."))
    content = bytearray([40 * first + second])
    for value in rest:
        digits = [value & 0x7F]
        while value := value >> 7:
            digits.append(0x80 | value & 0x7F)
        content += bytes(reversed(digits))
    return der(OBJECT, bytes(content))


def algorithm() -> bytes:
    return sequence(object_id(SHA256), der(NULL))


# ---- Drivers ----


class Image(NamedTuple):
    """What a catalog and an .inf say of a driver."""

    machine: str
    version: tuple[int, int, int, int]
    digest: bytes


def read_image(data: bytes) -> Image:
    """Reads a 64-bit PE image. A ValueError says what is wrong with it."""
    if len(data) < 64 or data[:2] != b"MZ":
        raise ValueError("the driver is no PE image")
    try:
        start = struct.unpack_from("<I", data, 60)[0]
        signature, machine = struct.unpack_from("<4sH", data, start)
        magic = struct.unpack_from("<H", data, start + 24)[0]
    except struct.error:
        raise ValueError("the driver is cut off") from None
    if signature != b"PE\0\0" or magic != 0x20B or machine not in MACHINES:
        raise ValueError("the driver is no PE image for 64-bit Windows")
    return Image(MACHINES[machine], read_version(data), image_digest(data, start + 24))


def read_version(data: bytes) -> tuple[int, int, int, int]:
    found = data.find(struct.pack("<II", 0xFEEF04BD, 0x00010000))
    if found < 0:
        raise ValueError("the driver has no version resource")
    high, low = struct.unpack_from("<II", data, found + 8)
    return high >> 16, high & 0xFFFF, low >> 16, low & 0xFFFF


def image_digest(data: bytes, optional_header: int) -> bytes:
    """The SHA-256 that Authenticode signs: everything but the checksum, the place of the signature and the
    signature, padded to 8 bytes."""
    checksum, certificates = optional_header + 64, optional_header + 112 + 4 * 8
    offset, size = struct.unpack_from("<II", data, certificates)
    end = offset if size else len(data)
    signed = data[:checksum] + data[checksum + 4 : certificates] + data[certificates + 8 : end]
    return hashlib.sha256(signed + bytes(-end % 8)).digest()


# ---- Catalogs ----


def name_and_value(name: str, value: str) -> bytes:
    text = (value + "\0").encode("utf-16-le")
    content = sequence(der(BMP_STRING, name.encode("utf-16-be")), integer(ATTRIBUTE_FLAGS), der(OCTETS, text))
    return sequence(object_id(NAME_AND_VALUE), set_of(content))


def indirect_data(digest: bytes, is_image: bool) -> bytes:
    place = context(2, context(0, FILE_PLACEHOLDER.encode("utf-16-be"), constructed=False))
    if is_image:
        data = sequence(object_id(OF_PROGRAM), sequence(der(BITS, b"\0"), context(0, place)))
    else:
        data = sequence(object_id(OF_OTHER_FILE), place)
    content = sequence(data, sequence(algorithm(), der(OCTETS, digest)))
    return sequence(object_id(INDIRECT_DATA), set_of(content))


def member(name: str, content: bytes, systems: str) -> tuple[bytes, bytes]:
    is_image = content[:2] == b"MZ"
    digest = read_image(content).digest if is_image else hashlib.sha256(content).digest()
    attributes = (
        name_and_value("File", name),
        name_and_value("OSAttr", systems),
        indirect_data(digest, is_image),
    )
    return digest, sequence(der(OCTETS, digest), set_of(*attributes))


def catalog(files: list[tuple[str, bytes]], seconds: int, systems: str = "2:10.0") -> bytes:
    """The bytes of a catalog of these files, by name and content, made at that time (seconds since 1970).
    systems are the versions of Windows that it is for, as catalogs write them."""
    rows = sorted(member(name, content, systems) for name, content in files)
    identifier = hashlib.sha256(b"".join(digest for digest, _ in rows)).digest()[:16]
    trust_list = sequence(
        sequence(object_id(CATALOG_LIST)),
        der(OCTETS, identifier),
        der(UTC_TIME, time.strftime("%y%m%d%H%M%SZ", time.gmtime(seconds)).encode()),
        sequence(object_id(CATALOG_MEMBER), der(NULL)),
        sequence(*(row for _, row in rows)),
    )
    content = sequence(object_id(TRUST_LIST), context(0, trust_list))
    signed_data = sequence(integer(1), set_of(), content, set_of())
    return sequence(object_id(SIGNED_DATA), context(0, signed_data))
