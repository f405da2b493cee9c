"""`cbprocess status`: tells whether a product has installed the driver of the machine, and which version."""

from __future__ import annotations

import json

from ..constants import MODULE_STATUS_NOT_PRESENT, MODULE_STATUS_RUNNING, MODULE_STATUS_STOPPED
from .machine import machine_process, refuse_elsewhere, version_text
from .output import print_lines
from .words import MACHINE_DRIVER

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

NAMES = {
    MODULE_STATUS_NOT_PRESENT: "not installed",
    MODULE_STATUS_STOPPED: "installed, not loaded",
    MODULE_STATUS_RUNNING: "running",
}
NOT_INSTALLED = 1


def status(options: argparse.Namespace) -> int:
    """0 if the driver is installed, else 1."""
    refused = refuse_elsewhere(options)
    if refused:
        return refused
    process = machine_process()
    found = process.get_driver_status(options.product)
    is_there = found != MODULE_STATUS_NOT_PRESENT
    version = version_text(process.get_driver_version(options.product)) if is_there else ""
    if options.json:
        record = {
            "driver": MACHINE_DRIVER,
            "product": options.product,
            "status": NAMES[found],
            "version": version,
        }
        lines = [json.dumps(record)]
    else:
        name = f"the {MACHINE_DRIVER} driver {version}".rstrip()
        lines = [f"{name}: {NAMES[found]} for {options.product}"]
    return print_lines(lines, options.output) or (0 if is_there else NOT_INSTALLED)
