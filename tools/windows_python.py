"""Puts a real CPython for Windows together, to run under Wine:

    python3 tools/windows_python.py 3.13 FOLDER [PACKAGE...]

The interpreter is python3XX.dll and its extension modules as python.org built them, which the panda3d wheels
on PyPI carry; the standard library is that of a Python of the same minor version on this machine; python.exe
is made here, with mingw-w64. What else is named is installed with pip,
without what it needs (a file of a wheel, a package, -r and a file of requirements).
Prints the path of python.exe; says which standard library is missing otherwise and ends with status 3.
"""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

CARRIER = "panda3d==1.10.16"
NO_LIBRARY = 3
# Wine has these itself; _wmi is what platform.uname() asks, in a way that ends the process under Wine 8.
LEFT_OUT = ("api-ms-win-", "ucrtbase.dll", "_wmi.pyd")
NOT_COPIED = shutil.ignore_patterns(
    "__pycache__", "test", "site-packages", "dist-packages", "lib-dynload", "config-*", "idlelib", "*.so"
)
LAUNCHER = r"""
#include <windows.h>
int wmain(int count, wchar_t **arguments)
{
    HMODULE python = LoadLibraryW(L"@DLL@");
    int (*run)(int, wchar_t **) = python ? (void *) GetProcAddress(python, "Py_Main") : NULL;
    return run ? run(count, arguments) : 99;
}
"""


def standard_library(version: str) -> Path | None:
    """That of this Python, the distribution's or a version manager's."""
    if version == f"{sys.version_info.major}.{sys.version_info.minor}":
        return Path(os.__file__).parent
    patterns = (f"/usr/lib/python{version}", f"{Path.home()}/.pyenv/versions/{version}.*/lib/python{version}")
    found = [path for pattern in patterns for path in glob.glob(pattern) if Path(path, "os.py").is_file()]
    return Path(found[-1]) if found else None


def pip(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", *arguments], check=True)


def unpack_binaries(version: str, folder: Path) -> None:
    libraries = folder / "DLLs"
    libraries.mkdir(parents=True)
    platform = ["--platform", "win_amd64", "--python-version", version, "--only-binary=:all:", "--no-deps"]
    with tempfile.TemporaryDirectory() as download:
        pip("download", *platform, "-d", download, CARRIER)
        with zipfile.ZipFile(next(Path(download).glob("*.whl"))) as wheel:
            for name in wheel.namelist():
                file = name.rpartition("/")[2]
                if name.startswith("deploy_libs/") and file.endswith((".pyd", ".dll")):
                    in_root = file.lower().startswith(("python3", "vcruntime"))
                    if not file.startswith(LEFT_OUT) and "t-win" not in file and "t.dll" not in file:
                        (folder / file if in_root else libraries / file).write_bytes(wheel.read(name))


def make_launcher(version: str, folder: Path) -> None:
    source = folder / "launcher.c"
    source.write_text(LAUNCHER.replace("@DLL@", f"python{version.replace('.', '')}.dll"), encoding="ascii")
    compiler = ["x86_64-w64-mingw32-gcc", "-O2", "-s", "-municode"]
    subprocess.run([*compiler, str(source), "-o", str(folder / "python.exe")], check=True)
    source.unlink()


def main() -> int:
    version, folder, packages = sys.argv[1], Path(sys.argv[2]).resolve(), sys.argv[3:]
    library = standard_library(version)
    if library is None:
        print(f"no standard library of Python {version} on this machine", file=sys.stderr)
        return NO_LIBRARY
    unpack_binaries(version, folder)
    shutil.copytree(library, folder / "Lib", ignore=NOT_COPIED)
    make_launcher(version, folder)
    target = folder / "Lib" / "site-packages"
    target.mkdir()
    if packages:
        platform = [
            "--platform",
            "win_amd64",
            "--python-version",
            version,
            "--only-binary=:all:",
            "--no-deps",
        ]
        pip("install", *platform, "--target", str(target), *packages)
    print(folder / "python.exe")
    return 0


if __name__ == "__main__":
    sys.exit(main())
