"""Builds the native part with CMake into cbprocess/_native and tags the wheel py3-none-<platform>.

Everything that can be said statically stands in pyproject.toml; which tools are used, in
build_backend/toolchain.py.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from setuptools import Command, Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build import build

ROOT = Path(__file__).resolve().parent
COMMAND_LINE = "cbprocess.cli.entry:main"
# An installer puts its Python in the place of "python". For an entry point it would write a script itself,
# and the scripts of many import a module that takes a third as long as the whole start of Python.
# The collector of garbage would look in vain at what is imported; cli/__init__.py has it begin.
SCRIPT = """\
#!python
import gc
import sys

gc.disable()

from cbprocess.cli.entry import main

sys.exit(main())
"""
sys.path.insert(0, str(ROOT / "build_backend"))
import toolchain  # noqa: E402


def read_version() -> str:
    header = (ROOT / "native" / "include" / "cbprocess.h").read_text(encoding="utf-8")
    found = re.search(r'^#define CBP_VERSION "([^"]+)"$', header, re.MULTILINE)
    if found is None:
        sys.exit("native/include/cbprocess.h does not define CBP_VERSION")
    return found[1]


def read_sinks() -> dict[str, str]:
    """The package's own sinks, by scheme: the table is read, because the package cannot be imported yet."""
    source = (ROOT / "cbprocess" / "sinks" / "__init__.py").read_text(encoding="utf-8")
    for line in ast.parse(source).body:
        if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == "OWN":
            return ast.literal_eval(line.value)
    sys.exit("cbprocess/sinks/__init__.py does not define OWN")


def run_cmake(folder: Path, build_type: str, prefix: Path | None) -> None:
    """Configures and builds in folder; installs under prefix if there is one."""
    # A cache may name tools of an isolated environment that is gone by now.
    (folder / "CMakeCache.txt").unlink(missing_ok=True)
    cmake = toolchain.program("cmake")
    environment = dict(os.environ)
    for name in ("ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR"):
        environment.setdefault(name, str(folder / "zig-cache"))
    arguments = ["-S", str(ROOT), "-B", str(folder), f"-DCMAKE_BUILD_TYPE={build_type}"]
    arguments.append("-DCBP_PACKAGE_LAYOUT=ON")
    if is_for_windows():
        arguments.append(f"-DPython3_EXECUTABLE={sys.executable}")  # it writes the kernel driver's package
    commands = [
        [cmake, *arguments, *toolchain.cmake_arguments(ROOT)],
        [cmake, "--build", str(folder)],
    ]
    if prefix is not None:
        commands.append([cmake, "--install", str(folder), "--prefix", str(prefix)])
    for command in commands:
        subprocess.run(command, check=True, env=environment)


class BuildNative(Command):
    """A sub-command of build; setuptools' SubCommand protocol."""

    description = "build the native library and programs"
    user_options: list[tuple[str, str | None, str]] = []
    build_lib: str | None
    build_scripts: str | None
    editable_mode: bool

    def initialize_options(self) -> None:
        self.build_lib = None
        self.build_scripts = None
        self.editable_mode = False

    def finalize_options(self) -> None:
        self.set_undefined_options("build_py", ("build_lib", "build_lib"))
        self.set_undefined_options("build", ("build_scripts", "build_scripts"))

    def run(self) -> None:
        if self.editable_mode:
            folder = ROOT / "build" / "editable"
            run_cmake(folder, "RelWithDebInfo", None)
            self._copy_front(folder)
            link = ROOT / "cbprocess" / "_native"
            link.unlink(missing_ok=True)
            link.symlink_to(os.path.relpath(folder / "_native", link.parent))
            return
        with tempfile.TemporaryDirectory(prefix="cbprocess-build-") as name:
            run_cmake(Path(name), "Release", self._native_folder())
            self._copy_front(Path(name))

    def _copy_front(self, folder: Path) -> None:
        assert self.build_scripts is not None
        if not is_for_windows():
            target = Path(self.build_scripts)
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(folder / "_front" / "cbprocess", target)
            (target / "cbprocess-python").write_text(SCRIPT, encoding="utf-8")

    def _native_folder(self) -> Path:
        assert self.build_lib is not None
        return Path(self.build_lib).resolve() / "cbprocess" / "_native"

    def get_source_files(self) -> list[str]:
        return []  # MANIFEST.in names them

    def get_outputs(self) -> list[str]:
        folder = self._native_folder()
        return [str(path) for path in sorted(folder.iterdir())] if folder.is_dir() else []

    def get_output_mapping(self) -> dict[str, str]:
        return {}


class BuildScripts(Command):
    """In the place of setuptools' own, which only knows scripts that are text."""

    description = "build the program cbprocess"
    user_options: list[tuple[str, str | None, str]] = []
    # Are set by others, for the #! lines of text.
    executable: str | None = None
    force: bool | None = None

    def initialize_options(self) -> None:
        pass

    def finalize_options(self) -> None:
        pass

    def run(self) -> None:
        self.run_command("build_native")

    def get_source_files(self) -> list[str]:
        return []


class Build(build):
    sub_commands = [*build.sub_commands, ("build_native", None)]

    def run(self) -> None:
        # What an earlier build left there would go into the wheel, deleted modules too.
        if self.build_lib:
            shutil.rmtree(Path(self.build_lib) / "cbprocess", ignore_errors=True)
        super().run()


class Wheel(bdist_wheel):
    def get_tag(self) -> tuple[str, str, str]:
        # ctypes binds the library: any Python 3 of this platform will do.
        return "py3", "none", toolchain.cross_target() or super().get_tag()[2]


class BinaryDistribution(Distribution):
    def has_ext_modules(self) -> bool:
        return True


def is_for_windows() -> bool:
    return sys.platform == "win32" or bool(toolchain.cross_target())


# The command `cbprocess` is a program on Linux, the front of a script (native/front/front.c).
console_scripts = [f"cbprocess = {COMMAND_LINE}"] if is_for_windows() else []
setup(
    version=read_version(),
    distclass=BinaryDistribution,
    cmdclass={
        "build": Build,
        "build_native": BuildNative,
        "build_scripts": BuildScripts,
        "bdist_wheel": Wheel,
    },
    scripts=[] if is_for_windows() else ["cbprocess", "cbprocess-python"],
    entry_points={
        "console_scripts": console_scripts,
        "pytest11": ["cbprocess = cbprocess.pytest_plugin"],
        # By the scheme of a URL. Other packages add theirs in this group.
        "cbprocess.sinks": [f"{scheme} = {place}" for scheme, place in read_sinks().items()],
    },
)
