"""Makes the controller's own process creations safe to hold (FilterOwnRequests).

CPython keeps its lock across vfork and posix_spawn until the child has executed: a handler could never run
while such a creation of its own process is held. With a plain fork the lock is free, so subprocess uses that
while the setting is on anywhere."""

from __future__ import annotations

import subprocess
from _thread import RLock

FLAGS = ("_USE_VFORK", "_USE_POSIX_SPAWN")

# Reentrant: an instance may be collected, and leave, while this thread is inside.
_lock = RLock()
_owners: set[int] = set()
_original: dict[str, object] = {}


def set_own_requests(owner: int, on: bool) -> None:
    """The instance with this id has the setting on or off; subprocess gets its own ways back after the
    last."""
    with _lock:
        if on:
            _owners.add(owner)
        else:
            _owners.discard(owner)
        if _owners and not _original:
            for name in FLAGS:
                if hasattr(subprocess, name):
                    _original[name] = getattr(subprocess, name)
                    setattr(subprocess, name, False)
        elif not _owners:
            for name, value in _original.items():
                setattr(subprocess, name, value)
            _original.clear()
