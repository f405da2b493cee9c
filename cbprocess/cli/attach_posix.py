"""What `cbprocess attach` waits for, by descriptors: the ends of processes and the signals that ask for the
end. And what runs before it attaches."""

from __future__ import annotations

import contextlib
import os
import select
import signal

from .printer import complain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from typing import Any

    from typing_extensions import Self

    from ..process import CBProcess

SIGNAL_BASE = 128
# How often it is looked whether the filter still runs.
LOOK_MS = 500


def wait(process: CBProcess, ends: Ends, interrupt: Interrupt) -> int:
    """Waits until all processes have ended or a signal comes; the exit status that this makes."""
    poller = select.poll()
    poller.register(interrupt.descriptor, select.POLLIN)
    pending = set(ends.descriptors)
    for descriptor in pending:
        poller.register(descriptor, select.POLLIN)
    while pending and interrupt.number is None:
        for descriptor, _ in poller.poll(LOOK_MS):
            if descriptor in pending:
                pending.discard(descriptor)
                poller.unregister(descriptor)
        if not process.active:
            return complain("the filter has stopped")
    return 0 if interrupt.number is None else SIGNAL_BASE + interrupt.number


class Ends:
    """Descriptors that become readable when the processes end. A LookupError says which there is not."""

    def __init__(self, process_ids: Collection[int]) -> None:
        self.descriptors: list[int] = []
        for process_id in process_ids:
            try:
                self.descriptors.append(os.pidfd_open(process_id))
            except OSError as error:
                self.__exit__()
                raise LookupError(f"process {process_id}: {error.strerror}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        while self.descriptors:
            os.close(self.descriptors.pop())


class Interrupt:
    """The first of the signals that ask for the end, as a descriptor that becomes readable. The next one ends
    this process at once. What was ignored stays ignored."""

    SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self.number: int | None = None
        self.descriptor = -1
        self._wake_up = -1
        self._previous: dict[signal.Signals, Any] = {}
        self._previous_wake_up = -1

    def __enter__(self) -> Self:
        self.descriptor, self._wake_up = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._previous_wake_up = signal.set_wakeup_fd(self._wake_up, warn_on_full_buffer=False)
        for number in self.SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._previous_wake_up)
        os.close(self.descriptor)
        os.close(self._wake_up)

    def _handle(self, number: int, frame: object) -> None:
        self.number = number
        for other in self._previous:
            signal.signal(other, signal.SIG_DFL)


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


def _program_of(process_id: int) -> tuple[str, list[str]]:
    program, arguments = "", b""
    with contextlib.suppress(OSError):
        program = os.readlink(f"/proc/{process_id}/exe")
        with open(f"/proc/{process_id}/cmdline", "rb") as file:
            arguments = file.read()
    return program, [os.fsdecode(word) for word in arguments.split(b"\0")[:-1]]
