"""Programs that rules ignore. Their starts are told, with the first threads of new processes, because those
are operations of their creators. Nothing that they do is told, and so no end: what shows running programs
leaves them out.

Knows events and rules; nothing of views."""

from __future__ import annotations

from .. import events

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..rules import Rule
    from .matching import Matches

# So many ignored processes are remembered: their ends are not told, and a machine has many.
PROCESSES_MAX = 10_000
# The answers for so many programs are kept while the rules stay.
ANSWERS_MAX = 10_000


class Ignored:
    """Takes starts in the order of their sequence, one at a time. `rules` gives the rules that ignore now, as
    one tuple until they change."""

    def __init__(self, rules: Callable[[], tuple[Rule, ...]], matches: Matches) -> None:
        self._rules = rules
        self._matches = matches
        self._answered_for: tuple[Rule, ...] = ()
        self._answers: dict[tuple[str, ...], tuple[bool, bool]] = {}
        # Each ignored process, with the event of its start and its start time; both are 0 for one that ran
        # before.
        self._processes: dict[int, tuple[int, int]] = {}
        self._trees: set[int] = set()
        # Processes that were found, and the first that was started: those from which all others come.
        self._roots: set[int] = set()

    def __bool__(self) -> bool:
        """Whether there are such rules now."""
        return bool(self._rules())

    def has(self, event: events.EventParams) -> bool:
        """Whether this event tells that an ignored program starts. A refused one does not start."""
        if isinstance(event, events.CBProcessThreadCreationEventParams):
            return self._processes.get(event.process_id, (0, 0))[1] == event.start_time != 0
        if not isinstance(event, events.CBProcessProcessCreationEventParams) or event.result_code:
            return False
        if not self._roots:
            self._roots.add(event.process_id)
        # Most commands have no such rule, and names of an event take time to read.
        if self._rules() and self._answer(event.process_name, event.image_file_name)[0]:
            self._keep(event.process_id, event.sequence, event.start_time)
            return True
        self._processes.pop(event.process_id, None)
        return False

    def found_running(self, process_id: int, parent_id: int, program: str) -> bool:
        """Whether a process is ignored that runs already. Parents come before their children."""
        self._roots.add(process_id)
        is_ignored, with_children = self._answer(program)
        if with_children or parent_id in self._trees:
            self._trees.add(process_id)
        elif not is_ignored:
            return False
        self._keep(process_id, 0, 0)
        return True

    def take_back(self, sequence: int) -> bool:
        """Takes back the start of this event, which has failed. Whether it was an ignored program's."""
        for process_id, (started, _) in self._processes.items():
            if started == sequence:
                del self._processes[process_id]
                return True
        return False

    def is_silent(self, root_id: int) -> bool:
        """Whether the end of this process will not be told, as far as is known now. The start of a command
        has no creator that is told of: where it is ignored, there is nothing of it."""
        return root_id in self._processes or (bool(self) and root_id not in self._roots)

    def _keep(self, process_id: int, sequence: int, start_time: int) -> None:
        # The newest come last.
        self._processes.pop(process_id, None)
        self._processes[process_id] = sequence, start_time
        if len(self._processes) > PROCESSES_MAX:
            del self._processes[next(iter(self._processes))]

    def _answer(self, *names: str) -> tuple[bool, bool]:
        """Whether some rule ignores the program with these names, and whether one does so with all that it
        starts."""
        rules = self._rules()
        if rules is not self._answered_for or len(self._answers) >= ANSWERS_MAX:
            self._answered_for, self._answers = rules, {}
        answer = self._answers.get(names)
        if answer is None:
            found = [rule for rule in rules if rule.name is not None and self._is_any(rule.name, names)]
            answer = bool(found), any(rule.include_children for rule in found)
            self._answers[names] = answer
        return answer

    def _is_any(self, pattern: str, names: tuple[str, ...]) -> bool:
        return any(self._matches(pattern, name) for name in names if name)
