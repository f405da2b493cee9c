"""The rest of a tree when its command has ended. It goes on without us, or we stay until its last process has
ended.

Knows neither options nor output."""

from __future__ import annotations

import os
import sys
import time

from .._lean import suppress
from ..errors import CBProcessError
from .words import SIGNAL_BASE

if sys.platform != "win32":
    from .children import bury_orphans

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .._api.process import CBProcess

# A process that is ending just now, as the other side of a pipe does, is not worth a word.
SETTLE_S = 0.1
LOOK_S = 0.01
# The tree is looked at less often when it has lived on for so long.
SOON_S = 2.0
LATER_LOOK_S = 0.05

# The terminal sends these to its whole job.
OF_THE_TERMINAL = ("SIGINT", "SIGQUIT", "SIGBREAK")


def processes_left(process: CBProcess) -> list[int]:
    """The ids of the processes that the filter supervises now, after those that are ending have ended."""
    end_s = time.monotonic() + SETTLE_S
    if wait_for_all(process, lambda: time.monotonic() >= end_s):
        return []
    from ..running import snapshot

    found = (running.process_id for running in snapshot(False))
    return [process_id for process_id in found if _is_supervised(process, process_id)]


def stay(process: CBProcess, signals: list[int], tell: Callable[[str], object]) -> int:
    """Stays until the tree has ended (0), or until the second signal. Gives the status of that. The list gets
    the signals that come meanwhile. The first is passed on to all processes that are left, unless it is one
    of the terminal, which they get anyway."""
    if not wait_for_all(process, lambda: len(signals) > 0) and process.active:
        _pass_on(process, signals[0])
        if processes_left(process):
            tell("the tree has not ended yet; the next signal leaves it unsupervised")
        wait_for_all(process, lambda: len(signals) > 1)
    return SIGNAL_BASE + signals[1] if len(signals) > 1 else 0


def _pass_on(process: CBProcess, number: int) -> None:
    import signal

    if sys.platform == "win32" or signal.Signals(number).name in OF_THE_TERMINAL:
        return
    from .pidfd import open_process, send_signal

    for process_id in processes_left(process):
        with suppress(OSError):
            fd = open_process(process_id)
            try:
                # The id may have become another's before the descriptor was there.
                if _is_supervised(process, process_id):
                    send_signal(fd, number)
            finally:
                os.close(fd)


def wait_for_all(process: CBProcess, is_enough: Callable[[], bool]) -> bool:
    """Waits until no process is supervised (True), or it is enough or the filter has stopped (False).
    Children are waited for here alone."""
    soon_s = time.monotonic() + SOON_S
    # process.statistics() would give the counts as a class of its own, whose module most runs do without.
    while process._ready().statistics().supervised:
        if is_enough() or not process.active:
            return False
        if sys.platform != "win32":
            bury_orphans()
        time.sleep(LOOK_S if time.monotonic() < soon_s else LATER_LOOK_S)
    return True


def _is_supervised(process: CBProcess, process_id: int) -> bool:
    try:
        process.get_process_capabilities(process_id)
    except CBProcessError:
        return False
    return True
