"""`cbprocess run`: runs a command under the filter and prints its events; ends as the command ended.

A module that not every command needs is imported where it is needed: a start is to be short."""

from __future__ import annotations

import os
import sys
import time

from .._api.process import CBProcess
from .._checks import quoted
from ..constants import CAP_REFUSE_PROCESS_CREATION
from ..drivers import TREE_DRIVER, probe_driver
from . import collect_from_now_on
from .output import Output, complain
from .printer import Printer, configure
from .words import SIGNAL_BASE

if sys.platform == "win32":
    from .outliving import Signals
else:
    from .forwarding import Signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    import subprocess
    from typing import Any

    from .child import Child
    from .fleet_session import FleetSession
    from .live import LiveView
    from .spooling import Spooling

NOT_EXECUTABLE = 126
NOT_FOUND = 127


def run(options: argparse.Namespace) -> int:
    """The exit status for the options of `cbprocess run`."""
    with Signals() as signals:
        return run_between(options, signals)


def run_between(options: argparse.Namespace, signals: Signals) -> int:
    process = CBProcess()
    try:
        output = Output(options.output)
        user = {} if options.user is None else user_of(options)
        printer = Printer(options, output, process)
        spool = session = None
        if options.spool is not None:
            spool, session = spooled(options, process, printer)
        view = printer.live_view(quoted(printer.hidden(options.command)))
    except (OSError, LookupError) as error:
        return complain(str(error))
    # A refusal by errno needs a filter in the tree, and only that does. It would not survive a killed helper.
    can_deny = options.deny or options.rules or (session is not None and session.has_rules)
    with_errno = can_deny and probe_driver(TREE_DRIVER).capabilities & CAP_REFUSE_PROCESS_CREATION
    process.config(f"Driver={TREE_DRIVER}")
    configure(process, options, printer, "errno" if with_errno else "kill")
    if spool is not None and session is not None:
        spool.begin()
        session.begin()
    if options.scope_signals:
        process.config("ScopeSignals=True")
    if options.scope_proc_files:
        process.config("ScopeProcFiles=True")
    with process:
        process.start_filter(options.timeout)
        printer.rules.filters_were_put(printer.needed)
        if printer.rules.has_file:
            # The command must not get a SIGHUP in between.
            signals.on_hangup = printer.rules.reload
        early = signals.early()
        if early:
            return SIGNAL_BASE + early
        if view is not None:
            printer.rules.tell = view.tell
        try:
            with printer.rules, printer.shown():
                status, process_id = conduct(process, options, user, printer, signals, view)
        except OSError as error:
            status = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
            if isinstance(error, PermissionError):
                # The line about the refusal may still be on its way.
                printer.wait_for_quiet()
            complain(f"{error.filename or options.command[0]}: {error.strerror}")
        else:
            from .rest import processes_left

            printer.wait_for_end([process_id])
            left = processes_left(process)
            if spool is not None:
                spool.tell_left(left)
            printer.tell_left(left)
    printer.finish()
    return status


def user_of(options: argparse.Namespace) -> dict[str, Any]:
    """Keywords of Popen for a program of --user. LookupError if there can be none."""
    from .as_user import user_keywords

    return user_keywords(options.user, options.preserve_env)


def spooled(
    options: argparse.Namespace, process: CBProcess, printer: Printer
) -> tuple[Spooling, FleetSession]:
    """The spool, and what it has to do with a fleet. OSError if it cannot be written."""
    from .fleet_session import FleetSession, publication_of
    from .spooling import Spooling

    publication = publication_of(options)
    spool = Spooling(options, process, printer)
    return spool, FleetSession(printer, spool, publication)


def conduct(
    process: CBProcess,
    options: argparse.Namespace,
    user: dict[str, Any],
    printer: Printer,
    signals: Signals,
    view: LiveView | None,
) -> tuple[int, int]:
    """Runs the command, and stays for the rest of its tree where that is wanted. Gives the exit status, and
    the command's process id. OSError where it cannot be started."""
    begun_s = time.monotonic()
    streams = {} if view is None else view.keywords()
    returncode, process_id = execute(process, options, {**user, **streams}, printer.output, signals)
    status = exit_status_of(returncode)
    printer.command_ended(returncode, time.monotonic() - begun_s)
    signals.command_has_ended()
    if options.wait_all or is_protection(options):
        from .rest import stay

        status = stay(process, signals.late, complain if view is None else view.tell) or status
        printer.wait_for_quiet()
    return status, process_id


def is_protection(options: argparse.Namespace) -> bool:
    """Whether something is forbidden to the tree: as long as it lives."""
    return bool(options.deny or options.protect or options.rules)


def execute(
    process: CBProcess, options: argparse.Namespace, user: dict[str, Any], output: Output, signals: Signals
) -> tuple[int, int]:
    """Runs the command to its end, with keywords for another user, or for streams of its own. Gives its
    return code and its process id."""
    # Another user's program gets none of our descriptors, and on Windows no program expects them.
    is_closed = "user" in user or sys.platform == "win32"
    keywords = {"close_fds": is_closed, **user, **signals.keywords()}
    if "user" in user and any(os.isatty(fd) for fd in range(3)):
        from .terminal import Terminal

        collect_from_now_on()
        # Another user's program gets no hold of our terminal.
        with Terminal(user["user"]) as terminal:
            output.raw(True)
            try:
                served = process.popen(options.command, **keywords, **terminal.keywords())
                signals.forward_to(served)
                terminal.relay(served)
                signals.command_has_ended()
                return served.wait(), served.pid
            finally:
                output.raw(False)
    child = started(process, options.command, keywords)
    signals.forward_to(child)
    # While the command runs there is time to import what its end needs.
    from . import lines, rest  # noqa: F401

    collect_from_now_on()

    # PyPy's os module has no waitid().
    if sys.platform != "win32" and hasattr(os, "waitid"):
        from . import children

        children.wait_for_end(child, signals.is_alone)
        signals.command_has_ended()
    return child.wait(), child.pid


def started(
    process: CBProcess, command: list[str], keywords: dict[str, Any]
) -> subprocess.Popen[Any] | Child:
    """The command as a child, with these keywords of Popen."""
    if sys.platform != "win32" and keywords.keys() == {"close_fds", "_words"} and not keywords["close_fds"]:
        from .child import Child, NoChild

        try:
            return Child(process, command, keywords["_words"])
        except NoChild:
            # Popen can tell why, and needs no C library by name.
            pass
    return process.popen(command, **keywords)


def exit_status_of(returncode: int) -> int:
    """The exit status with which this process ends as the command did."""
    if sys.platform == "win32":
        # sys.exit() takes a C int.
        return returncode if returncode < 2**31 else returncode - 2**32
    return returncode if returncode >= 0 else SIGNAL_BASE - returncode
