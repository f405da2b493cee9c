"""A controller that attaches to a running process: controller_attach.py PROCESS-ID WIDTH.

WIDTH is "children" or "alone". Prints "attached" once it has, or "error CODE"; then, for each line that it
reads, one JSON object with what it has seen so far; ends with its input."""

import json
import os
import sys
from collections import Counter

import cbprocess

seen: "Counter[str]" = Counter()
instance = cbprocess.CBProcess()
instance.initialize("{5ABD3A8B-6A3F-4C52-9F0C-5E1F0A1C7D16}")
instance.config("EventsToFire=27")
for name in ("process_creation", "process_termination", "thread_creation", "thread_termination"):
    setattr(instance, f"on_{name}", lambda event, name=name: seen.update([name]))
instance.start_filter(0)
try:
    instance.add_filtered_process_by_id(int(sys.argv[1]), sys.argv[2] == "children")
    print("attached", os.getpid(), flush=True)
except cbprocess.CBProcessError as error:
    print("error", error.code, flush=True)
for _ in sys.stdin:
    print(json.dumps(seen), flush=True)
instance.stop_filter()
