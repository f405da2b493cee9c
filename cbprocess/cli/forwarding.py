"""Signals while a command runs: they are the command's business. They are blocked here, and a thread takes
them and passes on those that the command has not got itself. Not on Windows.

Blocked signals interrupt nothing. A signal that comes before the command runs waits, and is found there."""

from __future__ import annotations

import os
from _thread import allocate_lock, stack_size, start_new_thread

from .._lean import signal
from ..constants import ERROR_NO_SYSTEM_RESOURCES
from ..errors import CBProcessError
from .caller import bits, caller
from .words import SIGNAL_BASE

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from typing import Any

    from typing_extensions import Self

    from .child import Child
    from .reloading import Terminal

TAKEN = (
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGALRM,
)
# A terminal sends these to the whole group of its foreground.
OF_THE_TERMINAL = (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)
SI_KERNEL = 0x80
STACK_SIZE = 256 * 1024
THREAD_LIMITS = (
    "a limit of processes and threads (RLIMIT_NPROC, pids.max) or of memory (RLIMIT_AS) is reached"
)


class Signals:
    """To be entered before anything begins. Then forward_to() the command, and command_has_ended() before it
    is waited for for good."""

    def __init__(self) -> None:
        self._caller = caller()
        self.is_alone = self._caller.is_alone
        """Whether all children of this process are the command's and its descendants."""
        # A signal that is ignored and blocked would come, too.
        self._numbers: set[int] = {n for n in TAKEN if signal.getsignal(n) is not signal.SIG_IGN}
        self._before: set[int] = set()
        self._thread = 0
        self._thread_runs = allocate_lock()
        self._child: subprocess.Popen[Any] | Child | None = None
        self._lock = allocate_lock()
        self._is_left = False
        self._is_launching = False
        self._has_ended = False
        self._early: list[int] = []
        self.late: list[int] = []
        """Signals that have come after the command's end."""
        self._reload: Callable[[], None] | None = None
        self._terminal: Terminal | None = None

    def __enter__(self) -> Self:
        self._before = signal.pthread_sigmask(signal.SIG_BLOCK, self._numbers)
        if self._numbers:
            self._start_thread()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._thread:
            self._is_left = True
            signal.pthread_kill(self._thread, min(self._numbers))
            self._thread_runs.acquire()
        # A process of our own ends now with the command's status, whatever signal comes.
        if not self.is_alone:
            for number in signal.sigpending() & self._numbers:
                signal.sigwait({number})
            signal.pthread_sigmask(signal.SIG_SETMASK, self._before)

    def early(self) -> int:
        """A signal that has come before there is a command, and would have ended it. 0: there was none, and
        later ones are the command's."""
        with self._lock:
            # The thread will take those that it has not taken yet, and reads again at a SIGHUP.
            pending = signal.sigpending() & self._numbers
            if self._reload is not None:
                pending.discard(signal.SIGHUP)
            for number in (*self._early, *sorted(pending)):
                if self._ends_us(number):
                    return int(number)
            self._is_launching = True
            return 0

    def keywords(self) -> dict[str, Any]:
        """Keywords for Popen, so that the command finds signals as our caller had them."""
        return {"_words": self._caller.words()}

    def forward_to(self, child: subprocess.Popen[Any] | Child) -> None:
        with self._lock:
            self._child = child
            # These signals came while the command was made.
            for number in self._early:
                self._send(number)

    def command_has_ended(self) -> None:
        with self._lock:
            self._has_ended = True

    def _start_thread(self) -> None:
        """Starts the thread before there is a command. Where that cannot be, none is started."""
        usual = stack_size(STACK_SIZE)
        self._thread_runs.acquire()
        try:
            self._thread = start_new_thread(self._run, ())
        except RuntimeError as error:
            signal.pthread_sigmask(signal.SIG_SETMASK, self._before)
            raise CBProcessError(ERROR_NO_SYSTEM_RESOURCES, f"{error}: {THREAD_LIMITS}") from None
        finally:
            stack_size(usual)

    def _run(self) -> None:
        try:
            self._take()
        finally:
            self._thread_runs.release()

    def _take(self) -> None:
        while True:
            number, is_of_the_terminal = _wait_for(self._numbers)
            if self._is_reload(number, is_of_the_terminal):
                continue
            with self._lock:
                if self._is_left:
                    return
                if self._child is not None:
                    if not (is_of_the_terminal and self._has_come_to_the_command(number)):
                        self._send(number)
                elif self.is_alone and not self._is_launching and self._ends_us(number):
                    # Nothing has begun, and the event that we wait for (a reader of the output) may never
                    # come.
                    os._exit(SIGNAL_BASE + number)
                else:
                    self._early.append(number)

    @property
    def on_hangup(self) -> Callable[[], None] | None:
        """Called at a SIGHUP that no terminal has sent, in place of passing it on."""
        return self._reload

    @on_hangup.setter
    def on_hangup(self, reload: Callable[[], None] | None) -> None:
        from .reloading import Terminal

        self._terminal = None if reload is None else Terminal()
        self._reload = reload

    def _is_reload(self, number: int, is_of_the_terminal: bool) -> bool:
        """Whether this SIGHUP asks for another reading, which is made then."""
        is_sent = not is_of_the_terminal or not hasattr(signal, "sigwaitinfo")
        reload, terminal = self._reload, self._terminal
        if number != signal.SIGHUP or reload is None or terminal is None or self._is_left:
            return False
        if not is_sent or terminal.is_gone:
            # A shell passes the end of its terminal on to its jobs.
            return False
        reload()
        return True

    def _ends_us(self, number: int) -> bool:
        return not self._caller.mask & bits([number])

    def _send(self, number: int) -> None:
        """Sends it to the command. The lock is held: the command's id is its own until it is waited for."""
        if self._child is not None and not self._has_ended and not _has_ended(self._child):
            os.kill(self._child.pid, number)
        else:
            self.late.append(number)

    def _has_come_to_the_command(self, number: int) -> bool:
        """Whether the terminal has sent it to the command as well. At its own end it tells a session's leader
        alone. The lock is held."""
        if self._child is None or self._has_ended or _has_ended(self._child):
            return False
        if number == signal.SIGHUP and os.getsid(0) == os.getpid():
            return False
        return os.getpgid(self._child.pid) == os.getpgrp()


def _wait_for(numbers: set[int]) -> tuple[int, bool]:
    """The next of these signals, and whether the terminal has sent it."""
    if not hasattr(signal, "sigwaitinfo"):
        # PyPy has no sigwaitinfo(). These signals are the terminal's most often.
        number = signal.sigwait(numbers)
        return number, number in OF_THE_TERMINAL
    info = signal.sigwaitinfo(numbers)
    return info.si_signo, info.si_code == SI_KERNEL and info.si_signo in OF_THE_TERMINAL


def _has_ended(child: subprocess.Popen[Any] | Child) -> bool:
    """Whether it has ended. It is not reaped here: wait() may be about to do so."""
    if not hasattr(os, "waitid"):
        return child.returncode is not None
    return os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
