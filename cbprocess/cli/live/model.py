"""What the live view shows: the tree of living processes, rates, refusals, and how long operations waited.

Takes events as they come, and gives a picture of the moment. Of processes that have ended it keeps those of
the last moment, and those that a living one comes from. Knows events; nothing of terminals. Any thread."""

from __future__ import annotations

import os
import shlex
import threading
from collections import deque
from typing import NamedTuple

from ... import events
from ..._checks import printable
from ..output import command_text, describe, refusal_name, status_text
from ..shortening import base_name, short_command
from .rates import SECOND_NS, Rates

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..output import ProgramOf

# A process that has ended is shown for so long.
LINGER_NS = 2 * SECOND_NS
# So many processes that have ended are shown at most: in a storm each is there for a moment alone.
ENDED_MAX = 500
REFUSALS_MAX = 100
# So many processes that went on as programs that are not shown may still come back.
LEFT_MAX = 64


class Row(NamedTuple):
    """A process in the picture."""

    depth: int
    process_id: int
    seconds: float
    state: str  # "" of one that runs, else its end
    has_failed: bool
    is_older: bool  # it ran before the view began, so that it is older than it says
    text: str


class Refusal(NamedTuple):
    """An operation that was refused, or that lost rights, so many times in a row."""

    time_ns: int
    process_id: int
    what: str
    text: str
    times: int


class Picture(NamedTuple):
    """The moment."""

    rows: list[Row]
    living: int
    programs: int
    failed: int
    refused: int
    refusals: list[Refusal]  # the newest first
    rates: list[int]  # events of each of the last seconds, the newest last; the running one is not there
    by_kind: dict[str, int]  # events of the last whole second
    longest_ns: int  # the longest time that an operation waited for its handler, of the last seconds


class Shown:
    """A process."""

    __slots__ = (
        "before",
        "children",
        "creator",
        "ended_ns",
        "has_executed",
        "is_older",
        "name",
        "process_id",
        "sequence",
        "started_ns",
        "status",
        "text",
    )

    def __init__(self, process_id: int, creator: Shown | None, started_ns: int) -> None:
        self.process_id = process_id
        self.creator = creator
        self.children: dict[int, Shown] = {}  # by the id of the object, so that an id may be used again
        self.started_ns = started_ns
        # Until it executes something it is what its creator is.
        self.name: str = creator.name if creator is not None else ""
        self.text = f"({self.name})"
        self.is_older = False
        self.ended_ns: int | None = None
        self.status: int | None = None
        self.before = ""  # what a failed execution brings back
        self.sequence = 0  # the event of that execution
        self.has_executed = False  # or was about to


