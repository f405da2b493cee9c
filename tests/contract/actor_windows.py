"""The actor of the contract suite on Windows, under the debug driver; see actor.py:

    run NUMBER PROGRAM [ARGUMENT...]    -> "started NUMBER PID", later "ended NUMBER STATUS"

A program whose creation was refused ends with a status of failure (0xC...), which is told as 100. Ends with
its input, and its children then too. A second thread, there from the beginning, waits for the children."""

import subprocess
import sys
import threading
import time

REFUSED = 100
FAILURE = 0xC0000000

children = {}
lock = threading.Lock()


def tell(*words):
    with lock:
        print(*words, flush=True)


def reap():
    while True:
        for number, child in list(children.items()):
            status = child.poll()
            if status is not None:
                del children[number]
                tell("ended", number, REFUSED if status & FAILURE == FAILURE else status)
        time.sleep(0.01)


threading.Thread(target=reap, daemon=True).start()
tell("ready")
for line in sys.stdin:
    command, number, program, *arguments = line.rstrip("\n").split(" ")
    child = subprocess.Popen([program, *arguments], executable=program)
    tell("started", number, child.pid)
    children[number] = child
for child in children.values():
    child.kill()
