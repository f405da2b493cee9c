"""The module signal as its functions in C are, with plain numbers: its enumerations take a start as long as
all that these do."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:
    try:
        import _signal as signal
    except ImportError:
        import signal

__all__ = ["signal"]
