"""The running processes that a monitor gives before its events, so that the two fit together: the snapshot is
taken while events are gathered already, and an event that it makes known is left out.

An event tells when it was seen, so it is known which side of the snapshot it belongs to. Knows snapshots and
events; nothing of queues and loops."""

from __future__ import annotations

import sys
import time
from collections import deque
from time import time_ns

from ..constants import (
    CAP_LAUNCH,
    CAP_WHOLE_MACHINE,
    ERROR_NOT_FOUND,
    ERROR_NOT_SUPPORTED,
    EVENT_FLAG_FORK,
)
from ..errors import CBProcessError
from ..events import CBProcessProcessCreationEventParams, CBProcessProcessTerminationEventParams
from ..running import RunningProcess, snapshot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .. import events
    from .._api.process import CBProcess

    Key = tuple[int, int]

# Events come after the time at which they were seen, and two clocks of the system need not agree to the last.
LATE_NS = 10_000_000_000
CLOCKS_NS = 20_000_000
TICK_NS = 10_000_000  # of a start time, on Linux


def check_driver(process: CBProcess) -> None:
    """Error 50 if the driver's processes are not the system's."""
    if not process.driver_capabilities() & (CAP_LAUNCH | CAP_WHOLE_MACHINE):
        raise CBProcessError(ERROR_NOT_SUPPORTED, "snapshot: this driver's processes are not the system's")


class Joint:
    """The snapshot of a filter that has been started, and what is remembered of it: a process is named by its
    id and its start time."""

    def __init__(self, process: CBProcess) -> None:
        self._begin_ns = time_ns()
        self._begin_ticks = _ticks()
        taken = snapshot()
        self._end_ns = time_ns()
        found = {_key(each): each for each in taken if not each.ended}
        self._seen = set(found)  # those that are not supervised yet can be later
        self._ended = {_key(each) for each in taken if each.ended}
        if not process.driver_capabilities() & CAP_WHOLE_MACHINE:
            found = {key: each for key, each in found.items() if _is_supervised(process, each)}
        self._found = found
        self._created: set[Key] = set()
        self._is_over = False
        self._running = deque(found.values())

    def running(self) -> list[RunningProcess]:
        """All processes that take() has not given."""
        return list(self._running)

    def take(self) -> RunningProcess | None:
        """The next process; None after the last one."""
        try:
            return self._running.popleft()
        except IndexError:
            return None

    def knows(self, event: events.EventParams) -> bool:
        """Whether the snapshot has what the event tells, or has left it out because it was over by then."""
        if self._is_over:
            return False
        if event.time_ns > self._end_ns + LATE_NS:
            self._is_over = True
            self._found, self._seen, self._ended, self._created = {}, set(), set(), set()
            return False
        if isinstance(event, CBProcessProcessCreationEventParams):
            return self._knows_creation(event)
        if isinstance(event, CBProcessProcessTerminationEventParams):
            return self._knows_end(event)
        return False

    def _knows_creation(self, event: CBProcessProcessCreationEventParams) -> bool:
        key = (event.process_id, event.start_time)
        found = self._found.get(key)
        # What waits has not happened yet.
        if event.held or found is None:
            self._created.add(key)
            self._ended.discard(key)  # it was created and has ended meanwhile: both are told
            return False
        if event.flags & EVENT_FLAG_FORK or event.time_ns < self._begin_ns:
            return True
        # The snapshot has either the program before the execution or the one after it.
        return event.time_ns <= self._end_ns + CLOCKS_NS and _is_its_program(event, found)

    def _knows_end(self, event: CBProcessProcessTerminationEventParams) -> bool:
        key = (event.process_id, event.start_time)
        if key in self._ended:
            return True
        if key in self._seen or key in self._created:
            return False
        # It is older than the snapshot, and not in it, or its end was seen before the snapshot was made.
        return event.start_time < self._begin_ticks or event.time_ns <= self._end_ns


def _ticks() -> int:
    """The time as start times tell it; -1 where these are of another kind."""
    return -1 if sys.platform == "win32" else time.clock_gettime_ns(time.CLOCK_BOOTTIME) // TICK_NS


def _key(process: RunningProcess) -> Key:
    return process.process_id, process.start_time


def _is_its_program(event: CBProcessProcessCreationEventParams, found: RunningProcess) -> bool:
    return event.process_name == found.process_name and event.arguments == found.arguments


def _is_supervised(process: CBProcess, found: RunningProcess) -> bool:
    try:
        process.get_process_capabilities(found.process_id)
    except CBProcessError as error:
        if error.code == ERROR_NOT_FOUND:
            return False
        raise
    return True
