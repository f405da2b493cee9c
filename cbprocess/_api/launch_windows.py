"""popen() on Windows: a subprocess.Popen whose process is under the filter from its creation on.

The ordinary Popen machinery creates the process in this thread, between Launch.enter() and Launch.leave().
With the debug driver the system debugs it for the helper, which holds it at its first event. The kernel
driver knows beforehand that the thread creates it, and holds the creation."""

from __future__ import annotations

import ctypes
import subprocess

from . import launch
from .launching import Launch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DEBUG_PROCESS = 0x1
DEBUG_ONLY_THIS_PROCESS = 0x2
CREATE_SUSPENDED = 0x4
# With the debug driver these flags make the creating thread the debugger, or the process one whose first
# event does not come.
IMPOSSIBLE_FLAGS = DEBUG_PROCESS | DEBUG_ONLY_THIS_PROCESS | CREATE_SUSPENDED


class Popen(launch.Popen):
    """A subprocess.Popen as on other systems, for the callers there."""

    def _execute_child(
        self,
        args: Any,
        executable: Any,
        preexec_fn: Any,
        close_fds: bool,
        pass_fds: Any,
        cwd: Any,
        env: Any,
        startupinfo: Any,
        creationflags: int,
        shell: bool,
        *rest: Any,
    ) -> None:
        """Called by Popen once pipes and options are in order. The parameters are those of every Python since
        3.9; `rest` differs between them and only passes through."""
        with Launch(self._session) as begun:
            begun.enter(self._ask)
            process_id = 0
            try:
                needed = begun.creation_flags()
                if needed and creationflags & IMPOSSIBLE_FLAGS:
                    raise ValueError("popen() cannot create a process suspended, or for another debugger")
                options = (
                    preexec_fn,
                    close_fds,
                    pass_fds,
                    cwd,
                    env,
                    startupinfo,
                    creationflags | needed,
                    shell,
                )
                # The system's method is the one that the class above overrides.
                subprocess.Popen._execute_child(self, args, executable, *options, *rest)  # type: ignore[attr-defined]
                process_id = self.pid
            finally:
                begun.leave(process_id)
            try:
                code = begun.wait()
            except BaseException:
                # This may be an interrupt. The child never gets an object that could wait for it.
                self.kill()
                self.wait()
                raise
            if code:
                self.wait()
                raise OSError(None, ctypes.FormatError(code), args, code)  # type: ignore[attr-defined]
