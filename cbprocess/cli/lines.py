"""One line for each program, printed at its end, with its status and its time. A program that runs for more
than a second has a line at that moment. A refusal has a line at once.

Knows events and text; nothing of filters or of the place of lines. Any thread."""

from __future__ import annotations

from _thread import allocate_lock, start_new_thread

from .. import events
from .._checks import printable
from .._lean import Bell
from .output import (
    command_text,
    describe,
    format_line,
    line_kind,
    prefix_columns,
    program_names,
    refusal_name,
    status_text,
)
from .shortening import duration_text, fitted, short_command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .output import ProgramOf

# Milliseconds are enough for lines that tell durations.
DIGITS = 3
LONG_NS = 1_000_000_000
NEVER_NS = 1 << 63
LOOK_S = 0.2


class Sheet:
    """The sheet that lines about programs are written on: a time, what has happened, a process, and a text
    that is no longer than the terminal is wide.

    Times count from started_ns. `write` gets each of them; `columns` gives the width of the
    terminal, or 0 where there is none. `is_wide`: command lines are whole, with the folder of the program.
    Any thread, one at a time."""

    def __init__(
        self,
        write: Callable[[str], None],
        started_ns: int,
        color: bool,
        columns: Callable[[], int] = lambda: 0,
        is_wide: bool = False,
    ) -> None:
        self._write = write
        self._started_ns = started_ns
        self._color = color
        self._columns = columns
        self._is_wide = is_wide

    def line(self, time_ns: int, label: str, process_id: int, text: str, kind: str) -> None:
        offset = (time_ns - self._started_ns) / 1e9
        columns = 0 if self._is_wide else self._columns()
        if columns:
            text = fitted(text, columns - prefix_columns(label, process_id))
        self._write(format_line(offset, label, process_id, text, self._color, kind, DIGITS))

    def command(self, command_line: str, arguments: Sequence[str]) -> str:
        """The command line as it is shown."""
        return command_line if self._is_wide else short_command(command_line, arguments)


class Program:
    """The program of a process. Its execution may be taken back until the process's next event: the process
    goes on as `before` then. A program that is not shown is kept only for that."""

    __slots__ = ("before", "is_shown", "is_told", "sequence", "started_ns", "text")

    def __init__(
        self, started_ns: int, text: str, sequence: int, before: Program | None, *, is_shown: bool = True
    ) -> None:
        self.started_ns = started_ns
        self.text = text
        self.sequence = sequence
        self.before = before
        self.is_told = False
        self.is_shown = is_shown


class ProgramLines:
    """The lines, on a sheet. program_of names the program of a process."""

    def __init__(self, sheet: Sheet, program_of: ProgramOf) -> None:
        self._sheet = sheet
        self._program_of = program_of
        self._programs: dict[int, Program] = {}
        # No program that has not been told of runs for long before this time.
        self._next_long_ns = NEVER_NS
        self._last_refusal = ("", 0)
        self._not_executing = 0  # the process whose execution was the last to be refused or to fail
        self._lock = allocate_lock()
        self._end = Bell()

    def add(self, name: str, event: events.EventParams) -> None:
        """Takes events in the order of their sequence."""
        with self._lock:
            self._tell_long(event.time_ns)
            if isinstance(event, events.CBProcessProcessCreationEventParams):
                if event.result_code:
                    self._refused(event)
                else:
                    self._began(event)
            elif isinstance(event, events.CBProcessProcessTerminationEventParams):
                # A process without a name has executed nothing: it did not become run's command.
                if event.process_name or event.process_id != self._not_executing:
                    self._ended(event)
            else:
                text = describe(event, self._program_of)
                self._sheet.line(event.time_ns, name, event.process_id, text, line_kind(name, event))

    def left(self, process_id: int, time_ns: int, sequence: int) -> None:
        """Ends a program: the process goes on as one that is not shown, which this event tells of."""
        with self._lock:
            before = self._settled(process_id)
            if before is not None:
                self._programs[process_id] = Program(time_ns, "", sequence, before, is_shown=False)

    def watch(self, now_ns: Callable[[], int]) -> None:
        """Tells of programs that run for long also while nothing happens, in a thread, until finish()."""

        def look() -> None:
            while not self._end.wait(LOOK_S):
                with self._lock:
                    self._tell_long(now_ns())

        start_new_thread(look, ())

    def finish(self) -> None:
        """Tells of programs that have not ended."""
        self._end.ring()
        with self._lock:
            self._tell_long(None)

    def _began(self, event: events.CBProcessProcessCreationEventParams) -> None:
        before = self._settled(event.process_id)
        command = printable(self._sheet.command(event.command_line, event.arguments))
        self._goes_on(event.process_id, Program(event.time_ns, command, event.sequence, before))

    def take_back(self, sequence: int, why: str) -> None:
        """Takes back the execution of this event, which has not happened."""
        with self._lock:
            for process_id, program in self._programs.items():
                if program.sequence == sequence:
                    if program.is_shown:
                        self._sheet.line(program.started_ns, why, process_id, program.text, "failure")
                    self._goes_on(process_id, program.before)
                    self._not_executing = process_id
                    return

    def _goes_on(self, process_id: int, program: Program | None) -> None:
        if program is None:
            self._programs.pop(process_id, None)
        else:
            self._programs[process_id] = program
            self._next_long_ns = min(self._next_long_ns, program.started_ns + LONG_NS)

    def _settled(self, process_id: int) -> Program | None:
        """The program of a process, which has surely been executed. Tells that the one before is over."""
        program = self._programs.get(process_id)
        if program is None or program.before is None:
            return program
        if not program.before.is_told or not program.is_shown:
            self._done(program.started_ns, process_id, program.before, "executed another", "")
        program.before = None
        settled = program if program.is_shown else None
        self._goes_on(process_id, settled)
        return settled

    def _ended(self, event: events.CBProcessProcessTerminationEventParams) -> None:
        status = event.exit_status
        color = "failure" if status else "success"
        program = self._settled(event.process_id)
        self._programs.pop(event.process_id, None)
        if program is None:
            # The process was forked and executed nothing, or ran before.
            text = program_names(event)
            self._sheet.line(event.time_ns, status_text(status), event.process_id, text, color)
        else:
            self._done(event.time_ns, event.process_id, program, status_text(status), color)

    def _done(self, time_ns: int, process_id: int, program: Program, how: str, color: str) -> None:
        seconds = (time_ns - program.started_ns) / 1e9
        self._sheet.line(time_ns, f"{how}, {duration_text(seconds)}", process_id, program.text, color)

    def _refused(self, event: events.CBProcessProcessCreationEventParams) -> None:
        text = command_text(event)
        self._not_executing = event.process_id
        if self._last_refusal == (text, event.process_id):
            return
        self._last_refusal = text, event.process_id
        label = f"refused {refusal_name(event.result_code)}"
        self._sheet.line(event.time_ns, label, event.process_id, text, "refused")

    def _tell_long(self, now_ns: int | None) -> None:
        """Tells of the programs that run for long by then; None: of all."""
        if now_ns is not None and now_ns <= self._next_long_ns:
            return
        self._next_long_ns = NEVER_NS
        for process_id in list(self._programs):
            program = self._programs[process_id]
            if program.is_told:
                continue
            if now_ns is not None and now_ns - program.started_ns <= LONG_NS:
                self._next_long_ns = min(self._next_long_ns, program.started_ns + LONG_NS)
                continue
            settled = self._settled(process_id)
            if settled is not None:
                settled.is_told = True
                self._sheet.line(settled.started_ns, "running", process_id, settled.text, "running")
