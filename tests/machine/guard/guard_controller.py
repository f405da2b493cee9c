"""Is a controller for the guard's tests: python3 guard_controller.py OPTIONS (JSON), commands by its input.

It tells what happens by lines of JSON. Options: place (file system to mark), parent (process whose children
wait in the gate), altitude, timeout_ms, silence_ms, deadline_ms (of what it reads), reads (how many it reads;
the rest stays unread), answers (it answers what it reads, after delay_ms), refuses_late, beats."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import raw_guard

EXEMPT, HOLD_THREAD_CREATION = 0x20000, 8 << 8


def tell(**facts: Any) -> None:
    os.write(1, (json.dumps(facts) + "\n").encode())


class Serving:
    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options
        self.guard = raw_guard.RawGuard(Path(options["native"]), root=Path(options["root"]))
        self.held: list[int] = []
        self.slots: list[int] = []
        self.reading, self.left = True, 0
        self.guard.limits(timeout_ms=options.get("timeout_ms", 0), silence_ms=options.get("silence_ms", 0))
        # Nobody is held but the children of the given parent.
        self.guard.settings[24:28] = EXEMPT.to_bytes(4, sys.byteorder)
        children = Path(f"/proc/{self.guard.pid}/task/{self.guard.pid}/children").read_text().split()
        tell(guard=self.guard.pid, second=int(children[0]), abilities=self.guard.abilities)

    def hold(self) -> None:
        if "altitude" in self.options:
            self.guard.request(raw_guard.ALTITUDE, self.options["altitude"])
        if "parent" in self.options:
            self.guard.request(raw_guard.PROGRAMS, raw_guard.PROCESSES | raw_guard.GATE)
            self.guard.set_mask(self.options["parent"], 0, HOLD_THREAD_CREATION)
        elif self.options.get("everything"):
            assert os.environ["CBPROCESS_TEST_GUEST"] == "1"
            self.guard.marks(raw_guard.EVERYTHING)
        else:
            self.guard.marks(raw_guard.FILESYSTEMS, Path(self.options["place"]))
        tell(holds=True)

    def beat(self) -> None:
        while True:
            self.guard.beat()
            time.sleep(0.05)

    def deadline(self) -> int:
        after_ms = self.options.get("deadline_ms", 0)
        return raw_guard.now_ns() + after_ms * 1_000_000 if after_ms else 0

    def read_once(self) -> bool:
        if "parent" in self.options:
            found = self.guard.read_gate()
            if found is None:
                return False
            slot = found[0]
            self.slots.append(slot)
            place = slot * raw_guard.SLOT_SIZE
            refuses = int(self.options.get("refuses_late", False))
            self.guard.slots[place + 36 : place + 40] = refuses.to_bytes(4, sys.byteorder)
            self.guard.slots[place + 24 : place + 32] = self.deadline().to_bytes(8, sys.byteorder)
            tell(slot=slot, pid=self.guard.slot_pid(slot), at=time.monotonic_ns())
            return True
        index = self.guard.read_file(self.deadline(), refuses=self.options.get("refuses_late", False))
        if index is None:
            return False
        self.held.append(index)
        tell(file=index, at=time.monotonic_ns())
        return True

    def answer(self) -> None:
        time.sleep(self.options.get("delay_ms", 0) / 1000)
        response = raw_guard.FAN_DENY if self.options.get("denies") else raw_guard.FAN_ALLOW
        for index in self.held:
            tell(in_time=self.guard.answer_file(index, response))
        verdict = raw_guard.REFUSED if self.options.get("denies") else raw_guard.ALLOWED
        for slot in self.slots:
            self.guard.answer_gate(slot, verdict)
        self.held.clear()
        self.slots.clear()

    def serve(self) -> None:
        self.left = self.options.get("reads", 1 << 30)
        while True:
            if self.left <= 0 or not self.reading:
                time.sleep(0.01)
                continue
            is_ready = self.guard.wait_for_gate if "parent" in self.options else self.guard.wait_for_file
            if not is_ready(0.1) or not self.reading:
                continue
            try:
                while self.left > 0 and self.read_once():
                    self.left -= 1
                    if self.options.get("answers"):
                        self.answer()
            except OSError as error:
                tell(error=errno.errorcode[error.errno or 0])
                return

    def exhaust(self) -> None:
        """Takes every descriptor, as a program that leaks does, and asks the guard to read."""
        self.reading = False
        time.sleep(0.15)
        try:
            while True:
                os.dup(0)
        except OSError:
            self.guard.shared[32:36] = (1).to_bytes(4, sys.byteorder)
        tell(exhausted=True)

    def fork(self) -> None:
        """By the bare system call: no handler of a fork closes anything in the child."""
        pid = ctypes.CDLL(None).syscall(
            57 if os.uname().machine == "x86_64" else 220, signal.SIGCHLD, 0, 0, 0, 0
        )
        if pid == 0:
            time.sleep(60)
            os._exit(0)
        tell(child=pid)


def main() -> None:
    serving = Serving(json.loads(sys.argv[1]))
    threading.Thread(target=serving.beat, daemon=True).start()
    serving.hold()
    threading.Thread(target=serving.serve, daemon=True).start()
    for line in sys.stdin:
        command, *rest = line.split()
        if command == "answer":
            serving.answer()
            tell(answered=True)
        elif command == "reads":
            serving.left = int(rest[0])
            tell(reads=True)
        elif command == "left":
            tell(left=serving.left)
        elif command == "counts":
            tell(counts=serving.guard.counts)
        elif command == "unmark":
            serving.guard.marks(raw_guard.NONE)
            tell(unmarked=True)
        elif command == "exhaust":
            serving.exhaust()
        elif command == "fork":
            serving.fork()
        elif command == "altitude":
            serving.guard.request(raw_guard.ALTITUDE, int(rest[0]))
            tell(altitude=True)
        elif command == "close":
            serving.reading = False
            time.sleep(0.15)
            serving.guard.close()
            tell(closed=True)


main()
