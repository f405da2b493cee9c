"""A controller in the middle of a fork storm, to be killed or stopped by a test.

controller_storm.py SETTING TIMEOUT EVENTS HOLD FORK OUTPUT COMMAND...

Runs COMMAND under a filter, its output going to the file OUTPUT. From the HOLD-th creation on each handler
sleeps for ever, so that operations are held; the first that does prints "held HELPER-ID". With FORK not
0 a multiprocessing child is alive all the while; a line "child ID CODES" tells its id and the error codes it
got from what it must not do. At its end, if it is let go on, the controller prints its statistics.
"""

import itertools
import json
import multiprocessing
import os
import sys
import threading
import time
from pathlib import Path

import cbprocess


def tracer_of(process_id: int) -> int:
    status = Path(f"/proc/{process_id}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("TracerPid:"))


def say(*words: object) -> None:
    """One line in one system call: the texts of two threads that print at a time may mix."""
    os.write(sys.stdout.fileno(), (" ".join(map(str, words)) + "\n").encode())


def outlive(instance: "cbprocess.CBProcess", codes: "multiprocessing.queues.SimpleQueue[list[int]]") -> None:
    """In the forked child: tries what must not reach the parent's filter, then stays."""
    found = []
    for call in (instance.stop_filter, instance.statistics, lambda: instance.start_filter(0)):
        try:
            call()
            found.append(0)
        except cbprocess.CBProcessError as error:
            found.append(error.code)
    codes.put(found)
    time.sleep(300)


def main() -> None:
    setting, timeout, events, hold, fork, output, *command = sys.argv[1:]
    count, said, release = itertools.count(1), threading.Lock(), threading.Event()
    instance = cbprocess.CBProcess()

    def on_process_creation(event: "cbprocess.CBProcessProcessCreationEventParams") -> None:
        if next(count) >= int(hold):
            if said.acquire(blocking=False):
                say("held", tracer_of(event.process_id))
            release.wait()

    instance.initialize("{5ABD3A8B-6A3F-4C52-9F0C-5E1F0A1C7D13}")
    instance.config(f"EventsToFire={events}")
    instance.config(setting)
    instance.on_process_creation = on_process_creation
    instance.start_filter(int(timeout))
    with Path(output).open("w") as stream:
        process = instance.popen(command, stdout=stream)
    if fork != "0":
        context = multiprocessing.get_context("fork")
        codes = context.SimpleQueue()
        child = context.Process(target=outlive, args=(instance, codes))
        child.start()
        say("child", child.pid, json.dumps(codes.get()))
    status = process.wait()
    release.set()
    statistics = instance.statistics()
    names = ("delivered", "lost", "timed_out", "refused", "late")
    instance.stop_filter()
    say(json.dumps({"status": status, **{name: getattr(statistics, name) for name in names}}))


if __name__ == "__main__":
    main()
