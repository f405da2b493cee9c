"""The lines of --json and --format: a record of each event, as one JSON object a line.

Knows records, formats and the output; nothing of filters and of the choice of events."""

from __future__ import annotations

import threading
from itertools import count, repeat

from ..records import Recorder, line_of, made

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator
    from typing import Any

    from .. import events
    from ..running import RunningProcess
    from .output import Output


class RecordLines:
    """Lines of JSON to the output, in the order of their numbers. Any thread: what the library tells of
    errors comes in others than the handlers'."""

    def __init__(
        self, options: argparse.Namespace, output: Output, recorder: Recorder, is_stream: bool
    ) -> None:
        self._output = output
        self._recorder = recorder
        # A recording's events are not numbered: what is shown of them may be another choice each time.
        self._numbers: Iterator[int | None] = count(1) if is_stream else repeat(None)
        self._lock = threading.Lock()
        self._encode: Callable[[dict[str, Any]], bytes] = line_of
        if options.format != "cbprocess":
            from ..formats import encoder

            self._encode = encoder(options.format)

    def note(self, event: events.EventParams | RunningProcess) -> None:
        """Remembers the process of an event that may get no line, or one that runs already."""
        self._recorder.note(event)

    def event(self, event: events.EventParams | events.CBProcessErrorEventParams) -> None:
        """Writes an event, or what on_error was told."""
        with self._lock:
            self._write(self._recorder.record(event, next(self._numbers)))

    def other(self, name: str, **fields: Any) -> None:
        """Writes a record that is no event's: a summary, processes that are left."""
        with self._lock:
            self._write(made(name, self._recorder.origin, number=next(self._numbers), **fields))

    def _write(self, record: dict[str, Any]) -> None:
        self._output.line(self._encode(record).decode().rstrip("\n"))
