"""The numbers of the watched system calls are those of the kernel's own headers, on every architecture whose
headers this machine has."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import compilers
import pytest

ROOT = Path(__file__).resolve().parents[2]

HEADER = ROOT / "driver/linux/facts/syscall_list.h"
# Column of the table, header, and what has to be defined for it.
FLAVOURS = {
    "x86-64": (0, "asm/unistd_64.h", ()),
    "x32": (1, "asm/unistd_x32.h", ("-D__X32_SYSCALL_BIT=0",)),
    "i386": (2, "asm/unistd_32.h", ()),
    "AArch64": (3, "asm-generic/unistd.h", ("-D__BITS_PER_LONG=64", "-D__ARCH_WANT_SET_GET_RLIMIT")),
    "Arm": (4, "asm/unistd-eabi.h", ("-D__NR_SYSCALL_BASE=0",)),
}
X86_FLAVOURS = ("x86-64", "x32", "i386")


def table() -> dict[str, list[int]]:
    rows = re.findall(r"^    X\((\w+), \w+, ([\d, ]+)\)", HEADER.read_text(encoding="utf-8"), re.MULTILINE)
    return {name.lower(): [int(number) for number in numbers.split(",")] for name, numbers in rows}


def kernel_numbers(header: str, options: tuple[str, ...]) -> dict[str, int]:
    """What a header of the kernel defines; nothing if there is none of that name here."""
    line = [*compilers.c_compiler(), "-E", "-dM", *options, "-include", header, "-x", "c", "/dev/null"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        assert "No such file" in done.stderr or "not found" in done.stderr, shlex.join(line) + done.stderr
        return {}
    found: dict[str, int] = {}
    for name, text in re.findall(r"^#define __NR_(\w+) (.+)$", done.stdout, re.MULTILINE):
        number = re.fullmatch(r"\(?(?:\w+ ?\+ ?)?(\d+)\)?", text)
        if number:
            found[name] = int(number.group(1))
    return found


def test_the_table_is_found() -> None:
    rows = table()
    assert len(rows) >= 23 and rows["execve"] == [59, 520, 11, 221, 11]
    assert {len(numbers) for numbers in rows.values()} == {len(FLAVOURS)}


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_numbers(flavour: str) -> None:
    column, header, options = FLAVOURS[flavour]
    numbers = kernel_numbers(header, options)
    if not numbers:
        import platform

        assert platform.machine() != "x86_64" or flavour not in X86_FLAVOURS, f"no {header}"
        pytest.skip(f"this machine has no {header}")
    # A call that is younger than the headers is not in them; most are.
    common = {name: row[column] for name, row in table().items() if name in numbers}
    assert len(common) >= len(table()) - 4, sorted(set(table()) - set(common))
    assert common == {name: numbers[name] for name in common}
