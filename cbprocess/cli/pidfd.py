"""Descriptors of processes, also where Python has no call for them (PyPy)."""

from __future__ import annotations

import os
import signal

# The system calls have these numbers on every architecture but alpha.
PIDFD_SEND_SIGNAL = 424
PIDFD_OPEN = 434


def open_process(process_id: int) -> int:
    """A descriptor that becomes readable when the process ends; OSError if there is none of that id."""
    if hasattr(os, "pidfd_open"):
        return os.pidfd_open(process_id)
    return _call(PIDFD_OPEN, process_id, 0)


def send_signal(descriptor: int, number: int) -> None:
    """Sends a signal to the process of that descriptor; OSError if it has ended."""
    if hasattr(signal, "pidfd_send_signal"):
        signal.pidfd_send_signal(descriptor, number)
    else:
        _call(PIDFD_SEND_SIGNAL, descriptor, number, None, 0)


def _call(*words: int | None) -> int:
    import ctypes

    result = ctypes.CDLL(None, use_errno=True).syscall(*words)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return int(result)
