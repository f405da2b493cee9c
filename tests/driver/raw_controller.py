"""A controller that speaks to the helper without the core: bytes by hand, from the protocol's text.

For tests of the boundary itself: malformed requests, lying answers, silent controllers. Linux only.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import signal
import socket
import struct
import subprocess
import time
from pathlib import Path
from typing import Any, Optional

from driver.rule_blocks import ALLOW, ASK, DENY, IGNORE, STRIP, rules_for_all

__all__ = ["ALLOW", "ASK", "DENY", "IGNORE", "STRIP", "RawController", "rules_for_all"]

MAGIC, VERSION = 0x50424331, 3
HELLO, REPLY, SESSION, SESSION_CLOSE, RULES, LAUNCH_FORGET, LAUNCH = 1, 2, 3, 4, 5, 6, 7
MAIN, REST = 0, 1
LAUNCH_RESULT, LAUNCH_TARGET, EVENT, PROCESS_QUERY = 10, 11, 12, 13
SESSION_MAX, RING = 16, 4096
SMALL_COUNT, SMALL_SIZE, LARGE_COUNT, LARGE_SIZE = 2048, 8192, 8, 6 * 1024 * 1024 + 65536
FAILED_EXECUTION_MAX = 1024
SESSION_SIZE = 192 + 4 * RING + 16 * FAILED_EXECUTION_MAX
CHANNEL_HEADER = 128
SLOTS = (CHANNEL_HEADER + SESSION_MAX * SESSION_SIZE + 4095) & ~4095
SIZE = SLOTS + SMALL_COUNT * SMALL_SIZE + LARGE_COUNT * LARGE_SIZE
ANSWERS, ANSWER_BELL = 64, 68
OPEN, ANSWERED, EXPIRED = 0, 1, 2


def header(size: int, kind: int, ident: int = 1) -> bytes:
    return struct.pack("=IIQQ", size, kind, ident, 0)


def message(kind: int, body: bytes, ident: int = 1) -> bytes:
    return header(24 + len(body), kind, ident) + body


class RawController:
    """Owns one helper and its channel; close() lets go of both."""

    def __init__(self, native: Path) -> None:
        self.native = native
        self.memfd = os.memfd_create("channel", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.memfd, SIZE)
        fcntl.fcntl(
            self.memfd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        )
        self.memory = mmap.mmap(self.memfd, SIZE)
        self.memory[0:16] = struct.pack("=IIQ", MAGIC, VERSION, SIZE)
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.control.settimeout(10)
        self.pidfd = os.pidfd_open(os.getpid())
        high = [
            fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 100) for fd in (self.memfd, theirs.fileno(), self.pidfd)
        ]
        actions = [(os.POSIX_SPAWN_DUP2, fd, place) for fd, place in zip(high, (3, 4, 5))]
        program = str(native / "cbprocess-ptrace")
        self.pid = os.posix_spawn(program, ["cbprocess-ptrace"], dict(os.environ), file_actions=actions)
        for fd in high:
            os.close(fd)
        theirs.close()
        self.beat()

    # -- requests

    def request(self, data: bytes, fds: tuple[int, ...] = ()) -> int:
        socket.send_fds(self.control, [data], list(fds)) if fds else self.control.send(data)
        answer = self.control.recv(4096)
        size, kind, _ident, _deadline, status = struct.unpack_from("=IIQQI", answer)
        assert (size, kind) == (48, REPLY) and len(answer) == 48
        return int(status)

    def hello(self, magic: int = MAGIC, version: int = VERSION) -> int:
        return self.request(
            message(HELLO, struct.pack("=IIQII", magic, version, time.monotonic_ns(), os.getpid(), 0))
        )

    def open_session(
        self,
        session: int = 0,
        events: int = 0x1B,
        timeout_ms: int = 0,
        refuse_with: int = 1,
        timeout_action: int = 0,
        flags: int = 0,
    ) -> int:
        return self.request(
            message(
                SESSION,
                struct.pack("=6IQ", session, events, timeout_ms, timeout_action, refuse_with, flags, 0),
            )
        )

    def set_rules(self, block: bytes, **fields: Any) -> int:
        """Sends rules in a memory file of their own; the fields are those of rules_message()."""
        memory = os.memfd_create("rules", os.MFD_CLOEXEC)
        try:
            os.write(memory, block)
            return self.request(self.rules_message(block, **fields), (memory,))
        finally:
            os.close(memory)

    @staticmethod
    def rules_message(
        block: bytes,
        session: int = 0,
        part: int = MAIN,
        attach: int = 0,
        gone: int = 0,
        size: Optional[int] = None,
        ident: int = 1,
    ) -> bytes:
        told = len(block) if size is None else size
        return message(RULES, struct.pack("=4IQQ", session, part, attach, gone, told, 0), ident)

    def launch(
        self, argv: list[str], path: Optional[str] = None, rule: int = 1000, **options: Any
    ) -> tuple[subprocess.Popen[bytes], socket.socket]:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        result, their_result = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        result.settimeout(10)
        argument, paths = os.fsencode(argv[0]) + b"\0", os.fsencode(path or argv[0]) + b"\0"
        target = message(
            LAUNCH_TARGET,
            struct.pack("=6I", self.pid, 0, 48, len(argument), 48 + len(argument), len(paths))
            + argument
            + paths,
        )
        ours.send(target)
        status = self.request(
            message(LAUNCH, struct.pack("=4I", 0, rule, 0, 0)), (ours.fileno(), their_result.fileno())
        )
        assert status == 0
        child = subprocess.Popen(
            [f"cbprocess-launch {theirs.fileno()}", *argv[1:]],
            executable=self.native / "cbprocess-launch",
            pass_fds=(theirs.fileno(),),
            **options,
        )
        for end in (ours, theirs, their_result):
            end.close()
        return child, result

    # -- the channel

    def beat(self, session: int = 0) -> None:
        struct.pack_into("=Q", self.memory, self._session(session) + 128, time.monotonic_ns())

    def _session(self, session: int) -> int:
        return CHANNEL_HEADER + session * SESSION_SIZE

    def word(self, offset: int) -> int:
        return int(struct.unpack_from("=I", self.memory, offset)[0])

    def slot(self, number: int) -> int:
        small = min(number, SMALL_COUNT)
        return SLOTS + small * SMALL_SIZE + (number - small) * LARGE_SIZE

    def take(self, session: int = 0, timeout: float = 5.0) -> Optional[tuple[int, dict[str, Any]]]:
        """The next message of a session, as (slot, fields), or None after the timeout."""
        end = time.monotonic() + timeout
        base = self._session(session)
        while self.word(base) == self.word(base + 64):
            self.beat(session)
            if time.monotonic() > end:
                return None
            time.sleep(0.0005)
        head = self.word(base + 64)
        number = self.word(base + 192 + 4 * (head % RING))
        struct.pack_into("=I", self.memory, base + 64, head + 1)
        return number, self.decode(self.slot(number) + 64)

    def decode(self, at: int) -> dict[str, Any]:
        names = [
            "size",
            "type",
            "id",
            "deadline",
            "sequence",
            "time",
            "start",
            "session",
            "count",
            "pid",
            "tid",
            "parent",
            "creator",
            "creator_tid",
            "source",
            "target",
            "access",
            "user",
            "exit_status",
            "caps",
            "reserved",
            "name_at",
            "name_size",
            "image_at",
            "image_size",
            "args_at",
            "args_size",
        ]
        fields: dict[str, Any] = dict(zip(names, struct.unpack_from("=IIQQQQQ" + "20I", self.memory, at)))
        for text in ("name", "image", "args"):
            start = at + fields[text + "_at"]
            fields[text] = bytes(self.memory[start : start + fields[text + "_size"]])
        items = [struct.unpack_from("=4I", self.memory, at + 128 + 16 * i) for i in range(fields["count"])]
        fields["types"] = [item[0] for item in items]
        fields["flags"] = [item[1] for item in items]
        return fields

    def give_back(self, number: int) -> None:
        """Pushes a slot on the answer list, whatever its decision.

        Python has no compare-and-swap: so it waits for an empty list, which only this process can change.
        """
        while self.word(ANSWERS) != 0:
            self.ring()
            time.sleep(0.0001)
        struct.pack_into("=I", self.memory, self.slot(number) + 4, 0)
        struct.pack_into("=I", self.memory, ANSWERS, number + 1)
        self.ring()

    def ring(self) -> None:
        struct.pack_into("=I", self.memory, ANSWER_BELL, (self.word(ANSWER_BELL) + 1) & 0xFFFFFFFF)
        _futex_wake(self.memory, ANSWER_BELL)

    def answer(self, number: int, codes: tuple[int, ...] = ()) -> None:
        at = self.slot(number)
        for i, code in enumerate(codes):
            struct.pack_into("=I", self.memory, at + 64 + 128 + 16 * i + 8, code)
        if self.word(at) == OPEN:
            struct.pack_into("=I", self.memory, at, ANSWERED)
        self.give_back(number)

    def answer_all(self, child: subprocess.Popen[bytes], quiet: float = 0.3) -> list[dict[str, Any]]:
        """Answers until the child has ended and nothing has come for a while."""
        seen = []
        while True:
            taken = self.take(timeout=quiet)
            if taken is not None:
                seen.append(taken[1])
                self.answer(taken[0])
            elif child.poll() is not None:
                return seen

    def close(self) -> int:
        """Leaves; gives the helper's wait status."""
        self.control.close()
        end = time.monotonic() + 10
        while time.monotonic() < end:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                break
            time.sleep(0.01)
        else:
            os.kill(self.pid, signal.SIGKILL)
            _pid, status = os.waitpid(self.pid, 0)
        self.memory.close()
        os.close(self.memfd)
        os.close(self.pidfd)
        return status


def _futex_wake(memory: mmap.mmap, offset: int) -> None:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    word = ctypes.c_uint32.from_buffer(memory, offset)
    number = 202 if os.uname().machine == "x86_64" else 98
    libc.syscall(number, ctypes.byref(word), 1, 1, None, None, 0)
    del word
