"""A controller that attaches to the process whose id is its argument, prints which programs it executes, and
lets it go at the first line of its input."""

from __future__ import annotations

import sys

import cbprocess

with cbprocess.CBProcess() as process:
    process.initialize("{7D5C8E0A-1B34-4F5E-9F60-2A2B0C9D8E13}")
    process.config(f"EventsToFire={cbprocess.PROC_EVT_PROCESS_CREATION}")
    process.on_process_creation = lambda event: print(event.command_line, flush=True)
    process.start_filter(0)
    process.add_filtered_process_by_id(int(sys.argv[1]), True)
    print("attached", flush=True)
    sys.stdin.readline()
