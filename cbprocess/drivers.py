"""Probes of drivers: the capabilities of each on this machine now. Starts none of them."""

from __future__ import annotations

import ctypes
import sys

from ._binding import library
from ._checks import as_text, checked_text

# Every driver of the product is here, also those of other platforms. The first stands for the default: the
# machine's driver where this process could load it, else the one for process trees.
DRIVERS = ("auto", "ptrace", "bpf", "simulated", "debug", "kernel")

# This one supervises trees of processes here, and needs no installation.
TREE_DRIVER = "debug" if sys.platform == "win32" else "ptrace"

REASON_SIZE = 1024


class DriverReport:
    """One driver: its `name`, its `capabilities` (CAP_ bits; 0 if it cannot run) and a `reason`: why it
    cannot run, or what is missing ("" if nothing is)."""

    __slots__ = ("capabilities", "name", "reason")

    def __init__(self, name: str, capabilities: int, reason: str) -> None:
        self.name = name
        self.capabilities = capabilities
        self.reason = reason

    @property
    def runs(self) -> bool:
        """Whether the driver can run here."""
        return self.capabilities != 0

    def __repr__(self) -> str:
        return f"DriverReport({self.name!r}, {self.capabilities:#x}, {self.reason!r})"


def probe_driver(name: str = "auto") -> DriverReport:
    """The capabilities of the driver with this name here: "auto" (the default driver), "ptrace", "bpf",
    "simulated", "debug" or "kernel". Can be called in any thread. Errors: 87 for another name, 588 if the
    native library is missing."""
    capabilities = ctypes.c_uint32()
    reason = ctypes.create_string_buffer(REASON_SIZE)
    text = checked_text(name, "driver")
    library.load().cbp_driver_probe(text, ctypes.byref(capabilities), reason, REASON_SIZE)
    return DriverReport(name, capabilities.value, as_text(reason.value))
