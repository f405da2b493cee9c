"""The storey of the package: what our writers make is what others read. Installing does all of what it says
or nothing of it, with every call that fails, with every byte that is damaged, for one product and for two.

    python tests/windows/kernel/package/run_package.py

Builds the library (or takes the one of the wheel that CBPROCESS_WINDOWS_WHEEL names) and drivers with
mingw-w64, and runs what installs under Wine, in a prefix that is removed afterwards. Needs wine, gcc,
mingw-w64's gcc for x86_64, cmake, ninja, cabextract, gcab, openssl and osslsigncode."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import check_writers
from variants import COMPILER, HERE, ROOT, Packages, missing_programs

LIMIT_S = 600
BYTES_STEP = 61  # every so many bytes of the compressed part are damaged
FOLDERS = (
    *("driver/protocol", "driver/rules", "driver/policy", "driver/windows/facts", "native/include"),
    *("native/src/base", "native/src/core", "native/src/recording", "native/src/seams"),
    *("native/src/platform/windows", "native/src/drivers/kernel"),
)
FLAGS = (
    *("-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", "-DUNICODE", "-D_UNICODE", "-DCBP_BUILDING"),
    *("-D__USE_MINGW_ANSI_STDIO=1", "-U_WIN32_WINNT", "-D_WIN32_WINNT=0x0A00"),
)
KERNEL = ROOT / "native/src/drivers/kernel"
INSTALLING = (
    *("cabinet", "driver_file", "driver_image", "driver_service", "installation_kernel", "package"),
    *("paths", "product_guids", "rights", "signature"),
)
COMMON = (
    ROOT / "native/src/base/errors.c",
    ROOT / "native/src/platform/windows/os_error.c",
    ROOT / "native/src/platform/windows/windows_api.c",
    ROOT / "driver/rules/cbp_wtf8.c",
)
LIBRARIES = ("-lsetupapi", "-lwintrust", "-lntdll", "-ladvapi32")


def run(*command: object) -> None:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{command[0]} fails:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")


class Wine:
    """Runs programs under Wine in a prefix of its own."""

    def __init__(self, prefix: Path) -> None:
        self._environment = {**os.environ, "WINEPREFIX": str(prefix), "WINEDEBUG": "-all"}
        self._run("wineboot", "-i")
        self._run("reg", "add", r"HKCU\Software\Wine", "/v", "Version", "/d", "win10", "/f")

    def _run(self, *command: object) -> tuple[int, str]:
        # Standard input, output and error of a Windows program have to be what Wine can make handles of.
        done = subprocess.run(
            ["wine", *map(str, command)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self._environment,
            timeout=LIMIT_S,
        )
        return done.returncode, done.stdout.decode("utf-8", "replace")

    def check(self, *command: object) -> bool:
        """Runs a test's program, and prints the end of what it says: all of it if it has failed."""
        status, text = self._run(*command)
        lines = text.splitlines()
        print(
            *(lines if status else [line for line in lines if " -> " not in line][-10:]), sep="\n", flush=True
        )
        return status == 0

    def stop(self) -> None:
        server = "/usr/lib/wine/wineserver64"
        server = server if os.path.exists(server) else "wineserver"
        subprocess.run([server, "-k"], env=self._environment, check=False)
        subprocess.run([server, "-w"], env=self._environment, check=False)


def includes() -> list[str]:
    return [f"-I{ROOT / folder}" for folder in FOLDERS]


def build_library(folder: Path) -> Path:
    """The folder of cbprocess.dll, which comes out of a wheel where there is one."""
    wheel = os.environ.get("CBPROCESS_WINDOWS_WHEEL")
    if wheel:
        with zipfile.ZipFile(wheel) as opened:
            opened.extract("cbprocess/_native/cbprocess.dll", folder)
        return folder / "cbprocess" / "_native"
    toolchain = f"-DCMAKE_TOOLCHAIN_FILE={ROOT}/cmake/mingw-x86_64.cmake"
    run("cmake", "-G", "Ninja", "-S", ROOT, "-B", folder, "-DCMAKE_BUILD_TYPE=Release", toolchain)
    run("cmake", "--build", folder, "--target", "cbprocess")
    return folder / "_native"


def build_programs(folder: Path, library: Path) -> None:
    compiler = [COMPILER, *FLAGS, *includes()]
    sources = [KERNEL / f"{name}.c" for name in INSTALLING]
    objects = []
    for source in sources:
        objects.append(folder / f"{source.stem}.o")
        run(*compiler, "-include", HERE / "faults.h", "-c", source, "-o", objects[-1])
    own = [HERE / "fault_steps.c", HERE / "state.c", *COMMON]
    run(*compiler, *own, *objects, *LIBRARIES, "-o", folder / "fault_steps.exe")
    scripted = [HERE / "signatures.c", KERNEL / "paths.c", *COMMON]
    run(*compiler, *scripted, *LIBRARIES, "-o", folder / "signatures.exe")
    for name in ("cases", "damaged_cabs", "inf_service"):
        parts = [HERE / f"{name}.c", HERE / "state.c", library / "cbprocess.dll", *LIBRARIES]
        run(COMPILER, *(flag for flag in FLAGS if flag != "-DCBP_BUILDING"), *includes(), *parts,
            "-o", library / f"{name}.exe")  # fmt: skip


def check_bytes(folder: Path, packages: Packages) -> bool:
    """On Linux, where sanitizers see what is read beyond a file."""
    program = folder / "damaged_bytes"
    sanitizers = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    run("gcc", "-std=c11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", *sanitizers, *includes(),
        HERE / "damaged_bytes.c", KERNEL / "cabinet.c", KERNEL / "driver_image.c", "-o", program)  # fmt: skip
    files = (packages.folder / "first/cbprocess.sys", "0x1000000000000", packages.cabinet("first"))
    return subprocess.run([program, *files]).returncode == 0


def windows_path(path: Path) -> str:
    return "Z:" + str(path).replace("/", "\\")


def check_under_wine(folder: Path, library: Path, packages: Packages) -> bool:
    wine = Wine(folder / "prefix")
    cabinets = {name: windows_path(packages.cabinet(name)) for name in ("first", "newer")}
    try:
        results = [
            wine.check(folder / "signatures.exe"),
            wine.check(library / "inf_service.exe", windows_path(packages.folder / "first")),
            wine.check(folder / "fault_steps.exe", cabinets["first"], cabinets["newer"]),
            wine.check(library / "damaged_cabs.exe", cabinets["first"], BYTES_STEP),
            # This one is the last: it leaves a driver behind that cannot be unloaded.
            wine.check(library / "cases.exe", windows_path(packages.folder)),
        ]
    finally:
        wine.stop()
    return all(results)


def main() -> int:
    missing = missing_programs()
    if missing:
        print(f"run_package.py: {', '.join(missing)} missing", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="cbprocess-package-", dir="/var/tmp") as name:
        folder = Path(name)
        packages = Packages(folder / "packages")
        found = list(check_writers.complaints(packages))
        print(*found or ["what others read is what was written"], sep="\n", flush=True)
        holds = not found
        holds &= check_bytes(folder, packages)
        library = build_library(folder / "build")
        build_programs(folder, library)
        holds &= check_under_wine(folder, library, packages)
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
