"""The pictures of --timeline and --trace. Their files are opened at once, so that a long build does not end
in vain, and written at the end."""

from __future__ import annotations

from .destinations import name_of, open_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

    from .chronicle import Chronicle


class Pictures:
    """None, one or both of them. OSError if a file cannot be written."""

    def __init__(self, timeline: str | None, trace: str | None) -> None:
        self._timeline = None if timeline is None else (open_text(timeline), timeline)
        self._trace = None if trace is None else (open_text(trace), trace)
        self.needed: set[str] = set()  # events
        if timeline is not None or trace is not None:
            self.needed = {"process_creation", "process_termination", "thread_creation"}
        if trace is not None:
            self.needed.add("thread_termination")

    def write(self, chronicle: Chronicle, started_ns: int, ended_ns: int, lost: int) -> None:
        """Writes the pictures; see timeline_page() for the arguments."""
        if self._timeline is not None:
            from .timeline import timeline_page

            page = timeline_page(chronicle, started_ns, ended_ns, lost)
            _write(*self._timeline, page)
        if self._trace is not None:
            import json

            from .trace import trace_object

            text = json.dumps(trace_object(chronicle, started_ns, ended_ns, lost))
            _write(*self._trace, text + "\n")


def _write(file: TextIO, path: str, text: str) -> None:
    try:
        with file:
            file.write(text)
    except OSError as error:
        raise OSError(error.errno, error.strerror, name_of(path)) from None
