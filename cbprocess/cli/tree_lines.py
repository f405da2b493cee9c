"""The lines of --tree: each program has a line where it begins, below the one that has started it, and one
where it ends. The tree is printed as it grows, so it needs no end of the command.

Knows events and text; nothing of filters. Of processes that have ended it keeps only those that a living one
comes from. Any thread."""

from __future__ import annotations

import os
import shlex
import threading
from typing import NamedTuple

from .. import events
from .._checks import printable
from .output import command_text, describe, line_kind, program_names, refusal_name, status_text
from .shortening import base_name, duration_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .lines import Sheet
    from .output import ProgramOf

# A deeper branch is indented no further: its depth is told by a number.
DEPTH_MAX = 20
# A branch knows so many that it grows from. Programs that go on by forking and ending would be kept else.
CREATORS_MAX = 64
# So many processes that went on as programs that are not shown may still come back.
LEFT_MAX = 64


class Program(NamedTuple):
    """What a process executes, and the beginning of that: of an older one, when it was found."""

    started_ns: int
    text: str
    name: str
    is_older: bool = False


class Branch:
    """A process, with the branch that it grows from."""

    __slots__ = ("before", "creator", "depth", "is_told", "process_id", "program", "sequence")

    def __init__(self, process_id: int, creator: Branch | None, program: Program) -> None:
        self.process_id = process_id
        self.creator = creator
        self.depth: int = 0 if creator is None else creator.depth + 1
        self.program = program
        self.before: Program | None = None  # the program that an execution which fails brings back
        self.sequence = 0  # the event of that execution
        self.is_told = False


