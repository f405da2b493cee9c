"""Observes the machine until its input ends, and says what it was told of the programs of test_events.py."""

from __future__ import annotations

import json
import sys
from typing import Any

import cbprocess

NO_PRODUCT = "{00000000-0000-0000-0000-000000000000}"
STATUS = 77  # of the programs, also where their names were missed


def main() -> None:
    own: set[int] = set()
    counts = {"creations": 0, "ends": 0, "threads": 0, "afterwards": 0}
    errors: list[int] = []
    threads: set[int] = set()

    def created(event: Any) -> None:
        arguments = event.arguments
        counts["afterwards"] += "afterwards" in arguments
        if "over" in arguments:
            counts["creations"] += 1
            own.add(event.process_id)

    def ended(event: Any) -> None:
        if event.exit_status == STATUS:
            counts["ends"] += 1
            own.add(event.process_id)

    def thread_created(event: Any) -> None:
        if event.thread_id == event.process_id:
            threads.add(event.process_id)

    filter = cbprocess.CBProcess()
    filter.initialize(NO_PRODUCT)
    filter.config("Driver=bpf")
    filter.config("EventsToFire=27")
    filter.on_process_creation = created
    filter.on_process_termination = ended
    filter.on_thread_creation = thread_created
    filter.on_thread_termination = lambda event: None
    filter.on_error = lambda error: errors.append(error.error_code)
    filter.add_rule(process_id=-1, action="allow")
    filter.start_filter(0)
    print("ready", flush=True)
    sys.stdin.read()
    counts["threads"] = len(threads & own)
    found = {**counts, "lost": filter.statistics().lost, "errors": errors}
    filter.stop_filter()
    print(json.dumps(found))


main()
