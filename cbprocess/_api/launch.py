"""popen(): a subprocess.Popen whose program runs under the filter from its first instruction on.

The child of the ordinary Popen machinery is the launcher, which inherits everything that the target is to
have. It waits until the driver has it. Then it executes the target in its own place, with its process id and
its pipes. Knows how subprocess prepares an execution; not how the launcher works. launch_windows.py is for
Windows."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
from ctypes import byref, c_int32, c_uint32, c_void_p

from .._binding import library
from .._binding.session import SLICE_MS, Session, in_slices
from ..constants import ERROR_FS_DRIVER_REQUIRED
from ..errors import CBProcessError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any

# Popen has these parameters behind args, in this order. Callers may give them by position.
POSITIONAL = (
    "bufsize",
    "executable",
    "stdin",
    "stdout",
    "stderr",
    "preexec_fn",
    "close_fds",
    "shell",
    "cwd",
    "env",
    "universal_newlines",
    "startupinfo",
    "creationflags",
    "restore_signals",
    "start_new_session",
    "pass_fds",
)

# fork() does not say which of these limits it is.
PROCESS_LIMITS = (
    "a limit of processes and threads is reached (RLIMIT_NPROC, pids.max of the control group or "
    "kernel.threads-max)"
)

# The target would have failed with these errors, too: it has the arguments and limits of the launcher.
TARGETS_OWN_ERRORS = (errno.E2BIG, errno.ENOMEM, errno.EAGAIN)


class Popen(subprocess.Popen["Any"]):
    """A subprocess.Popen (of the same name, which it shows) whose child is started through the launcher.

    The keyword _words is the command line's own: the words for the launcher (launch_steps.h)."""

    def __init__(self, session: Session, ask: bool, args: Any, *positional: Any, **keywords: Any) -> None:
        if len(positional) > len(POSITIONAL):
            raise TypeError(f"popen() takes at most {len(POSITIONAL) + 1} positional arguments")
        for name, value in zip(POSITIONAL, positional):
            if name in keywords:
                raise TypeError(f"popen() got multiple values for argument {name!r}")
            keywords[name] = value
        self._session = session
        self._ask = ask
        self._words = keywords.pop("_words", "")
        super().__init__(args, **keywords)

    def _execute_child(
        self,
        args: Any,
        executable: Any,
        preexec_fn: Any,
        close_fds: bool,
        pass_fds: Collection[int],
        cwd: Any,
        env: Any,
        startupinfo: Any,
        creationflags: int,
        shell: bool,
        *rest: Any,
    ) -> None:
        """Called by Popen once pipes and options are in order. The parameters are those of every Python since
        3.9; `rest` differs between them and only passes through."""
        arguments = _argument_list(args, shell, executable)
        target = arguments[0] if executable is None else executable
        argument0 = os.fsencode(arguments[0]) if arguments else b""
        with Launch(self._session) as launch:
            fd = launch.begin(argument0, _candidate_paths(target, env), self._ask)
            program = library.launcher_path()
            argv = [f"{library.LAUNCHER_NAME} {fd}{self._words}", *arguments[1:]]
            fds = (*pass_fds, fd)
            common = (preexec_fn, close_fds, fds, cwd, env, startupinfo, creationflags, False)
            try:
                super()._execute_child(argv, program, *common, *rest)  # type: ignore[misc]
            except OSError as error:
                raise _launch_error(error, program, target) from None
            try:
                os_error = launch.wait()
            except BaseException as error:
                # This may be an interrupt. The child never gets an object that could wait for it.
                self.kill()
                self.wait()
                if isinstance(error, CBProcessError) and _ended_by_others(self.returncode):
                    # The signal might have come a moment later, when the target ran.
                    return
                raise
            if os_error:
                self.wait()
                raise OSError(os_error, os.strerror(os_error), target)


class Launch:
    """One launch of the library. Leaving the block frees it in any case."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._library = session.library
        self._handle = c_void_p()

    def begin(self, argument0: bytes, paths: list[bytes], ask: bool) -> int:
        """The descriptor that the launcher has to inherit."""
        if any(b"\0" in text for text in (argument0, *paths)):
            raise ValueError("embedded null byte")
        fd = c_int32()
        data = b"".join(path + b"\0" for path in paths)
        self._library.cbp_launch_begin(
            self._session.pointer, argument0, data, len(data), ask, byref(fd), byref(self._handle)
        )
        return fd.value

    def enter(self, ask: bool) -> None:
        """Begins a part in which this thread creates processes for the filter, until leave(). Windows."""
        self._library.cbp_launch_enter(self._session.pointer, ask, byref(self._handle))

    def creation_flags(self) -> int:
        """The flags that CreateProcess needs until leave()."""
        flags = c_uint32()
        self._library.cbp_launch_creation_flags(self._handle, byref(flags))
        return flags.value

    def leave(self, process_id: int) -> None:
        """Ends that part, and tells the process that was created; 0: none."""
        self._library.cbp_launch_leave(self._handle, process_id)

    def __enter__(self) -> Launch:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._handle:
            with contextlib.suppress(CBProcessError):
                self._library.cbp_launch_finish(self._handle, 0, 0, byref(c_uint32()))

    def wait(self) -> int:
        """Waits, interruptibly, until the target runs or cannot. Gives 0, or the errno of its execve (on
        Windows the code of the refusal)."""
        os_error = c_uint32()
        try:
            in_slices(lambda: self._library.cbp_launch_finish(self._handle, 1, SLICE_MS, byref(os_error)))
        except CBProcessError:
            self._handle = c_void_p()
            raise
        self._handle = c_void_p()
        return os_error.value


def _ended_by_others(returncode: int) -> bool:
    """Whether a signal that is not ours has ended the launcher."""
    return returncode < 0 and returncode != -signal.SIGKILL


def _argument_list(args: Any, shell: bool, executable: Any) -> list[Any]:
    """The target's argv as Popen makes it."""
    if isinstance(args, (str, bytes)):
        arguments: list[Any] = [args]
    elif isinstance(args, os.PathLike):
        if shell:
            raise TypeError("path-like args is not allowed when shell is true")
        arguments = [args]
    else:
        arguments = list(args)
    if shell:
        arguments = ["/bin/sh", "-c", *arguments]
        if executable:
            arguments[0] = executable
    return arguments


def _candidate_paths(target: Any, env: Any) -> list[bytes]:
    """The paths that Popen would try to execute, in turn."""
    program = os.fsencode(target)
    if os.path.dirname(program):
        return [program]
    return [os.path.join(os.fsencode(folder), program) for folder in os.get_exec_path(env)]


def _launch_error(error: OSError, program: str, target: Any) -> Exception:
    """The error for the caller, made of a failure to start the launcher. Failures of anything else, such as
    the working directory, are the caller's own and pass through."""
    if error.errno == errno.EAGAIN and error.filename is None:
        return OSError(error.errno, f"{error.strerror}: {PROCESS_LIMITS}", target)
    if error.filename != program:
        return error
    if error.errno in TARGETS_OWN_ERRORS:
        return OSError(error.errno, error.strerror, target)
    return CBProcessError(ERROR_FS_DRIVER_REQUIRED, f"the launcher cannot be executed: {error}")
