"""Gives this process, and all that it starts, mounts that nobody else on the machine sees. They end with the
last of these processes. A monitor that holds executions holds those on such a mount only."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

CLONE_NEWNS, MS_PRIVATE, MS_REC, MNT_DETACH = 0x00020000, 1 << 18, 1 << 14, 2


def _check(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def leave_the_mounts_of_others() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    _check(libc.unshare(CLONE_NEWNS))
    _check(libc.mount(b"none", b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None))


@contextlib.contextmanager
def mounted(kind: str, folder: Path) -> Iterator[None]:
    libc = ctypes.CDLL(None, use_errno=True)
    _check(libc.mount(b"cbprocess-bench", os.fsencode(folder), kind.encode(), ctypes.c_ulong(0), None))
    try:
        yield
    finally:
        libc.umount2(os.fsencode(folder), MNT_DETACH)
