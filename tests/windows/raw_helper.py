"""A controller that speaks to the debug helper without the core: bytes by hand, from the protocol's text.

For tests of the boundary itself: malformed requests, handles that are none."""

from __future__ import annotations

import ctypes
import os
import struct
import subprocess
from ctypes import wintypes
from pathlib import Path
from typing import Any, Optional

from cbprocess._binding.library import native_folder

MAGIC, VERSION = 0x50424331, 3
HELLO, REPLY, SESSION, SESSION_CLOSE, RULES, LAUNCH_FORGET = 1, 2, 3, 4, 5, 6
EVENT, PROCESS_QUERY, LAUNCH_PROCESS = 12, 13, 20
SESSION_MAX = 16
SLOTS = (128 + SESSION_MAX * (192 + 4 * 4096 + 16 * 1024) + 4095) & ~4095
CHANNEL_SIZE = SLOTS + 2048 * 8192 + 8 * 512 * 1024
CONTROL = (CHANNEL_SIZE + 4095) & ~4095
HANDLES = 4 + SESSION_MAX  # the controller, three events, the bells
REQUEST_SIZE_AT = CONTROL + 8 * (HANDLES + 1) + 4
REPLY_AT = REQUEST_SIZE_AT + 4 + 8  # behind the number of launches
REQUEST_AT = REPLY_AT + 48
REQUEST_SIZE_MAX = 65536
SIZE = REQUEST_AT + REQUEST_SIZE_MAX
LIMIT_S = 60.0
FILE_MAP_ALL_ACCESS, PAGE_READWRITE, SYNCHRONIZE, DETACHED_PROCESS = 0xF001F, 4, 0x100000, 8
DUPLICATE_SAME_ACCESS, SEC_RESERVE, OWN_PROCESS = 2, 0x4000000, 2**64 - 1


def header(size: int, kind: int, ident: int = 1) -> bytes:
    return struct.pack("=IIQQ", size, kind, ident, 0)


def message(kind: int, body: bytes, ident: int = 1) -> bytes:
    return header(24 + len(body), kind, ident) + body


def rules_message(size: int, handle: int, session: int = 0, part: int = 0, gone: int = 0) -> bytes:
    return message(RULES, struct.pack("=4IQQ", session, part, 0, gone, size, handle))


class Kernel:
    """The functions that these tests need, with handles as numbers."""

    def __init__(self) -> None:
        self.library: Any = ctypes.WinDLL("kernel32", use_last_error=True)  # type: ignore[attr-defined]
        handle, word = ctypes.c_size_t, wintypes.DWORD
        signatures = {
            "CreateFileMappingW": (handle, handle, ctypes.c_void_p, word, word, word, wintypes.LPCWSTR),
            "MapViewOfFile": (handle, handle, word, word, word, ctypes.c_size_t),
            "UnmapViewOfFile": (word, ctypes.c_size_t),
            "CreateEventW": (handle, ctypes.c_void_p, word, word, wintypes.LPCWSTR),
            "CreateSemaphoreW": (handle, ctypes.c_void_p, ctypes.c_long, ctypes.c_long, wintypes.LPCWSTR),
            "OpenProcess": (handle, word, word, word),
            "WaitForSingleObject": (word, handle, word),
            "SetEvent": (word, handle),
            "CloseHandle": (word, handle),
            "DuplicateHandle": (word, handle, handle, handle, ctypes.c_void_p, word, word, word),
        }
        for name, (result, *arguments) in signatures.items():
            function = getattr(self.library, name)
            function.restype, function.argtypes = result, arguments

    def __getattr__(self, name: str) -> Any:
        return getattr(self.library, name)


kernel = Kernel()


class Inheritable(ctypes.Structure):
    """SECURITY_ATTRIBUTES of a handle that a child process gets."""

    _fields_ = [("size", wintypes.DWORD), ("descriptor", ctypes.c_void_p), ("inherit", wintypes.BOOL)]

    def __init__(self) -> None:
        super().__init__(ctypes.sizeof(Inheritable), None, True)


def helper_program() -> Path:
    return Path(native_folder(), "cbprocess-debug.exe")


def start_helper(*arguments: str) -> subprocess.Popen[bytes]:
    """With every inheritable handle of this process."""
    command = [str(helper_program()), *arguments]
    return subprocess.Popen(command, close_fds=False, creationflags=DETACHED_PROCESS)


