"""A controller that speaks to cbprocess-guard without the core: bytes by hand, from cbp_machine.h's text.

For tests of the guard itself: controllers that die, stop, answer late or not at all, or have no descriptors
left. It holds only what it is told to: files on a tmpfs of the test's own, tasks by their masks."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import select
import socket
import struct
import time
from pathlib import Path
from typing import Optional

HELLO, PROGRAMS, MARKS, ALTITUDE, CLOSE, TASKS = 1, 2, 3, 4, 5, 6
PROCESSES, HANDLES, GATE = 1, 2, 4
NONE, FILES, FILESYSTEMS, EVERYTHING = 0, 1, 2, 3
VERSION, MAGIC = 1, 0x6D504243
NAMES = ("shared", "records", "tasks", "decided", "settings", "slots", "gate", "upper", "lower", "iterator")
DESCRIPTOR_COUNT = 12
CAN_OBSERVE, CAN_GATE, CAN_HOLD_FILES = 1, 8, 16

HELD, HELD_SIZE, HELD_COUNT = 64, 24, 4096
FREE, OPEN, ANSWERED, EXPIRED, EXPIRING = range(5)
SLOT_SIZE, SLOT_COUNT = 4096, 512
WAITING, ALLOWED, REFUSED = 1, 2, 3
FAN_ALLOW, FAN_DENY, EVENT_SIZE = 1, 2, 24
FUSE_READ, FUSE_INTERRUPT = 15, 36
SETTINGS_SIZE = 136
MASK_THREAD_CREATION_HOLD = 0

_libc = ctypes.CDLL(None, use_errno=True)


class GuardError(Exception):
    def __init__(self, code: int, sentence: str) -> None:
        super().__init__(f"{code}: {sentence}")
        self.code, self.sentence = code, sentence


def now_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


class RawGuard:
    """Owns one guard. Everything about held files that the core does is here in its simplest form."""

    def __init__(self, native: Path, *, root: Optional[Path] = None, hello: bool = True) -> None:
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(60)
        own = os.pidfd_open(os.getpid())
        high = [os.dup(fd) for fd in (theirs.fileno(), own)]
        actions = [(os.POSIX_SPAWN_DUP2, fd, place) for fd, place in zip(high, (3, 4))]
        environment = {"CBPROCESS_TEST_ROOT": str(root)} if root else {}
        program = str(native / "cbprocess-guard")
        self.pid = os.posix_spawn(program, [program], environment, file_actions=actions)
        for fd in (*high, own):
            os.close(fd)
        theirs.close()
        self.process = os.pidfd_open(self.pid)
        self.abilities = 0
        if hello:
            self.hello()

    # -- requests

    def request(self, kind: int, value: int = 0, text: bytes = b"", count: int = 0) -> list[int]:
        self.socket.send(struct.pack("=IIQII", kind, VERSION, value, len(text), 0) + text)
        return self.reply(count)

    def reply(self, count: int = 0) -> list[int]:
        data, fds, _flags, _peer = socket.recv_fds(self.socket, 8192, count)
        if len(data) < 16:
            raise GuardError(109, "the guard has ended")
        status, self.abilities, _size, given = struct.unpack_from("=IIII", data)
        if status != 0:
            raise GuardError(status, data[16:].decode())
        assert given == len(fds) == count
        return fds

    def hello(self) -> None:
        self.fds = self.request(HELLO, self.socket.fileno(), count=DESCRIPTOR_COUNT)
        self.fd = dict(zip(NAMES, self.fds))
        self.shared = mmap.mmap(self.fd["shared"], HELD + HELD_COUNT * HELD_SIZE)
        assert struct.unpack_from("=II", self.shared) == (MAGIC, VERSION)
        self.settings = mmap.mmap(self.fd["settings"], mmap.PAGESIZE)
        self.slots = mmap.mmap(self.fd["slots"], SLOT_SIZE * SLOT_COUNT)
        self.beat()

    def limits(self, *, timeout_ms: int = 0, silence_ms: int = 0) -> None:
        struct.pack_into("=II", self.shared, 16, timeout_ms, silence_ms)

    def beat(self) -> None:
        struct.pack_into("=Q", self.shared, 8, now_ns())

    def marks(self, which: int, *paths: Path) -> None:
        self.request(MARKS, which, b"".join(os.fsencode(path) + b"\0" for path in paths))

    def close(self) -> None:
        with contextlib.suppress(OSError, GuardError):
            self.request(CLOSE)
        self.socket.close()
        for fd in self.fds:
            os.close(fd)
        os.waitpid(self.pid, 0)
        os.close(self.process)

    # -- held files

    def wait_for_file(self, timeout_s: float = 10) -> bool:
        poll = select.poll()
        poll.register(self.fd["upper"], select.POLLIN)
        poll.register(self.fd["lower"], select.POLLIN)
        return bool(poll.poll(timeout_s * 1000))

    def read_file(self, deadline_ns: int = 0, *, refuses: bool = False) -> Optional[int]:
        """Index of the held file, or None."""
        for group, name in enumerate(("upper", "lower")):
            try:
                event = os.read(self.fd[name], EVENT_SIZE)
            except BlockingIOError:
                continue
            fd = struct.unpack_from("=IBBHQii", event)[5]
            index = next(i for i in range(HELD_COUNT) if self.held_state(i) == FREE)
            place = HELD + index * HELD_SIZE
            struct.pack_into("=iQII", self.shared, place + 4, fd, deadline_ns, group, refuses)
            struct.pack_into("=I", self.shared, place, OPEN)
            count = struct.unpack_from("=Q", self.shared, 24)[0]
            struct.pack_into("=Q", self.shared, 24, count + 1)
            return index
        return None

    def held_state(self, index: int) -> int:
        return int(struct.unpack_from("=I", self.shared, HELD + index * HELD_SIZE)[0])

    def answer_file(self, index: int, response: int = FAN_ALLOW) -> bool:
        """False: the guard has answered."""
        place = HELD + index * HELD_SIZE
        fd, _deadline, group = struct.unpack_from("=iQI", self.shared, place + 4)
        in_time = self.held_state(index) == OPEN
        if in_time:
            struct.pack_into("=I", self.shared, place, ANSWERED)
            os.write(self.fd[("upper", "lower")[group]], struct.pack("=iI", fd, response))
        struct.pack_into("=I", self.shared, place, FREE)
        os.close(fd)
        return in_time

    @property
    def counts(self) -> dict[str, int]:
        names = ("timed_out", "let_go", "marks_lost")
        return dict(zip(names, struct.unpack_from("=QQQ", self.shared, 40)))

    # -- the gate

    def set_mask(self, pid: int, mask: int, child_mask: int = 0) -> None:
        """Creates or replaces the process's entry in the table of tasks."""
        update_map(self.fd["tasks"], struct.pack("=I", pid), task_entry(mask, child_mask))

    def read_gate(self) -> Optional[tuple[int, int]]:
        """(slot, state) of a task that waits."""
        while True:
            try:
                request = os.read(self.fd["gate"], 16384)
            except BlockingIOError:
                return None
            except OSError as error:
                if error.errno == errno.ENOENT:
                    continue
                raise
            _size, opcode, unique = struct.unpack_from("=IIQ", request)
            if opcode == FUSE_INTERRUPT:
                continue
            assert opcode == FUSE_READ, opcode
            slot = struct.unpack_from("=QQ", request, 40)[1] // SLOT_SIZE
            struct.pack_into("=Q", self.slots, slot * SLOT_SIZE + 16, unique)
            return slot, self.slot_state(slot)

    def slot_state(self, slot: int) -> int:
        return int(struct.unpack_from("=Q", self.slots, slot * SLOT_SIZE)[0])

    def wait_for_gate(self, timeout_s: float = 10) -> bool:
        poll = select.poll()
        poll.register(self.fd["gate"], select.POLLIN)
        return bool(poll.poll(timeout_s * 1000))

    def answer_gate(self, slot: int, verdict: int = ALLOWED) -> bool:
        """False: the guard has answered."""
        state = self.slot_state(slot)
        unique = struct.unpack_from("=Q", self.slots, slot * SLOT_SIZE + 16)[0]
        if state & 255 != WAITING:
            return False
        struct.pack_into("=Q", self.slots, slot * SLOT_SIZE, (state & ~255) | verdict)
        with contextlib.suppress(FileNotFoundError):
            os.write(self.fd["gate"], struct.pack("=IiQ", 16, -errno.EIO, unique))
        return True

    def slot_pid(self, slot: int) -> int:
        """The process of the record in the slot's body."""
        return int(struct.unpack_from("=I", self.slots, slot * SLOT_SIZE + 40 + 8)[0])


def task_entry(mask: int, child_mask: int) -> bytes:
    entry = struct.pack("=II", mask, child_mask)
    return entry + bytes(48 - len(entry))


def update_map(fd: int, key: bytes, value: bytes) -> None:
    """bpf(BPF_MAP_UPDATE_ELEM)"""
    numbers = {"x86_64": 321, "aarch64": 280}
    key_room = ctypes.create_string_buffer(key, len(key))
    value_room = ctypes.create_string_buffer(value, len(value))
    attribute = struct.pack(
        "=IIQQQ", fd, 0, ctypes.addressof(key_room), ctypes.addressof(value_room), 0
    ).ljust(128, b"\0")
    room = ctypes.create_string_buffer(attribute, len(attribute))
    if _libc.syscall(numbers[os.uname().machine], 2, room, len(attribute)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
