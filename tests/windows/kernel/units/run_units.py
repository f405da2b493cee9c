"""Storey 1: builds the driver's source on the shim of NT and runs its tests under sanitizers, and its fuzzer.

    python tests/windows/kernel/units/run_units.py [OPTION]... [TEST]...

Without a TEST all run: with gcc under ASan and UBSan, with clang under TSan, and the fuzzer for 10 seconds. A
long run of the fuzzer keeps what it has found, for example

    run_units.py --flavour fuzz --fuzz-seconds 36000 --corpus kernel-corpus

--driver names a copy of the folder driver/ to test in its place, such as a mutant's. Knows nothing of what
the tests do."""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
COMPILERS = {"asan": "gcc", "tsan": "clang", "fuzz": "clang"}
ENVIRONMENT = {
    "ASAN_OPTIONS": "abort_on_error=1:detect_leaks=1:detect_stack_use_after_return=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:abort_on_error=1",
    "TSAN_OPTIONS": "halt_on_error=1:abort_on_error=1:second_deadlock_stack=1",
}
# The compiler's own threads lie where the thread sanitizer wants its shadow, unless addresses are fixed.
FIXED_ADDRESSES = ["setarch", platform.machine(), "-R"]


def build(flavour: str, folder: Path, driver: Path | None) -> Path:
    into = folder / flavour
    command = ["cmake", "-G", "Ninja", "-S", str(HERE), "-B", str(into), f"-DFLAVOUR={flavour}"]
    command.append(f"-DCMAKE_C_COMPILER={COMPILERS[flavour]}")
    command.append("-DCMAKE_C_FLAGS=-Werror")
    if driver:
        command.append(f"-DDRIVER={driver.resolve()}")
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    result = subprocess.run(["ninja", "-C", str(into)], capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"{flavour} does not build:\n{result.stdout[-20000:]}{result.stderr}")
    return into


def run_tests(flavour: str, folder: Path, first: bool, tests: list[str]) -> bool:
    if first:
        tests = ["--first", *tests]
    before = FIXED_ADDRESSES if flavour == "tsan" else []
    result = subprocess.run([*before, str(folder / "units"), *tests], env={**os.environ, **ENVIRONMENT})
    print(f"units, {flavour}: {'pass' if result.returncode == 0 else 'FAIL'}", flush=True)
    return result.returncode == 0


# ---- The fuzzer ----


def seeds() -> list[bytes]:
    """Gives inputs that reach far, as fuzz_requests.c reads them: a step's number, then what it takes."""
    opened = bytes([3, 0, 0, 0, 0, 0, 0, 1, 0, 0])
    two = bytes([3, 1, 1, 1, 1, 1, 2, 9, 1, 1])
    received = bytes([5, 0, 0, 0, 0, 0, 0])
    small = bytes([5, 0, 0, 1, 1, 1, 0, 0])
    acts = [bytes([12, slot, kind, 1, 1, 1, 1, 0]) for slot, kind in enumerate((0, 1, 2, 4))]
    answered = bytes([8, 0, 0, 0, 7, 0, 0, 1, 9])
    closed = bytes([9, 0, 0, 0, 0])
    found = []
    for action in range(5):
        ruled = bytes([4, 0, 0, 2, 2, action, 5, 0, 1, 2, action, 5, 3, 0, 0, 0, 0, 0])
        found.append(opened + ruled + received + b"".join(acts) + answered + received + answered + closed)
        found.append(opened + two + ruled + acts[0] + small + received + answered + closed)
        found.append(opened + ruled + bytes([11, action, 1, action]) + b"".join(acts))
    return found


def fuzz(folder: Path, seconds: int, corpus: Path | None) -> bool:
    corpus = corpus or folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds()):
        (corpus / f"seed{number}").write_bytes(seed)
    command = [str(folder / "fuzz_requests"), f"-max_total_time={seconds}", "-max_len=1024", "-timeout=60"]
    command += ["-len_control=0", "-print_final_stats=1", f"-artifact_prefix={folder}/", str(corpus)]
    result = subprocess.run(command, env={**os.environ, **ENVIRONMENT}, capture_output=True, text=True)
    if result.returncode != 0:
        print(result.stderr[-20000:])
        for artifact in folder.glob("crash-*"):
            print(f"{artifact.name}: {artifact.read_bytes().hex()}")
    runs = re.search(r"number_of_executed_units: (\d+)", result.stderr)
    print(f"fuzzer of requests: {runs.group(1) if runs else 'no'} inputs, ", end="")
    print("all harmless" if result.returncode == 0 else "one is NOT harmless", flush=True)
    return result.returncode == 0 and runs is not None


# ---- All ----


def missing_tools() -> list[str]:
    return [tool for tool in ("cmake", "ninja", "setarch", *COMPILERS.values()) if not shutil.which(tool)]


def run_all(options: argparse.Namespace, folder: Path) -> bool:
    flavours = options.flavour or (["asan", "tsan"] if options.tests else list(COMPILERS))
    passed = True
    for flavour in flavours:
        built = build(flavour, folder, options.driver)
        if not passed and options.first:
            break
        if flavour == "fuzz":
            passed &= fuzz(built, options.fuzz_seconds, options.corpus)
        else:
            passed &= run_tests(flavour, built, options.first, options.tests)
    return passed


def main() -> int:
    parser = argparse.ArgumentParser(description="Tests the kernel driver's source on a shim of NT.")
    parser.add_argument("--fuzz-seconds", type=int, default=10, metavar="N", help="how long to fuzz (10)")
    parser.add_argument("--corpus", type=Path, metavar="FOLDER", help="where the fuzzer keeps its inputs")
    parser.add_argument("--build", type=Path, metavar="FOLDER", help="where to build (a temporary folder)")
    parser.add_argument("--driver", type=Path, metavar="FOLDER", help="a copy of driver/ to test instead")
    parser.add_argument("--flavour", action="append", choices=list(COMPILERS), help="which to run (all)")
    parser.add_argument("--first", action="store_true", help="end after the first test that fails")
    parser.add_argument("tests", nargs="*", metavar="TEST", help="a part of a test's name or file's name")
    options = parser.parse_args()
    if missing_tools():
        sys.exit(f"not installed: {', '.join(missing_tools())}")
    if options.build:
        return 0 if run_all(options, options.build.resolve()) else 1
    with tempfile.TemporaryDirectory() as folder:
        return 0 if run_all(options, Path(folder)) else 1


if __name__ == "__main__":
    sys.exit(main())
