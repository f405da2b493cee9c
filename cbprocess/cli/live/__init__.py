"""The live view of `cbprocess top` and `run --live`: a page with the tree, rates, refusals and waits.

A printer has it where it is asked for. The library rich, an extra, is imported when a view begins."""

from __future__ import annotations

import contextlib
import signal
import time

from ..._checks import printable
from .model import Model
from .printed import Printed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ... import events
    from ..._api.process import CBProcess
    from ..output import Output, ProgramOf

MISSING = "the live view needs the library rich: pip install 'cbprocess[tui]'"


class NoView(LookupError):
    """Why there can be no live view here."""


class LiveView:
    """The view of one session, before and while it is shown. NoView where it cannot be shown: rich is
    missing, or there is no terminal.

    It is told of events as the lines are (`add()` and its neighbours), and shown by `shown()`."""

    def __init__(
        self, process: CBProcess, program_of: ProgramOf, output: Output, title: str, is_run: bool
    ) -> None:
        try:
            from . import view
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] != "rich":
                raise
            raise NoView(MISSING) from None
        trouble = view.is_possible()
        if trouble:
            raise NoView(trouble)
        self.model = Model(program_of)
        self._output = output
        self._printed = Printed() if is_run else None
        words = "leave the view" if is_run else "quit"
        try:
            self._view = view.View(
                process,
                self.model,
                printable(title),
                self._printed,
                words,
                self._quit if is_run else interrupt,
            )
        except OSError as error:
            raise NoView(f"the live view needs a terminal: {error.strerror}") from None

    def add(self, name: str, event: events.EventParams) -> None:
        self.model.add(name, event, time.time_ns())

    def found_running(
        self, process_id: int, parent_id: int, program: str, arguments: list[str], now_ns: int
    ) -> None:
        self.model.found_running(process_id, parent_id, program, arguments, now_ns)

    def left(self, process_id: int, time_ns: int, sequence: int) -> None:
        self.model.left(process_id, time_ns, sequence)

    def take_back(self, sequence: int, why: str) -> None:
        self.model.take_back(sequence, why)

    def tell(self, text: str) -> None:
        """Says something that must not be overlooked, until the view ends."""
        self._view.note = printable(text)

    def keywords(self) -> dict[str, Any]:
        """Keywords for Popen: the command does not print on our page."""
        return {} if self._printed is None else self._printed.keywords()

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """Shows the view. Lines for the same terminal are not written meanwhile. After that, what the command
        has printed is on the terminal."""
        self._output.is_hidden = self._output.is_terminal
        try:
            with self._view:
                yield
        finally:
            self._output.is_hidden = False
            if self._printed is not None:
                self._printed.finish()

    def _quit(self) -> None:
        """The command goes on, and so do its lines."""
        self._output.is_hidden = False
        if self._printed is not None:
            self._printed.show()


def interrupt() -> None:
    """Ends a command that watches until Ctrl-C."""
    # os.kill() would end this process on Windows.
    signal.raise_signal(signal.SIGINT)
