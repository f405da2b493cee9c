"""Small parts in the place of some of the standard library's, whose modules take more time to import than a
start of the command line has.

Knows nothing of this package."""

from __future__ import annotations

from _thread import allocate_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:
    # Its functions in C, with plain numbers: its enumerations take a start as long as all that these do.
    try:
        import _signal as signal
    except ImportError:
        import signal

__all__ = ["Bell", "signal", "suppress"]


class suppress:
    """Has a block end silently at these errors, as contextlib.suppress does."""

    def __init__(self, *kinds: type[BaseException]) -> None:
        self._kinds = kinds

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> bool:
        return kind is not None and issubclass(kind, self._kinds)


class Bell:
    """Wakes the one thread that waits for it, now or at its next wait. One thread rings at a time."""

    def __init__(self) -> None:
        self._silent = allocate_lock()
        self._silent.acquire()

    def ring(self) -> None:
        if self._silent.locked():
            self._silent.release()

    def wait(self, limit_s: float) -> bool:
        """Whether it has rung since the last wait, or does so before the time is over."""
        return self._silent.acquire(timeout=limit_s)
