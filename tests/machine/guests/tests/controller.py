"""A controller that holds every execution of a guest, or everything, to be hurt by a test:

    controller.py SETTING TIMEOUT EVENTS

Prints "ready" when its filter is active. Its handlers let everything go on at once, until a line of standard
input says otherwise:

    asleep        handlers sleep until they are told "awake"; the first that does prints "held"
    awake
    fork          a child with copies of all descriptors lives from now on; prints "child ID"
    descriptors   it can open no more descriptors; prints "done"

At the end of standard input it stops, and prints its statistics."""

from __future__ import annotations

import json
import os
import resource
import sys
import threading
import time

import cbprocess

GUID = "{00000000-0000-0000-0000-000000000000}"  # of no product: it needs no installation


def say(*words: object) -> None:
    """One line in one system call: the texts of two threads that print at a time may mix."""
    os.write(sys.stdout.fileno(), (" ".join(map(str, words)) + "\n").encode())


class Handlers:
    def __init__(self) -> None:
        self.count = 0
        self._said = threading.Lock()
        self._gate = threading.Event()
        self._gate.set()

    def __call__(self, event: object) -> None:
        self.count += 1
        if not self._gate.is_set():
            if self._said.acquire(blocking=False):
                say("held")
            self._gate.wait()

    def fall_asleep(self) -> None:
        self._gate.clear()

    def awake(self) -> None:
        self._gate.set()


def fork_a_child() -> None:
    child = os.fork()
    if child == 0:
        time.sleep(600)
        os._exit(0)
    say("child", child)


def use_up_descriptors() -> None:
    used = max(int(name) for name in os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 1, used + 1))
    say("done")


def main() -> None:
    setting, timeout, events = sys.argv[1:]
    handlers = Handlers()
    errors: list[tuple[int, str]] = []
    instance = cbprocess.CBProcess()
    instance.initialize(GUID)
    for line in ("Driver=bpf", f"EventsToFire={events}", setting):
        instance.config(line)
    for name in ("process_creation", "process_termination", "thread_creation", "thread_termination"):
        setattr(instance, f"on_{name}", handlers)
    instance.on_error = lambda error: errors.append((error.error_code, error.description))
    instance.add_filtered_process_by_id(-1, True)
    instance.start_filter(int(timeout))
    orders = {
        "asleep": handlers.fall_asleep,
        "awake": handlers.awake,
        "fork": fork_a_child,
        "descriptors": use_up_descriptors,
    }
    say("ready")
    for line in sys.stdin:
        orders[line.strip()]()
    handlers.awake()
    statistics = instance.statistics()
    instance.stop_filter()
    names = ("delivered", "lost", "timed_out", "refused", "late")
    told = {name: getattr(statistics, name) for name in names}
    say(json.dumps({"count": handlers.count, "errors": errors, **told}))


if __name__ == "__main__":
    main()
