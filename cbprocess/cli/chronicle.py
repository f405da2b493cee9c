"""The tree of processes, gathered from their events for --summary, --timeline and --trace: creators, programs
with their times, ends, refusals. Knows neither the summary nor the pictures."""

from __future__ import annotations

import shlex
from typing import NamedTuple

from .. import events

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# So many processes that went on as programs that are not shown may still come back.
LEFT_MAX = 64


class Stage:
    """A program of a process, from time_ns until the next one. `executed` is False if it was there before:
    from the creator, or from before the filter."""

    __slots__ = ("command", "executed", "program", "sequence", "time_ns")

    def __init__(self, time_ns: int, program: str, command: str, executed: bool, sequence: int = 0) -> None:
        self.sequence = sequence
        self.time_ns = time_ns
        self.program = program
        self.command = command
        self.executed = executed


class Refusal(NamedTuple):
    """An execution that was refused with this code."""

    time_ns: int
    code: int
    command: str


class Life:
    """One process. A later one with the same id is another."""

    __slots__ = (
        "children",
        "creator",
        "ended_ns",
        "is_nameless",
        "process_id",
        "refusals",
        "stages",
        "started_ns",
        "status",
        "threads",
        "timed_out_ns",
        "was_running",
    )

    def __init__(self, process_id: int, started_ns: int, creator: Life | None) -> None:
        self.process_id = process_id
        self.started_ns = started_ns
        self.ended_ns: int | None = None
        self.status: int | None = None
        self.is_nameless = False  # whether it had no program as it ended
        self.was_running = False  # whether it ran before the filter
        self.creator = creator
        self.children: list[Life] = []
        self.stages: list[Stage] = []
        self.refusals: list[Refusal] = []
        self.timed_out_ns: list[int] = []
        # Each of its threads but the first has its beginning and its end (0: not yet), by its id.
        self.threads: dict[int, tuple[int, int]] = {}

    @property
    def program(self) -> str:
        """The program that it executes, or has executed last."""
        return self.stages[-1].program if self.stages else ""

    @property
    def command(self) -> str:
        return self.stages[-1].command if self.stages else ""

    @property
    def has_been_something(self) -> bool:
        """False for a process that was to execute a program, and was refused. Its refusals tell of that."""
        was_refused = bool(self.refusals) or (self.is_nameless and self.creator is None)
        return bool(self.stages or self.children) or not was_refused

    @property
    def is_only_forked(self) -> bool:
        """Whether it is a fork that has executed nothing and created nobody."""
        has_executed = any(stage.executed for stage in self.stages)
        return not (self.was_running or has_executed or self.children or self.refusals)

    def end_or(self, now_ns: int) -> int:
        return now_ns if self.ended_ns is None else self.ended_ns

    def seconds(self, now_ns: int) -> float:
        return (self.end_or(now_ns) - self.started_ns) / 1e9


