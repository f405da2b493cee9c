"""What the bpf driver's tests share: filters of the whole machine that hold descendants only, and what a
guard has attached, as the kernel shows it. Knows the public surface of the package, and /proc."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable, NamedTuple

from live_tools import GUID, LIFETIMES, Recorder, is_alive, tasks, wait_until
from machine import own_place

import cbprocess

GUARD = "cbprocess-guard"
SYS_BPF = {"x86_64": 321, "aarch64": 280}
PROGRAM_BY_ID, LINK_BY_ID = 13, 30  # the commands that give descriptors
FANOTIFY, GATE = "RefuseWith=errno", "RefuseWith=kill"


def has_gate() -> bool:
    return bool(cbprocess.probe_driver("bpf").capabilities & cbprocess.CAP_HOLD_PROCESS_TERMINATION)


def ways() -> list[str]:
    """The two by which executions can be held here."""
    return [FANOTIFY, GATE] if has_gate() else [FANOTIFY]


@contextlib.contextmanager
def watching(
    *settings: str,
    events: int = LIFETIMES,
    timeout_ms: int = 0,
    everything: bool = True,
    decide: Callable[[str, Any], None] = lambda kind, event: None,
) -> Iterator[Recorder]:
    """A started recorder of this process's descendants; stopped at the end, whatever happens."""
    own_place.install(GUID)
    recorder = Recorder()
    for setting in ("Driver=bpf", f"HoldPaths={own_place.own_place()}", f"EventsToFire={events}", *settings):
        recorder.filter.config(setting)
    recorder.decide = decide
    if everything:
        recorder.filter.add_filtered_process_by_id(-1, True)
    recorder.filter.start_filter(timeout_ms)
    try:
        yield recorder
    finally:
        recorder.filter.stop_filter()


def run(command: list[Any], **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60, **options)


def through_shell(*line: Any) -> list[str]:
    """What a filter holds: what the controller itself starts is never held."""
    return ["/bin/sh", "-c", '"$@"; exit $?', "sh", *map(str, line)]


def observing(*settings: str, events: int = LIFETIMES) -> Any:
    """A filter that holds nobody: a rule allows everything."""
    return watching(*settings, events=events, everything=False)


def in_shell(*commands: str) -> subprocess.CompletedProcess[str]:
    """Runs commands in a child that is not the controller, whose own requests fire nothing."""
    return run(["/bin/sh", "-c", "; ".join([*commands, "true"])])


def ids_of(recorder: Recorder, argument: str) -> list[int]:
    return [row["process_id"] for row in recorder.of("process_creation") if argument in row["arguments"][1:]]


def wait_for_ends(recorder: Recorder, argument: str, count: int) -> list[int]:
    def ended() -> bool:
        ids = set(ids_of(recorder, argument))
        ends = {row["process_id"] for row in recorder.of("process_termination")}
        return len(ids) == count and ids <= ends

    wait_until(ended, 60, f"{count} processes have been told to their ends")
    return ids_of(recorder, argument)


def guards_of(controller: int) -> list[int]:
    """The guard of that controller, which has a pidfd of it, and the processes that it has started."""
    parents = {task.process_id: task.parent for task in tasks() if task.name == GUARD[:15]}
    watching = [number for number in parents if f"Pid:\t{controller}" in _words([number])]
    # What the guard has started has the descriptor, too.
    return sorted(watching, key=lambda number: parents[number] in watching)


class Attached(NamedTuple):
    """What a process has of the kernel: the descriptors' own words about themselves."""

    processes: list[int]
    marks: list[str]
    links: list[int]
    programs: list[int]
    mounts: list[str]  # of the gate

    def left(self) -> list[str]:
        """What of it is still there."""
        alive = [f"process {number}" for number in self.processes if is_alive(number)]
        links = [f"link {number}" for number in self.links if _has_bpf(LINK_BY_ID, number)]
        programs = [f"program {number}" for number in self.programs if _has_bpf(PROGRAM_BY_ID, number)]
        here = Path("/proc/self/mountinfo").read_text()
        return alive + links + programs + [mount for mount in self.mounts if mount in here]


def _has_bpf(command: int, number: int) -> bool:
    """Whether the kernel still gives a descriptor for that id."""
    libc = ctypes.CDLL(None, use_errno=True)
    attributes = (ctypes.c_uint32 * 32)(number)
    descriptor = libc.syscall(SYS_BPF[platform.machine()], command, attributes, ctypes.sizeof(attributes))
    if descriptor < 0:
        return False
    os.close(descriptor)
    return True


def _words(processes: list[int]) -> Iterator[str]:
    for process_id in processes:
        with contextlib.suppress(OSError):
            for path in Path(f"/proc/{process_id}/fdinfo").iterdir():
                with contextlib.suppress(OSError):
                    yield from path.read_text().splitlines()


def attached(controller: int) -> Attached:
    processes = guards_of(controller)
    lines = list(_words(processes))
    mounts = [
        line.split()[2]  # its device: no other mount has it
        for process_id in processes[:1]
        for line in Path(f"/proc/{process_id}/mountinfo").read_text().splitlines()
        if " - fuse " in line
    ]
    return Attached(
        processes,
        [line for line in lines if line.startswith("fanotify ") and " flags:" not in line],
        sorted({int(line.split()[1]) for line in lines if line.startswith("link_id:")}),
        sorted({int(line.split()[1]) for line in lines if line.startswith("prog_id:")}),
        mounts,
    )


def own_attached() -> Attached:
    return attached(os.getpid())
