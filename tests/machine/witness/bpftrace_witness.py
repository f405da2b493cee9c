"""What bpftrace says of the whole machine: the independent observer of all processes.

Knows nothing of cbprocess. A line that is not understood is an error, and so are events that bpftrace lost.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from lives import Image, Life, Observed, printable

PROGRAM = Path(__file__).with_name("machine.bt")
CLONE_THREAD, PF_KTHREAD, SIGNAL_GROUP_EXIT = 0x10000, 0x200000, 4
STATUS_BITS = 0xFF7F  # without the one of a memory image
PAGES = 8192  # of the buffer of each processor
FIELDS = {b"F ": 5, b"N ": 3, b"E ": 4, b"X ": 6}  # after the first; the last may have spaces
ATTACH_LIMIT_S = 60


def obstacle() -> str:
    """Why there is no such witness here, or ""."""
    if os.geteuid() != 0:
        return "bpftrace needs root"
    if shutil.which("bpftrace") is None:
        return "bpftrace is not installed"
    return ""


class Witness:
    """A running bpftrace, which writes to a file."""

    def __init__(self, output: Path) -> None:
        self.output = output
        self._errors = output.with_suffix(".errors")
        # The mount is for bpftrace alone: nobody else sees it.
        text = 'mount -t tracefs none /sys/kernel/tracing; exec bpftrace -B line -o "$0" "$1"'
        sizes = {
            "BPFTRACE_STRLEN": "200",
            "BPFTRACE_PERF_RB_PAGES": str(PAGES),
            "BPFTRACE_LOG_SIZE": "10000000",
        }
        line = ["unshare", "-m", "sh", "-c", text, str(output), str(PROGRAM)]
        with self._errors.open("wb") as errors:
            self.process = subprocess.Popen(
                line, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, env={**os.environ, **sizes}
            )
        self._await_attached()

    def _await_attached(self) -> None:
        """Until all three kinds of records of one process have come."""
        end = time.monotonic() + ATTACH_LIMIT_S
        while time.monotonic() < end:
            done = subprocess.Popen(["true"])
            done.wait()
            time.sleep(0.1)
            text = self.output.read_text(errors="replace") if self.output.exists() else ""
            if all(re.search(rf"^{kind}", text, re.MULTILINE) for kind in "FEX") and f" {done.pid} " in text:
                return
            assert self.process.poll() is None, self._errors.read_text()
        raise AssertionError(f"bpftrace has attached nothing: {self._errors.read_text()}")

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(60)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)

    def observed(self) -> Observed:
        self.stop()
        said = self._errors.read_text(errors="replace")
        text = self.output.read_bytes()
        lost = [line for line in text.splitlines() if line.startswith(b"Lost ")]
        assert not lost and "Lost " not in said, f"bpftrace has lost events: {lost} {said}"
        return Observed("bpftrace", _lives(text))


@contextlib.contextmanager
def watching(output: Path) -> Iterator[Witness]:
    witness = Witness(output)
    try:
        yield witness
    finally:
        witness.stop()
        witness.end()


def _lines(text: bytes) -> Iterator[list[bytes]]:
    """The records in their order: those of different processors come mixed."""
    records = []
    for line in text.splitlines():
        kind = line[:2]
        if kind not in FIELDS:
            assert not line or line.startswith(b"Attaching"), f"not a record: {line[:200]!r}"
            continue
        records.append(line.split(b" ", FIELDS[kind]))
    return iter(sorted(records, key=lambda record: int(record[1])))


class _Reader:
    """Turns records into lives. What it is told of a process whose start it was not told makes one without a
    creator: bpftrace neither begins nor ends with all of its programs at once."""

    def __init__(self) -> None:
        self.lives: list[Life] = []
        self._latest: dict[int, Life] = {}
        self._living: dict[int, int] = {}  # threads of the latest life with this id
        self._codes: dict[int, int] = {}  # with which its first thread ended

    def _start(self, life: Life) -> Life:
        self._latest[life.process_id] = life
        self._living[life.process_id] = 1
        self._codes.pop(life.process_id, None)
        self.lives.append(life)
        return life

    def _life(self, process_id: int) -> Life:
        if self._living.get(process_id, 0) > 0:
            return self._latest[process_id]
        return self._start(Life(process_id))

    def forked(self, creator: int, made: int, clone_flags: int, task_flags: int) -> Life:
        if not clone_flags & CLONE_THREAD:
            return self._start(Life(made, creator, is_of_kernel=bool(task_flags & PF_KTHREAD)))
        life = self._life(creator)
        life.further_threads += 1
        self._living[creator] += 1
        return life

    def executed(self, process_id: int, image: Image) -> Life:
        life = self._life(process_id)
        life.images.append(image)
        return life

    def ended(self, process_id: int, thread: int, code: int, flags: int, group_code: int) -> Life:
        life = self._life(process_id)
        if thread == process_id:
            self._codes[process_id] = code
        self._living[process_id] -= 1
        status = group_code if flags & SIGNAL_GROUP_EXIT else self._codes.get(process_id)
        if self._living[process_id] == 0 and status is not None:
            life.end = os.waitstatus_to_exitcode(status & STATUS_BITS)
        return life


def _lives(text: bytes) -> list[Life]:
    reader = _Reader()
    paths: dict[bytes, bytes] = {}  # which a process executes now
    for place, (kind, _, number, *rest) in enumerate(_lines(text)):
        if kind == b"F":
            life = reader.forked(int(number), *map(int, rest))
        elif kind == b"N":
            paths[number] = rest[0]
            continue
        elif kind == b"E":
            path = printable(paths.pop(number, b""))
            life = reader.executed(int(number), Image(int(rest[0]), rest[1].decode("ascii"), path))
        else:
            life = reader.ended(int(number), *map(int, rest))
        life.add(place)
    return reader.lives
