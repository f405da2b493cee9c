"""Storey 2: checks the driver's file as it ships, without running it: every compiler's build, the test-signed
copy, and the layouts of the system's structures. Each check is also shown a file that it must complain about.

    python tests/windows/kernel/static/run_static.py

Needs mingw-w64 for x86_64, cmake, ninja, openssl and osslsigncode. builds.py says where zig is looked for."""

import functools
import json
import os
import shlex
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Callable
from xml.etree import ElementTree

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import builds  # noqa: E402
import checks  # noqa: E402
import instructions  # noqa: E402
from image import EXECUTABLE, LOAD_CONFIGURATION, RELOCATIONS, RESOURCES, SIGNATURES, WRITABLE, Image  # noqa: E402

Breaking = Callable[[bytearray, Image], None]


def project_version() -> str:
    for line in (builds.ROOT / "native/include/cbprocess.h").read_text().splitlines():
        if line.startswith('#define CBP_VERSION "'):
            return line.split('"')[1]
    raise SystemExit("cbprocess.h states no version")


def file_faults(image: Image, expected: checks.Expected) -> list[str]:
    found = checks.complaints(image, expected)
    return [f"{name}: {fault}" for name, faults in found.items() for fault in faults]


# ---- Files that checks must complain about ----


def _put(data: bytearray, at: int, form: str, value: int) -> None:
    struct.pack_into(form, data, at, value)


def _flip(data: bytearray, at: int, form: str, bits: int) -> None:
    _put(data, at, form, struct.unpack_from(form, data, at)[0] ^ bits)


def _section_flag(name: str, bits: int) -> Breaking:
    def breaking(data: bytearray, image: Image) -> None:
        index = [section.name for section in image.sections].index(name)
        _flip(data, image.section_headers[index] + 36, "<I", bits)

    return breaking


def _directory(index: int, size: int) -> Breaking:
    return lambda data, image: _put(data, image.optional + 112 + 8 * index + 4, "<I", size)


def _bytes(old: bytes, new: bytes) -> Breaking:
    def breaking(data: bytearray, image: Image) -> None:
        at = data.index(old)
        data[at : at + len(new)] = new

    return breaking


def _text(old: str, new: str) -> Breaking:
    return _bytes(old.encode("utf-16-le"), new.encode("utf-16-le"))


def _flag(bit: int) -> Breaking:
    return lambda data, image: _flip(data, image.optional + 70, "<H", bit)


def _relocation_out_of_file(data: bytearray, image: Image) -> None:
    _kind, address = next(image.relocations())
    section = image.section_at(address)
    _put(data, section.file_offset + address - section.address, "<Q", image.base + image.size)


def _large_frame(data: bytearray, image: Image) -> None:
    for function in image.functions():
        section = image.section_at(function.info)
        at = section.file_offset + function.info - section.address
        count = data[at + 2]
        if count >= 3:
            _put(data, at + 4, "<H", 1 << 8 | 1 << 12)  # a large allocation, of four bytes
            _put(data, at + 6, "<I", 1 << 20)
            return
    raise AssertionError("no function has room for it")


# The check, and a file in which it finds something.
BREAKAGES: list[tuple[str, Breaking]] = [
    ("machine", lambda data, image: _flip(data, image.header + 4, "<H", 1)),
    ("machine", lambda data, image: _flip(data, image.header + 22, "<H", 0x2000)),
    ("subsystem", lambda data, image: _put(data, image.optional + 68, "<H", 3)),
    ("subsystem", lambda data, image: _put(data, image.optional + 48, "<H", 6)),
    ("flags", _flag(checks.FORCE_INTEGRITY)),
    ("flags", _flag(checks.NX)),
    ("flags", _flag(checks.DYNAMIC_BASE)),
    ("flags", _flag(checks.HIGH_ENTROPY)),
    ("flags", _flag(checks.GUARD)),
    ("checksum", lambda data, image: _flip(data, image.checksum_offset, "<I", 1)),
    ("checksum", lambda data, image: _flip(data, len(data) - 1, "<B", 1)),
    ("sections", _section_flag(".text", WRITABLE)),
    ("sections", _section_flag(".data", EXECUTABLE)),
    ("sections", lambda data, image: _put(data, image.optional + 32, "<I", 0x200)),
    ("imports", _bytes(b"ntoskrnl.exe", b"ntdll.dll\0")),
    ("imports", _bytes(b"IoCreateDevice\0", b"IoCreateDriver\0")),
    ("found_at_run_time", _text("ExAllocatePool2", "ExAllocatePool3")),
    ("nothing_else", _bytes(b"blocks of memory", b"/home/somebody/x")),
    ("nothing_else", lambda data, image: _put(data, image.optional + 112, "<Q", 1 << 32 | 0x1000)),
    ("relocations", _directory(RELOCATIONS, 0)),
    ("relocations", _relocation_out_of_file),
    ("unwinding", _directory(3, 0)),
    ("unwinding", _large_frame),
    ("guard", _directory(LOAD_CONFIGURATION, 64)),
    ("version", _directory(RESOURCES, 0)),
    ("version", _bytes(struct.pack("<I", 0xFEEF04BD), b"\0\0\0\0")),
    ("version", _text("OriginalFilename", "OriginalFilenamX")),
]


