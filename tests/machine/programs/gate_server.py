"""Serves the gate as guard and controller do together: a FUSE file system with one file, a process that has
the file mapped, and answers to reads of its pages.

Knows /dev/fuse (linux/fuse.h) and the slots of cbp_machine.h. Nothing is mounted at a path. Everything goes
with close(), and with this process."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import select
import signal
import stat
import struct
import threading
from collections.abc import Iterator
from typing import Callable, Optional

FSOPEN, FSCONFIG, FSMOUNT = 430, 431, 432
SET_FLAG, SET_STRING, CREATE = 0, 1, 6
INIT, LOOKUP, GETATTR, OPEN, READ = 26, 1, 3, 14, 15
FORGETS = (2, 42, 36)  # FORGET, BATCH_FORGET, INTERRUPT have no reply
HEADER = struct.Struct("=IIQQIIII")
PR_SET_PDEATHSIG = 1
NODE_ROOT, NODE_GATE = 1, 2

SLOT_COUNT, SLOT_SIZE = 512, 4096
SLOT = struct.Struct("=QQQQII")  # state, entered, request, deadline, stop, timeout_refuses
WAITING, ALLOWED, REFUSED = 1, 2, 3
START, EXEC, EXIT, HANDLE = 1, 2, 3, 4


def _call(number: int, *arguments: object) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    result = int(libc.syscall(number, *arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


class Stop:
    """A task that waits."""

    def __init__(self, stop: int, body: bytes) -> None:
        self.stop, self.body = stop, body


class GateServer:
    def __init__(self, slots_descriptor: int, decide: Callable[[Stop], Optional[bool]]) -> None:
        """decide says whether the operation goes on; None leaves the slot without a verdict."""
        self._slots = mmap.mmap(slots_descriptor, SLOT_COUNT * SLOT_SIZE)
        self._decide = decide
        self.stops: list[Stop] = []
        self._fuse = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        self._mount = self._make_mount()
        self._wake, self._woken = os.pipe()
        self._may_read = threading.Event()
        self._may_read.set()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        self.process_id, self.address = self._start_process()

    def _make_mount(self) -> int:
        context = _call(FSOPEN, b"fuse", 1)
        options = {"fd": self._fuse, "rootmode": "40000", "user_id": 0, "group_id": 0}
        for name, value in options.items():
            _call(FSCONFIG, context, SET_STRING, name.encode(), str(value).encode(), 0)
        _call(FSCONFIG, context, SET_FLAG, b"allow_other", None, 0)
        _call(FSCONFIG, context, CREATE, None, None, 0)
        mount = _call(FSMOUNT, context, 1, 0)
        os.close(context)
        return mount

    def _start_process(self) -> tuple[int, int]:
        read_end, write_end = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                libc = ctypes.CDLL(None, use_errno=True)
                libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
                file = os.open("gate", os.O_RDONLY, dir_fd=self._mount)
                libc.mmap.restype = ctypes.c_void_p
                size = ctypes.c_size_t(SLOT_COUNT * SLOT_SIZE)
                address = libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, file, ctypes.c_long(0))
                libc.madvise(ctypes.c_void_p(address), size, mmap.MADV_RANDOM)
                os.write(write_end, struct.pack("=Q", address))
                os.closerange(3, 1024)
                while True:
                    signal.pause()
            finally:
                os._exit(1)
        os.close(write_end)
        address = struct.unpack("=Q", os.read(read_end, 8))[0]
        os.close(read_end)
        return child, address

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Nothing is read meanwhile."""
        self._may_read.clear()
        try:
            yield
        finally:
            self.go_on()

    def go_on(self) -> None:
        self._may_read.set()

    def _reply(self, unique: int, error: int, data: bytes = b"") -> None:
        os.write(self._fuse, struct.pack("=IiQ", 16 + len(data), -error, unique) + data)

    def _attributes(self, node: int) -> bytes:
        is_root = node == NODE_ROOT
        mode = stat.S_IFDIR | 0o755 if is_root else stat.S_IFREG | 0o444
        size = 0 if is_root else SLOT_COUNT * SLOT_SIZE
        return struct.pack("=QQQQQQIIIIIIIIII", node, size, 0, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)

    def _serve(self) -> None:
        while True:
            self._may_read.wait()
            ready, _, _ = select.select([self._fuse, self._wake], [], [])
            if self._wake in ready:
                return
            if not self._may_read.is_set():
                continue
            try:
                request = os.read(self._fuse, 1 << 17)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.EINTR, errno.EAGAIN):
                    continue
                return
            self._handle(request)

    def _handle(self, request: bytes) -> None:
        _, operation, unique, node, *_ = HEADER.unpack_from(request)
        body = request[HEADER.size :]
        if operation == INIT:
            reply = struct.pack("=IIIIHHIIHHI", 7, 31, 0, 0, 64, 64, 4096, 1, 0, 0, 0).ljust(64, b"\0")
            self._reply(unique, 0, reply)
        elif operation == LOOKUP:
            entry = struct.pack("=QQQQII", NODE_GATE, 1, 1 << 30, 1 << 30, 0, 0)
            self._reply(unique, 0, entry + self._attributes(NODE_GATE))
        elif operation == GETATTR:
            self._reply(unique, 0, struct.pack("=QII", 1 << 30, 0, 0) + self._attributes(node))
        elif operation == OPEN:
            self._reply(unique, 0, struct.pack("=QII", node, 0, 0))
        elif operation == READ:
            offset = struct.unpack_from("=QQ", body)[1]
            threading.Thread(target=self._answer, args=(unique, offset // SLOT_SIZE), daemon=True).start()
        elif operation not in FORGETS:
            self._reply(unique, 0)

    def _answer(self, unique: int, index: int) -> None:
        at = index * SLOT_SIZE
        state, _, _, _, stop, _ = SLOT.unpack_from(self._slots, at)
        struct.pack_into("=Q", self._slots, at + 16, unique)
        size = struct.unpack_from("=I", self._slots, at + SLOT.size)[0]
        found = Stop(stop, self._slots[at + SLOT.size : at + SLOT.size + size])
        verdict: Optional[bool] = self._decide(found) if state & 0xFF == WAITING else None
        if verdict is not None:
            struct.pack_into("=Q", self._slots, at, (state & ~0xFF) | (ALLOWED if verdict else REFUSED))
        self.stops.append(found)
        self._reply(unique, errno.EIO)

    def close(self) -> None:
        os.kill(self.process_id, signal.SIGKILL)
        os.waitpid(self.process_id, 0)
        os.write(self._woken, b"x")
        self._thread.join(5)
        for descriptor in (self._fuse, self._mount, self._wake, self._woken):
            os.close(descriptor)
        self._slots.close()
