"""One line for each program: printed when it has ended, with how and after how long. One that runs for more
than a second is told of when that has passed, and what is refused at once.

Knows events and text; nothing of filters or of where lines go. Any thread."""

from __future__ import annotations

import threading
from typing import NamedTuple

from .. import events
from .output import describe, format_line, printable, refusal_name, status_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .output import ProgramOf

LONG_NS = 1_000_000_000
LOOK_S = 0.2


class Program(NamedTuple):
    started_ns: int
    text: str
    is_told: bool


class ProgramLines:
    """write gets each line. Times count from started_ns; program_of names the program of a process."""

    def __init__(
        self, write: Callable[[str], None], started_ns: int, program_of: ProgramOf, color: bool
    ) -> None:
        self._write = write
        self._started_ns = started_ns
        self._program_of = program_of
        self._color = color
        self._programs: dict[int, Program] = {}
        self._last_refusal = ("", 0)
        self._lock = threading.Lock()
        self._is_finished = threading.Event()

    def add(self, name: str, event: events.EventParams) -> None:
        """Events in the order of their sequence."""
        with self._lock:
            self._tell_long(event.time_ns)
            if isinstance(event, events.CBProcessProcessCreationEventParams):
                if event.result_code:
                    self._refused(event)
                else:
                    self._began(event)
            elif isinstance(event, events.CBProcessProcessTerminationEventParams):
                self._ended(event)
            else:
                self._line(event.time_ns, name, event.process_id, describe(event, self._program_of), name)

    def left(self, process_id: int, time_ns: int) -> None:
        """The process goes on as a program that is not shown."""
        with self._lock:
            program = self._programs.pop(process_id, None)
            if program is not None:
                self._done(time_ns, process_id, program, "executed another", "")

    def watch(self, now_ns: Callable[[], int]) -> None:
        """Tells of what runs for long also while nothing happens, in a thread, until finish()."""

        def look() -> None:
            while not self._is_finished.wait(LOOK_S):
                with self._lock:
                    self._tell_long(now_ns())

        threading.Thread(target=look, name="cbprocess-lines", daemon=True).start()

    def finish(self) -> None:
        """Tells of what has not ended."""
        self._is_finished.set()
        with self._lock:
            self._tell_long(None)

    def _began(self, event: events.CBProcessProcessCreationEventParams) -> None:
        before = self._programs.get(event.process_id)
        if before is not None and not before.is_told:
            self._done(event.time_ns, event.process_id, before, "executed another", "")
        text = printable(event.command_line)
        self._programs[event.process_id] = Program(event.time_ns, text, False)

    def _ended(self, event: events.CBProcessProcessTerminationEventParams) -> None:
        status = event.exit_status
        color = "failure" if status else "success"
        program = self._programs.pop(event.process_id, None)
        if program is None:
            # It was forked and executed nothing, or ran before.
            text = printable(event.process_name.rpartition("/")[2])
            self._line(event.time_ns, status_text(status), event.process_id, text, color)
        else:
            self._done(event.time_ns, event.process_id, program, status_text(status), color)

    def _done(self, time_ns: int, process_id: int, program: Program, how: str, color: str) -> None:
        seconds = (time_ns - program.started_ns) / 1e9
        self._line(time_ns, f"{how}, {seconds:.3f} s", process_id, program.text, color)

    def _refused(self, event: events.CBProcessProcessCreationEventParams) -> None:
        path = event.image_file_name
        text = printable(event.command_line)
        if event.arguments[:1] != [path]:
            # A search in PATH tries several, of which the command line tells none.
            text = f"{printable(path)}: {text}"
        if self._last_refusal == (text, event.process_id):
            return
        self._last_refusal = text, event.process_id
        label = f"refused {refusal_name(event.result_code)}"
        self._line(event.time_ns, label, event.process_id, text, "failure")

    def _tell_long(self, now_ns: int | None) -> None:
        for process_id, program in self._programs.items():
            if not program.is_told and (now_ns is None or now_ns - program.started_ns > LONG_NS):
                self._programs[process_id] = program._replace(is_told=True)
                self._line(program.started_ns, "running", process_id, program.text, "running")

    def _line(self, time_ns: int, label: str, process_id: int, text: str, color: str) -> None:
        offset = (time_ns - self._started_ns) / 1e9
        self._write(format_line(offset, label, process_id, text, self._color, color))
