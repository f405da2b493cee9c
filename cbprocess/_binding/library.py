"""Finds and opens the native library, once. Knows the names of its files; nothing of their contents."""

from __future__ import annotations

import os
import sys

from ..constants import ERROR_FS_DRIVER_REQUIRED, ERROR_POSSIBLE_DEADLOCK
from ..errors import CBProcessError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ctypes
    from collections.abc import Iterator

LIBRARY_NAME = "cbprocess.dll" if sys.platform == "win32" else "libcbprocess.so"
LAUNCHER_NAME = "cbprocess-launch.exe" if sys.platform == "win32" else "cbprocess-launch"
FOLDER_VARIABLE = "CBPROCESS_NATIVE_DIR"

_library: ctypes.CDLL | None = None
_folder = ""
_launcher = ""


def load() -> ctypes.CDLL:
    """The open library with its functions declared. CBProcessError 588 if it is missing or damaged."""
    global _library, _folder
    if _library is None:
        from . import abi

        folder = find_folder()
        try:
            library = abi.open_library(os.path.join(folder, LIBRARY_NAME))
        except (OSError, AttributeError) as error:
            message = f"the native library cannot be used: {error}"
            raise CBProcessError(ERROR_FS_DRIVER_REQUIRED, message) from None
        _folder = folder
        _library = library
    return _library


def in_handler() -> bool:
    """Whether this thread is in a handler. Before load() there is none."""
    return _library is not None and bool(_library.cbp_in_handler())


def check_outside_handler(what: str) -> None:
    """Raises error 1131 in a handler."""
    if in_handler():
        raise CBProcessError(ERROR_POSSIBLE_DEADLOCK, f"{what}: not in a handler")


def launcher_path() -> str:
    """The path of the launcher, which popen() starts in front of the target. CBProcessError 588 if it is
    missing."""
    global _launcher
    if not _launcher:
        from .abi import read_text

        _launcher = os.fsdecode(read_text(load().cbp_launcher_path))
    return _launcher


def native_folder() -> str:
    """The folder with the native files that are in use."""
    load()
    return _folder


def find_folder() -> str:
    override = os.environ.get(FOLDER_VARIABLE)
    if override:
        return override
    for folder in _candidate_folders():
        if os.path.isfile(os.path.join(folder, LIBRARY_NAME)):
            return folder
    raise CBProcessError(
        ERROR_FS_DRIVER_REQUIRED,
        "the native part of cbprocess is not built here: install the package (`pip install .` in its tree)",
    )


def _candidate_folders() -> Iterator[str]:
    """The folders that may have the native files, this package's first. A source tree's own package has
    nothing built in it, and hides the installed one when Python starts in that tree: so the other places that
    Python imports from come next."""
    yield os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "_native")
    for entry in sys.path:
        yield os.path.join(os.path.abspath(entry or "."), "cbprocess", "_native")
