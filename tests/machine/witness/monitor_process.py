"""Observes the whole machine with the bpf driver, as a process of its own, and holds nothing:

    monitor_process.py OUTPUT

Prints "ready" when it observes. A line of standard input is an argument: when an execution with it has been
told, and its end, all that happened before has been told as well. Then it writes what it was told to the file
OUTPUT, in the order in which it came, and prints one line of JSON: what on_error was told, and the
statistics."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import cbprocess

GUID = "{00000000-0000-0000-0000-000000000000}"  # of no product: it needs no installation
MARK_LIMIT_S = 120
EVENTS = (
    cbprocess.PROC_EVT_PROCESS_CREATION
    | cbprocess.PROC_EVT_PROCESS_TERMINATION
    | cbprocess.PROC_EVT_THREAD_CREATION
    | cbprocess.PROC_EVT_THREAD_TERMINATION
)
COMMON = ("sequence", "process_id", "start_time", "held", "time_ns")
FIELDS = {
    "process_creation": (*COMMON, "creating_process_id", "parent_process_id", "arguments", "flags"),
    "process_termination": (*COMMON, "exit_status"),
    "thread_creation": (*COMMON, "thread_id", "creating_process_id"),
    "thread_termination": (*COMMON, "thread_id"),
}


def await_mark(rows: list[tuple[str, list[Any]]], mark: str) -> None:
    """Until the end of the process with that argument has been told."""
    marked, looked, end = -1, 0, time.monotonic() + MARK_LIMIT_S
    while time.monotonic() < end:
        for name, values in rows[looked:]:
            looked += 1
            row = dict(zip(FIELDS[name], values))
            if mark in row.get("arguments", ()):
                marked = row["process_id"]
            if name == "process_termination" and row["process_id"] == marked:
                time.sleep(0.2)  # for other workers, which may have been faster or slower
                return
        time.sleep(0.02)


def main() -> None:
    rows: list[tuple[str, list[Any]]] = []
    errors: list[tuple[int, str]] = []
    instance = cbprocess.CBProcess()
    instance.initialize(GUID)
    instance.config("Driver=bpf")
    instance.config(f"EventsToFire={EVENTS}")

    def handler(name: str) -> Any:
        fields = FIELDS[name]
        return lambda event: rows.append((name, [getattr(event, field) for field in fields]))

    for name in FIELDS:
        setattr(instance, f"on_{name}", handler(name))
    instance.on_error = lambda error: errors.append((error.error_code, error.description))
    instance.add_rule(process_id=-1, action="allow")
    instance.start_filter(0)
    print("ready", flush=True)
    await_mark(rows, sys.stdin.readline().strip())
    # Others go on meanwhile, and the counts have to be of what was told until the end.
    instance.stop_filter()
    statistics = instance.statistics()
    with Path(sys.argv[1]).open("w", encoding="ascii") as output:
        for name, values in rows:
            output.write(json.dumps({"event": name, **dict(zip(FIELDS[name], values))}) + "\n")
    told = {name: getattr(statistics, name) for name in ("delivered", "lost", "timed_out", "refused")}
    print(json.dumps({"errors": errors, **told}), flush=True)


if __name__ == "__main__":
    main()
