"""Finding the native library: beside the package, along sys.path, or where a variable says."""

from __future__ import annotations

import _ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import cbprocess
from cbprocess import CBProcessError, constants
from cbprocess._binding import library

PACKAGE = Path(cbprocess.__file__).resolve().parent


@pytest.fixture
def bare_package(tmp_path: Path) -> Path:
    """A copy of the package without its native files, as a source tree has it; its parent's path."""
    ignored = shutil.ignore_patterns("_native", "__pycache__")
    shutil.copytree(PACKAGE, tmp_path / "tree" / "cbprocess", ignore=ignored)
    return tmp_path / "tree"


def run_in(folder: Path, *more_path: Path, **variables: str) -> tuple[str, str, str]:
    """Starts Python in a folder; the package and native folder that it uses, or its error's code."""
    program = (
        "import cbprocess, cbprocess._binding.library as library\n"
        "try: print(cbprocess.__file__, library.native_folder(), cbprocess.__version__, sep='\\n')\n"
        "except cbprocess.CBProcessError as error: print(error.code, error.message, '', sep='\\n')\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != library.FOLDER_VARIABLE}
    environment["PYTHONPATH"] = os.pathsep.join(map(str, more_path))
    environment.update(variables)
    command = [sys.executable, "-S", "-c", program]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    first, second, third = done.stdout.split("\n")[:3]
    return first, second, third


def test_a_source_tree_uses_the_installed_native_files(bare_package: Path, tmp_path: Path) -> None:
    installed = tmp_path / "site" / "cbprocess"
    shutil.copytree(PACKAGE, installed, ignore=shutil.ignore_patterns("__pycache__"))
    if not (installed / "_native").exists():
        shutil.copytree(library.native_folder(), installed / "_native")
    package, native, version = run_in(bare_package, installed.parent)
    assert Path(package).parent == bare_package / "cbprocess"
    assert Path(native) == installed / "_native"
    assert version == cbprocess.__version__


def test_a_tree_with_nothing_built_says_how_to_build(bare_package: Path) -> None:
    code, message, _ = run_in(bare_package)
    assert int(code) == constants.ERROR_FS_DRIVER_REQUIRED
    assert "pip install" in message


def test_the_variable_wins(bare_package: Path) -> None:
    folder = library.native_folder()
    _, native, version = run_in(bare_package, **{library.FOLDER_VARIABLE: folder})
    assert native == folder and version == cbprocess.__version__


def test_a_damaged_library_is_an_error_with_its_code(tmp_path: Path, bare_package: Path) -> None:
    (tmp_path / library.LIBRARY_NAME).write_bytes(b"\x7fELF and no more")
    code, message, _ = run_in(bare_package, **{library.FOLDER_VARIABLE: str(tmp_path)})
    assert int(code) == constants.ERROR_FS_DRIVER_REQUIRED
    assert "cannot be used" in message


def test_a_library_that_lacks_a_function_is_an_error_with_its_code(
    tmp_path: Path, bare_package: Path
) -> None:
    # Any shared object that is not ours will do.
    shutil.copy(_ctypes.__file__, tmp_path / library.LIBRARY_NAME)
    code, message, _ = run_in(bare_package, **{library.FOLDER_VARIABLE: str(tmp_path)})
    assert int(code) == constants.ERROR_FS_DRIVER_REQUIRED
    assert "cbp_version" in message


def test_loading_twice_gives_the_same_library() -> None:
    assert library.load() is library.load()


def test_the_launcher_is_where_the_library_is() -> None:
    assert os.path.dirname(library.launcher_path()) == os.path.realpath(library.native_folder())
    assert os.access(library.launcher_path(), os.X_OK)


def test_the_error_type_is_the_packages_own() -> None:
    with pytest.raises(CBProcessError) as raised:
        library.load().cbp_driver_probe(b"no such driver", None, None, 0)
    assert raised.value.code == constants.ERROR_INVALID_PARAMETER
