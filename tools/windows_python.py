"""Puts a real CPython for Windows together, to run under Wine:

    python3 tools/windows_python.py 3.13 FOLDER [PACKAGE...]

The interpreter is python3XX.dll and its extension modules as python.org built them; the panda3d wheels on
PyPI carry them. The standard library is that of a Python of that minor version on this machine. Otherwise it
comes out of the packages of another Debian release, which are unpacked and not installed. python.exe is made
here, with mingw-w64. Other arguments are installed with pip, without their requirements (a file of a wheel, a
package, -r and a file of requirements). Prints the path of python.exe; ends with a sentence and status 3
where no standard library can be had."""

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
# Debian has these versions in these releases; the machine's own release may lack them.
RELEASES = {"3.9": "bullseye", "3.11": "bookworm", "3.13": "trixie"}
# Wine has these itself. platform.uname() asks _wmi in a way that ends the process under Wine 8.
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


def local_library(version: str) -> Path | None:
    """The standard library of this Python, the distribution's or a version manager's."""
    if version == f"{sys.version_info.major}.{sys.version_info.minor}":
        return Path(os.__file__).parent
    patterns = (f"/usr/lib/python{version}", f"{Path.home()}/.pyenv/versions/{version}.*/lib/python{version}")
    found = [path for pattern in patterns for path in glob.glob(pattern) if Path(path, "os.py").is_file()]
    return Path(found[-1]) if found else None


def debian_mirrors() -> list[str]:
    """The addresses that this machine has its own Debian packages from."""
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Origin: Debian"]
    found = subprocess.run(command, capture_output=True, text=True).stdout.split()
    return [address for address in dict.fromkeys(found) if "security" not in address]


def apt_get(folder: Path, *arguments: str) -> bool:
    """Runs apt-get with lists and sources of its own, below the folder. The machine's stay as they are."""
    options = {
        "Dir::State": folder / "state",
        "Dir::Cache": folder / "cache",
        "Dir::Etc::SourceList": folder / "sources.list",
        "Dir::Etc::SourceParts": os.devnull,
        "Acquire::Languages": "none",
        "Acquire::Check-Valid-Until": "false",  # that of a release that is not maintained any more has passed
        "APT::Sandbox::User": "root",
    }
    given = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    return (
        subprocess.run(["apt-get", "-q", *given, *arguments], cwd=folder, stdout=sys.stderr).returncode == 0
    )


def debian_library(version: str, folder: Path) -> Path | None:
    """The standard library out of Debian's packages, unpacked into the folder."""
    if version not in RELEASES or shutil.which("apt-get") is None:
        return None
    packages = [f"libpython{version}-{part}" for part in ("minimal", "stdlib")]
    machine = subprocess.check_output(["dpkg", "--print-architecture"], text=True).strip()
    for mirror in debian_mirrors():
        for part in ("state/lists/partial", "cache/archives/partial"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        source = f"deb [arch={machine}] {mirror} {RELEASES[version]} main\n"
        (folder / "sources.list").write_text(source, encoding="ascii")
        if apt_get(folder, "update") and apt_get(folder, "download", *packages):
            for package in folder.glob("*.deb"):
                subprocess.run(["dpkg", "-x", str(package), str(folder / "root")], check=True)
            return folder / "root" / "usr" / "lib" / f"python{version}"
    return None


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
    with tempfile.TemporaryDirectory() as unpacked:
        library = local_library(version) or debian_library(version, Path(unpacked))
        if library is None:
            print(f"no standard library of Python {version}: neither here nor from Debian", file=sys.stderr)
            return NO_LIBRARY
        shutil.copytree(library, folder / "Lib", ignore=NOT_COPIED, ignore_dangling_symlinks=True)
    unpack_binaries(version, folder)
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
