"""`cbprocess doctor`: what each driver can see, hold and refuse on this machine, and what is in the way."""

from __future__ import annotations

import json
import os
import platform
import sys

from .._binding import library
from ..constants import (
    CAP_ATTACH,
    CAP_DECIDE_BY_RULE,
    CAP_HOLD_PROCESS_CREATION,
    CAP_HOLD_PROCESS_HANDLE,
    CAP_HOLD_PROCESS_TERMINATION,
    CAP_HOLD_THREAD_CREATION,
    CAP_HOLD_THREAD_HANDLE,
    CAP_HOLD_THREAD_TERMINATION,
    CAP_KILL_PROCESS_CREATION,
    CAP_LAUNCH,
    CAP_OWN_REQUESTS,
    CAP_REFUSE_PROCESS_CREATION,
    CAP_SEE_PROCESS_CREATION,
    CAP_SEE_PROCESS_HANDLE,
    CAP_SEE_PROCESS_TERMINATION,
    CAP_SEE_THREAD_CREATION,
    CAP_SEE_THREAD_HANDLE,
    CAP_SEE_THREAD_TERMINATION,
    CAP_STRIP_PROCESS_HANDLE,
    CAP_STRIP_THREAD_HANDLE,
    CAP_WHOLE_MACHINE,
)
from ..drivers import DRIVERS, DriverReport, probe_driver
from .conditions import conditions

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

# Operation, bit for seeing it, bit for holding it, and the bits for refusing it with a word for each.
OPERATIONS: tuple[tuple[str, int, int, tuple[tuple[int, str], ...]], ...] = (
    (
        "process creation",
        CAP_SEE_PROCESS_CREATION,
        CAP_HOLD_PROCESS_CREATION,
        ((CAP_REFUSE_PROCESS_CREATION, "with an error"), (CAP_KILL_PROCESS_CREATION, "by ending it")),
    ),
    ("process termination", CAP_SEE_PROCESS_TERMINATION, CAP_HOLD_PROCESS_TERMINATION, ()),
    ("thread creation", CAP_SEE_THREAD_CREATION, CAP_HOLD_THREAD_CREATION, ()),
    ("thread termination", CAP_SEE_THREAD_TERMINATION, CAP_HOLD_THREAD_TERMINATION, ()),
    (
        "process handle operation",
        CAP_SEE_PROCESS_HANDLE,
        CAP_HOLD_PROCESS_HANDLE,
        ((CAP_STRIP_PROCESS_HANDLE, "takes rights out"),),
    ),
    (
        "thread handle operation",
        CAP_SEE_THREAD_HANDLE,
        CAP_HOLD_THREAD_HANDLE,
        ((CAP_STRIP_THREAD_HANDLE, "takes rights out"),),
    ),
)
ABILITIES = (
    (CAP_WHOLE_MACHINE, "every process of the machine"),
    (CAP_LAUNCH, "programs it starts (popen, cbprocess run) and their descendants"),
    (CAP_ATTACH, "running processes that it is given (add_filtered_process_by_id, cbprocess attach)"),
    (CAP_DECIDE_BY_RULE, "rules decide without asking a handler"),
    (CAP_OWN_REQUESTS, "the controller's own requests (FilterOwnRequests)"),
)


def doctor(options: argparse.Namespace) -> int:
    """0 if the default driver can run here, else 1."""
    reports = [probe_driver(name) for name in DRIVERS]
    notes = conditions()
    lines = [json.dumps(record(reports, notes))] if options.json else text_lines(reports, notes)
    try:
        print("\n".join(lines), flush=True)
    except BrokenPipeError:
        # Nobody reads any more; keep the interpreter from trying again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0 if reports[0].runs else 1


def version() -> str:
    text: bytes = library.load().cbp_version()
    return text.decode("ascii")


def text_lines(reports: list[DriverReport], notes: list[str]) -> list[str]:
    default, drivers = reports[0], reports[1:]
    lines = [
        f"cbprocess {version()} on {platform.system()} {platform.release()} ({platform.machine()}), "
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
            lines += table(report.capabilities)
            lines += [f"  {text}" for bit, text in ABILITIES if report.capabilities & bit]
    if notes:
        lines += ["", "this machine:", *(f"  {note}" for note in notes)]
    return lines


def table(capabilities: int) -> list[str]:
    lines = [f"  {'operation':<26}{'see':<6}{'hold':<6}refuse"]
    for name, see, hold, refusals in OPERATIONS:
        ways = [text for bit, text in refusals if capabilities & bit]
        lines.append(
            f"  {name:<26}{yes_no(capabilities & see):<6}{yes_no(capabilities & hold):<6}"
            + (", ".join(ways) or "no")
        )
    return lines


def yes_no(bits: int) -> str:
    return "yes" if bits else "no"


def record(reports: list[DriverReport], notes: list[str]) -> dict[str, object]:
    from ..enums import Capability

    return {
        "version": version(),
        "system": platform.system(),
        "release": platform.release(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "native_folder": library.native_folder(),
        "default_runs": reports[0].runs,
        "notes": notes,
        "drivers": {
            report.name: {
                "runs": report.runs,
                "reason": report.reason,
                "capabilities": [bit.name for bit in Capability if report.capabilities & bit],
            }
            for report in reports
        },
    }
