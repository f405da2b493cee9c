"""The common part of the commands for the kernel driver: install, uninstall, status and monitor."""

from __future__ import annotations

import os
import sys

from .._api.process import CBProcess
from .._binding import library
from .output import complain
from .words import MACHINE_DRIVER

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

PACKAGE = "cbprocess.cab"
# Windows' own tools for installing end with this status where only a restart completes it.
RESTART_NEEDED = 3010


def refuse_elsewhere(options: argparse.Namespace) -> int:
    """Says, on a system without a kernel driver of ours, that the command is for another; 0 elsewhere."""
    if sys.platform == "win32":
        return 0
    return complain(
        f"{options.command_name} is for the kernel driver, which is for Windows; here `cbprocess run` and "
        "`cbprocess attach` need no driver"
    )


def machine_process() -> CBProcess:
    process = CBProcess()
    process.config(f"Driver={MACHINE_DRIVER}")
    return process


def package_path(options: argparse.Namespace) -> str:
    """The driver's package: the one that was named, or else the one that came with the library."""
    return os.path.abspath(options.cab or os.path.join(library.native_folder(), PACKAGE))


def version_text(version: int) -> str:
    return ".".join(str(version >> shift & 0xFFFF) for shift in (48, 32, 16, 0))


def restart_hint(must_restart: bool) -> str:
    return "; restart the machine to complete that" if must_restart else ""
