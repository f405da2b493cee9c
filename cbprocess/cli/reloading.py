"""SIGHUP as the wish to read a file again, for commands that wait in their main thread. Not on Windows.

Knows signals and a terminal; nothing of what is read."""

from __future__ import annotations

import os
import signal
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self


class Terminal:
    """Tells the two meanings of SIGHUP apart: a terminal that goes is taken away from its processes before
    they get the signal."""

    def __init__(self) -> None:
        self._was_there = _has_terminal()

    @property
    def is_gone(self) -> bool:
        """Whether there was a terminal, and is none any more."""
        return self._was_there and not _has_terminal()


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


class Reloading:
    """While it is entered, SIGHUP calls a function in a thread, unless the terminal has gone: then it is
    handled as it was before. To be entered before other threads are started; an ignored SIGHUP stays so."""

    def __init__(self, reload: Callable[[], None]) -> None:
        self._reload = reload
        self._terminal = Terminal()
        self._thread: threading.Thread | None = None
        self._is_left = False
        self._before: set[int] = set()

    def __enter__(self) -> Self:
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            self._before = set(signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP}))
            self._thread = threading.Thread(target=self._wait, name="cbprocess-reload", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._thread is None or self._thread.ident is None:
            return
        self._is_left = True
        if self._thread.is_alive():
            signal.pthread_kill(self._thread.ident, signal.SIGHUP)
        self._thread.join()
        signal.pthread_sigmask(signal.SIG_SETMASK, self._before)

    def _wait(self) -> None:
        while True:
            signal.sigwait({signal.SIGHUP})
            if self._is_left:
                return
            if self._terminal.is_gone:
                # The handler runs in the main thread, whichever thread the signal comes to.
                signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
                signal.raise_signal(signal.SIGHUP)
                return
            self._reload()
