"""What `cbprocess attach` waits for, by descriptors: the ends of processes and the signals that ask for the
end. And what runs before it attaches."""

from __future__ import annotations

import contextlib
import os
import select
import signal

from .orphans import LOOK_S, bury_orphans
from .output import complain
from .pidfd import open_process
from .signals import FirstSignal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from typing_extensions import Self

    from ..process import CBProcess


def wait(process: CBProcess, ends: Ends, interrupt: Interrupt) -> int:
    """Waits until all processes have ended or a signal comes; the exit status that this makes."""
    poller = select.poll()
    poller.register(interrupt.descriptor, select.POLLIN)
    pending = set(ends.descriptors)
    for descriptor in pending:
        poller.register(descriptor, select.POLLIN)
    while pending and interrupt.number is None:
        for descriptor, _ in poller.poll(LOOK_S * 1000):
            if descriptor in pending:
                pending.discard(descriptor)
                poller.unregister(descriptor)
        bury_orphans()
        # It is looked as well whether the filter still runs.
        if not process.active:
            return complain("the filter has stopped")
    return interrupt.status


class Ends:
    """Descriptors that become readable when the processes end. A LookupError says which there is not."""

    def __init__(self, process_ids: Collection[int]) -> None:
        self.descriptors: list[int] = []
        for process_id in process_ids:
            try:
                self.descriptors.append(open_process(process_id))
            except OSError as error:
                self.__exit__()
                raise LookupError(f"process {process_id}: {error.strerror}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        while self.descriptors:
            os.close(self.descriptors.pop())


class Interrupt(FirstSignal):
    """The first of the signals that ask for the end, as a descriptor that becomes readable."""

    def __init__(self) -> None:
        super().__init__((signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
        self.descriptor = -1
        self._wake_up = -1
        self._previous_wake_up = -1

    def __enter__(self) -> Self:
        self.descriptor, self._wake_up = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._previous_wake_up = signal.set_wakeup_fd(self._wake_up, warn_on_full_buffer=False)
        return super().__enter__()

    def __exit__(self, *exception: object) -> None:
        super().__exit__(*exception)
        signal.set_wakeup_fd(self._previous_wake_up)
        os.close(self.descriptor)
        os.close(self._wake_up)


def running_tree(process_ids: Collection[int], children: bool) -> Iterator[tuple[int, int, str, list[str]]]:
    """The processes and their descendants as they run now, parents first: id, parent's id, program,
    arguments."""
    offspring: dict[int, list[int]] = {}
    parents: dict[int, int] = {}
    for entry in os.listdir("/proc"):
        parent = _parent_of(int(entry)) if entry.isdigit() else None
        if parent is not None:
            parents[int(entry)] = parent
            offspring.setdefault(parent, []).append(int(entry))
    pending = list(process_ids)
    seen: set[int] = set()
    while pending:
        process_id = pending.pop(0)
        if process_id in seen or process_id == os.getpid() or process_id not in parents:
            continue
        seen.add(process_id)
        yield process_id, parents[process_id], *_program_of(process_id)
        if children:
            pending += sorted(offspring.get(process_id, ()))


def _parent_of(process_id: int) -> int | None:
    with contextlib.suppress(OSError), open(f"/proc/{process_id}/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[1])
    return None


def _executable_of(process_id: int) -> tuple[str, str]:
    """A process's program, and the folder of /proc that tells of it: where the first thread has ended, that
    of one that lives."""
    folder = f"/proc/{process_id}"
    try:
        return os.readlink(f"{folder}/exe"), folder
    except FileNotFoundError:
        for thread in os.listdir(f"{folder}/task"):
            with contextlib.suppress(OSError):
                return os.readlink(f"{folder}/task/{thread}/exe"), f"{folder}/task/{thread}"
        raise


def _program_of(process_id: int) -> tuple[str, list[str]]:
    program, arguments = "", b""
    with contextlib.suppress(OSError):
        program, folder = _executable_of(process_id)
        with open(f"{folder}/cmdline", "rb") as file:
            arguments = file.read()
    return program, [os.fsdecode(word) for word in arguments.split(b"\0")[:-1]]
