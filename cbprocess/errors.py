"""The exception and the warning of this package. Knows nothing of the native library."""

import sys


class CBProcessError(Exception):
    """A call failed.

    `code` is a Win32 error code (the ERROR_ constants), `message` a sentence about this failure."""

    def __init__(self, code: int, message: str = "") -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.message} (error {self.code})" if self.message else f"error {self.code}"


# Programs written for the reference catch this class by this name.
CBFSFilterError = CBProcessError


class CBProcessWarning(RuntimeWarning):
    """Something works as asked, but hardly as meant: a filter with no process to filter, for example."""


def warn(message: str) -> None:
    """Warns the calling code outside of this package, however deep inside the call has come to."""
    import warnings

    level = 2
    frame = sys._getframe(1)
    while frame.f_back is not None and _is_own(frame.f_globals.get("__package__") or ""):
        level += 1
        frame = frame.f_back
    warnings.warn(message, CBProcessWarning, stacklevel=level)


def _is_own(package: str) -> bool:
    return package.partition(".")[0] == __package__
