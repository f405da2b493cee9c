"""The beginning and the end of the program `cbprocess` and of `python -m cbprocess`: a process that is the
command line's own."""

from __future__ import annotations

import atexit
import os
import sys

from . import hold_back_collector
from . import main as command_line


def main() -> int:
    """Runs the command line; returns its exit status, or ends the process with it."""
    hold_back_collector()
    if sys.platform != "win32":
        from .caller import take_over

        take_over()
    status = command_line()
    # Python would take itself apart for as long as all imports have taken. Where it has no other threads than
    # those of the command line, which nobody waits for, what matters of that is done here.
    is_alone = "threading" not in sys.modules and not sys.flags.inspect and not _is_watched()
    if sys.platform != "win32" and is_alone:
        atexit._run_exitfuncs()
        if _is_flushed():
            os._exit(status & 0xFF)
    return status


def _is_watched() -> bool:
    """Whether a profiler, a debugger or the like looks at what Python does: they write at its end."""
    if sys.getprofile() is not None or sys.gettrace() is not None:
        return True
    if sys.version_info >= (3, 12):
        return any(sys.monitoring.get_tool(number) is not None for number in range(6))
    return False


def _is_flushed() -> bool:
    """Whether everything is written that was printed. If not, Python says so as it ends."""
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except (OSError, ValueError):
        return False
    return True
