"""SIGHUP as the wish to read a file again, for commands that wait in their main thread. Windows has no such
signal.

Knows signals and a terminal; nothing of what is read."""

from __future__ import annotations

import os
import sys
from _thread import allocate_lock

from .._lean import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from typing_extensions import Self

    from .rule_layers import CommandRules
    from .signals import FirstSignal


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
    """Calls a function in a thread of its own each time that it is woken, one call after the other: at each
    SIGHUP that this interrupt gets, but for that of a terminal's end."""

    def __init__(self, reload: Callable[[], None], interrupt: FirstSignal) -> None:
        self._reload = reload
        self._interrupt = interrupt
        self._terminal = Terminal()
        self._readable = self._writable = -1
        self._thread: threading.Thread | None = None

    def take_hangup(self) -> bool:
        """Whether a SIGHUP that has come is the wish to read again, and not the end of the terminal. The
        thread is woken then. A signal handler may call it."""
        if self._terminal.is_gone:
            return False
        # A full pipe has woken the thread already.
        with suppress(BlockingIOError):
            os.write(self._writable, b"1")
        return True

    def __enter__(self) -> Self:
        import threading

        self._readable, self._writable = os.pipe()
        os.set_blocking(self._writable, False)
        self._thread = threading.Thread(target=self._run, name="cbprocess-reload", daemon=True)
        self._thread.start()
        self._interrupt.on_hangup = self.take_hangup
        return self

    def __exit__(self, *exception: object) -> None:
        self._interrupt.on_hangup = None
        writable, self._writable = self._writable, -1
        os.close(writable)
        if self._thread is not None:
            self._thread.join()
        os.close(self._readable)

    def _run(self) -> None:
        while os.read(self._readable, 4096):
            self._reload()


def reloading(rules: CommandRules, interrupt: FirstSignal) -> AbstractContextManager[object]:
    """Has a command that waits read its rule file again at SIGHUP, if it has one, in place of ending: for a
    block."""
    if not rules.has_file or sys.platform == "win32":
        # A lock of nobody else's is a block in which nothing happens.
        return allocate_lock()
    return Reloading(rules.reload, interrupt)
