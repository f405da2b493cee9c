"""`cbprocess monitor`: prints what all processes of the machine do, with the driver for that, until Ctrl-C.

Nothing waits for a line to be printed: the command only observes, and its rules decide without it."""

from __future__ import annotations

import contextlib
import sys
import time

from .._api.process import CBProcess
from .._streams.joining import Joint
from ..rules import Rule
from .fleet_session import FleetSession
from .machine import monitoring_product, refuse_elsewhere
from .output import Output, complain
from .printer import Printer, configure
from .reloading import reloading
from .running_tree import running_machine
from .spooling import spooling
from .words import MACHINE_DRIVER

if sys.platform == "win32":
    from .attach_windows import Interrupt
else:
    from .attach_posix import Interrupt

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

LOOK_S = 0.1


def monitor(options: argparse.Namespace) -> int:
    """The exit status for the options of `cbprocess monitor`: 0 after Ctrl-C, which is its end."""
    refused = refuse_elsewhere(options)
    if refused:
        return refused
    options.product = monitoring_product(options)
    return observe(options, MACHINE_DRIVER)


def observe(options: argparse.Namespace, driver: str) -> int:
    process = CBProcess()
    try:
        output = Output(options.output)
        printer = Printer(options, output, process)
        spool = spooling(options, process, printer)
        printer.live_view("the whole machine")
    except (OSError, LookupError) as error:
        return complain(str(error))
    configure(process, options, printer, "errno")
    if spool is not None:
        spool.begin()
        FleetSession(printer, spool, None).begin()
    process.config(f"Driver={driver}")
    # Events of operations that a rule allows are told, and do not wait. --deny and --protect are stronger.
    printer.rules.applied.apply("monitor", [Rule(process_id=-1, action="allow")])
    with contextlib.ExitStack() as stack:
        interrupt = stack.enter_context(Interrupt())
        stack.enter_context(reloading(printer.rules, interrupt))
        stack.enter_context(process)
        if printer.needs_running:
            with printer.paused():
                process.start_filter(options.timeout)
                printer.joint = Joint(process)
                for row in running_machine(printer.joint.running()):
                    printer.found_running(*row)
        else:
            process.start_filter(options.timeout)
        printer.look_around()
        with printer.rules, printer.shown():
            while interrupt.number is None and process.active:
                time.sleep(LOOK_S)
        status = 0 if interrupt.number is not None else complain("the filter has stopped")
        printer.wait_for_quiet()
    printer.finish()
    return status
