"""Orphans that come to us, as to process 1 of a container or to a reaper (prctl(2)): no other process would
wait for them. This is only for a process that is the command line's own, because its children are no other
code's business. Not on Windows.

Knows neither filters nor commands."""

from __future__ import annotations

import os

from .._lean import suppress
from .caller import caller

# A wait for something else has a look so often.
LOOK_S = 0.5


def bury_orphans(spared: int = 0) -> None:
    """Waits for all children that have ended, but for the one with this id, which has its waiter."""
    if not caller().is_alone:
        return
    # PyPy's os module has no waitid().
    bury = _bury_others if hasattr(os, "waitid") else _bury_all
    with suppress(ChildProcessError):
        bury(spared)


def _bury_others(spared: int) -> None:
    while True:
        state = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if state is None or state.si_pid == spared:
            return
        os.waitid(os.P_PID, state.si_pid, os.WEXITED | os.WNOHANG)


def _bury_all(spared: int) -> None:
    while not spared and os.waitpid(-1, os.WNOHANG)[0]:
        pass
