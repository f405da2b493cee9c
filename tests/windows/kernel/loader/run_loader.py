"""Storey 3: runs the file that ships on Linux, in a loader that keeps the kernel's rules, with real threads.

    python tests/windows/kernel/loader/run_loader.py [--long] [--driver FILE.sys] [PART]...

Without a PART all run: first the test drivers of violations/, each of which breaks one rule that the
loader must name, then the modes of the loader against cbprocess.sys. --driver names another file to run in
its place, such as a mutant's, and --seed the first seed of races. Knows what to run, not what is checked."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[3]
sys.path.insert(0, str(HERE.parent))

import builds  # noqa: E402

# A mode and its rounds: in CI, and with --long. 0: it has no rounds.
MODES = {
    "races": (250, 20000),
    "death": (60, 3000),
    "unload": (100, 5000),
    "deadline": (0, 0),
    "failures": (0, 0),
    "exempt": (0, 0),
    "rate": (3, 20),
}
LIMIT_S = {False: 120, True: 7200}
HANG_LIMIT_S = 3  # of a test driver
# These rules are checked in another way where blocks of pool have no pages of their own.
PLAIN = ["freed_pool_write", "pool_overrun", "pool_underrun", "double_free", "double_completion", "clean"]
EXIT_VIOLATION = 3

FLAGS = ["-std=gnu11", "-O2", "-g", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror"]
INCLUDED = ["driver/protocol", "driver/rules", "native/include", "native/src/base", "native/src/core"]
INCLUDED += ["native/src/seams"]
SHARED_SOURCES = ["driver/protocol/*.c", "driver/rules/*.c", "native/src/core/ruleset_build.c"]
DRIVER_COMPILER = "x86_64-w64-mingw32-gcc"
DRIVER_FLAGS = ["-O1", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function", "-ffreestanding", "-fno-ident"]
DRIVER_FLAGS += ["-mno-red-zone", "-mgeneral-regs-only", "-fno-asynchronous-unwind-tables"]
DRIVER_FLAGS += ["-U_WIN32_WINNT", "-D_WIN32_WINNT=0x0A00", "-DNTDDI_VERSION=0x0A000002"]
DRIVER_LINK = ["--subsystem,native", "--entry,DriverEntry", "--section-alignment,0x1000", "--dynamicbase"]
DRIVER_LINK += ["--file-alignment,0x200", "--image-base,0x140000000", "--forceinteg", "--exclude-all-symbols"]


def compile_with(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


def build_loader(folder: Path) -> Path:
    sources = [str(source) for source in sorted(HERE.glob("*.c"))]
    sources += [str(source) for pattern in SHARED_SOURCES for source in sorted(ROOT.glob(pattern))]
    includes = [f"-I{ROOT / name}" for name in INCLUDED]
    loader = folder / "loader"
    compile_with(["gcc", *FLAGS, *includes, "-o", str(loader), *sources, "-pthread"])
    return loader


# ---- Violations ----


def ddk_folder() -> Path:
    """Gives the folder of the kernel's headers, which lies beside those for programs."""
    asked = subprocess.run(
        [DRIVER_COMPILER, "-E", "-v", "-x", "c", os.devnull], capture_output=True, text=True, check=True
    )
    folders = [Path(line.strip()) for line in asked.stderr.splitlines() if line.startswith(" /")]
    for folder in [*folders, Path("/usr/share/mingw-w64/include")]:
        if (folder / "ddk" / "ntifs.h").is_file():
            return folder / "ddk"
    raise SystemExit("the compiler for Windows has no headers of the kernel")


def build_violation(source: Path, folder: Path, ddk: Path) -> Path:
    driver = folder / f"{source.stem}.sys"
    link = ["-nostdlib", "-shared", "-s", *(f"-Wl,{option}" for option in DRIVER_LINK)]
    compile_with(
        [
            DRIVER_COMPILER,
            *DRIVER_FLAGS,
            "-isystem",
            str(ddk),
            str(source),
            *link,
            "-o",
            str(driver),
            "-lntoskrnl",
        ]
    )
    return driver


def rule_of(source: Path) -> str:
    """Gives the rule that the test driver breaks, or none, as its first lines say."""
    said = re.search(r"Rule: (\w+)\.", source.read_text())
    if not said:
        raise SystemExit(f"{source.name} does not say which rule it breaks")
    return said.group(1)


def check_violation(loader: Path, source: Path, driver: Path, options: list[str]) -> str:
    """Gives what is wrong, or an empty text."""
    command = [str(loader), "drive", str(driver), "--limit", str(HANG_LIMIT_S), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    named = re.search(r"^violation: (\w+):", done.stderr, re.MULTILINE)
    found, status = (named.group(1), EXIT_VIOLATION) if named else ("none", 0)
    if found == rule_of(source) and done.returncode == status:
        return ""
    said = f"status {done.returncode}:\n{done.stderr}"
    return f"{source.stem}: {rule_of(source)} is not what the loader says, but {said}"


def check_source(loader: Path, source: Path, folder: Path, ddk: Path) -> str:
    driver = build_violation(source, folder, ddk)
    wrong = check_violation(loader, source, driver, [])
    if source.stem in PLAIN:
        wrong += check_violation(loader, source, driver, ["--plain"])
    return wrong


def run_violations(loader: Path, folder: Path) -> bool:
    sources = sorted((HERE / "violations").glob("*.c"))
    ddk = ddk_folder()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        wrong = list(
            filter(None, pool.map(lambda source: check_source(loader, source, folder, ddk), sources))
        )
    print("\n".join(wrong), end="\n" if wrong else "")
    print(
        f"violations: {len(sources) - len(wrong)} of {len(sources)} test drivers are told apart", flush=True
    )
    return not wrong


# ---- cbprocess.sys ----


def run_mode(loader: Path, driver: Path, mode: str, is_long: bool, seed: int) -> bool:
    rounds = MODES[mode][is_long]
    command = [str(loader), mode, str(driver), "--limit", str(LIMIT_S[is_long]), "--seed", str(seed)]
    command += ["--rounds", str(rounds)] if rounds else []
    done = subprocess.run(command, capture_output=True, text=True)
    print(done.stdout + done.stderr, end="", flush=True)
    if done.returncode != 0:
        print(f"{mode}: FAILS with status {done.returncode}", flush=True)
    return done.returncode == 0


def run_parts(options: argparse.Namespace, folder: Path) -> bool:
    parts = options.parts or ["violations", *MODES]
    loader = build_loader(folder)
    held = True
    if "violations" in parts:
        held &= run_violations(loader, folder)
    modes = [mode for mode in MODES if mode in parts]
    if not modes:
        return held
    driver = options.driver or builds.mingw().driver
    for mode in modes:
        held &= run_mode(loader, driver, mode, options.long, options.seed)
    return held


def main() -> int:
    parser = argparse.ArgumentParser(description="Runs the kernel driver's file on Linux.")
    parser.add_argument("--long", action="store_true", help="many more rounds: an hour or so")
    parser.add_argument("--driver", type=Path, metavar="FILE", help="another driver file to run")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="the first seed (1)")
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(["violations", *MODES]))
    options = parser.parse_args()
    unknown = set(options.parts) - {"violations", *MODES}
    if unknown:
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    missing = [tool for tool in ("gcc", DRIVER_COMPILER) if not shutil.which(tool)]
    if missing:
        sys.exit(f"this storey needs {', '.join(missing)}")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="loader") as folder:
        held = run_parts(options, Path(folder))
    print(f"loader: {'all holds' if held else 'FAILS'} ({time.monotonic() - began:.0f} s)")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
