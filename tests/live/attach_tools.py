"""What the tests of attaching share: programs that are running already and keep an account of what they do,
and looking at what attaching leaves behind. Knows the public Python surface only."""

from __future__ import annotations

import contextlib
import mmap
import statistics
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from live_tools import Programs, Recorder, recording, tasks, wait_until

import cbprocess

# struct account of tests/programs/churn.c
_PHASE_COUNT, _SAMPLE_MAX = 4, 16384
_PHASE, _MARKED, _LEAVE, _READY, _CREATED, _LISTED, _SAMPLE_COUNTS = range(7)
_SAMPLES = _SAMPLE_COUNTS + _PHASE_COUNT
_THREADS = _SAMPLES + _PHASE_COUNT * _SAMPLE_MAX
END_STATUS = 7


class Account:
    """The memory that a run of `churn` shares."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self.memory = mmap.mmap(file.fileno(), 0)

    def _get(self, index: int) -> int:
        return int(struct.unpack_from("=I", self.memory, index * 4)[0])

    def _set(self, index: int, value: int) -> None:
        struct.pack_into("=I", self.memory, index * 4, value)

    def book_under(self, phase: int) -> None:
        self._set(_PHASE, phase)

    def mark(self) -> None:
        self._set(_MARKED, 1)

    def leave(self) -> None:
        self._set(_LEAVE, 1)

    @property
    def ready(self) -> int:
        return self._get(_READY)

    @property
    def created(self) -> int:
        return self._get(_CREATED)

    def listed(self) -> list[int]:
        """The ids of the tasks that were made after the mark."""
        return list(struct.unpack_from(f"={self._get(_LISTED)}i", self.memory, _THREADS * 4))

    def sample_count(self, phase: int) -> int:
        return self._get(_SAMPLE_COUNTS + phase)

    def latency_ns(self, phase: int) -> float:
        """How long making a thread and waiting for its end takes: the lower decile, which other load on the
        machine hardly touches."""
        count = min(self.sample_count(phase), _SAMPLE_MAX)
        assert count >= 100, f"{count} samples only"
        offset = (_SAMPLES + phase * _SAMPLE_MAX) * 4
        samples = struct.unpack_from(f"={count}I", self.memory, offset)
        return statistics.quantiles(samples, n=10)[0]

    def assert_as_fast_as_in(self, phase: int) -> None:
        """From now on it is as fast as it was in that phase. Looks several times: the machine is shared."""
        before, found = self.latency_ns(phase), []
        for after in (2, 3):
            self.book_under(after)
            for _ in range(3):
                time.sleep(0.5)
                found.append(self.latency_ns(after))
                if found[-1] < before * 1.4:
                    return
        raise AssertionError(f"{before / 1e3:.0f} us before, then {[round(x / 1e3) for x in found]}")


class Running:
    """A run of `churn` that nobody supervises yet."""

    def __init__(self, program: str, folder: Path, *arguments: str, ready: int = 1) -> None:
        file = folder / "account"
        file.unlink(missing_ok=True)
        mode, *rest = arguments
        line = [program, mode, str(file), *rest]
        self.process = subprocess.Popen(line, stderr=subprocess.PIPE, text=True)
        wait_until(lambda: file.exists() and file.stat().st_size, 10, "the program's memory")
        self.account = Account(file)
        wait_until(lambda: self.account.ready >= ready, 20, "the program is up")

    @property
    def pid(self) -> int:
        return self.process.pid

    def end(self) -> int:
        """Lets it end: its status."""
        self.account.leave()
        errors = self.process.communicate(timeout=30)[1]
        assert errors == "", errors
        return self.process.returncode


@contextlib.contextmanager
def running(programs: Programs, folder: Path, *arguments: str, **options: Any) -> Iterator[Running]:
    found = Running(programs["churn"], folder, *arguments, **options)
    try:
        yield found
    finally:
        found.process.kill()
        found.process.communicate(timeout=20)


@contextlib.contextmanager
def attached(
    process_id: int, include_children: bool = True, **options: Any
) -> Iterator[tuple[Recorder, cbprocess.CBProcess]]:
    """A started recorder that has attached to a process."""
    with recording(**options) as recorder:
        recorder.filter.add_filtered_process_by_id(process_id, include_children)
        yield recorder, recorder.filter


def task_status(process_id: int) -> dict[int, tuple[str, int]]:
    """State letter and tracer of each thread of a process."""
    found: dict[int, tuple[str, int]] = {}
    with contextlib.suppress(OSError):
        for folder in Path(f"/proc/{process_id}/task").iterdir():
            with contextlib.suppress(OSError):
                fields = dict(
                    line.split(":", 1) for line in (folder / "status").read_text().splitlines() if ":" in line
                )
                found[int(folder.name)] = (fields["State"].split()[0], int(fields["TracerPid"]))
    return found


def tracers_of(process_id: int) -> set[int]:
    """Who traces its living threads, 0 for nobody."""
    return {tracer for state, tracer in task_status(process_id).values() if state not in "ZX"}


def descendants(process_id: int) -> list[int]:
    """The process and all that it has brought forth and that hang together with it."""
    parents = {task.process_id: task.parent for task in tasks()}
    found = [process_id]
    for number in found:
        found += [child for child, parent in parents.items() if parent == number]
    return found


def assert_let_go(*process_ids: int) -> None:
    """Soon nobody traces a thread of these processes any more, and none is left stopped."""

    def free() -> bool:
        states = [row for number in process_ids for row in task_status(number).values()]
        return all(tracer == 0 and state not in "tT" for state, tracer in states)

    wait_until(free, 10, f"{process_ids} are let go")


def makers_are_free(process_id: int) -> bool:
    """Whether nobody traces the threads of a process but its first one, which sleeps."""
    return all(tracer == 0 for number, (_, tracer) in task_status(process_id).items() if number != process_id)


def assert_makers_let_go(*process_ids: int) -> None:
    """The threads of `churn` that make threads stop by themselves for that, and are let go then. Its first
    one waits for them, and is let go with the filter."""
    wait_until(lambda: all(map(makers_are_free, process_ids)), 10, f"those of {process_ids} are let go")
