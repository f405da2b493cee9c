"""`cbprocess doctor`: the abilities of each driver of this system, and what is in the way. With --all other
systems' drivers are told of, too."""

from __future__ import annotations

import json
import platform
import sys

from .. import __version__
from .._binding import library
from ..drivers import DRIVERS, DriverReport, probe_driver
from ..enums import Capability
from ..events import OPERATIONS
from .conditions import conditions
from .machine import installed_version
from .output import print_lines
from .words import EVERYWHERE_DRIVERS, MACHINE_DRIVER, SYSTEM_DRIVERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

# Operations can be refused in these ways. The key is the first word of the capability to do so.
REFUSALS = {"REFUSE": "with an error", "KILL": "by ending it", "STRIP": "takes rights out"}
# Capabilities that concern no single operation.
ABILITIES = {
    "WHOLE_MACHINE": "every process of the machine",
    "LAUNCH": "programs it starts (popen, cbprocess run) and their descendants",
    "ATTACH": "running processes that it is given (add_filtered_process_by_id, cbprocess attach)",
    "DECIDE_BY_RULE": "rules decide without asking a handler",
    "OWN_REQUESTS": "the controller's own requests (FilterOwnRequests)",
}


def doctor(options: argparse.Namespace) -> int:
    """Prints what drivers can do. Gives 0 if the default driver can run here, 1 if not, or the status of
    a standard output that cannot be written."""
    default, *others = DRIVERS
    here = (*SYSTEM_DRIVERS, *EVERYWHERE_DRIVERS)
    shown = [name for name in others if options.all or name in here]
    reports = [probe_driver(name) for name in (default, *shown)]
    notes = conditions()
    lines = [json.dumps(record(reports, notes))] if options.json else text_lines(reports, notes)
    return print_lines(lines, options.output) or int(not reports[0].runs)


def capability_names(report: DriverReport) -> list[str]:
    return [str(bit.name) for bit in Capability if report.capabilities & bit]


def text_lines(reports: list[DriverReport], notes: list[str]) -> list[str]:
    default, drivers = reports[0], reports[1:]
    lines = [
        f"cbprocess {__version__} on {platform.system()} {platform.release()} ({platform.machine()}), "
        f"Python {platform.python_version()}",
        f"native files: {library.native_folder()}",
        f"the default driver {'can' if default.runs else 'cannot'} run here"
        + (f": {default.reason}" if default.reason else ""),
    ]
    for report in drivers:
        lines += ["", f"{report.name}: {'can run' if report.runs else 'cannot run'}"]
        if report.reason:
            lines.append(f"  {report.reason}")
        if report.runs:
            names = capability_names(report)
            lines += table(names)
            lines += [f"  {text}" for name, text in ABILITIES.items() if name in names]
        if report.name == MACHINE_DRIVER and report.runs:
            lines.append(f"  {installation_text()}")
    if notes:
        lines += ["", "this machine:", *(f"  {note}" for note in notes)]
    return lines


def installation_text() -> str:
    version = installed_version()
    if version:
        return f"installed for this command line: {version}"
    if sys.platform == "win32":
        return "not installed for this command line (cbprocess install)"
    return "not installed for this command line; `cbprocess monitor` uses the one in the package"


def table(capabilities: list[str]) -> list[str]:
    lines = [f"  {'operation':<26}{'see':<6}{'hold':<6}refuse"]
    for operation in OPERATIONS:
        subject = operation.name.upper().replace("_OPERATION", "")
        see, hold = ("yes" if f"{verb}_{subject}" in capabilities else "no" for verb in ("SEE", "HOLD"))
        ways = [text for verb, text in REFUSALS.items() if f"{verb}_{subject}" in capabilities]
        name = operation.name.replace("_", " ")
        lines.append(f"  {name:<26}{see:<6}{hold:<6}{', '.join(ways) or 'no'}")
    return lines


def record(reports: list[DriverReport], notes: list[str]) -> dict[str, object]:
    return {
        "version": __version__,
        "system": platform.system(),
        "release": platform.release(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "native_folder": library.native_folder(),
        "default_runs": reports[0].runs,
        "installed": installed_version(),
        "notes": notes,
        "drivers": {
            report.name: {
                "runs": report.runs,
                "reason": report.reason,
                "capabilities": capability_names(report),
            }
            for report in reports
        },
    }
