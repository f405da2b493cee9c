"""`cbprocess snapshot`: the processes that run now, one line or one record each."""

from __future__ import annotations

from .._checks import printable, quoted
from ..running import ON_WINDOWS, RunningProcess
from ..running import snapshot as take_snapshot
from .common_options import redactor_of
from .output import print_lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable
    from typing import Any

    from ..records import Redactor

HEADING = f"{'PID':>8} {'PARENT':>8} {'THREADS':>7}  COMMAND"


def snapshot(options: argparse.Namespace) -> int:
    redactor = redactor_of(options)
    processes = take_snapshot(source=options.source)
    if options.json or options.format is not None:
        lines = record_lines(processes, redactor, options.enrich, options.format)
        return print_lines(lines, options.output)
    return print_lines([HEADING, *(text_line(process, redactor) for process in processes)], options.output)


def record_lines(
    processes: list[RunningProcess],
    redactor: Redactor | None,
    enrich: tuple[str, ...],
    format_name: str | None = None,
) -> Iterable[str]:
    """Lines of records, or of documents of a format."""
    from ..records import Recorder, line_of

    recorder = Recorder(redact=redactor, enrich=enrich)
    encode: Callable[[dict[str, Any]], bytes] = line_of
    if format_name is not None:
        from ..formats import encoder

        encode = encoder(format_name)
    for process in processes:
        recorder.note(process)
    for process in processes:
        yield encode(recorder.record(process)).decode("ascii").rstrip("\n")


def text_line(process: RunningProcess, redactor: Redactor | None = None) -> str:
    line = process.command_line
    if redactor is not None:
        hide = redactor.arguments
        line = redactor.command_line(line) if ON_WINDOWS else quoted(hide(process.arguments))
    # A process without arguments has brackets, as in other listings: a kernel thread, or one that has ended.
    command = printable(line) or f"[{printable(process.process_name)}]"
    return f"{process.process_id:>8} {process.parent_process_id:>8} {process.thread_count:>7}  {command}"
