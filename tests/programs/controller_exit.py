"""A controller whose interpreter ends while its handlers run: controller_exit.py HOW WHAT.

HOW: return, exit, raise (the main thread ends so), stop (in another thread, too late), os-exit.
WHAT: sleep (the handlers sleep far longer than the test waits), compute (they never leave Python), short
(they are quick, and many). Prints the id of the supervised process.
"""

import os
import subprocess
import sys
import threading
import time

import cbprocess


def handler(what: str, running: threading.Event) -> None:
    running.set()
    if what == "sleep":
        time.sleep(3600)
    while what == "compute":
        sum(range(1000))


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
    text = "read line; while :; do true; env true; done"
    process = instance.popen(["bash", "-c", text], stdin=subprocess.PIPE, stdout=quiet, stderr=quiet)
    print(process.pid, flush=True)
    running.clear()
    process.stdin.write(b"\n")
    process.stdin.flush()
    running.wait(20)
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