class Chronicle:
    """Takes events in the order of their sequence, one at a time."""

    def __init__(self) -> None:
        self.roots: list[Life] = []
        self._living: dict[int, Life] = {}
        self._executions: dict[int, Life] = {}  # by the sequence of their events
        self._left: dict[int, Life] = {}  # likewise

    def take_back(self, sequence: int, is_left: bool) -> tuple[int, Stage] | None:
        """Takes back the execution of this event. is_left: without it the process would not be shown. Gives
        the process and its stage, if the event was told."""
        life = self._left.pop(sequence, None)
        if life is not None:
            life.ended_ns = None
            self._living[life.process_id] = life
            if life not in self._siblings(life):
                self._siblings(life).append(life)
        life = self._executions.pop(sequence, None)
        if life is None:
            return None
        taken = next(stage for stage in life.stages if stage.sequence == sequence)
        life.stages.remove(taken)
        if not life.stages and not is_left:
            self._be_as_creator(life)
        if is_left and not life.children and not life.refusals:
            self._living.pop(life.process_id, None)
            self._drop(life)
        return life.process_id, taken

    def add(self, event: events.EventParams) -> None:
        if isinstance(event, events.CBProcessProcessCreationEventParams):
            self._created(event)
        elif isinstance(event, events.CBProcessThreadCreationEventParams):
            self._thread_created(event)
        elif isinstance(event, events.CBProcessThreadTerminationEventParams):
            self._thread_ended(event)
        life = self._living.get(event.process_id)
        if life is None:
            return
        if event.timed_out:
            life.timed_out_ns.append(event.time_ns)
        if isinstance(event, events.CBProcessProcessTerminationEventParams):
            life.ended_ns = event.time_ns
            life.status = event.exit_status
            life.is_nameless = not event.process_name
            del self._living[event.process_id]

    def left(self, process_id: int, now_ns: int, sequence: int) -> None:
        """Ends a life that goes on as a program that is not shown, which this event tells of. A fork that has
        done nothing else has been nothing that is shown."""
        life = self._living.pop(process_id, None)
        if life is None:
            return
        life.ended_ns = now_ns
        if life.is_only_forked:
            self._drop(life)
        self._left[sequence] = life
        if len(self._left) > LEFT_MAX:
            del self._left[next(iter(self._left))]

    def found_running(
        self, process_id: int, parent_id: int, program: str, arguments: list[str], now_ns: int
    ) -> None:
        """Begins the life of a process that runs already. Parents come before their children."""
        life = self._begin(process_id, parent_id, now_ns)
        life.was_running = True
        life.stages.append(Stage(now_ns, program, shlex.join(arguments), False))

    def lives(self) -> Iterator[tuple[int, Life]]:
        """All processes with their depth, each before its children, which come as they began."""
        pending = [(0, root) for root in reversed(self.roots)]
        while pending:
            depth, life = pending.pop()
            yield depth, life
            pending += [(depth + 1, child) for child in reversed(life.children)]

    def title(self) -> str:
        """The command that everything comes from."""
        if not self.roots:
            return "nothing"
        first = self.roots[0]
        commands = [stage.command for stage in first.stages] + [refusal.command for refusal in first.refusals]
        more = f" and {len(self.roots) - 1} more" if len(self.roots) > 1 else ""
        return (commands[0] if commands else f"process {first.process_id}") + more

    def _begin(self, process_id: int, creator_id: int, now_ns: int) -> Life:
        creator = self._living.get(creator_id)
        life = Life(process_id, now_ns, creator)
        self._siblings(life).append(life)
        self._living[process_id] = life
        return life

    def _siblings(self, life: Life) -> list[Life]:
        return self.roots if life.creator is None else life.creator.children

    def _drop(self, life: Life) -> None:
        siblings = self._siblings(life)
        # It is one of the newest.
        place = next(at for at in range(len(siblings) - 1, -1, -1) if siblings[at] is life)
        del siblings[place]

    def _created(self, event: events.CBProcessProcessCreationEventParams) -> None:
        life = self._living.get(event.process_id)
        if life is None:
            life = self._begin(event.process_id, event.creating_process_id, event.time_ns)
        command = event.command_line
        if event.result_code:
            life.refusals.append(Refusal(event.time_ns, event.result_code, command))
            return
        life.stages.append(Stage(event.time_ns, event.process_name, command, True, event.sequence))
        self._executions[event.sequence] = life

    def _thread_created(self, event: events.CBProcessThreadCreationEventParams) -> None:
        life = self._living.get(event.process_id)
        if event.thread_id != event.process_id:
            if life is not None:
                life.threads[event.thread_id] = (event.time_ns, 0)
        elif life is None:
            self._be_as_creator(self._begin(event.process_id, event.creating_process_id, event.time_ns))

    def _be_as_creator(self, life: Life) -> None:
        """Gives a new process the program that its creator had then. It has it until it executes
        something."""
        made_by = life.creator.stages if life.creator is not None else []
        origin = next((stage for stage in reversed(made_by) if stage.time_ns <= life.started_ns), None)
        if origin is not None:
            life.stages.insert(0, Stage(life.started_ns, origin.program, origin.command, False))

    def _thread_ended(self, event: events.CBProcessThreadTerminationEventParams) -> None:
        life = self._living.get(event.process_id)
        if life is not None and event.thread_id in life.threads:
            life.threads[event.thread_id] = (life.threads[event.thread_id][0], event.time_ns)
