"""The choice of shown processes: --name, --ignore and --no-children, once for lines, summary and pictures.

Decides about a process when it executes a program, and keeps to that until its next one. Knows events;
nothing of their use."""

from __future__ import annotations

from .. import events
from .words import LEFT, SHOWN, STAYED

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Collection, Iterable

    # It says whether a pattern matches a name of a program.
    Matches = Callable[[str, str], bool]
    Told = tuple[str, events.EventParams]
    # The last execution of a process: the process, the decision before it, and the beginning that was kept
    # back until it, with its creator.
    Execution = tuple[int, str, tuple[int, Told] | None]

# Descendants of an ignored process are ignored by any name. A hidden process was not named.
HIDDEN, IGNORED = "hidden", "ignored"


class Choice:
    """The choice. --no-children alone shows the roots; without roots the first process that is met."""

    def __init__(self, options: argparse.Namespace, matches: Matches, roots: Collection[int] = ()) -> None:
        self._names: list[str] = options.name
        self._ignored: list[str] = options.ignore
        self._with_children: bool = not options.no_children
        self._matches = matches
        self._roots = set(roots)
        self._states: dict[int, str] = {}
        # A process that was forked may execute something ignored next. Its beginning is kept here: creator
        # and event.
        self._forked: dict[int, tuple[int, Told]] = {}
        # Executions are kept by their sequence, and with each process its last one.
        self._executions: dict[int, Execution] = {}
        self._last: dict[int, int] = {}

    def found_running(self, process_id: int, parent_id: int, program: str) -> bool:
        """Whether a process that runs already is shown. Parents come before their children."""
        state = self._decided(process_id, self._begun(process_id, parent_id), (program,))
        self._states[process_id] = state
        return state == SHOWN

    def add(self, name: str, event: events.EventParams) -> list[Told]:
        """The events to be told because of this event, each with its name. Events come in the order of their
        sequence. LEFT stands for the name where a process goes on as one that is not shown."""
        process_id = event.process_id
        if isinstance(event, events.CBProcessProcessCreationEventParams):
            return self._executed(name, event)
        if isinstance(event, events.CBProcessThreadCreationEventParams) and process_id not in self._states:
            self._states[process_id] = self._begun(process_id, event.creating_process_id)
            if self._ignored and event.thread_id == process_id and self._is_shown(process_id):
                self._forked[process_id] = (event.creating_process_id, (name, event))
                return []
        told = [*self._begin(process_id), (name, event)] if self._concerns(event) else []
        if isinstance(event, events.CBProcessProcessTerminationEventParams):
            self._states.pop(process_id, None)
            self._settled(process_id)
        return told

    def take_back(self, sequence: int) -> str | None:
        """Takes back the execution of this event. Gives the state of its process: SHOWN with the event and
        without it, LEFT since it was not shown before, STAYED where it was LEFT with the event; None where
        nothing of that was told."""
        execution = self._executions.pop(sequence, None)
        if execution is None:
            return None
        process_id, before, forked = execution
        state, self._states[process_id] = self._states[process_id], before
        if forked is not None:
            self._forked[process_id] = forked
            return None
        if state == SHOWN:
            return SHOWN if before == SHOWN else LEFT
        return STAYED if before == SHOWN else None

    def _concerns(self, event: events.EventParams) -> bool:
        if not isinstance(event, events.CBProcessProcessHandleOperationEventParams):
            return self._is_shown(event.process_id)
        both = {self._state(event.process_id), self._state(event.originator_process_id)}
        return SHOWN in both and IGNORED not in both

    def _executed(self, name: str, event: events.CBProcessProcessCreationEventParams) -> list[Told]:
        process_id = event.process_id
        before = self._states.get(process_id) or self._begun(process_id, event.creating_process_id)
        state = self._decided(process_id, before, (event.process_name, event.image_file_name))
        if event.result_code:
            self._states[process_id] = before
            if state != SHOWN:
                return []
            # A refused program may be shown though its process is not.
            rest = [] if before == SHOWN else [(LEFT, event)]
            return [*self._begin(process_id), (name, event), *rest]
        self._states[process_id] = state
        forked = None if state == SHOWN else self._forked.pop(process_id, None)
        self._settled(process_id)
        self._last[process_id] = event.sequence
        self._executions[event.sequence] = process_id, before, forked
        if state == SHOWN:
            return [*self._begin(process_id), (name, event)]
        return [(LEFT, event)] if forked is None and before == SHOWN else []

    def _settled(self, process_id: int) -> None:
        """Forgets the last execution of the process, which has surely happened."""
        self._executions.pop(self._last.pop(process_id, 0), None)

    def _begin(self, process_id: int) -> Iterable[Told]:
        """The beginnings that were kept back, of the process and of its creators."""
        told: list[Told] = []
        while process_id in self._forked:
            process_id, event = self._forked.pop(process_id)
            told.append(event)
        return reversed(told)

    def _state(self, process_id: int) -> str:
        return self._states.get(process_id) or self._begun(process_id, 0)

    def _is_shown(self, process_id: int) -> bool:
        return self._state(process_id) == SHOWN

    def _begun(self, process_id: int, creator_id: int) -> str:
        """The state of a process that has executed nothing yet."""
        if self._names or not self._with_children:
            if not self._names and not self._roots:
                self._roots.add(process_id)
            if not self._names and process_id in self._roots:
                return SHOWN
            unknown = HIDDEN
        else:
            unknown = SHOWN
        return self._states.get(creator_id, unknown) if self._with_children else unknown

    def _decided(self, process_id: int, before: str, programs: tuple[str, ...]) -> str:
        """The state of a process that executes a program, which has these names."""
        if (self._with_children and before == IGNORED) or self._is_one_of(self._ignored, programs):
            return IGNORED
        if self._names:
            is_child = self._with_children and before == SHOWN
            return SHOWN if is_child or self._is_one_of(self._names, programs) else HIDDEN
        return SHOWN if self._with_children or process_id in self._roots else HIDDEN

    def _is_one_of(self, patterns: list[str], programs: tuple[str, ...]) -> bool:
        return any(self._matches(pattern, program) for pattern in patterns for program in programs)
