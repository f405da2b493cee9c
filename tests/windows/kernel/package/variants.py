"""Makes the packages that the tests install: of a driver that does nothing, in several versions, signed and
not, and each wrong in one way. Knows nothing of Windows' answers to them."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[3]
TOOLS = ROOT / "tools"
sys.path.insert(0, str(TOOLS))
from cabinet import cabinet  # noqa: E402
from catalog import catalog, read_image  # noqa: E402, F401  for check_writers.py, too
from driver_package import CATALOG, DRIVER, FILES, INF, pack  # noqa: E402

COMPILER = "x86_64-w64-mingw32-gcc"
RESOURCE_COMPILER = "x86_64-w64-mingw32-windres"
FLAGS = (
    *("-O1", "-Wall", "-Wextra", "-Werror", "-ffreestanding", "-nostdlib", "-shared", "-s"),
    *("-Wl,--subsystem,native:10.0", "-Wl,--entry,DriverEntry", "-Wl,--no-insert-timestamp"),
    "-Wl,--exclude-all-symbols",
)
RESOURCE = """\
1 VERSIONINFO
FILEVERSION {0}
PRODUCTVERSION {0}
FILEOS 0x40004
FILETYPE 3
BEGIN
END
"""
# A package's name, the version of its driver, and definitions for the compiler.
DRIVERS = {
    "first": ("1,0,0,0",),
    "newer": ("1,1,0,0",),
    "stuck": ("1,0,0,0", "-DWITHOUT_UNLOAD"),
    "refusing": ("1,2,0,0", "-DWITH_REFUSAL"),
}
MACHINE_ARM64 = 0xAA64


def run(*command: object) -> None:
    subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)


def compile_driver(folder: Path, name: str, version: str | None, *definitions: str) -> Path:
    path, parts = folder / f"{name}.sys", []
    if version is not None:
        (folder / f"{name}.rc").write_text(RESOURCE.format(version), encoding="ascii")
        parts = [folder / f"{name}.o"]
        run(RESOURCE_COMPILER, "-O", "coff", folder / f"{name}.rc", *parts)
    run(COMPILER, *FLAGS, *definitions, HERE / "quiet_driver.c", *parts, "-o", path)
    return path


def optional_header(image: bytes) -> int:
    return int(struct.unpack_from("<I", image, 60)[0]) + 24


def with_checksum(image: bytes) -> bytes:
    """The image with the checksum that its bytes have."""
    field = optional_header(image) + 64
    blank = image[:field] + bytes(4) + image[field + 4 :]
    total = sum(struct.unpack(f"<{(len(blank) + 1) // 2}H", blank + bytes(len(blank) % 2)))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return image[:field] + struct.pack("<I", total + len(image)) + image[field + 4 :]


def for_other_machine(image: bytes) -> bytes:
    at = optional_header(image) - 20
    return with_checksum(image[:at] + struct.pack("<H", MACHINE_ARM64) + image[at + 2 :])


def changed(image: bytes) -> bytes:
    """The image with another instruction, and the right checksum for it. Its signature does not hold."""
    at = image.index(b"\xc3")
    return with_checksum(image[:at] + b"\x90" + image[at + 1 :])


class Packages:
    """Packages in a folder, by name; each is a folder with the files and a cabinet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.drivers: dict[str, Path] = {}
        folder.mkdir(parents=True)
        for name, (version, *definitions) in DRIVERS.items():
            self.drivers[name] = compile_driver(folder, name, version, *definitions)
            self._sign(name, self.drivers[name])
        self._make_wrong_ones()

    def cabinet(self, name: str) -> Path:
        return self.folder / name / "cbprocess.cab"

    def _sign(self, name: str, driver: Path) -> None:
        signer = self.folder / "first"
        signers = [] if name == "first" else [signer / "test.pem", signer / "test.key"]
        run(TOOLS / "sign_driver.sh", driver, self.folder / name, *signers)

    def _make_wrong_ones(self) -> None:
        run(
            sys.executable,
            TOOLS / "driver_package.py",
            "make",
            self.drivers["first"],
            self.folder / "unsigned",
        )
        pack(self.folder / "unsigned", self.cabinet("unsigned"))
        image = self.drivers["first"].read_bytes()
        other = self.folder / "other.sys"
        other.write_bytes(for_other_machine(image))
        self._sign("other_machine", other)
        signed = self.folder / "first"
        self._pack("changed", {DRIVER: changed((signed / DRIVER).read_bytes())})
        self._pack("no_version", {DRIVER: compile_driver(self.folder, "no_version", None).read_bytes()})
        self._pack("no_program", {DRIVER: b"MZ"})
        self._pack("wrong_checksum", {DRIVER: (signed / DRIVER).read_bytes()[:-1] + b"\x01"})
        other_inf = (signed / INF).read_bytes() + b"; more\r\n"
        self._pack(
            "other_catalog", {CATALOG: (self.folder / "unsigned" / CATALOG).read_bytes(), INF: other_inf}
        )
        for part in FILES:
            self._pack(f"without_{part[-3:]}", {part: None})
        self._pack("twice", {}, [(DRIVER.upper(), image)])
        self._pack("escaping", {}, [("..\\..\\escaped.txt", b"x"), ("other.txt", b"y")])
        whole = self.cabinet("first").read_bytes()
        self._write("truncated", whole[: len(whole) // 2])
        self._write("empty", b"")
        self._write("no_cabinet", b"PK\x03\x04" + bytes(100))
        # It says that its first file begins in a cabinet before it.
        flagged = bytearray(whole)
        struct.pack_into("<H", flagged, 36 + 8 + 8, 0xFFFD)
        self._write("continued", bytes(flagged))

    def _pack(
        self, name: str, parts: dict[str, bytes | None], more: list[tuple[str, bytes]] | None = None
    ) -> None:
        """A cabinet of the signed package with other parts."""
        files = []
        for part in FILES:
            content = parts.get(part, (self.folder / "first" / part).read_bytes())
            if content is not None:
                files.append((part, content))
        self._write(name, cabinet(files + (more or []), 1700000000))

    def _write(self, name: str, content: bytes) -> None:
        (self.folder / name).mkdir(exist_ok=True)
        self.cabinet(name).write_bytes(content)


def missing_programs() -> list[str]:
    programs = ["cabextract", "gcab", "openssl", "osslsigncode", "wine", COMPILER, RESOURCE_COMPILER]
    return [program for program in programs if shutil.which(program) is None]


if __name__ == "__main__":
    os.umask(0o022)
    Packages(Path(sys.argv[1]))
