"""The waits of `cbprocess attach` on Windows: for the ends of processes, and for Ctrl-C."""

from __future__ import annotations

import ctypes
import signal

from ..constants import ERROR_INVALID_PARAMETER
from .output import complain
from .signals import FirstSignal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any

    from typing_extensions import Self

    from .._api.process import CBProcess

SYNCHRONIZE = 0x00100000
WAIT_TIMEOUT = 0x102
# Python handles Ctrl-C between two looks.
LOOK_MS = 100


def wait(process: CBProcess, ends: Ends, interrupt: Interrupt) -> int:
    """Waits until all processes have ended or Ctrl-C comes. Gives the exit status of that."""
    while interrupt.number is None and ends.wait(LOOK_MS):
        if not process.active:
            return complain("the filter has stopped")
    return interrupt.status


class Ends:
    """Handles of the processes, to wait for their ends. A LookupError names a process that is not there."""

    def __init__(self, process_ids: Collection[int]) -> None:
        self._kernel: Any = ctypes.WinDLL("kernel32", use_last_error=True)  # type: ignore[attr-defined]
        self._kernel.OpenProcess.restype = ctypes.c_void_p
        self._kernel.WaitForSingleObject.argtypes = ctypes.c_void_p, ctypes.c_uint32
        self._kernel.CloseHandle.argtypes = (ctypes.c_void_p,)
        self._handles: list[int] = []
        for process_id in process_ids:
            handle = self._kernel.OpenProcess(SYNCHRONIZE, False, process_id)
            if not handle:
                code = ctypes.get_last_error()  # type: ignore[attr-defined]
                self.__exit__()
                if code == ERROR_INVALID_PARAMETER:
                    raise LookupError(f"there is no process {process_id}")
                raise LookupError(f"process {process_id}: {ctypes.FormatError(code)}")  # type: ignore[attr-defined]
            self._handles.append(handle)

    def wait(self, limit_ms: int) -> bool:
        """Whether one of them still lives. Waits a while for the first of those."""
        while self._handles:
            if self._kernel.WaitForSingleObject(self._handles[0], limit_ms) == WAIT_TIMEOUT:
                return True
            self._kernel.CloseHandle(self._handles.pop(0))
        return False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        while self._handles:
            self._kernel.CloseHandle(self._handles.pop())


class Interrupt(FirstSignal):
    """The first Ctrl-C or Ctrl-Break."""

    def __init__(self) -> None:
        super().__init__((signal.SIGINT, signal.SIGBREAK))  # type: ignore[attr-defined]
