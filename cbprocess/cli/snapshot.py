"""`cbprocess snapshot`: the processes that run now, one line or one JSON object each."""

from __future__ import annotations

import json

from .._binding.texts import printable
from ..running import RunningProcess
from ..running import snapshot as take_snapshot
from .output import print_lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

HEADING = f"{'PID':>8} {'PARENT':>8} {'THREADS':>7}  COMMAND"


def snapshot(options: argparse.Namespace) -> int:
    processes = take_snapshot(source=options.source)
    lines = map(json_line, processes) if options.json else [HEADING, *map(text_line, processes)]
    return print_lines(lines, options.output)


def text_line(process: RunningProcess) -> str:
    # A process without arguments has brackets, as in other listings: a kernel thread, or one that has ended.
    command = printable(process.command_line) or f"[{printable(process.process_name)}]"
    return f"{process.process_id:>8} {process.parent_process_id:>8} {process.thread_count:>7}  {command}"


def json_line(process: RunningProcess) -> str:
    return json.dumps(
        {
            "process_id": process.process_id,
            "parent_process_id": process.parent_process_id,
            "start_time": process.start_time,
            "thread_count": process.thread_count,
            "user_id": process.user_id,
            "process_name": process.process_name,
            "arguments": process.arguments,
            "command_line": process.command_line,
        }
    )