def breakages_are_found(image: Image, expected: checks.Expected) -> list[str]:
    faults = []
    for number, (name, breaking) in enumerate(BREAKAGES):
        if expected.machine != "x64" and breaking is _large_frame:
            continue  # its unwinding tables have another form
        data = bytearray(image.data)
        breaking(data, image)
        broken = Image(bytes(data))
        if not list(checks.CHECKS[name](broken, expected)):
            faults.append(f"the check {name} accepts the broken file {number}")
    untried = set(checks.CHECKS) - {name for name, _ in BREAKAGES}
    return faults + [f"the check {name} was shown no broken file" for name in untried]


# ---- Layouts ----


def layout_faults(build: builds.Build) -> list[str]:
    """Compiles layouts.c with the command line that a file of the driver has in this build."""
    folder = build.driver.parents[1]
    commands = json.loads((folder / "compile_commands.json").read_text())
    command = next(row for row in commands if row["file"].endswith("/windows/kernel/pending.c"))
    arguments = shlex.split(command["command"])
    arguments[arguments.index("-o") + 1] = os.devnull
    arguments[arguments.index("-c") + 1] = str(HERE / "layouts.c")
    environment = {**os.environ, "ZIG_GLOBAL_CACHE_DIR": str(builds.folder() / "zig-cache")}
    run = functools.partial(subprocess.run, cwd=folder, capture_output=True, text=True, env=environment)
    right, wrong = run(arguments), run([*arguments, "-DWRONG"])
    faults = [right.stderr] if right.returncode != 0 else []
    if wrong.returncode == 0 or "IRP.Cancel" not in wrong.stderr:
        faults.append("a wrong layout is accepted")
    return faults


# ---- The other project ----


def project_faults(build: builds.Build) -> list[str]:
    """Compares the sources of the project for the Windows Driver Kit with those of this build."""
    project = builds.ROOT / "driver/windows/kernel/cbprocess.vcxproj"
    names = {"vs": "http://schemas.microsoft.com/developer/msbuild/2003"}
    patterns = [
        item.attrib["Include"].replace("\\", "/")
        for item in ElementTree.parse(project).findall(".//vs:ItemGroup/vs:ClCompile", names)
    ]
    listed = {path.resolve() for pattern in patterns for path in project.parent.glob(pattern)}
    commands = json.loads((build.driver.parents[1] / "compile_commands.json").read_text())
    built = {Path(row["file"]).resolve() for row in commands if "/kernel_objects.dir/" in row["command"]}
    faults = [f"{path.name} is in one list of sources only" for path in sorted(listed ^ built)]
    return faults if listed else ["it lists no sources"]


# ---- The signed copy ----


def signature_faults(driver: Path, expected: checks.Expected) -> list[str]:
    """Signs as tools/sign_driver.sh does, and looks whether a changed file is still taken for signed."""
    with tempfile.TemporaryDirectory() as folder:
        script = builds.ROOT / "tools/sign_driver.sh"
        done = subprocess.run(["bash", str(script), str(driver), folder], capture_output=True, text=True)
        if done.returncode != 0:
            return [done.stderr]
        signed = Path(folder) / "cbprocess.sys"
        image = Image.of(signed)
        faults = file_faults(image, expected)
        if image.directory(SIGNATURES) == (0, 0):
            faults.append("there is no signature")
        if not _verifies(signed, Path(folder)):
            faults.append("the signature does not verify")
        changed = bytearray(image.data)
        changed[image.section_at(image.entry).file_offset] ^= 1
        signed.write_bytes(changed)
        if _verifies(signed, Path(folder)):
            faults.append("the signature of a changed file verifies")
        return faults


def _verifies(signed: Path, folder: Path) -> bool:
    command = ["osslsigncode", "verify", "-CAfile", str(folder / "test.pem"), "-in", str(signed)]
    return subprocess.run(command, capture_output=True).returncode == 0


# ---- All of it ----


def faults_of(build: builds.Build) -> list[str]:
    expected = checks.Expected(build.machine, build.has_guard, project_version())
    image = Image.of(build.driver)
    faults = file_faults(image, expected)
    faults += [f"instructions: {fault}" for fault in instructions.complaints(build.driver, build.machine)]
    faults += [f"layouts: {fault}" for fault in layout_faults(build)]
    faults += breakages_are_found(image, expected)
    if build.name == "mingw-x64":
        faults += [f"vcxproj: {fault}" for fault in project_faults(build)]
        faults += [f"signature: {fault}" for fault in signature_faults(build.driver, expected)]
    return faults


def main() -> int:
    status = 0
    for build in builds.every_build():
        faults = faults_of(build)
        size = build.driver.stat().st_size
        print(f"{build.name}: {size} bytes, {len(checks.CHECKS)} checks, {len(BREAKAGES)} broken files")
        for fault in faults:
            print(f"{build.name}: {fault}")
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
