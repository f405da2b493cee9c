"""The common part of the commands for the driver of the machine: install, uninstall, status and monitor."""

from __future__ import annotations

import os
import sys

from .._api.process import CBProcess
from .._binding import library
from ..errors import CBProcessError
from .output import complain
from .words import MACHINE_DRIVER, NO_PRODUCT, PRODUCT_GUID

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

PACKAGE = "cbprocess.cab"
# Windows' own tools for installing end with this status where only a restart completes it.
RESTART_NEEDED = 3010


def refuse_elsewhere(options: argparse.Namespace) -> int:
    """Says, on a system without such a driver of ours, that the command is for another; 0 elsewhere."""
    if sys.platform in ("win32", "linux"):
        return 0
    return complain(
        f"{options.command_name} is for the {MACHINE_DRIVER} driver, which is not for this system"
    )


def machine_process() -> CBProcess:
    process = CBProcess()
    process.config(f"Driver={MACHINE_DRIVER}")
    return process


def package_path(options: argparse.Namespace) -> str:
    """The driver's package: the one that was named, or else the one that came with the library. On Linux a
    package is a folder, and "" stands for the library's own."""
    if not options.cab and sys.platform != "win32":
        return ""
    return os.path.abspath(options.cab or os.path.join(library.native_folder(), PACKAGE))


def monitoring_product(options: argparse.Namespace) -> str:
    """The product whose driver `cbprocess monitor` uses. For itself it uses an installed one that has its own
    version, and else, on Linux, the one in the package: nobody has to install anything to look."""
    if options.product != PRODUCT_GUID or sys.platform == "win32":
        return str(options.product)
    process = machine_process()
    is_installed = process.get_driver_version(PRODUCT_GUID) == process.get_driver_version(NO_PRODUCT)
    return PRODUCT_GUID if is_installed else NO_PRODUCT


def version_text(version: int) -> str:
    return ".".join(str(version >> shift & 0xFFFF) for shift in (48, 32, 16, 0))


def installed_version() -> str:
    """The version of the driver that the command line has installed; "" without one."""
    try:
        version = machine_process().get_driver_version(PRODUCT_GUID)
    except CBProcessError:
        # This build has no such driver.
        return ""
    return version_text(version) if version else ""


def restart_hint(must_restart: bool) -> str:
    return "; restart the machine to complete that" if must_restart else ""
