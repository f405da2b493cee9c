"""Looks for instructions that the driver must not have: registers of floating point and vectors, which are
the interrupted program's, and what reaches for the machine itself. Knows objdump's text for x64; for ARM64 it
decodes the groups of instructions itself, which have a word each."""

import re
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

from image import EXECUTABLE, Image

VECTORS = re.compile(r"%(?:[xyz]mm\d|mm\d|st\b|k[0-7]\b)")
X87 = re.compile(r"^f(?!s\b)[a-z]+")
# The loader of the tests runs the code in a program, where nothing of the kernel has a fixed place.
MACHINE = re.compile(
    r"^(?:cli|sti|hlt|in|out|ins|outs|rdmsr|wrmsr|lgdt|lidt|ltr|invlpg|wbinvd|syscall|sysret|sysenter|swapgs|vm\w+|"
    r"rdtscp?|cpuid|xsave\w*|xrstor\w*|int)[bwlq]?$|%cr\d|%dr\d|%[fg]s:"
)


def _of_x64(path: Path) -> Iterator[str]:
    program = shutil.which("x86_64-w64-mingw32-objdump") or shutil.which("objdump")
    if not program:
        raise SystemExit("objdump of binutils-mingw-w64-x86-64 is not there")
    command = [program, "-d", "--no-show-raw-insn", "-M", "suffix", str(path)]
    listing = subprocess.run(command, capture_output=True, text=True, check=True)
    count = 0
    for line in listing.stdout.splitlines():
        match = re.match(r"\s*([0-9a-f]+):\t(\S+)\s*(.*)", line)
        if not match:
            continue
        count += 1
        at, mnemonic, operands = match.groups()
        if VECTORS.search(operands) or X87.search(mnemonic):
            yield f"{at}: {mnemonic} {operands} uses a register of floating point or vectors"
        if MACHINE.search(mnemonic) or MACHINE.search(operands):
            yield f"{at}: {mnemonic} {operands} reaches for the machine"
    if count < 1000:
        yield f"only {count} instructions were found"


def _of_arm64(path: Path) -> Iterator[str]:
    image = Image.of(path)
    for section in image.sections:
        if not section.flags & EXECUTABLE:
            continue
        code = image.read(section.address, min(section.size, section.file_size) & ~3)
        for i, (word,) in enumerate(struct.iter_unpack("<I", code)):
            group = word >> 25 & 0xF
            is_vector = group & 7 == 7 or (group & 5 == 4 and word >> 26 & 1)
            if is_vector:
                yield f"{section.address + 4 * i:x}: {word:08x} uses a register of floating point or vectors"
            if word >> 20 == 0xD51 or word >> 20 == 0xD53:  # a register of the system is written or read
                yield f"{section.address + 4 * i:x}: {word:08x} reaches for the machine"


def complaints(path: Path, machine: str) -> list[str]:
    return list(_of_x64(path) if machine == "x64" else _of_arm64(path))
