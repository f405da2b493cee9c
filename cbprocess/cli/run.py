"""`cbprocess run`: runs a command under the filter and prints its events; ends as the command ended."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time

from .. import constants, events
from ..process import CBProcess
from . import EVENT_NAMES, OWN_FAILURE
from .output import Output, describe, event_record, format_line, printable, property_names
from .summary import Summary

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    import subprocess
    from typing import Any

PRODUCT_GUID = "{5e0f3c2b-8f0a-4a57-9d86-6c1b9c1f7e42}"

NOT_EXECUTABLE = 126
NOT_FOUND = 127
SIGNAL_BASE = 128

# How long the end of the command may lie before its last event, where that event is sure to come.
LAST_EVENT_LIMIT_S = 2.0
# Where it is not: events are awaited until none came for this long.
QUIET_S = 0.05

EVENT_BITS = {name: getattr(constants, f"PROC_EVT_{name.upper()}") for name in EVENT_NAMES}


def run(options: argparse.Namespace) -> int:
    """The exit status for the options of `cbprocess run`."""
    try:
        output = Output(options.output)
        user = user_keywords(options.user)
    except (OSError, LookupError) as error:
        return complain(str(error))
    process = CBProcess()
    printer = Printer(options, output)
    configure(process, options, printer)
    with process, Signals() as signals:
        process.start_filter(options.timeout)
        try:
            child = process._popen(not options.name, options.command, **user)
        except OSError as error:
            status = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
            complain(f"{printable(str(error.filename or options.command[0]))}: {error.strerror}")
        else:
            signals.forward_to(child)
            returncode = child.wait()
            status = returncode if returncode >= 0 else SIGNAL_BASE - returncode
            printer.wait_for_end(child.pid, process)
    printer.summarize()
    if output.failure is not None and not isinstance(output.failure, BrokenPipeError):
        complain(f"events could not be written: {output.failure.strerror}")
    return status


def complain(text: str) -> int:
    """Says on standard error what is wrong, if anybody listens."""
    # Where standard error is closed, the exit status has to say it alone.
    with contextlib.suppress(OSError):
        os.write(2, f"cbprocess: {text}\n".encode("utf-8", "backslashreplace"))
    return OWN_FAILURE


def configure(process: CBProcess, options: argparse.Namespace, printer: Printer) -> None:
    process.initialize(PRODUCT_GUID)
    process.serialize_events = constants.SERIALIZE_ON_ONE_WORKER_THREAD
    # Only a refusal by errno needs a filter in the tree, which would not survive a killed supervisor.
    process.config("RefuseWith=errno" if options.deny else "RefuseWith=kill")
    mask = 0
    for name in printer.needed:
        mask |= EVENT_BITS[name]
        setattr(process, f"on_{name}", printer.handler(name))
    process.config(f"EventsToFire={mask}")
    process.on_error = printer.error
    for pattern in options.name:
        process.add_rule(name=pattern, include_children=not options.no_children)
    for pattern in options.ignore:
        process.add_rule(name=pattern, action="ignore", include_children=not options.no_children)
    for pattern in options.deny:
        process.add_rule(name=pattern, action="deny")


def user_keywords(name: str | None) -> dict[str, Any]:
    """What Popen needs to run a program as this user. LookupError if that cannot be."""
    if name is None:
        return {}
    if os.geteuid() != 0:
        raise LookupError("--user is possible only as root")
    import pwd

    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise LookupError(f"there is no user {name!r}") from None
    environment = dict(os.environ, HOME=entry.pw_dir, USER=entry.pw_name, LOGNAME=entry.pw_name)
    groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": groups, "env": environment}


class Signals:
    """While a command runs, signals are its business: those of the terminal reach it anyway, so they are only
    outlived; those sent to this process alone are passed on."""

    OUTLIVED = (signal.SIGINT, signal.SIGQUIT)
    PASSED_ON = (signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self._child: subprocess.Popen[Any] | None = None
        self._early: list[int] = []
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Signals:
        for number in (*self.OUTLIVED, *self.PASSED_ON):
            # An ignored signal stays ignored, for the command too.
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def forward_to(self, child: subprocess.Popen[Any]) -> None:
        self._child = child
        for number in self._early:
            child.send_signal(number)

    def _handle(self, number: int, frame: object) -> None:
        if number not in self.PASSED_ON:
            return
        if self._child is None:
            self._early.append(number)
        else:
            self._child.send_signal(number)


class Printer:
    """The handlers: they run in one worker thread, one after the other."""

    def __init__(self, options: argparse.Namespace, output: Output) -> None:
        self._options = options
        self._output = output
        self._color = output.wants_color(options.color, os.environ)
        self._summary = Summary() if options.summary else None
        self._started_ns = time.time_ns()
        self._main_id = 0
        self._ended: set[int] = set()
        self._end = threading.Condition()
        # More is asked for than is printed: ends say when the command's last event is through, beginnings who
        # the command is.
        self.needed = {*options.events, "process_creation", "process_termination"}
        if self._summary is not None:
            self.needed.add("thread_creation")

    def handler(self, name: str) -> Any:
        printed = name in self._options.events
        names: list[str] = []

        def handle(event: events.EventParams) -> None:
            if not self._main_id:
                self._main_id = event.process_id
            if self._concerns(event):
                if not names:
                    names.extend(property_names(event))
                if self._summary is not None:
                    self._summary.add(name, event)
                if printed:
                    self._print(name, event, names)
            if name == "process_termination":
                with self._end:
                    self._ended.add(event.process_id)
                    self._end.notify_all()

        return handle

    def error(self, params: events.CBProcessErrorEventParams) -> None:
        if self._options.json:
            record = event_record("error", params, property_names(params))
            self._output.line(json.dumps(record))
        else:
            offset = (time.time_ns() - self._started_ns) / 1e9
            text = f"{printable(params.description)} (error {params.error_code})"
            self._output.line(format_line(offset, "error", os.getpid(), text, self._color))

    def wait_for_end(self, process_id: int, process: CBProcess) -> None:
        """Waits until what happened before the command's end has been printed."""
        sure = not self._options.name and not self._options.ignore
        with self._end:
            self._end.wait_for(lambda: process_id in self._ended, LAST_EVENT_LIMIT_S if sure else QUIET_S)
        if process_id in self._ended:
            return
        delivered = -1
        while process.statistics().delivered != delivered:
            delivered = process.statistics().delivered
            time.sleep(QUIET_S)

    def summarize(self) -> None:
        if self._summary is None:
            return
        now_ns = time.time_ns()
        if self._options.json:
            self._output.line(json.dumps(self._summary.record(now_ns)))
            return
        for line in self._summary.lines(now_ns):
            self._output.line(line)

    def _concerns(self, event: events.EventParams) -> bool:
        """Whether the event is of the command itself, where --no-children asks for that."""
        if not self._options.no_children or self._options.name:
            return True
        creator = getattr(event, "creating_process_id", getattr(event, "originator_process_id", 0))
        return self._main_id in (event.process_id, creator)

    def _print(self, name: str, event: events.EventParams, names: list[str]) -> None:
        if self._options.json:
            self._output.line(json.dumps(event_record(name, event, names)))
            return
        program = os.path.basename(getattr(event, "process_name", ""))
        offset = (event.time_ns - self._started_ns) / 1e9
        text = describe(event, program)
        self._output.line(format_line(offset, name, event.process_id, text, self._color))