class TreeLines:
    """The lines, on a sheet. program_of names the program of a process. Takes events in the order of their
    sequence, those of the first threads of processes, too."""

    def __init__(self, sheet: Sheet, program_of: ProgramOf) -> None:
        self._sheet = sheet
        self._program_of = program_of
        self._living: dict[int, Branch] = {}
        self._left: dict[int, Branch] = {}  # by the event that they were left with
        self._path: list[Branch] = []  # the last line's branch, behind those that it grows from
        self._not_executing = 0  # the process whose execution was the last to be refused or to fail
        self._lock = threading.Lock()

    def add(self, name: str, event: events.EventParams) -> None:
        with self._lock:
            if isinstance(event, events.CBProcessProcessCreationEventParams):
                if event.result_code:
                    self._refused(event)
                else:
                    self._executed(event)
            elif isinstance(event, events.CBProcessProcessTerminationEventParams):
                self._ended(event)
            elif isinstance(event, events.CBProcessThreadCreationEventParams):
                if event.process_id not in self._living:
                    self._begin(event.process_id, event.creating_process_id, event.time_ns)
            elif isinstance(event, events.CBProcessProcessHandleOperationEventParams):
                branch = self._living.get(event.originator_process_id)
                text = describe(event, self._program_of)
                self._write(branch, event.time_ns, name, event.process_id, text, line_kind(name, event))

    def found_running(
        self, process_id: int, parent_id: int, program: str, arguments: list[str], now_ns: int
    ) -> None:
        """Takes a process that runs already. Parents come before their children."""
        with self._lock:
            branch = self._begin(process_id, parent_id, now_ns)
            command = self._sheet.command(shlex.join(arguments), arguments) or base_name(program)
            name = printable(base_name(program))
            branch.program = Program(now_ns, printable(command), name, is_older=True)
            self._tell(branch, now_ns, "running", branch.program.text, "running")

    def left(self, process_id: int, time_ns: int, sequence: int) -> None:
        """Ends the branch of a process that goes on as one that is not shown, which this event tells of."""
        with self._lock:
            branch = self._living.pop(process_id, None)
            if branch is None:
                return
            self._left[sequence] = branch
            while len(self._left) > LEFT_MAX:
                del self._left[next(iter(self._left))]
            if branch.is_told:
                self._done(branch, time_ns, "executed another", "")

    def take_back(self, sequence: int, why: str) -> None:
        """Takes back the execution of this event, which has not happened."""
        with self._lock:
            branch = self._left.pop(sequence, None)
            if branch is not None:
                self._living[branch.process_id] = branch
                return
            for branch in self._living.values():
                if branch.sequence == sequence:
                    failed = branch.program
                    self._tell(branch, failed.started_ns, why, failed.text, "failure")
                    if branch.before is not None:
                        branch.program = branch.before
                    branch.before, branch.sequence = None, 0
                    self._not_executing = branch.process_id
                    return

    def finish(self) -> None:
        """Tells of programs that have not ended."""
        with self._lock:
            for branch in list(self._living.values()):
                if branch.is_told:
                    program = branch.program
                    self._tell(branch, program.started_ns, "still running", program.text, "running")

    # ---- What happens to a branch ----

    def _begin(self, process_id: int, creator_id: int, time_ns: int) -> Branch:
        creator = self._living.get(creator_id)
        name = creator.program.name if creator is not None else ""
        branch = Branch(process_id, creator, Program(time_ns, f"({name})" if name else "", name))
        if branch.depth > CREATORS_MAX:
            _line_of(branch)[-CREATORS_MAX - 1 :][0].creator = None
        self._living[process_id] = branch
        return branch

    def _executed(self, event: events.CBProcessProcessCreationEventParams) -> None:
        branch = self._living.get(event.process_id)
        if branch is None:
            branch = self._begin(event.process_id, event.creating_process_id, event.time_ns)
        command = printable(self._sheet.command(event.command_line, event.arguments))
        name = printable(os.path.basename(event.image_file_name or event.process_name))
        branch.before, branch.sequence = branch.program, event.sequence
        branch.program = Program(event.time_ns, command, name)
        label = "executes" if branch.is_told else "begins"
        self._tell(branch, event.time_ns, label, command, "running")

    def _refused(self, event: events.CBProcessProcessCreationEventParams) -> None:
        branch = self._living.get(event.process_id)
        if branch is None:
            branch = self._begin(event.process_id, event.creating_process_id, event.time_ns)
        self._not_executing = event.process_id
        if branch.creator is not None:
            self._tell_creators(branch)
        label = f"refused {refusal_name(event.result_code)}"
        self._write(branch, event.time_ns, label, event.process_id, command_text(event), "refused")

    def _ended(self, event: events.CBProcessProcessTerminationEventParams) -> None:
        branch = self._living.pop(event.process_id, None)
        # A process without a name has executed nothing: it did not become run's command.
        if not event.process_name and event.process_id == self._not_executing:
            return
        kind = "failure" if event.exit_status else "success"
        how = status_text(event.exit_status)
        if branch is None:
            self._write(None, event.time_ns, how, event.process_id, program_names(event), kind)
        elif branch.is_told:
            self._done(branch, event.time_ns, how, kind)
        else:
            # The process was forked, and executed nothing.
            seconds = (event.time_ns - branch.program.started_ns) / 1e9
            text = branch.program.text or program_names(event)
            self._tell(branch, event.time_ns, f"{how}, {duration_text(seconds)}", text, kind)

    def _done(self, branch: Branch, time_ns: int, how: str, kind: str) -> None:
        program = branch.program
        seconds = (time_ns - program.started_ns) / 1e9
        label = f"{how}, {'>' if program.is_older else ''}{duration_text(seconds)}"
        self._tell(branch, time_ns, label, program.name or program.text, kind)

    # ---- Where its line stands ----

    def _tell(self, branch: Branch, time_ns: int, label: str, text: str, kind: str) -> None:
        self._tell_creators(branch)
        branch.is_told = True
        self._write(branch, time_ns, label, branch.process_id, text, kind)

    def _tell_creators(self, branch: Branch) -> None:
        """Tells of those that were forked and have executed nothing, now that something grows from them."""
        untold = []
        creator = branch.creator
        while creator is not None and not creator.is_told:
            untold.append(creator)
            creator = creator.creator
        for creator in reversed(untold):
            creator.is_told = True
            program = creator.program
            self._write(creator, program.started_ns, "forked", creator.process_id, program.text, "")

    def _write(
        self, branch: Branch | None, time_ns: int, label: str, process_id: int, text: str, kind: str
    ) -> None:
        depth = 0 if branch is None else branch.depth
        creator = None if branch is None else branch.creator
        if creator is not None and creator not in self._path:
            # The line above belongs to another branch, so the indentation alone would tell a wrong creator.
            text = f"{text}  (of {creator.process_id} {creator.program.name})"
        indent = "  " * min(depth, DEPTH_MAX) + (f"[{depth}] " if depth > DEPTH_MAX else "")
        self._sheet.line(time_ns, label, process_id, indent + text, kind)
        self._path = [] if branch is None else _line_of(branch)


def _line_of(branch: Branch) -> list[Branch]:
    """The branch behind those that it grows from."""
    line = []
    grown: Branch | None = branch
    while grown is not None:
        line.append(grown)
        grown = grown.creator
    return line[::-1]
