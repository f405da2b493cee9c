"""The lines of --json and --format: a record of each event, as one JSON object a line.

Knows records, formats and the output; nothing of filters and of the choice of events."""

from __future__ import annotations

from ..records import Recorder, line_of, made

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from typing import Any

    from .. import events
    from .output import Output


class RecordLines:
    """Lines of JSON to the output, in the order of the calls: in the handlers' thread, and in others, one at
    a time."""

    def __init__(self, options: argparse.Namespace, output: Output, recorder: Recorder) -> None:
        self._output = output
        self._recorder = recorder
        self._encode: Callable[[dict[str, Any]], bytes] = line_of
        if options.format != "cbprocess":
            from ..formats import encoder

            self._encode = encoder(options.format)

    def event(self, event: events.EventParams | events.CBProcessErrorEventParams) -> None:
        """Writes an event, or what on_error was told."""
        self._write(self._recorder.record(event))

    def other(self, name: str, **fields: Any) -> None:
        """Writes a record that is no event's: a summary, processes that are left."""
        self._write(made(name, self._recorder.origin, **fields))

    def _write(self, record: dict[str, Any]) -> None:
        self._output.line(self._encode(record).decode().rstrip("\n"))
