"""Waiting for children: for the command, and for orphans.

The command is waited for, and stopped together with. The terminal stops both. But a command that stops its
process group by itself (an editor on Ctrl-Z) does not reach the controller (decision 11), and the shell would
wait on for a job that stands. That is Linux only.

Orphans come to us as to process 1 of a container or to a reaper (prctl(2)): no other process would wait for
them. That is only for a process that is the command line's own, because its children are no other code's
business. Not on Windows.

Knows neither filters nor commands."""

from __future__ import annotations

import os
import time

from .._lean import signal, suppress
from .caller import caller

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from typing import Any

    from .child import Child

SETTLE_S = 0.05  # when the whole job is continued, we may be the first
# A wait for something else has a look at orphans so often.
LOOK_S = 0.5
STOPS = (signal.SIGTSTP, signal.SIGSTOP, signal.SIGTTIN, signal.SIGTTOU)


def wait_for_end(child: subprocess.Popen[Any] | Child, is_alone: bool) -> None:
    """Waits until the child has ended, and leaves it to be waited for. In process 1 of a container all
    children of this process are the child's descendants; those that come to us are buried then."""
    while True:
        which = (os.P_ALL, 0) if is_alone else (os.P_PID, child.pid)
        state = os.waitid(*which, os.WEXITED | os.WSTOPPED | os.WNOWAIT)
        if state is not None and state.si_pid != child.pid:
            os.waitid(os.P_PID, state.si_pid, os.WEXITED | os.WSTOPPED | os.WNOHANG)
            continue
        if state is None or state.si_code != os.CLD_STOPPED:
            return
        time.sleep(SETTLE_S)
        taken = os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOHANG)
        if taken is not None and taken.si_status in STOPS and _is_foreground_job(child.pid):
            os.kill(os.getpid(), signal.SIGSTOP)


def _is_foreground_job(process_id: int) -> bool:
    """Whether it is in our process group, and that has the terminal."""
    try:
        fd = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            return os.getpgid(process_id) == os.getpgrp() == os.tcgetpgrp(fd)
        finally:
            os.close(fd)
    except OSError:
        return False


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
