"""Descriptors of processes, also where Python has no call for them (PyPy)."""

from __future__ import annotations

import os

NUMBER = 434  # of pidfd_open, on every architecture but alpha


def open_process(process_id: int) -> int:
    """A descriptor that becomes readable when the process ends; OSError if there is none of that id."""
    if hasattr(os, "pidfd_open"):
        return os.pidfd_open(process_id)
    import ctypes

    descriptor = ctypes.CDLL(None, use_errno=True).syscall(NUMBER, process_id, 0)
    if descriptor < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return int(descriptor)
