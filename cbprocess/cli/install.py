"""`cbprocess install`: installs or updates the driver of the machine for a product."""

from __future__ import annotations

from ..constants import INSTALL_KEEP_START_TYPE, INSTALL_REMOVE_OLD_VERSIONS
from .machine import (
    RESTART_NEEDED,
    machine_process,
    package_path,
    refuse_elsewhere,
    restart_hint,
    version_text,
)
from .output import print_lines
from .words import MACHINE_DRIVER

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse


def install(options: argparse.Namespace) -> int:
    """0, or RESTART_NEEDED."""
    refused = refuse_elsewhere(options)
    if refused:
        return refused
    process = machine_process()
    flags = INSTALL_KEEP_START_TYPE if options.keep_start_type else 0
    flags |= INSTALL_REMOVE_OLD_VERSIONS if options.remove_old_versions else 0
    must_restart = process.install(package_path(options), options.product, options.path, flags)
    version = version_text(process.get_driver_version(options.product))
    hint = restart_hint(must_restart)
    line = f"the {MACHINE_DRIVER} driver {version} is installed for {options.product}{hint}"
    return print_lines([line], None) or (RESTART_NEEDED if must_restart else 0)
