"""A controller whose interpreter ends while its handlers run: controller_exit.py HOW WHAT.

HOW: return, exit, raise (the main thread ends so), stop (in another thread, too late), os-exit.
WHAT: sleep (the handlers sleep far longer than the test waits), compute (they never leave Python), blocked
(they wait for a lock, and so does every other thread in its own way), short (they are quick, and many).
Prints the id of the supervised process.
"""

import os
import queue
import subprocess
import sys
import threading
import time

import cbprocess

LOOP = "while :; do true; env true; done"
never = threading.Lock()
never.acquire()


def handler(what: str, running: threading.Event) -> None:
    running.set()
    if what == "sleep":
        time.sleep(3600)
    while what == "compute":
        sum(range(1000))
    if what == "blocked":
        never.acquire()


def hold_an_event(is_held: threading.Event) -> None:
    """Iterates over the events of another program and never comes back for the second one."""
    quiet = subprocess.DEVNULL
    for _ in cbprocess.monitor(["sh", "-c", LOOP], stdin=quiet, stdout=quiet, stderr=quiet):
        is_held.set()
        never.acquire()


def block_threads(process: "subprocess.Popen[bytes]") -> None:
    """Threads that wait for ever: for a lock, a queue, a pipe, the supervised program, and with an event."""
    reading, _ = os.pipe()
    is_held = threading.Event()
    calls = [never.acquire, queue.Queue().get, process.wait]
    calls += [lambda: os.read(reading, 1), lambda: hold_an_event(is_held)]
    for call in calls:
        threading.Thread(target=call, daemon=True).start()
    assert is_held.wait(20)


def main(how: str, what: str) -> None:
    running = threading.Event()
    instance = cbprocess.CBProcess()
    instance.initialize("{5ABD3A8B-6A3F-4C52-9F0C-5E1F0A1C7D14}")
    instance.config("EventsToFire=-1")
    instance.on_process_creation = lambda event: handler(
        what if event.arguments[0] == "true" else "", running
    )
    instance.on_thread_creation = lambda event: handler("", running)
    instance.start_filter(3000)
    quiet = subprocess.DEVNULL
    process = instance.popen(
        ["bash", "-c", "read line; " + LOOP], stdin=subprocess.PIPE, stdout=quiet, stderr=quiet
    )
    print(process.pid, flush=True)
    running.clear()
    process.stdin.write(b"\n")
    process.stdin.flush()
    running.wait(20)
    if what == "blocked":
        block_threads(process)
    time.sleep(0.2)
    if how == "exit":
        sys.exit(3)
    if how == "raise":
        raise ValueError("the end of this controller")
    if how == "stop":
        threading.Thread(target=instance.stop_filter, daemon=True).start()
    if how == "os-exit":
        os._exit(3)


if __name__ == "__main__":
    main(*sys.argv[1:])
