"""`cbprocess run`: runs a command under the filter and prints its events; ends as the command ended."""

from __future__ import annotations

import os
import signal
import sys

from ..constants import CAP_REFUSE_PROCESS_CREATION
from ..drivers import probe_driver
from ..process import CBProcess
from .as_user import user_keywords
from .output import Output, printable
from .printer import Printer, complain, configure
from .rest import processes_left, stay
from .signals import SIGNAL_BASE, Caught

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    import subprocess
    from typing import Any

NOT_EXECUTABLE = 126
NOT_FOUND = 127


def run(options: argparse.Namespace) -> int:
    """The exit status for the options of `cbprocess run`."""
    process = CBProcess()
    try:
        output = Output(options.output)
        user = user_keywords(options.user, options.preserve_env)
        printer = Printer(options, output, process)
    except (OSError, LookupError) as error:
        return complain(str(error))
    # Only a refusal by errno needs a filter in the tree, which would not survive a killed supervisor.
    with_errno = options.deny and probe_driver("auto").capabilities & CAP_REFUSE_PROCESS_CREATION
    configure(process, options, printer, "errno" if with_errno else "kill")
    if options.scope_signals:
        process.config("ScopeSignals=True")
    if options.scope_proc_files:
        process.config("ScopeProcFiles=True")
    with process, Signals() as signals:
        process.start_filter(options.timeout)
        try:
            returncode, process_id = execute(process, options, user, output, signals)
        except OSError as error:
            status = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
            complain(f"{printable(str(error.filename or options.command[0]))}: {error.strerror}")
        else:
            status = exit_status_of(returncode)
            signals.command_has_ended()
            if options.wait_all or is_protection(options):
                status = stay(process, signals.late, complain) or status
                printer.wait_for_quiet()
            printer.wait_for_end([process_id])
            printer.tell_left(processes_left(process))
    printer.finish()
    return status


def is_protection(options: argparse.Namespace) -> bool:
    """Whether something is forbidden to the tree: as long as it lives."""
    return bool(options.deny or options.protect)


def execute(
    process: CBProcess, options: argparse.Namespace, user: dict[str, Any], output: Output, signals: Signals
) -> tuple[int, int]:
    """Runs the command to its end: its return code and its process id."""
    if user and any(os.isatty(fd) for fd in range(3)):
        from .terminal import Terminal

        # Another user's program gets no hold of our terminal.
        with Terminal(user["user"]) as terminal, output.raw():
            child = process._popen(not options.name, options.command, **user, **terminal.keywords())
            signals.forward_to(child)
            terminal.relay(child)
            return child.wait(), child.pid
    child = process._popen(not options.name, options.command, **user)
    signals.forward_to(child)
    # PyPy's os module has no waitid().
    if sys.platform == "win32" or not hasattr(os, "waitid"):
        return child.wait(), child.pid
    from . import jobs

    return jobs.wait(child), child.pid


def exit_status_of(returncode: int) -> int:
    """What this process ends with so that it ends as the command did."""
    if sys.platform == "win32":
        # sys.exit() takes a C int.
        return returncode if returncode < 2**31 else returncode - 2**32
    return returncode if returncode >= 0 else SIGNAL_BASE - returncode


class Signals(Caught):
    """While a command runs, signals are its business: those of the terminal reach it anyway, so they are only
    outlived; those sent to this process alone are passed on. When it has ended they are kept in `late`."""

    if sys.platform == "win32":
        # Nobody sends one to a single process there.
        OUTLIVED = (signal.SIGINT, signal.SIGBREAK)
        PASSED_ON: tuple[signal.Signals, ...] = ()
    else:
        OUTLIVED = (signal.SIGINT, signal.SIGQUIT)
        PASSED_ON = (signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        super().__init__((*self.OUTLIVED, *self.PASSED_ON))
        self._child: subprocess.Popen[Any] | None = None
        self._early: list[int] = []
        self._has_ended = False
        self.late: list[int] = []

    def forward_to(self, child: subprocess.Popen[Any]) -> None:
        self._child = child
        for number in self._early:
            child.send_signal(number)

    def command_has_ended(self) -> None:
        self._has_ended = True

    def _handle(self, number: int, frame: object) -> None:
        if self._has_ended:
            self.late.append(number)
            return
        if number not in self.PASSED_ON:
            return
        if self._child is None:
            self._early.append(number)
        elif takes_signals(self._child):
            self._child.send_signal(number)
        else:
            self.late.append(number)


def takes_signals(child: subprocess.Popen[Any]) -> bool:
    """Whether it has not ended yet, which is asked without reaping it: wait() may be about to."""
    if child.returncode is not None:
        return False
    if sys.platform == "win32" or not hasattr(os, "waitid"):
        return True
    try:
        return os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        return False
