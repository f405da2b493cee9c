"""Speaks with cbpfire.sys from Python; fire/fire_control.h has the contract."""

from __future__ import annotations

import ctypes
import enum
import os
from typing import Any

DEVICE = r"\\.\CbpFire"
READ_WRITE, OPEN_EXISTING, INVALID_HANDLE = 0xC0000000, 3, -1


def code(function: int) -> int:
    return 0x8C0C << 16 | 3 << 14 | function << 2


OPERATION, STATE, TAKE_ALTITUDE, FAIL_REGISTRATIONS = (code(0x801 + number) for number in range(4))


class Kind(enum.IntEnum):
    PROCESS_CREATION = 1
    PROCESS_END = 2
    THREAD_CREATION = 3
    THREAD_END = 4
    OTHER_THREADS_END = 5
    TERMINATE = 6
    PROCESS_HANDLE = 7
    THREAD_HANDLE = 8


class Flag(enum.IntFlag):
    IS_KERNEL_HANDLE = 1
    NAME_IS_NOT_AVAILABLE = 2
    IS_SCRIPTED = 4
    HAS_NO_IMAGE = 8


class Operation(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_uint32)
        for name in (
            *("kind", "flags", "process_id", "thread_id", "originator_pid", "originator_tid", "parent_pid"),
            *("source_pid", "target_pid", "access", "original_access", "status"),
            *("image_size", "command_line_size"),
        )
    ]


class Outcome(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint32) for name in ("status", "access", "calls", "reserved")]


class State(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_uint32) for name in ("process_routines", "process_routines_ex2")),
        *((name, ctypes.c_uint32) for name in ("thread_routines", "object_registrations", "running")),
        *((name, ctypes.c_uint32) for name in ("objects", "tokens", "blocks")),
        ("violations", ctypes.c_uint32),
        ("violation", ctypes.c_char * 128),
        ("_altitude", ctypes.c_uint16 * 32),
    ]

    @classmethod
    def read(cls) -> State:
        state = cls()
        control(STATE, b"", state)
        return state

    @property
    def altitude(self) -> str:
        return bytes(self._altitude).decode("utf-16-le").rstrip("\0")


def control(function: int, given: bytes, result: Any = None) -> None:
    kernel32: Any = ctypes.WinDLL("kernel32", use_last_error=True)  # type: ignore[attr-defined]
    kernel32.CreateFileW.restype = ctypes.c_void_p
    device = ctypes.c_void_p(kernel32.CreateFileW(DEVICE, READ_WRITE, 3, None, OPEN_EXISTING, 0, None))
    if device.value in (None, ctypes.c_void_p(INVALID_HANDLE).value):
        raise OSError(f"{DEVICE} is not there")
    size = ctypes.sizeof(result) if result is not None else 0
    place = ctypes.byref(result) if result is not None else None
    returned = ctypes.c_uint32()
    done = kernel32.DeviceIoControl(
        device, function, given, len(given), place, size, ctypes.byref(returned), None
    )
    error = ctypes.get_last_error()  # type: ignore[attr-defined]
    kernel32.CloseHandle(device)
    if not done:
        raise OSError(error, f"request {function:#x} of {DEVICE}")


def fire(kind: Kind, process_id: int, image: str = "", command_line: str = "", **fields: int) -> Outcome:
    """Lets the callbacks run for an operation, and waits until they have returned."""
    texts = [text.encode("utf-16-le", "surrogatepass") for text in (image, command_line)]
    operation = Operation(kind=kind, process_id=process_id, **fields)
    operation.image_size, operation.command_line_size = map(len, texts)
    outcome = Outcome()
    control(OPERATION, bytes(operation) + b"".join(texts), outcome)
    return outcome


def world() -> Any:
    """world.dll, in a process of the world."""
    return ctypes.WinDLL(os.environ["CBPROCESS_TEST_WORLD"])  # type: ignore[attr-defined]
