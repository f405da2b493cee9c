"""Launches: the child of this process is the launcher, which inherits everything that the target is to have.
It waits until the driver has it. Then it executes the target in its own place, with its process id and its
pipes.

Knows neither how a child is made nor how the launcher works."""

from __future__ import annotations

import errno
import os
from ctypes import byref, c_int32, c_uint32, c_void_p

from .._binding import library
from .._binding.session import SLICE_MS, Session, in_slices
from .._lean import suppress
from ..constants import ERROR_FS_DRIVER_REQUIRED
from ..errors import CBProcessError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    class Child(Protocol):
        """What is needed of the launcher's process: what subprocess.Popen has."""

        @property
        def returncode(self) -> int | Any: ...
        def kill(self) -> None: ...
        def wait(self) -> int: ...

    # It gets the path of the launcher, its arguments and the descriptor that it inherits beside others.
    Start = Callable[[str, list[Any], int], None]

SIGKILL = 9
# fork() does not say which of these limits it is.
PROCESS_LIMITS = (
    "a limit of processes and threads is reached (RLIMIT_NPROC, pids.max of the control group or "
    "kernel.threads-max)"
)

# The target would have failed with these errors, too: it has the arguments and limits of the launcher.
TARGETS_OWN_ERRORS = (errno.E2BIG, errno.ENOMEM, errno.EAGAIN)


def launch_through(
    start: Start,
    child: Child,
    session: Session,
    arguments: list[Any],
    target: Any,
    env: Any,
    ask: bool,
    words: str,
) -> None:
    """Has a child of this process become the target, with these arguments. `words` are for the launcher
    (launch_steps.h). OSError: it cannot be executed, or is refused; the child has ended then."""
    argument0 = os.fsencode(arguments[0]) if arguments else b""
    with Launch(session) as launch:
        fd = launch.begin(argument0, _candidate_paths(target, env), ask)
        program = library.launcher_path()
        try:
            start(program, [f"{library.LAUNCHER_NAME} {fd}{words}", *arguments[1:]], fd)
        except OSError as error:
            raise _launch_error(error, program, target) from None
        try:
            os_error = launch.wait()
        except BaseException as error:
            # This may be an interrupt. The child never gets an object that could wait for it.
            child.kill()
            child.wait()
            if isinstance(error, CBProcessError) and _ended_by_others(child.returncode):
                # The signal might have come a moment later, when the target ran.
                return
            raise
        if os_error:
            child.wait()
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
            with suppress(CBProcessError):
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
    return returncode < 0 and returncode != -SIGKILL


def _candidate_paths(target: Any, env: Any) -> list[bytes]:
    """The paths that Popen would try to execute, in turn."""
    program = os.fsencode(target)
    if os.path.dirname(program):
        return [program]
    # os.get_exec_path() imports module warnings, for environments of bytes.
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep) if env is None else os.get_exec_path(env)
    return [os.path.join(os.fsencode(folder), program) for folder in folders]


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
