"""The peer python-ptrace: follows a program's forks, threads and executions with its debugger class.

Usage: python_ptrace.py LOG PROGRAM [ARGUMENT...]. Writes one line for each execution, with the command line.
Knows nothing of cbprocess."""

from __future__ import annotations

import signal
import sys
from typing import TextIO

from ptrace.debugger import NewProcessEvent, ProcessExecution, ProcessExit, ProcessSignal, PtraceDebugger
from ptrace.debugger.child import createChild


def log_execution(log: TextIO, process_id: int) -> None:
    with open(f"/proc/{process_id}/cmdline", "rb") as command_line:
        arguments = command_line.read().rstrip(b"\0").split(b"\0")
    log.write(f"execution {process_id} {b' '.join(arguments).decode()}\n")


def follow(debugger: PtraceDebugger, log: TextIO) -> None:
    while debugger.list:
        try:
            event = debugger.waitProcessEvent()
        except ProcessExit as gone:
            log.write(f"exit {gone.process.pid}\n")
            continue
        if isinstance(event, ProcessExit):
            log.write(f"exit {event.process.pid}\n")
        elif isinstance(event, NewProcessEvent):
            log.write(f"new {event.process.pid}\n")
            event.process.cont()
            if event.process.parent is not None:
                event.process.parent.cont()
        elif isinstance(event, ProcessExecution):
            log_execution(log, event.process.pid)
            event.process.cont()
        elif isinstance(event, ProcessSignal):
            trace_signal = event.signum in (signal.SIGTRAP, signal.SIGSTOP)
            event.process.cont(0 if trace_signal else event.signum)
        else:
            event.process.cont()


def main() -> None:
    debugger = PtraceDebugger()
    debugger.traceFork()
    debugger.traceExec()
    debugger.traceClone()
    process = debugger.addProcess(createChild(sys.argv[2:], False), True)
    process.cont()
    with open(sys.argv[1], "w", encoding="utf-8") as log:
        follow(debugger, log)


if __name__ == "__main__":
    main()
