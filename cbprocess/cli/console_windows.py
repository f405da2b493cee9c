"""Escape sequences on a console of Windows, which carries them out only where it was told to.

Knows consoles and descriptors; nothing of what is written."""

from __future__ import annotations

import ctypes
import msvcrt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ENABLE_VIRTUAL_TERMINAL_PROCESSING = 0x4


def carries_out_escapes(descriptor: int) -> bool:
    """Has the console of this descriptor carry out escape sequences from now on, and says whether it does.
    Those before Windows 10 cannot, and print them; so do some until they are told."""
    kernel: Any = ctypes.WinDLL("kernel32")  # type: ignore[attr-defined]
    console = ctypes.c_void_p(msvcrt.get_osfhandle(descriptor))  # type: ignore[attr-defined]
    mode = ctypes.c_uint32()
    if not kernel.GetConsoleMode(console, ctypes.byref(mode)):
        return False
    if mode.value & ENABLE_VIRTUAL_TERMINAL_PROCESSING:
        return True
    return bool(kernel.SetConsoleMode(console, mode.value | ENABLE_VIRTUAL_TERMINAL_PROCESSING))
