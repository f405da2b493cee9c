"""Checks of what callers pass in: every wrong value becomes CBProcessError 87 with a sentence that names it.

Knows no library and no process.
"""

from __future__ import annotations

import sys

from ..constants import ERROR_INVALID_PARAMETER, PATTERN_SIZE_MAX
from ..errors import CBProcessError

# How a system name that is not valid text passes through a str and back.
TEXT_ERRORS = "surrogatepass" if sys.platform == "win32" else "surrogateescape"

UINT32_MAX = 0xFFFFFFFF
ALL_PROCESSES = -1
CO_COROUTINE = 0x80  # of code.co_flags; inspect, which names it, is dear to import


def wrong(message: str) -> CBProcessError:
    return CBProcessError(ERROR_INVALID_PARAMETER, message)


def checked_int(value: object, name: str, low: int, high: int) -> int:
    """`value` if it is an int (a bool is none) from `low` to `high`."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise wrong(f"{name} must be an int, not {type(value).__name__}")
    if not low <= value <= high:
        raise wrong(f"{name} must be from {low} to {high}, not {value}")
    return int(value)


def checked_bool(value: object, name: str) -> bool:
    """A bool, or the int 1 or 0 that programs written for the reference have in its place."""
    if not isinstance(value, int):
        raise wrong(f"{name} must be True or False, not {type(value).__name__}")
    if value not in (0, 1):
        raise wrong(f"{name} must be True or False, not {value}")
    return bool(value)


def checked_text(value: object, name: str) -> bytes:
    """The bytes of a str without NUL. What TEXT_ERRORS made of a system name turns back into its bytes."""
    if not isinstance(value, str):
        raise wrong(f"{name} must be a str, not {type(value).__name__}")
    try:
        data = value.encode("utf-8", TEXT_ERRORS)
    except UnicodeEncodeError:
        raise wrong(f"{name} has a character that no text encoding can carry") from None
    if b"\0" in data:
        raise wrong(f"{name} must not contain a NUL character")
    return data


def checked_pattern(value: object, name: str) -> bytes:
    data = checked_text(value, name)
    if not data:
        raise wrong(f"{name} must not be empty")
    if len(data) > PATTERN_SIZE_MAX:
        raise wrong(f"{name} has {len(data)} bytes; at most {PATTERN_SIZE_MAX} are possible")
    return data


def checked_process_id(value: object, all_allowed: bool) -> int:
    """A process id as the library takes it: 0xffffffff stands for all processes."""
    if all_allowed and isinstance(value, int) and not isinstance(value, bool) and value == ALL_PROCESSES:
        return UINT32_MAX
    return checked_int(value, "process_id", 0, UINT32_MAX - 1)


def checked_handler(value: object, name: str) -> None:
    if value is not None and not callable(value):
        raise wrong(f"{name} must be callable or None, not {type(value).__name__}")
    code = getattr(getattr(value, "__func__", value), "__code__", None)
    if code is not None and code.co_flags & CO_COROUTINE:
        raise wrong(f"{name} must be a plain function here: coroutine functions need AsyncCBProcess")
