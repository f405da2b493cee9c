"""Runs the contract test of NT's functions on the shim, on the loader and under Wine, with cbpfire.sys, too.

    python tests/windows/kernel/contract/run_contract.py [--build FOLDER] [shim|loader|wine|fire]...

All of them run the same checks (nt_contract.c, nt_calls.c), so that they cannot drift apart. What Wine does
otherwise is named in the checks. Knows nothing of what is checked, except that it covers what the driver
imports."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[3]
KERNEL = ROOT / "driver" / "windows" / "kernel"
INCLUDES = [f"-I{folder}" for folder in (HERE, KERNEL, ROOT / "driver" / "protocol")]
WARNINGS = ["-Wall", "-Wextra", "-Werror", "-O1"]
DRIVER = [HERE / "nt_contract.c", HERE / "nt_contract_device.c"]
SANITIZED = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
MINGW = "x86_64-w64-mingw32"
DDK = "/usr/share/mingw-w64/include/ddk"
AS_KERNEL_CODE = [
    *("-ffreestanding", "-fno-builtin", "-fno-stack-protector", "-mno-red-zone", "-mgeneral-regs-only"),
    *("-U_WIN32_WINNT", "-D_WIN32_WINNT=0x0A00", "-DNTDDI_VERSION=0x0A000002", "-isystem", DDK),
]
AS_KERNEL_FILE = [
    *("-nostdlib", "-s", "-Wl,--subsystem,native:10.0", "-Wl,--entry,DriverEntry", "-Wl,--dynamicbase"),
    *("-Wl,--nxcompat", "-Wl,--forceinteg", "-Wl,--file-alignment,0x200", "-Wl,--section-alignment,0x1000"),
]
# Imports that every compiler makes calls of by itself, and that are functions of C.
OF_C = {"memcmp", "memcpy", "memmove", "memset"}
# The loader's files that play Windows; the others are its scenarios.
LOADER_PARTS = ["callbacks", "facts", "handles", "image", "irps", "levels", "loading", "objects"]
LOADER_PARTS += ["pool", "verdicts", "waits"]


def run(command: list[str | Path], **options: object) -> bool:
    return subprocess.run([str(part) for part in command], **options).returncode == 0  # type: ignore[call-overload]


def compile_all(command: list[str | Path]) -> None:
    if not run(command):
        sys.exit(1)


def driver_file(folder: Path) -> Path:
    """Builds the test's driver with the driver's own import list."""
    imports, made = folder / "imports.a", folder / "nt_contract.sys"
    compile_all([f"{MINGW}-dlltool", "-m", "i386:x86-64", "-d", KERNEL / "imports.def", "-l", imports])
    compile_all(
        [f"{MINGW}-gcc", *WARNINGS, *AS_KERNEL_CODE, *INCLUDES, *AS_KERNEL_FILE, *DRIVER, imports, "-o", made]
    )
    return made


def on_shim(folder: Path) -> bool:
    shim = HERE.parent / "shim"
    headers = [f"-I{shim}", f"-I{shim / 'nt'}"]
    options = ["-std=gnu11", "-D_GNU_SOURCE", "-fshort-wchar", "-fms-extensions", "-pthread", *SANITIZED]
    sources = [*DRIVER, HERE / "nt_calls.c", HERE / "shim_host.c", *sorted(shim.glob("*.c"))]
    compile_all(["gcc", *WARNINGS, *options, *INCLUDES, *headers, *sources, "-o", folder / "shim_host"])
    return run([folder / "shim_host"])


def on_loader(folder: Path) -> bool:
    loader = HERE.parent / "loader"
    sources = [HERE / "loader_host.c", HERE / "nt_calls.c", *(loader / f"{part}.c" for part in LOADER_PARTS)]
    options = ["-std=gnu11", "-D_GNU_SOURCE", "-pthread", f"-I{HERE}", f"-I{loader}"]
    compile_all(["gcc", *WARNINGS, *options, *sources, "-o", folder / "loader_host"])
    return run([folder / "loader_host", driver_file(folder)])


def on_wine(folder: Path, *more: str) -> bool:
    program = folder / "wine_host.exe"
    sources = [HERE / "wine_host.c", HERE / "nt_calls.c"]
    compile_all([f"{MINGW}-gcc", *WARNINGS, "-municode", *sources, "-lntdll", "-o", program])
    prefix = folder / "prefix"
    environment = {**os.environ, "WINEPREFIX": str(prefix), "WINEDEBUG": "-all"}
    environment.setdefault("DISPLAY", "")
    try:
        # Wine's programs want pipes: a file as output makes some of them end at once.
        done = subprocess.run(
            ["wine", program.name, driver_file(folder).name, *more],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
    finally:
        subprocess.run(["wineserver", "-k"], env=environment)
    print(done.stdout, end="")
    if done.returncode != 0:
        print(done.stderr)
    return done.returncode == 0


def on_wine_with_fire(folder: Path) -> bool:
    """With the driver of the storey "wine", whose functions stand for those that Wine lacks."""
    fire = folder / "cbpfire.sys"
    compile_all([HERE.parent / "wine" / "fire" / "build.sh", fire])
    return on_wine(folder, fire.name)


PLACES = {"shim": on_shim, "loader": on_loader, "wine": on_wine, "fire": on_wine_with_fire}


def uncovered() -> list[str]:
    """Gives what the driver imports and the contract test does not use."""
    listed = (KERNEL / "imports.def").read_text().split("EXPORTS")[1].split("\n")
    names = {line.split()[0] for line in listed if line.strip() and not line.startswith(";")} - OF_C
    text = "\n".join(path.read_text() for path in [*HERE.glob("nt_*.[ch]"), KERNEL / "system.h"])
    # Two of them are called by the names of macros.
    aliases = {"IofCompleteRequest": "IoCompleteRequest"}
    aliases.update(ObfReferenceObject="ObReferenceObject", ObfDereferenceObject="ObDereferenceObject")
    return sorted(name for name in names if not re.search(rf"\b(__imp_)?{aliases.get(name, name)}\b", text))


def missing_tools() -> list[str]:
    tools = ("gcc", f"{MINGW}-gcc", f"{MINGW}-dlltool", "wine", "wineserver")
    return [tool for tool in tools if not shutil.which(tool)]


def main() -> int:
    parser = argparse.ArgumentParser(description="Tests the functions of NT that the driver uses.")
    parser.add_argument("--build", type=Path, metavar="FOLDER", help="where to build (a temporary folder)")
    parser.add_argument("places", nargs="*", metavar="PLACE", help=", ".join(PLACES))
    options = parser.parse_args()
    if set(options.places) - set(PLACES):
        parser.error(f"a PLACE is one of {', '.join(PLACES)}")
    if missing_tools():
        sys.exit(f"not installed: {', '.join(missing_tools())}")
    for name in uncovered():
        print(f"the driver imports {name}, about which the contract test says nothing")
    passed = not uncovered()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.build or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        for place in options.places or PLACES:
            passed &= PLACES[place](folder)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
