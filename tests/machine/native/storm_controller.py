"""A controller of the bpf driver in the middle of a fork storm, to be killed or stopped by a test:

    storm_controller.py SETTING TIMEOUT EVENTS HOLD FAULT HOLD_PATH OUTPUT COMMAND...

Starts COMMAND, its output going to the file OUTPUT. From the HOLD-th creation on each handler sleeps for
ever; the first that does prints "held". FAULT is one more thing that it does then:

    nothing
    fork          a child with copies of all descriptors is alive all the while: "child ID"
    descriptors   it can open no more descriptors

At its end, if it is let go on, the controller prints its statistics."""

import itertools
import json
import os
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path

import cbprocess

GUID = "{00000000-0000-0000-0000-000000000000}"  # of no product: it needs no installation


def say(*words: object) -> None:
    """One line in one system call: the texts of two threads that print at a time may mix."""
    os.write(sys.stdout.fileno(), (" ".join(map(str, words)) + "\n").encode())


def fork_a_child() -> None:
    child = os.fork()
    if child == 0:
        time.sleep(300)
        os._exit(0)
    say("child", child)


def use_up_descriptors() -> None:
    used = max(int(name) for name in os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 1, used + 1))


FAULTS = {"nothing": lambda: None, "fork": fork_a_child, "descriptors": use_up_descriptors}


def main() -> None:
    setting, timeout, events, hold, fault, hold_path, output, *command = sys.argv[1:]
    count, said, release = itertools.count(1), threading.Lock(), threading.Event()
    instance = cbprocess.CBProcess()

    def on_process_creation(event: "cbprocess.CBProcessProcessCreationEventParams") -> None:
        if next(count) >= int(hold):
            if said.acquire(blocking=False):
                FAULTS[fault]()
                say("held")
            release.wait()

    instance.initialize(GUID)
    for line in ("Driver=bpf", f"HoldPaths={hold_path}", f"EventsToFire={events}", setting):
        instance.config(line)
    instance.on_process_creation = on_process_creation
    instance.add_filtered_process_by_id(-1, True)
    instance.start_filter(int(timeout))
    with Path(output).open("w") as stream:
        process = subprocess.Popen(command, stdout=stream)
    status = process.wait()
    release.set()
    statistics = instance.statistics()
    names = ("delivered", "lost", "timed_out", "refused", "late")
    instance.stop_filter()
    say(json.dumps({"status": status, **{name: getattr(statistics, name) for name in names}}))


if __name__ == "__main__":
    main()
