"""The waits of `cbprocess attach`, by descriptors: for the ends of processes, and for signals that ask for
the end."""

from __future__ import annotations

import contextlib
import os
import select
import signal

from .children import LOOK_S, bury_orphans
from .output import complain
from .pidfd import open_process
from .signals import FirstSignal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from typing_extensions import Self

    from .._api.process import CBProcess


def wait(process: CBProcess, ends: Ends, interrupt: Interrupt) -> int:
    """Waits until all processes have ended or a signal comes. Gives the exit status of that."""
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
            else:
                # A signal need not be a wish to end.
                interrupt.drain()
        bury_orphans()
        # The filter may have stopped meanwhile.
        if not process.active:
            return complain("the filter has stopped")
    return interrupt.status


class Ends:
    """Descriptors that become readable when the processes end. A LookupError names a process that is not
    there."""

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

    def drain(self) -> None:
        """Makes the descriptor wait for the next signal."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.descriptor, 4096)

    def __exit__(self, *exception: object) -> None:
        super().__exit__(*exception)
        signal.set_wakeup_fd(self._previous_wake_up)
        os.close(self.descriptor)
        os.close(self._wake_up)
