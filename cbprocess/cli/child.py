"""The command as a child of this process, with all that this process has: a start without subprocess, whose
import takes as long as the rest of it. Not on Windows.

Knows neither options nor output."""

from __future__ import annotations

import ctypes
import os
from ctypes import byref, c_char_p, c_int, c_void_p

from .._api.launching import SIGKILL, launch_through
from .._lean import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .._api.process import CBProcess


class NoChild(Exception):
    """No process could be made, or it could not become the launcher, so the command has not run."""


class Child:
    """The command, which runs when the object is there. It has what is needed of a subprocess.Popen."""

    def __init__(self, process: CBProcess, arguments: list[str], words: str) -> None:
        """words: for the launcher. OSError as Popen raises it for the command, and NoChild."""
        self.pid = 0
        self.returncode: int | None = None
        session = process._launching()
        launch_through(self._start, self, session, arguments, arguments[0], None, True, words)

    def _start(self, program: str, arguments: list[Any], descriptor: int) -> None:
        # Nothing else in this process makes a child that could inherit it.
        os.set_inheritable(descriptor, True)
        line = (c_char_p * (len(arguments) + 1))(*map(os.fsencode, arguments))
        try:
            library = ctypes.CDLL(None)
            spawn = library.posix_spawn
            # os.environ may be another environment: entries that are there twice, or no NAME=VALUE.
            environment = c_void_p.in_dll(library, "environ")
        except (OSError, AttributeError, ValueError) as error:
            # The C library is not part of this program, or its names are hidden.
            raise NoChild from error
        number = c_int()
        if spawn(byref(number), os.fsencode(program), None, None, line, environment):
            raise NoChild
        self.pid = number.value

    def kill(self) -> None:
        """Ends it, if it has not ended."""
        self._look(os.WNOHANG)
        if self.returncode is None:
            # Where the ends of children are ignored, it may be gone by now.
            with suppress(ProcessLookupError):
                os.kill(self.pid, SIGKILL)

    def wait(self) -> int:
        """Waits for its end. Gives its exit status, or the negative number of the signal that ended it."""
        self._look(0)
        assert self.returncode is not None
        return self.returncode

    def _look(self, how: int) -> None:
        """Notes its end; how: what waitpid() is told."""
        if self.returncode is not None:
            return
        try:
            process_id, status = os.waitpid(self.pid, how)
        except ChildProcessError:
            # Popen says so, too, where the ends of children are ignored.
            self.returncode = 0
        else:
            if process_id:
                self.returncode = os.waitstatus_to_exitcode(status)