class Model:
    """The model. program_of names the program of a living process."""

    def __init__(self, program_of: ProgramOf) -> None:
        self._program_of = program_of
        self._lock = threading.Lock()
        self._roots: dict[int, Shown] = {}
        self._living: dict[int, Shown] = {}
        self._ended: deque[Shown] = deque()
        self._left: dict[int, Shown] = {}  # by the event that they were left with
        self._refusals: deque[Refusal] = deque(maxlen=REFUSALS_MAX)
        self._rates = Rates()
        self._programs = self._failed = self._refused = 0

    # ---- What the printer tells ----

    def add(self, name: str, event: events.EventParams, now_ns: int) -> None:
        """Takes an event, when its handler is called."""
        with self._lock:
            self._rates.add(name, now_ns, now_ns - event.time_ns if event.held else 0)
            if isinstance(event, events.CBProcessProcessCreationEventParams):
                self._executed(event)
            elif isinstance(event, events.CBProcessThreadCreationEventParams):
                if event.process_id not in self._living:
                    self._begin(event.process_id, event.creating_process_id, event.time_ns)
            elif isinstance(event, events.CBProcessProcessTerminationEventParams):
                self._terminated(event, now_ns)
            elif isinstance(event, events.CBProcessProcessHandleOperationEventParams):
                self._handled(event)

    def found_running(
        self, process_id: int, parent_id: int, program: str, arguments: list[str], now_ns: int
    ) -> None:
        """Takes a process that runs already. Parents come before their children."""
        with self._lock:
            shown = self._begin(process_id, parent_id, now_ns)
            shown.is_older = True
            command = short_command(shlex.join(arguments), arguments)
            shown.name = printable(base_name(program))
            shown.text = printable(command) or f"[{shown.name}]"

    def left(self, process_id: int, time_ns: int, sequence: int) -> None:
        """Takes out a process that goes on as one that is not shown, which this event tells of."""
        with self._lock:
            shown = self._living.pop(process_id, None)
            if shown is not None:
                self._left[sequence] = shown
                if shown.has_executed or shown.is_older or shown.children:
                    self._end(shown, time_ns)
                else:
                    # It was forked for that program, and nothing else.
                    shown.ended_ns = time_ns
                    self._take_out(shown, ())
                while len(self._left) > LEFT_MAX:
                    del self._left[next(iter(self._left))]

    def take_back(self, sequence: int, why: str) -> None:
        """Takes back the execution of this event, which has not happened."""
        with self._lock:
            shown = self._left.pop(sequence, None)
            if shown is not None:
                self._come_back(shown)
                return
            for shown in self._living.values():
                if shown.sequence == sequence:
                    self._programs -= 1
                    shown.text, shown.sequence = shown.before, 0
                    return

    # ---- What becomes of it ----

    def picture(self, now_ns: int) -> Picture:
        """The picture of the moment."""
        with self._lock:
            self._forget(now_ns)
            return Picture(
                list(self._rows(now_ns)),
                len(self._living),
                self._programs,
                self._failed,
                self._refused,
                list(reversed(self._refusals)),
                self._rates.per_second(now_ns),
                self._rates.by_kind(now_ns),
                self._rates.longest_ns(now_ns),
            )

    def _rows(self, now_ns: int) -> Iterator[Row]:
        pending = [(0, shown) for shown in reversed(list(self._roots.values()))]
        while pending:
            depth, shown = pending.pop()
            end_ns = now_ns if shown.ended_ns is None else shown.ended_ns
            state = "" if shown.ended_ns is None else "gone"
            if shown.status is not None:
                state = status_text(shown.status)
            seconds = max(end_ns - shown.started_ns, 0) / 1e9
            whether = bool(shown.status), shown.is_older
            yield Row(depth, shown.process_id, seconds, state, *whether, shown.text)
            pending += [(depth + 1, child) for child in reversed(list(shown.children.values()))]

    # ---- Events ----

    def _executed(self, event: events.CBProcessProcessCreationEventParams) -> None:
        if event.result_code:
            self._refused += 1
            what = f"refused {refusal_name(event.result_code)}"
            self._refusal(event, event.process_id, what, command_text(event))
            return
        self._programs += 1
        shown = self._living.get(event.process_id)
        if shown is None:
            shown = self._begin(event.process_id, event.creating_process_id, event.time_ns)
        shown.before, shown.sequence, shown.has_executed = shown.text, event.sequence, True
        shown.text = printable(short_command(event.command_line, event.arguments))
        shown.name = printable(os.path.basename(event.image_file_name or event.process_name))

    def _terminated(self, event: events.CBProcessProcessTerminationEventParams, now_ns: int) -> None:
        self._failed += event.exit_status != 0 and bool(event.process_name)
        shown = self._living.pop(event.process_id, None)
        if shown is not None:
            shown.status = event.exit_status
            self._end(shown, event.time_ns)
            self._forget(now_ns)

    def _handled(self, event: events.CBProcessProcessHandleOperationEventParams) -> None:
        if event.result_code or event.original_desired_access & ~event.desired_access:
            what = f"refused {refusal_name(event.result_code)}" if event.result_code else "stripped"
            self._refused += 1
            self._refusal(event, event.originator_process_id, what, describe(event, self._program_of))

    def _refusal(self, event: events.EventParams, process_id: int, what: str, text: str) -> None:
        last = self._refusals[-1] if self._refusals else None
        times = 1
        if last is not None and (last.process_id, last.what, last.text) == (process_id, what, text):
            self._refusals.pop()
            times += last.times
        self._refusals.append(Refusal(event.time_ns, process_id, what, text, times))

    # ---- The tree ----

    def _begin(self, process_id: int, creator_id: int, time_ns: int) -> Shown:
        creator = self._living.get(creator_id)
        shown = Shown(process_id, creator, time_ns)
        before = self._living.get(process_id)
        if before is not None:
            # Its end was lost.
            self._end(before, time_ns)
        self._living[process_id] = shown
        self._put(shown)
        return shown

    def _siblings(self, shown: Shown) -> dict[int, Shown]:
        return self._roots if shown.creator is None else shown.creator.children

    def _put(self, shown: Shown) -> None:
        self._siblings(shown)[id(shown)] = shown

    def _come_back(self, shown: Shown) -> None:
        shown.ended_ns = None
        self._siblings(shown).pop(id(shown), None)
        creator = shown.creator
        if creator is not None and self._living.get(creator.process_id) is not creator:
            # It may have been taken out meanwhile.
            shown.creator = None
        self._living[shown.process_id] = shown
        self._put(shown)

    def _end(self, shown: Shown, time_ns: int) -> None:
        shown.ended_ns = time_ns
        self._ended.append(shown)

    def _forget(self, now_ns: int) -> None:
        """Takes out those that have ended a while ago. Their living children go up to who is left."""
        while self._ended:
            shown = self._ended[0]
            if shown.ended_ns is not None and (
                len(self._ended) <= ENDED_MAX and now_ns - shown.ended_ns < LINGER_NS
            ):
                return
            self._ended.popleft()
            # One that has come back, by an execution that failed, lives.
            if shown.ended_ns is not None:
                self._take_out(shown, shown.children.values())

    def _take_out(self, shown: Shown, children: Iterable[Shown]) -> None:
        siblings = self._siblings(shown)
        siblings.pop(id(shown), None)
        for child in children:
            child.creator = shown.creator
            siblings[id(child)] = child
