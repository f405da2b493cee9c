"""The common part of run, attach and replay: an instance as the options ask for, and handlers that print."""

from __future__ import annotations

import os
import sys
import time
from _thread import LockType, allocate_lock

from .. import constants, events
from .._api.process import CBProcess
from .._checks import checked_pattern, printable, quoted
from .._lean import Bell
from .common_options import redactor_of
from .output import Output, Tally, complain, describe, failure_name, format_line, line_kind
from .rule_layers import CommandRules
from .shortening import base_name
from .words import (
    EVENT_NAMES,
    LEFT,
    LIFETIME_NAMES,
    PROCESS_NAMES,
    PRODUCT_GUID,
    SHOWN,
    STANDARD_OUTPUT,
    STAYED,
    THREAD_NAMES,
    TREE_LINES,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Collection, Iterable
    from contextlib import AbstractContextManager
    from typing import Any, Union

    from .._streams.joining import Joint
    from ..records import Origin
    from ..running import RunningProcess
    from .choice import Choice
    from .chronicle import Chronicle
    from .lines import ProgramLines
    from .live import LiveView
    from .pictures import Pictures
    from .record_lines import RecordLines
    from .summary import Summary
    from .tree_lines import TreeLines

    Notable = Union[events.EventParams, RunningProcess]
    # It gets the name of an event, and the event.
    Listener = Callable[[str, events.EventParams], None]
    # A running process: its id, its parent's, its program and its arguments.
    Running = tuple[int, int, str, list[str]]

# The end of a process may lie so long before its last event.
LAST_EVENT_LIMIT_S = 2.0
# Events that may be left are awaited until none came for this long.
QUIET_S = 0.05


def configure(process: CBProcess, options: argparse.Namespace, printer: Printer, refuse_with: str) -> None:
    """Settings, handlers and rules, but for the rule that chooses the processes."""
    process.initialize(getattr(options, "product", PRODUCT_GUID))
    process.serialize_events = constants.SERIALIZE_ON_ONE_WORKER_THREAD
    process.config(f"RefuseWith={refuse_with}")
    if sys.platform != "win32":
        process.config("HideController=True")
    if options.enrich:
        process.config(f"Enrich={','.join(options.enrich)}")
    if options.record:
        # config() would take text, but these are the bytes that the shell has given.
        process._ready().set_config(b"RecordTo", os.fsencode(printer.record_path))
    mask = 0
    for kind in events.OPERATIONS:
        if kind.name in printer.needed:
            mask |= kind.type
            setattr(process, kind.handler, printer.handler(kind.name))
    # "All" means all that the driver sees. An operation that is named and cannot be seen is an error.
    process.config(f"EventsToFire={-1 if set(printer.needed) == set(EVENT_NAMES) else mask}")
    process.on_error = printer.error
    process._hooks.without_threading = not options.tree
    for pattern in (*options.name, *options.ignore):
        checked_pattern(pattern, "a name")
    printer.rules = CommandRules(process, options)


class Printer:
    """The handlers: they run in one worker thread, one after the other."""

    counts_real_time = True
    rules: CommandRules
    """The rules in force, from configure() on."""

    def __init__(
        self, options: argparse.Namespace, output: Output, process: CBProcess, origin: Origin | None = None
    ) -> None:
        self._options = options
        self.output = output
        self._process = process
        self._color = output.wants_color(options.color, os.environ)
        self._pictures: Pictures | None = None
        self._chronicle: Chronicle | None = None
        self._summary: Summary | None = None
        self._records: RecordLines | None = None
        # Only a command that is asked for more than lines starts with what that needs.
        if options.timeline is not None or options.trace is not None:
            from .pictures import Pictures

            self._pictures = Pictures(options.timeline, options.trace)
        if options.summary or self._pictures is not None:
            from .chronicle import Chronicle
            from .summary import Summary

            self._chronicle = Chronicle()
            self._summary = Summary(self._chronicle) if options.summary else None
        if options.json:
            from ..records import Recorder
            from .record_lines import RecordLines

            self._records = RecordLines(
                options, output, Recorder(origin, enrich=options.enrich), self.counts_real_time
            )
        self._notes: list[Callable[[Notable], None]] = []
        if self._records is not None:
            self._notes.append(self._records.note)
        self._redactor = redactor_of(options)
        self._listeners: list[Listener] = []
        self._view: LiveView | None = None
        self._endings: list[Callable[[], None]] = []
        self._pump = None
        if options.record == STANDARD_OUTPUT:
            from .destinations import Pump

            self._pump = Pump()
        self.record_path: str = options.record if self._pump is None else self._pump.path
        self.started_ns = time.time_ns()
        self._choice: Choice | None = None
        if options.name or options.ignore or options.no_children:
            from .choice import Choice
            from .matching import matching

            self._choice = Choice(options, matching(process), getattr(options, "process_ids", ()))
        self._ended: set[int] = set()
        self._end = Bell()  # at each end of a process
        # More events are asked for than are printed: ends say when the command's last event is through, and
        # beginnings which process the command is.
        self.needed = {*options.events, "process_creation", "process_termination"}
        # Beside the events of threads each event has a line, in the order in which they happen.
        self._has_line_per_program = set(PROCESS_NAMES) <= set(options.events) and not (
            options.json or set(THREAD_NAMES) & set(options.events)
        )
        self._is_tree: bool = options.tree and self._has_line_per_program and not options.quiet
        if self._summary is not None or self._choice is not None or self._is_tree or self._notes:
            self.needed.add("thread_creation")
        if options.record:
            # A replay may ask for events that are not printed today.
            self.needed.update(LIFETIME_NAMES)
        if self._pictures is not None:
            self.needed |= self._pictures.needed
        self._lines: ProgramLines | TreeLines | None = None
        self._tally = Tally()
        self._command_end: tuple[int, float] | None = None
        # An execution may be taken back in another thread than the handlers', and before its event.
        self._lock = allocate_lock()
        self._last_sequence = 0
        self._told_ns = 0  # the time of the last event that was taken
        # A snapshot makes some of the first events known.
        self.joint: Joint | None = None
        self._failed: list[events.CBProcessErrorEventParams] = []

    def paused(self) -> LockType:
        """Lets all events wait to be printed, for a block, but not the operations that they tell of."""
        return self._lock

    @property
    def needs_running(self) -> bool:
        """Whether found_running() has to be told of the processes that run already."""
        return bool(self._chronicle or self._choice or self._is_tree or self._view)

    def listen(self, listener: Listener, names: Iterable[str] = ()) -> None:
        """Has the listener called with each event that is told, also where nothing is printed: after the
        choice of processes, in the handlers' thread, while the event is valid. It must not raise, and the
        operation waits for it. `names` are the events that it needs beside those that are asked for anyway.
        To be called before `configure()`."""
        self._listeners.append(listener)
        self.needed.update(names)

    def listen_for_names(self, note: Callable[[Notable], None]) -> None:
        """Has this function called with the event of every process, also where it is not told, in the
        handlers' thread; and with processes that run already: what remembers the identities of parents. To be
        called before `configure()`."""
        self._notes.append(note)
        # A process that only forks has no other event before its end.
        self.needed.add("thread_creation")

    def look_around(self) -> None:
        """Tells what remembers identities of all processes that run now. To be called when the filter is
        active."""
        if not self._notes:
            return
        from ..running import snapshot

        # An end that comes meanwhile is told behind it.
        with self._lock:
            for process in snapshot(False):
                for note in self._notes:
                    note(process)

    def live_view(self, title: str) -> LiveView | None:
        """The live view, if the options ask for one: everything is shown in it, too. To be called before
        `configure()`."""
        if self._options.live:
            from .live import LiveView

            is_run = self._options.command_name == "run"
            self._view = LiveView(self._process, self.program_of, self.output, title, is_run)
            # These make the tree.
            self.needed.update(("process_creation", "process_termination", "thread_creation"))
        return self._view

    def shown(self) -> AbstractContextManager[object]:
        """Shows the live view, if there is one, for a block."""
        # A lock of nobody else's is a block in which nothing happens.
        return allocate_lock() if self._view is None else self._view.shown()

    def at_end(self, ending: Callable[[], None]) -> None:
        """Has this function called by `finish()`, behind all lines."""
        self._endings.append(ending)

    def handler(self, name: str) -> Any:
        choice = self._choice

        def handle(event: events.EventParams) -> None:
            with self._lock:
                if self._redactor is not None:
                    event = self._redactor.event(event)
                for note in self._notes:
                    note(event)
                is_told = self.joint is not None and self.joint.knows(event)
                for told in [] if is_told else [(name, event)] if choice is None else choice.add(name, event):
                    self._tell(*told)
                self._last_sequence = event.sequence
                self._told_ns = event.time_ns
                if self._failed:
                    self._take_back_known()
                if name == "process_termination":
                    self._ended.add(event.process_id)
                    self._end.ring()

        return handle

    def _tell(self, name: str, event: events.EventParams) -> None:
        if name == LEFT:
            self._leave(event)
            return
        for listener in self._listeners:
            listener(name, event)
        ignored = self.rules.ignored if name.endswith("_creation") else None
        is_ignored = ignored is not None and ignored.has(event)
        if is_ignored:
            self._leave(event)
            # Its end will not be told, and must not be awaited.
            self._end.ring()
        else:
            self._tally.add(event)
            if self._summary is not None:
                self._summary.add(name, event)
            if self._chronicle is not None:
                self._chronicle.add(event)
            if self._view is not None:
                self._view.add(name, event)
        if self._is_printed(name) and not (is_ignored and self._has_line_per_program):
            self._print(name, event)

    def _is_printed(self, name: str) -> bool:
        # The tree needs to know of first threads, which tell it of forks.
        is_needed = name in self._options.events or (self._is_tree and name == "thread_creation")
        return is_needed and not self._options.quiet

    def _leave(self, event: events.EventParams) -> None:
        """Ends the shown part of a process that goes on as a program that is not shown."""
        where = event.process_id, event.time_ns, event.sequence
        if self._chronicle is not None:
            self._chronicle.left(*where)
        for lines in (self._lines, self._view):
            if lines is not None:
                lines.left(*where)

    def now_ns(self) -> int:
        """The time that lines and the summary count to."""
        return time.time_ns()

    def _take_back_known(self) -> None:
        """Takes back those executions of which events have told by now."""
        known = [failed for failed in self._failed if failed.sequence <= self._last_sequence]
        self._failed = [failed for failed in self._failed if failed.sequence > self._last_sequence]
        for failed in known:
            self._take_back(failed)

    def _take_back(self, failed: events.CBProcessErrorEventParams) -> None:
        """Takes back an execution that an event has told of, and everything that was told because of it. One
        that was not shown is taken back silently."""
        outcome = SHOWN if self._choice is None else self._choice.take_back(failed.sequence)
        if outcome is None:
            return
        ignored = self.rules.ignored
        if ignored is not None and ignored.take_back(failed.sequence):
            outcome = STAYED
            if not self._has_line_per_program and self._is_printed("process_creation"):
                self._print_error(failed)
        why = failure_name(failed.os_error)
        if outcome != STAYED:
            self._tally.took_back()
        if self._chronicle is not None:
            taken = self._chronicle.take_back(failed.sequence, outcome == LEFT)
            if taken is not None and self._summary is not None:
                process_id, stage = taken
                self._summary.took_back(process_id, stage.command, why)
        if self._view is not None:
            self._view.take_back(failed.sequence, why)
        if self._lines is not None:
            self._lines.take_back(failed.sequence, why)
        elif outcome != STAYED and self._is_printed("process_creation"):
            self._print_error(failed)

    def error(self, params: events.CBProcessErrorEventParams) -> None:
        if not params.sequence:
            self._print_error(params)
            return
        with self._lock:
            self._failed.append(params)
            self._take_back_known()

    def _print_error(self, params: events.CBProcessErrorEventParams) -> None:
        if self._records is not None:
            self._records.event(params)
        else:
            offset = (self.now_ns() - self.started_ns) / 1e9
            text = f"{printable(params.description)} (error {params.error_code})"
            self.output.line(format_line(offset, "error", os.getpid(), text, self._color))

    def found_running(self, process_id: int, parent_id: int, program: str, arguments: list[str]) -> None:
        """Takes a process that runs already. Parents come before their children."""
        if self._choice is not None and not self._choice.found_running(process_id, parent_id, program):
            return
        ignored = self.rules.ignored
        if ignored is not None and ignored.found_running(process_id, parent_id, program):
            return
        found = process_id, parent_id, program, self.hidden(arguments), time.time_ns()
        if self._chronicle is not None:
            self._chronicle.found_running(*found)
        if self._view is not None:
            self._view.found_running(*found)
        if self._is_tree:
            from .tree_lines import TreeLines

            lines = self._program_lines()
            assert isinstance(lines, TreeLines)
            lines.found_running(*found)

    def hidden(self, arguments: list[str]) -> list[str]:
        """The arguments as they may be shown."""
        return arguments if self._redactor is None else self._redactor.arguments(arguments)

    def tell_attached(self, process_ids: list[int], look: Callable[[], list[Running]]) -> None:
        """Says which processes are under the filter now, and how many descendants run already. look finds all
        of them, where that is to be said."""
        if self._options.json or self._options.quiet:
            return
        found = look()
        names = [
            f"{row[0]} ({printable(quoted(self.hidden(row[3])) or row[2])})"
            for row in found
            if row[0] in process_ids
        ]
        if names:
            others = len(found) - len(names)
            more = "" if not others else f" and {others} descendant{'s' if others > 1 else ''}"
            self.output.line(f"attached to {', '.join(names)}{more}")

    def wait_for_end(self, process_ids: Collection[int]) -> None:
        """Waits until all events before the end of these processes have been printed."""
        end_s = time.monotonic() + LAST_EVENT_LIMIT_S
        while left := set(process_ids) - self._ended:
            if not self.rules.are_silent(left) and self._end.wait(max(end_s - time.monotonic(), 0)):
                continue
            self.wait_for_quiet()
            # The first event of one that seemed to be silent may just have come.
            if time.monotonic() >= end_s or self.rules.are_silent(left - self._ended):
                return

    def wait_for_quiet(self) -> None:
        """Waits until all events from before this call have been told: until none waits for a worker and no
        more come, or, where processes go on, until a later one has come. Gives up events of which none is
        taken for LAST_EVENT_LIMIT_S."""
        begun_ns, counts = time.monotonic_ns(), self._process.statistics()
        delivered, end_s, known = -1, 0.0, counts.delivered + counts.queued
        # Events have the times of a clock that may be set, so the call's time is that of the clock of now.
        while delivered <= known or self._told_ns <= time.time_ns() - (time.monotonic_ns() - begun_ns):
            counts = self._process.statistics()
            if counts.delivered != delivered:
                delivered, end_s = counts.delivered, time.monotonic() + LAST_EVENT_LIMIT_S
            elif counts.queued == 0 or time.monotonic() > end_s:
                return
            time.sleep(QUIET_S)

    def tell_left(self, process_ids: list[int]) -> None:
        """Says how many processes go on without the filter."""
        if not process_ids:
            return
        if self._records is not None:
            self._records.other("unsupervised", process_ids=process_ids)
            return
        count = len(process_ids)
        goes = "1 process goes" if count == 1 else f"{count} processes go"
        hint = "" if self._options.wait_all else " (--wait-all stays until they have ended)"
        complain(f"{goes} on unsupervised{hint}")

    def command_ended(self, status: int, seconds: float) -> None:
        """Notes the end of the command, for the line that closes the output."""
        self._command_end = status, seconds

    def finish(self) -> None:
        """Tells of programs that still run, prints the summary, and says if not everything could be
        written."""
        if self._lines is not None:
            self._lines.finish()
        self._close()
        self._summarize()
        self._draw()
        for ending in self._endings:
            ending()
        if self._pump is not None:
            self._pump.finish()
        failure = self.output.failure
        if failure is not None and not isinstance(failure, BrokenPipeError):
            complain(f"events could not be written: {failure.strerror}")

    def _close(self) -> None:
        """Prints the one line about everything, where the command has ended and no summary says it all."""
        is_told = self._has_line_per_program and not self._options.quiet and self._summary is None
        if self._command_end is not None and is_told:
            # process.statistics() would give them as a class of its own, whose module most runs do without.
            counts = self._process._ready().statistics()
            self.output.line(self._tally.line(*self._command_end, counts, self._color))

    def _summarize(self) -> None:
        if self._summary is None:
            return
        now_ns = self.now_ns()
        if self._records is not None:
            self._records.other("summary", **self._summary.record(now_ns))
            return
        for line in self._summary.lines(now_ns, None if self._options.tree else TREE_LINES):
            self.output.line(line)

    def _draw(self) -> None:
        if self._chronicle is None or self._pictures is None:
            return
        lost = self._process.statistics().lost
        try:
            self._pictures.write(self._chronicle, self.started_ns, self.now_ns(), lost)
        except OSError as error:
            complain(f"{error.filename}: {error.strerror}")

    def _print(self, name: str, event: events.EventParams) -> None:
        if self._records is not None:
            self._records.event(event)
            return
        if self._has_line_per_program:
            self._program_lines().add(name, event)
            return
        offset = (event.time_ns - self.started_ns) / 1e9
        text = describe(event, self.program_of)
        kind = line_kind(name, event)
        self.output.line(format_line(offset, name, event.process_id, text, self._color, kind))

    def _program_lines(self) -> ProgramLines | TreeLines:
        """The lines about programs, which begin when the first of them is needed."""
        if self._lines is None:
            from .lines import ProgramLines, Sheet

            output, options = self.output, self._options
            sheet = Sheet(output.line, self.started_ns, self._color, output.columns, options.wide)
            if self._is_tree:
                from .tree_lines import TreeLines

                self._lines = TreeLines(sheet, self.program_of)
            else:
                self._lines = lines = ProgramLines(sheet, self.program_of)
                if self.counts_real_time:
                    lines.watch(self.now_ns)
        return self._lines

    def program_of(self, process_id: int) -> str:
        """The name of the program of a living process, or ""."""
        return base_name(self._process.get_process_name(process_id))
