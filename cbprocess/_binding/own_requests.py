"""Makes the controller's own process creations safe to hold (FilterOwnRequests).

CPython keeps its lock across vfork and posix_spawn until the child has executed: a handler could never run
while such a creation of its own process is held. With a plain fork the lock is free, so subprocess uses that
while the setting is on anywhere."""

from __future__ import annotations

import subprocess
from _thread import RLock

FLAGS = ("_USE_VFORK", "_USE_POSIX_SPAWN")

# Reentrant: a session may be collected, and leave, while this thread is inside.
_lock = RLock()
_owners: set[int] = set()
_original: dict[str, object] = {}


class OwnRequests:
    """The setting is on for as long as this object lives, which is its session's: an active one may have lost
    its instance. subprocess gets its own ways back after the last."""

    def __init__(self) -> None:
        _change(id(self), True)

    def __del__(self) -> None:
        _change(id(self), False)


def _change(owner: int, on: bool) -> None:
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
