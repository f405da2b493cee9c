"""`cbprocess replay`: prints a recording, through the simulated driver."""

from __future__ import annotations

import os
import signal

from .._api.process import CBProcess
from .._binding.session import SLICE_MS, in_slices
from ..constants import ERROR_INVALID_DATA
from ..recording import estimate_events, read_head
from ..records import Origin
from .output import Output, complain
from .printer import Printer, configure
from .progress import NOWHERE, Progress
from .words import SIGNAL_BASE

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any

    from .. import events
    from ..recording import RecordingHead


def replay(options: argparse.Namespace) -> int:
    """The exit status for the options of `cbprocess replay`: 0, or 125 if the recording is damaged."""
    head = read_head(options.path)
    process = CBProcess()
    try:
        output = Output(options.output)
        printer = ReplayPrinter(options, output, process, head)
    except OSError as error:
        return complain(str(error))
    configure(process, options, printer, "errno")
    process.config("Driver=simulated")
    process.config(f"ReplaySpeed={options.speed}")
    process.config("ReplayVerdicts=recorded")
    process._ready().set_config(b"Script", os.fsencode(options.path))
    process.add_filtered_process_by_id(-1, True)
    status = 0
    with process:
        process.start_filter(options.timeout)
        try:
            session = process._ready()
            in_slices(lambda: session.library.cbp_script_wait(session.pointer, SLICE_MS))
        except KeyboardInterrupt:
            status = SIGNAL_BASE + signal.SIGINT
    printer.progress.finish()
    printer.finish()
    if printer.trouble:
        return complain(printer.trouble)
    return status


class ReplayPrinter(Printer):
    """Counts time as the recording does: from its beginning, to its last event."""

    counts_real_time = False

    def __init__(
        self, options: argparse.Namespace, output: Output, process: CBProcess, head: RecordingHead
    ) -> None:
        super().__init__(options, output, process, Origin.of_recording(head))
        self._last_ns: int = head.time_ns
        self.started_ns = self._last_ns
        self.trouble = ""
        # Where the lines themselves go to the terminal, they show how far it is.
        self.progress = Progress(NOWHERE if options.quiet else output._fd)
        self._done = 0
        self._total = 0
        if self.progress.is_possible:
            self._total = estimate_events(options.path, self.needed)

    def now_ns(self) -> int:
        return self._last_ns

    def handler(self, name: str) -> Any:
        handle = super().handler(name)

        def handle_timed(event: events.EventParams) -> None:
            self._last_ns = max(self._last_ns, event.time_ns)
            handle(event)
            self._done += 1
            self.progress.tell(self._done, self._total, self._done)

        return handle_timed

    def error(self, params: events.CBProcessErrorEventParams) -> None:
        if params.error_code == ERROR_INVALID_DATA:
            # It is said at the end, on standard error, where it cannot be overlooked.
            self.trouble = params.description
            return
        super().error(params)
