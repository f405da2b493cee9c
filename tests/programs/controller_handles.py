"""A controller whose handlers never answer handle operations, to be killed or stopped by a test.

controller_handles.py TIMEOUT OUTPUT COMMAND...

Runs COMMAND under a filter, its output going to the file OUTPUT. Prints "held HELPER CALLER TARGET" (ids)
for each handle operation that it holds; at the end, if it is let go on, its statistics.
"""

import json
import os
import sys
import threading
from pathlib import Path

import cbprocess


def tracer_of(process_id: int) -> int:
    status = Path(f"/proc/{process_id}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("TracerPid:"))


def say(*words: object) -> None:
    """One line in one system call: the texts of two threads that print at a time may mix."""
    os.write(sys.stdout.fileno(), (" ".join(map(str, words)) + "\n").encode())


def main() -> None:
    timeout, output, *command = sys.argv[1:]
    instance, release = cbprocess.CBProcess(), threading.Event()

    def hold(event: "cbprocess.CBProcessProcessHandleOperationEventParams") -> None:
        caller = event.originator_process_id
        say("held", tracer_of(caller), caller, event.process_id)
        release.wait()

    instance.initialize("{5ABD3A8B-6A3F-4C52-9F0C-5E1F0A1C7D17}")
    instance.config("EventsToFire=-1")
    instance.on_process_handle_operation = instance.on_thread_handle_operation = hold
    instance.start_filter(int(timeout))
    with Path(output).open("w") as stream:
        process = instance.popen(command, stdout=stream)
    status = process.wait()
    release.set()
    statistics = instance.statistics()
    instance.stop_filter()
    say(json.dumps({"status": status, "timed_out": statistics.timed_out, "refused": statistics.refused}))


if __name__ == "__main__":
    main()
