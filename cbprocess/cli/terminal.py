"""A terminal of its own for a program of another user: a pseudo-terminal; everything is passed on between
that and ours. A program that has only that can neither type into our shell nor read what is typed there.

Knows nothing of filters. Not on Windows."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import struct
import termios
import tty

from .children import LOOK_S, bury_orphans
from .pidfd import open_process

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from typing import Any

    from typing_extensions import Self

CHUNK = 65536
# The system passes on printed text a moment later.
QUIET_S = 0.05
STANDARD = ("stdin", "stdout", "stderr")
# An entry of termios has these parts at these places.
LOCAL_FLAGS, CONTROL_CHARACTERS = 3, 6


def terminals() -> list[int]:
    """The terminals among our standard descriptors."""
    return [fd for fd in range(3) if os.isatty(fd)]


class Terminal:
    """To be entered before the program is started with keywords(). relay() then runs until it has ended.

    While it is entered our terminal is raw, if we read from it: typed text is the program's."""

    def __init__(self, user_id: int) -> None:
        self._own = terminals()
        self._output = next((fd for fd in (1, 2, 0) if fd in self._own), -1)
        self._is_typed = 0 in self._own
        self._master, self._slave = os.openpty()
        os.fchown(self._slave, user_id, -1)
        self._typed = b""
        self._modes: Any = None
        self._previous: Any = None

    def keywords(self) -> dict[str, Any]:
        """Keywords for Popen: the terminals among the standard descriptors are the new one, which is the
        session's."""
        slave = self._slave
        streams = {STANDARD[fd]: slave for fd in self._own}
        return {**streams, "preexec_fn": lambda: _take_terminal(self._own[0])}

    def __enter__(self) -> Self:
        if self._is_typed:
            self._modes = termios.tcgetattr(0)
            termios.tcsetattr(self._slave, termios.TCSANOW, self._modes)
        self._resize()
        self._previous = signal.signal(signal.SIGWINCH, lambda number, frame: self._resize())
        self._make_raw()
        return self

    def __exit__(self, *exception: object) -> None:
        self._restore()
        signal.signal(signal.SIGWINCH, self._previous)
        os.close(self._master)
        os.close(self._slave)

    def _make_raw(self) -> None:
        if self._modes is not None:
            tty.setraw(0, termios.TCSADRAIN)

    def _restore(self) -> None:
        if self._modes is not None:
            # There is nothing to restore where the terminal has gone.
            with contextlib.suppress(termios.error):
                termios.tcsetattr(0, termios.TCSADRAIN, self._modes)

    def _resize(self) -> None:
        with contextlib.suppress(OSError):
            size = fcntl.ioctl(self._output, termios.TIOCGWINSZ, struct.pack("4H", 0, 0, 0, 0))
            fcntl.ioctl(self._master, termios.TIOCSWINSZ, size)

    # ---- Passing on ----

    def relay(self, child: subprocess.Popen[Any]) -> None:
        """Passes on typed and printed text, until the program has ended and all of that is out."""
        os.set_blocking(self._master, False)
        end = open_process(child.pid)
        try:
            while not self._pass_on(child, end):
                pass
        finally:
            os.close(end)
        # Other programs may have the terminal still. Text that they print from now on is not waited for.
        while select.select([self._master], [], [], QUIET_S)[0]:
            self._print()

    def _pass_on(self, child: subprocess.Popen[Any], end: int) -> bool:
        """Waits a while for something and passes it on. Gives whether the program has ended."""
        sources = [end, self._master]
        if self._is_typed and not self._typed:
            sources.append(0)
        readable, writable, _ = select.select(sources, [self._master] if self._typed else [], [], LOOK_S)
        bury_orphans(child.pid)
        if 0 in readable:
            self._read_typed(child)
        if writable:
            with contextlib.suppress(OSError):
                self._typed = self._typed[os.write(self._master, self._typed) :]
        if self._master in readable:
            self._print()
        return end in readable

    def _print(self) -> None:
        # Our terminal may have gone. There is no reader then, and the program goes on.
        with contextlib.suppress(OSError):
            data = os.read(self._master, CHUNK)
            while data:
                data = data[os.write(self._output, data) :]

    def _read_typed(self, child: subprocess.Popen[Any]) -> None:
        try:
            self._typed = os.read(0, CHUNK)
        except OSError:
            self._typed = b""
        if not self._typed:
            self._is_typed = False
        elif self._is_suspension(child.pid):
            self._typed = b""
            self._suspend(child)

    # ---- Job control ----

    def _is_suspension(self, process_id: int) -> bool:
        """Whether the program itself is to be stopped from its terminal. The kernel does not do it, because
        no shell of its session would continue it. It does so for programs of such a shell."""
        try:
            modes = termios.tcgetattr(self._master)
            foreground = os.tcgetpgrp(self._master)
        except (OSError, termios.error):
            return False
        return (
            foreground == process_id
            and bool(modes[LOCAL_FLAGS] & termios.ISIG)
            and modes[CONTROL_CHARACTERS][termios.VSUSP] in self._typed
        )

    def _suspend(self, child: subprocess.Popen[Any]) -> None:
        """Stops the program and us, for our own shell to continue."""
        os.killpg(child.pid, signal.SIGSTOP)
        self._restore()
        os.killpg(0, signal.SIGTSTP)
        self._make_raw()
        self._resize()
        os.killpg(child.pid, signal.SIGCONT)


def _take_terminal(fd: int) -> None:
    """Takes the terminal in the new process, the leader of its session, which has no terminal yet."""
    fcntl.ioctl(fd, termios.TIOCSCTTY, 0)
