"""The exception and the warning of this package. Knows nothing of the native library."""


class CBProcessError(Exception):
    """A call failed.

    `code` is a Win32 error code (the ERROR_ constants), `message` a sentence about this failure.
    """

    def __init__(self, code: int, message: str = "") -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.message} (error {self.code})" if self.message else f"error {self.code}"


# The name that programs written for the reference catch; the same class.
CBFSFilterError = CBProcessError


class CBProcessWarning(RuntimeWarning):
    """Something works as asked but hardly as meant, such as a filter with nothing to supervise."""