class RawHelper:
    """Owns one helper and its section; close() lets go of both. What is written before start(), the helper
    finds there."""

    def __init__(self, size: int = SIZE) -> None:
        inherit = ctypes.byref(Inheritable())
        self.section = kernel.CreateFileMappingW(2**64 - 1, inherit, PAGE_READWRITE, 0, size, None)
        self.memory = kernel.MapViewOfFile(self.section, FILE_MAP_ALL_ACCESS, 0, 0, size)
        assert self.memory
        controller = kernel.OpenProcess(SYNCHRONIZE, True, os.getpid())
        events = [kernel.CreateEventW(inherit, False, False, None) for _ in range(3)]
        bells = [kernel.CreateSemaphoreW(inherit, 0, 2**31 - 1, None) for _ in range(SESSION_MAX)]
        self.handles = [controller, *events, *bells]
        self.request_event, self.reply_event = events[1:]
        self.process: Optional[subprocess.Popen[bytes]] = None
        if size == SIZE:
            self.write(0, struct.pack("=IIQ", MAGIC, VERSION, CHANNEL_SIZE))
            self.write(CONTROL, struct.pack(f"={HANDLES}Q", *self.handles))

    def write(self, offset: int, data: bytes) -> None:
        ctypes.memmove(self.memory + offset, data, len(data))

    def read(self, offset: int, size: int) -> bytes:
        return ctypes.string_at(self.memory + offset, size)

    def start(self) -> subprocess.Popen[bytes]:
        self.process = start_helper(str(self.section))
        return self.process

    def request(self, data: bytes, size: Optional[int] = None) -> int:
        """The status of the reply, which is always one to this very request."""
        self.write(REQUEST_AT, data)
        self.write(REPLY_AT, bytes(48))
        self.write(REQUEST_SIZE_AT, struct.pack("=I", len(data) if size is None else size))
        kernel.SetEvent(self.request_event)
        assert kernel.WaitForSingleObject(self.reply_event, int(LIMIT_S * 1000)) == 0, "no reply"
        reply_size, kind, _ident, _deadline, status = struct.unpack("=IIQQI", self.read(REPLY_AT, 28))
        assert (reply_size, kind) == (48, REPLY)
        return int(status)

    def give(self, handle: int) -> int:
        """A copy of a handle in the helper, by its value there."""
        assert self.process is not None
        helper, copy = int(self.process._handle), ctypes.c_size_t()  # type: ignore[attr-defined]
        place = ctypes.byref(copy)
        assert kernel.DuplicateHandle(OWN_PROCESS, handle, helper, place, 0, False, DUPLICATE_SAME_ACCESS)
        return copy.value

    def has(self, handle: int) -> bool:
        """Whether the helper has a handle of this value."""
        assert self.process is not None
        helper, copy = int(self.process._handle), ctypes.c_size_t()  # type: ignore[attr-defined]
        place = ctypes.byref(copy)
        found = kernel.DuplicateHandle(helper, handle, OWN_PROCESS, place, 0, False, DUPLICATE_SAME_ACCESS)
        if found:
            kernel.CloseHandle(copy.value)
        return bool(found)

    def set_rules(self, block: bytes, size: Optional[int] = None, handle: Optional[int] = None) -> int:
        """The status for this block in a section, or for what the handle is, told as size bytes."""
        given = self.give_section(block) if handle is None else handle
        return self.request(rules_message(len(block) if size is None else size, given))

    def give_section(self, block: bytes, kind: int = 0) -> int:
        size = max(len(block), 1)
        section = kernel.CreateFileMappingW(2**64 - 1, None, PAGE_READWRITE | kind, 0, size, None)
        if kind == 0:
            view = kernel.MapViewOfFile(section, FILE_MAP_ALL_ACCESS, 0, 0, 0)
            ctypes.memmove(view, block, len(block))
            kernel.UnmapViewOfFile(view)
        given = self.give(section)
        kernel.CloseHandle(section)
        return given

    def close(self) -> int:
        """Tells the helper to end; its exit status."""
        self.write(REQUEST_SIZE_AT - 4, struct.pack("=I", 1))
        kernel.SetEvent(self.request_event)
        try:
            return self.process.wait(LIMIT_S) if self.process else 0
        finally:
            kernel.UnmapViewOfFile(self.memory)
            for handle in (self.section, *self.handles):
                kernel.CloseHandle(handle)
