"""Checks that the sources of the Windows build are C11 without extensions of gcc and clang, so that MSVC can
compile them. There is no MSVC here.

    python3 tools/windows_sources.py

Looks three times at each of them: for words that only GNU C has, outside of cbp_compiler.h; with clang and a
warning for every extension, for mingw-w64; with clang in MSVC's mode, where the branches for MSVC are taken,
with the header files of mingw-w64. Prints its findings and ends with status 1. Needs clang and those header
files, and ends with a sentence and status 3 without them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CANNOT_CHECK = 3
FOLDERS = (
    "driver/protocol",
    "driver/rules",
    "driver/policy",
    "driver/text",
    "driver/helper",
    "driver/windows/facts",
    "driver/windows/debug",
    "native/src/base",
    "native/src/core",
    "native/src/recording",
    "native/src/seams",
    "native/src/platform/windows",
    "native/src/drivers/helper",
    "native/src/drivers/debug",
    "native/src/drivers/kernel",
    "native/src/drivers/simulated",
    "native/include",
)
ALONE = ("examples/c/monitor_windows.c",)
# The kernel driver has the kernel's own header files, and is compiled with nothing of the library.
KERNEL = "driver/windows/kernel"
KERNEL_FOLDERS = ("driver/protocol", "driver/rules", "driver/policy", KERNEL)
# This is the one place for such words. The public header is installed without it, and has them in a branch.
EXEMPT = ("driver/protocol/cbp_compiler.h", "native/include/cbp_api.h")
# This one corrects the header files of gcc and clang, in a branch for them.
CORRECTIONS = f"{KERNEL}/system.h"
GNU_WORDS = {
    r"__attribute__|__attribute\b": "an attribute",
    r"\(\s*\{": "a statement as an expression",
    r"\b(__)?typeof(__)?\b|__auto_type": "the type of an expression",
    r"\b__(builtin|atomic|sync)_\w+": "a builtin function",
    r"\b__u?int128(_t)?\b": "an integer of 128 bits",
    r"\b(__)?asm(__)?\b": "assembly",
    r"\b__extension__\b|\b__label__\b": "an extension by name",
    r"\[[^\]\n]*\.\.\.[^\]\n]*\]|\bcase\b[^:\n]*\.\.\.": "a range",
    r"\?\s*:": "a conditional without its middle",
    r"#\s*include_next|#\s*warning": "a directive",
}
NOT_CODE = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', re.DOTALL)
HEADERS = Path("/usr/x86_64-w64-mingw32/include")
COMMON = ("-std=c11", "-fsyntax-only", "-D_WIN32_WINNT=0x0A00", "-DUNICODE", "-D_UNICODE", "-DCBP_BUILDING")
PEDANTIC = ("--target=x86_64-w64-mingw32", "-D__USE_MINGW_ANSI_STDIO=1", "-pedantic", "-Wgnu", "-Wvla")
# clang says of itself that it is there, in this mode too. MSVC's branches are for compilers without it.
AS_MSVC = (
    "--target=x86_64-pc-windows-msvc",
    "-fms-compatibility",
    "-fms-extensions",
    "-fms-compatibility-version=19.40",
    "-U__clang__",
    "-Wno-ignored-attributes",
    "-Wno-builtin-macro-redefined",
)
# mingw-w64's header files have a branch for MSVC, which takes away what clang's own header files need, and
# lacks some of what MSVC's intrin.h declares.
MENDED = """\
#include <_mingw.h>
#undef __attribute__
#undef __MINGW_ATTRIB_NORETURN
#define __MINGW_ATTRIB_NORETURN
#undef __MINGW_ATTRIB_DEPRECATED
#define __MINGW_ATTRIB_DEPRECATED
__int64 _InterlockedOr64(__int64 volatile *, __int64);
__int64 _InterlockedExchange64(__int64 volatile *, __int64);
__int64 _InterlockedExchangeAdd64(__int64 volatile *, __int64);
"""
# Two header files of the kernel declare the same structure, and their assertions are no constants for MSVC.
MENDED_KERNEL = """\
#include <ntdef.h>
#undef C_ASSERT
#define C_ASSERT(expression)
#define _REPARSE_DATA_BUFFER of_ntifs_again
#define REPARSE_DATA_BUFFER OF_NTIFS_AGAIN
#define PREPARSE_DATA_BUFFER POINTER_OF_NTIFS_AGAIN
"""


def code_of(text: str) -> str:
    """The text without comments and the contents of strings, line for line."""
    return NOT_CODE.sub(lambda match: '""' if match[0][0] == '"' else "\n" * match[0].count("\n"), text)


def gnu_words(text: str) -> Iterator[tuple[int, str]]:
    """GNU C's words in a text: line and kind of each."""
    code = code_of(text)
    for pattern, kind in GNU_WORDS.items():
        for match in re.finditer(pattern, code):
            yield code.count("\n", 0, match.start()) + 1, kind


def files(suffix: str) -> list[Path]:
    found = [path for folder in FOLDERS for path in sorted((ROOT / folder).glob(f"*{suffix}"))]
    return found + [ROOT / path for path in ALONE if path.endswith(suffix)]


def kernel_files(suffix: str) -> list[Path]:
    return sorted((ROOT / KERNEL).glob(f"*{suffix}"))


def check_words() -> list[str]:
    findings = []
    for path in files(".h") + files(".c") + kernel_files(".h") + kernel_files(".c"):
        name = path.relative_to(ROOT).as_posix()
        if name not in (*EXEMPT, CORRECTIONS):
            findings += [
                f"{name}:{line}: {kind}" for line, kind in gnu_words(path.read_text(encoding="utf-8"))
            ]
    return findings


def check_with_clang(sources: list[Path], folders: tuple[str, ...], *options: str) -> list[str]:
    includes = [f"-I{ROOT / folder}" for folder in folders]
    command = ["clang", *COMMON, *options, *includes, *map(str, sources)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    found = [line for line in done.stdout.splitlines() if re.search(r": (fatal )?(error|warning): ", line)]
    return found or ([done.stdout] if done.returncode else [])


def main() -> int:
    if shutil.which("clang") is None or not HEADERS.is_dir():
        print(
            "clang and the header files of mingw-w64 are needed: apt-get install clang mingw-w64-x86-64-dev"
        )
        return CANNOT_CHECK
    with tempfile.TemporaryDirectory() as folder:
        mended = Path(folder, "mended.h")
        mended.write_text(MENDED, encoding="ascii")
        mended_kernel = Path(folder, "mended_kernel.h")
        mended_kernel.write_text(MENDED_KERNEL, encoding="ascii")
        as_msvc = (*AS_MSVC, "-isystem", str(HEADERS), "-include", str(mended))
        kernel = ("-isystem", str(HEADERS / "ddk"), "-DNTDDI_VERSION=0x0A000002")
        as_wdk = (*as_msvc, "-include", str(mended_kernel), "-D_AMD64_", *kernel)
        sources, drivers = files(".c"), kernel_files(".c")
        findings = [
            *check_words(),
            *check_with_clang(sources, FOLDERS, *PEDANTIC),
            *check_with_clang(sources, FOLDERS, *as_msvc),
            *check_with_clang(drivers, KERNEL_FOLDERS, *PEDANTIC, *kernel),
            *check_with_clang(drivers, KERNEL_FOLDERS, *as_wdk),
        ]
    print("\n".join([*findings, f"{len(sources) + len(drivers)} sources, {len(findings)} findings"]))
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
