"""`cbprocess attach`: prints what running processes do until they have ended or a signal comes. Then it lets
them go as they were. Where something is denied to them, that holds until their descendants have ended,
too."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings

from .._api.process import CBProcess
from ..drivers import TREE_DRIVER
from ..errors import CBProcessWarning
from .fleet_session import FleetSession
from .output import Output, complain
from .printer import Printer, configure
from .reloading import reloading
from .rest import processes_left, wait_for_all
from .rule_layers import FILTER_NEEDED, NO_PROTECTION
from .running_tree import running_tree
from .spooling import spooling
from .words import HANDLE_NAMES, OWN_FAILURE

if sys.platform == "win32":
    from .attach_windows import Ends, Interrupt, wait
else:
    from .attach_posix import Ends, Interrupt, wait

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from .printer import Running

NO_HANDLES = f"handle operations of processes that run already are not seen: {FILTER_NEEDED}"


def attach(options: argparse.Namespace) -> int:
    """The exit status for the options of `cbprocess attach`."""
    process_ids = list(dict.fromkeys(options.process_ids))
    if options.protect:
        return complain(f"--protect: {NO_PROTECTION}")
    if os.getpid() in process_ids:
        return complain("a process cannot attach to itself")
    if set(options.events) & set(HANDLE_NAMES):
        complain(NO_HANDLES)
        options.events = tuple(name for name in options.events if name not in HANDLE_NAMES)
        if not options.events:
            return OWN_FAILURE
    process = CBProcess()
    try:
        output = Output(options.output)
        printer = Printer(options, output, process)
        spool = spooling(options, process, printer)
        printer.live_view(f"processes {', '.join(map(str, process_ids))}")
        ends = Ends(process_ids)
    except (OSError, LookupError) as error:
        return complain(str(error))
    process.config(f"Driver={TREE_DRIVER}")
    # No filter can be put into a running program, so its executions cannot be refused with an error.
    configure(process, options, printer, "kill")
    if spool is not None:
        spool.begin()
        FleetSession(printer, spool, None).begin()
    with contextlib.ExitStack() as stack:
        # An end or a failure before anything is attached needs no warning.
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore", CBProcessWarning)
        stack.enter_context(ends)
        interrupt = stack.enter_context(Interrupt())
        stack.enter_context(reloading(printer.rules, interrupt))

        def look() -> list[Running]:
            return list(running_tree(process_ids, not options.no_children))

        if printer.needs_running or printer.rules.ignored is not None:
            for row in look():
                printer.found_running(*row)
        stack.enter_context(process)
        process.start_filter(options.timeout)
        for process_id in process_ids:
            process.add_rule(process_id=process_id, include_children=not options.no_children)
        printer.look_around()
        printer.tell_attached(process_ids, look)
        with printer.rules, printer.shown():
            status = wait(process, ends, interrupt)
        if status == 0:
            if options.wait_all or options.deny or options.rules:
                wait_for_all(process, lambda: interrupt.number is not None)
                printer.wait_for_quiet()
                status = interrupt.status
            printer.wait_for_end(process_ids)
            if status == 0:
                left = processes_left(process)
                if spool is not None:
                    spool.tell_left(left)
                printer.tell_left(left)
    printer.finish()
    return status
