"""Storey 4: the driver's file that ships, the library and real programs together, under Wine.

    python tests/windows/kernel/wine/run_wine.py [--wheel WHEEL] [SUITE]...

Builds the Windows wheel unless one is given (CBPROCESS_WINDOWS_WHEEL names one, too), signs its driver for a
test, and makes a CPython for Windows, Wine's own folder and the programs of the tests, all in a temporary
folder. The suites run beside each other, each with a Wine of its own. Works as an ordinary user.

Needs cabextract, wine, wine64, gcc for x86_64-w64-mingw32, osslsigncode, openssl."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[3]
LIMIT_S = 900
# What runs in the world: arguments of pytest for each suite.
SUITES = {
    "contract": ["tests/contract", "-k", "kernel"],
    "world": ["tests/windows/kernel/wine"],
}
PROGRAMS = ("windows_program", "windows_sleeper")
COMPILER = "x86_64-w64-mingw32-gcc"
FLAGS = ("-std=c11", "-O1", "-s", "-Wall", "-Wextra", "-Werror", "-D__USE_MINGW_ANSI_STDIO=1")
PACKAGES = "cabextract gcc-mingw-w64-x86-64 openssl osslsigncode wine wine64"
TOOLS = ("cabextract", "wine", COMPILER, "osslsigncode", "openssl")


def check(*command: object, **options: object) -> None:
    """Runs a command, and shows what it wrote only if it fails."""
    done = subprocess.run(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        **options,  # type: ignore[call-overload]
    )
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))}: status {done.returncode}\n{done.stdout}")


def windows_path(path: Path) -> str:
    return "Z:" + str(path).replace("/", "\\")


class Wine:
    """Wine with a folder of its own. Programs write to pipes: Wine makes handles of no other files."""

    def __init__(self, folder: Path, like: Wine | None = None) -> None:
        self.environment = {**os.environ, "WINEPREFIX": str(folder), "WINEDEBUG": "-all"}
        self.environment["PYTHONDONTWRITEBYTECODE"] = "1"
        if like:
            subprocess.run(["cp", "-a", like.environment["WINEPREFIX"], str(folder)], check=True)
            return
        self.run("wineboot", "-i")  # it complains of 32-bit programs that are not there
        windows_10 = ("reg", "add", r"HKCU\Software\Wine", "/v", "Version", "/d", "win10", "/f")
        # A program that crashes is to end, without a debugger: there is none of that name.
        key = r"HKLM\Software\Microsoft\Windows NT\CurrentVersion\AeDebug"
        no_debugger = ("reg", "add", key, "/v", "Debugger", "/d", "no-debugger", "/f")
        for command in (windows_10, no_debugger):
            status, output = self.run(*command)
            if status != 0:
                raise SystemExit(f"Wine does not run here: {output}")
        self.server("-w")

    def begin(self, *command: str, **more: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["wine", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**self.environment, **more},
            text=True,
            errors="replace",
        )

    def run(self, *command: str, **more: str) -> tuple[int, str]:
        return self.finish(self.begin(*command, **more))

    def finish(self, program: subprocess.Popen[str]) -> tuple[int, str]:
        """Its status and its output; a program that does not end is ended with all that it has started."""
        try:
            output, _ = program.communicate(timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            self.server("-k")
            output, _ = program.communicate()
            return 1, f"{output}\nnot within {LIMIT_S} s"
        return program.returncode, output

    def server(self, option: str) -> None:
        program = shutil.which("wineserver") or "/usr/lib/wine/wineserver64"
        subprocess.run([program, option], env=self.environment, stderr=subprocess.DEVNULL)


def make_wheel(work: Path) -> Path:
    command = (sys.executable, "-m", "build", "--wheel", "--outdir", work / "dist", ROOT)
    check(*command, env={**os.environ, "CBPROCESS_TARGET": "win_amd64"})
    return next((work / "dist").glob("*-win_amd64.whl"))


def make_programs(folder: Path, native: Path) -> None:
    """What the tests and session.py need beside each other in one folder."""
    folder.mkdir()
    check(HERE / "fire" / "build.sh", folder / "cbpfire.sys")
    check(HERE / "world" / "build.sh", folder)
    for name in PROGRAMS:
        check(COMPILER, *FLAGS, ROOT / "tests" / "programs" / f"{name}.c", "-o", folder / f"{name}.exe")
    library = folder / "cbprocess.dll"
    shutil.copy(native / "cbprocess.dll", library)
    shutil.copy(native / "cbprocess-debug.exe", folder)
    headers = ("-I", ROOT / "native" / "include", "-I", ROOT / "driver" / "protocol")
    source = ROOT / "examples" / "c" / "monitor_windows.c"
    check(COMPILER, *FLAGS, "-municode", *headers, source, "-o", folder / "monitor.exe", library)
    signed = folder / "signed"
    check("cabextract", "-q", "-F", "cbprocess.sys", "-d", folder, native / "cbprocess.cab")
    check(ROOT / "tools" / "sign_driver.sh", folder / "cbprocess.sys", signed)
    for name in ("cbprocess.cab", "test.cer"):
        shutil.copy(signed / name, folder)


def make_python(work: Path, wheel: Path) -> Path:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    packages = ("-r", ROOT / ".ci" / "requirements-windows.txt", wheel)
    check(sys.executable, ROOT / "tools" / "windows_python.py", version, work / "python", *packages)
    return work / "python" / "python.exe"


def run_suites(work: Path, names: list[str], python: Path) -> list[str]:
    """The names of those that have failed."""
    first = Wine(work / "prefix")
    variables = {
        "PYTHONPATH": windows_path(work / "tests"),
        "CBPROCESS_TEST_PROGRAM": windows_path(work / "programs" / "windows_program.exe"),
    }
    pytest = [
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-o",
        "addopts=--import-mode=importlib",
        "-rfEsR",
    ]
    os.chdir(work)
    running = {}
    for name in names:
        wine = Wine(work / f"prefix-{name}", first)
        command = [windows_path(python), *pytest, *SUITES[name]]
        session = str(work / "tests" / HERE.relative_to(ROOT / "tests") / "session.py")
        running[name] = (
            wine,
            wine.begin(str(python), session, windows_path(work / "programs"), *command, **variables),
        )
    failed = []
    for name, (wine, program) in running.items():
        status, output = wine.finish(program)
        wine.server("-k")
        print(f"--- {name}\n{output}", flush=True)
        if status != 0:
            failed.append(name)
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(description="The kernel driver under Wine.")
    parser.add_argument("--wheel", type=Path, default=os.environ.get("CBPROCESS_WINDOWS_WHEEL"))
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=", ".join(SUITES))
    options = parser.parse_args()
    if not set(options.suites) <= set(SUITES):
        parser.error(f"the suites are {', '.join(SUITES)}")
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        print(
            f"missing: {', '.join(missing)} (Debian: gcc-mingw-w64-x86-64 wine wine64 osslsigncode openssl)"
        )
        return 1
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        work = Path(folder).resolve()
        wheel = Path(options.wheel).resolve() if options.wheel else make_wheel(work)
        shutil.unpack_archive(wheel, work / "wheel", "zip")
        make_programs(work / "programs", work / "wheel" / "cbprocess" / "_native")
        shutil.copytree(ROOT / "tests", work / "tests", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", work)
        failed = run_suites(work, options.suites or list(SUITES), make_python(work, wheel))
        os.chdir(ROOT)
    if failed:
        print(f"FAILED: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
