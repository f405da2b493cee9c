"""The spool of a command that prints events: `--spool`. Nothing is held, and everything that is told goes to
the spool, before it is printed.

Knows printers and spools; nothing of the choice of events."""

from __future__ import annotations

import os

from .._lean import suppress
from ..errors import CBProcessError
from .output import complain

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any, Callable

    from .. import events
    from .._api.process import CBProcess
    from .printer import Printer

# The driver's losses are looked for after so many events, and at the end.
LOOK_EVENTS = 256


def spooling(options: argparse.Namespace, process: CBProcess, printer: Printer) -> Spooling | None:
    """The spool that the options ask for, or None. To be made before configure(). OSError if it cannot be
    written."""
    if getattr(options, "spool", None) is None:
        return None
    return Spooling(options, process, printer)


class Spooling:
    """A session of the spool, from its first event to the end of the printer."""

    def __init__(self, options: argparse.Namespace, process: CBProcess, printer: Printer) -> None:
        # Commands without a spool start without its modules.
        from ..records import Origin, Recorder
        from ..spool import SpoolWriter, host_of

        self._process = process
        self._printer = printer
        self._names = frozenset(options.events)
        host = getattr(options, "host", None) or host_of(options.spool)
        origin = Origin.here(host, os.urandom(16).hex())
        self.writer = SpoolWriter(options.spool, origin, limit_bytes=options.spool_limit)
        # The printer has hidden values already that are to be hidden.
        self._recorder = Recorder(self.writer.origin, enrich=options.enrich)
        self._seen = self._lost = 0
        self._on_error: Callable[[Any], object] | None = None
        printer.listen(self._take)
        printer.listen_for_names(self._recorder.note)
        printer.at_end(self._finish)

    def begin(self) -> None:
        """Lets all operations go on at once, but for those that a rule refuses. To be called behind
        configure(), before the start."""
        from ..rules import Rule

        self._printer.rules.applied.apply("spool", [Rule(process_id=-1, action="allow")])
        self._on_error = self._process.on_error
        self._process.on_error = self._take_error

    def tell_left(self, process_ids: list[int]) -> None:
        """Records which processes go on without the filter."""
        from ..records import made

        if process_ids:
            self.writer.add(made("unsupervised", self.writer.origin, process_ids=process_ids))

    def _take(self, name: str, event: events.EventParams) -> None:
        if name not in self._names:
            return
        self.writer.append(lambda number: self._recorder.line(event, number))
        self._seen += 1
        if self._seen % LOOK_EVENTS == 0:
            self._look_for_losses()

    def _take_error(self, params: events.CBProcessErrorEventParams) -> None:
        # Also that an execution has failed which an event has told of: by its `sequence`.
        with suppress(CBProcessError):
            self.writer.append(lambda number: self._recorder.line(params, number))
        if self._on_error is not None:
            self._on_error(params)

    def _look_for_losses(self) -> None:
        lost = self._process.statistics().lost
        if lost > self._lost:
            self.writer.tell_lost(lost - self._lost)
            self._lost = lost

    def _finish(self) -> None:
        self._look_for_losses()
        self.writer.close()
        counts = self.writer.counts()
        lost = counts.lost - self._lost
        if lost:
            why = "" if counts.failure is None else f": {counts.failure.strerror}"
            complain(f"{lost} events could not be spooled{why}")
