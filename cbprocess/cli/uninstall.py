"""`cbprocess uninstall`: removes a product's driver of the machine, unless another product has it, too."""

from __future__ import annotations

from ..constants import UNINSTALL_VERSION_ALL, UNINSTALL_VERSION_CURRENT, UNINSTALL_VERSION_PREVIOUS
from .machine import RESTART_NEEDED, machine_process, package_path, refuse_elsewhere, restart_hint
from .output import print_lines
from .words import MACHINE_DRIVER

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

VERSIONS = {
    "all": UNINSTALL_VERSION_ALL,
    "current": UNINSTALL_VERSION_CURRENT,
    "previous": UNINSTALL_VERSION_PREVIOUS,
}


def uninstall(options: argparse.Namespace) -> int:
    """0, or RESTART_NEEDED."""
    refused = refuse_elsewhere(options)
    if refused:
        return refused
    must_restart = machine_process().uninstall(
        package_path(options), options.product, options.path, VERSIONS[options.versions]
    )
    old = "what updates have left of " if options.versions == "previous" else ""
    hint = restart_hint(must_restart)
    line = f"{old}the {MACHINE_DRIVER} driver is uninstalled for {options.product}{hint}"
    return print_lines([line], None) or (RESTART_NEEDED if must_restart else 0)
