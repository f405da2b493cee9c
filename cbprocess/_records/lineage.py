"""The start times of processes, which with their ids name them for good.

An event has the ids of the parent and of the creator, but not their start times. A Lineage remembers those of
the processes that it was told of, and asks the system for others. Knows ids and start times only."""

from __future__ import annotations

from .context import start_time_of

# As many processes are remembered: those that have not ended, and those that have. The ends of processes are
# not told to everybody, and a child's event may come after its creator's end.
LIVING_MAX = 65536
ENDED_MAX = 4096


class Lineage:
    """The start times of one machine's processes. can_ask: whether these processes run here, so that the
    system can be asked for those that no event has told of. One thread at a time."""

    __slots__ = ("_can_ask", "_ended", "_living")

    def __init__(self, can_ask: bool) -> None:
        self._can_ask = can_ask
        self._living: dict[int, int] = {}
        self._ended: dict[int, int] = {}

    def saw(self, process_id: int, start_time: int) -> None:
        """Remembers a process."""
        living = self._living
        living[process_id] = start_time
        if len(living) > LIVING_MAX:
            del living[next(iter(living))]

    def ended(self, process_id: int, start_time: int) -> None:
        """Remembers a process that has ended: its id may become another's."""
        self._living.pop(process_id, None)
        ended = self._ended
        ended.pop(process_id, None)
        ended[process_id] = start_time
        if len(ended) > ENDED_MAX:
            del ended[next(iter(ended))]

    def start_time(self, process_id: int, descendant_start: int) -> int | None:
        """The start time of an ancestor of a process that has started then (0: not known). None if it is not
        known, or if the id is another process's by now: an ancestor has not started later."""
        if process_id == 0:
            return None
        for found in (
            self._living.get(process_id),
            start_time_of(process_id) if self._can_ask and process_id not in self._living else None,
            self._ended.get(process_id),
        ):
            if found and (found <= descendant_start or not descendant_start):
                return found
        return None
