"""The counts of the one line that closes the output when the command has ended.

Knows events; nothing of lines about them."""

from __future__ import annotations

from .. import events
from .shortening import duration_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._api.statistics import Statistics


class Tally:
    """Counts the events that are shown, one at a time."""

    def __init__(self) -> None:
        self.programs = 0
        self.failed = 0
        self.refused = 0

    def add(self, event: events.EventParams) -> None:
        if isinstance(event, events.CBProcessProcessCreationEventParams):
            if event.result_code:
                self.refused += 1
            else:
                self.programs += 1
        elif isinstance(event, events.CBProcessProcessTerminationEventParams):
            # A process without a name did not get so far as to be a program.
            self.failed += event.exit_status != 0 and bool(event.process_name)

    def took_back(self) -> None:
        """Takes back an execution that was counted and has not happened."""
        self.programs -= 1

    def line(self, end: str, seconds: float, statistics: Statistics) -> str:
        """The line. `end` is the command's own end, `seconds` the time that it took. What is rare is told
        where it has happened: operations that were let go at their deadline, and events that were lost."""
        parts = [f"{self.programs} program{'' if self.programs == 1 else 's'}", f"{self.failed} failed"]
        parts.append(f"{self.refused} refused")
        if statistics.timed_out:
            parts.append(f"{statistics.timed_out} timed out")
        if statistics.lost:
            parts.append(f"{statistics.lost} events lost")
        return f"{end} after {duration_text(seconds)}: {', '.join(parts)}"
