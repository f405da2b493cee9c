"""A server that others attack. Its threads signal one another all the time; it says on request how it is.

Prints one JSON object with what an attacker needs, then answers each line that it reads with one:
"state" -> what may have been changed in it, "worker" -> it starts a program and ends it, "fork" -> it forks a
worker and ends that, "quit" -> it ends with status 3.
"""

import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time

word = ctypes.c_uint64(1111)
counts = {"signals": 0, "refused": 0}
stop = threading.Event()


def count(number: int, frame: object) -> None:
    counts["signals"] += 1


def disturb() -> None:
    """As the runtimes do that preempt their threads."""
    while not stop.wait(0.002):
        for thread in threading.enumerate():
            if thread.ident is None:
                continue  # it is just being started
            try:
                signal.pthread_kill(thread.ident, signal.SIGURG)
                os.kill(os.getpid(), signal.SIGUSR1)
            except OSError:
                counts["refused"] += 1


def idle() -> None:
    stop.wait()


def state() -> "dict[str, object]":
    before = counts["signals"]
    time.sleep(0.05)
    return {
        "word": word.value,
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
        "core": resource.getrlimit(resource.RLIMIT_CORE)[0],
        "refused": counts["refused"],
        "signalled": counts["signals"] > before,
    }


def end_program() -> "dict[str, object]":
    worker = subprocess.Popen(["sleep", "60"])
    worker.terminate()
    return {"status": worker.wait(10)}


def end_fork() -> "dict[str, object]":
    reader, writer = os.pipe()
    worker = os.fork()
    if worker == 0:
        os.close(writer)
        os.read(reader, 1)  # until its parent lets go, if it cannot end it
        os._exit(0)
    os.close(reader)
    failed = 0
    try:
        os.kill(worker, signal.SIGTERM)
    except OSError as error:
        failed = error.errno or -1
        os.close(writer)
    status = os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])
    return {"errno": failed} if failed else {"status": status}


def main() -> None:
    for number in (signal.SIGURG, signal.SIGUSR1):
        signal.signal(number, count)
    resource.setrlimit(resource.RLIMIT_CORE, (4096, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    threads = [threading.Thread(target=body, daemon=True) for body in (disturb, disturb, idle)]
    for thread in threads:
        thread.start()
    reader, writer = os.pipe()
    os.write(writer, b"secret")
    facts = {
        "process": os.getpid(),
        "threads": [thread.native_id for thread in threads],
        "word_address": ctypes.addressof(word),
        "descriptor": reader,
    }
    print(json.dumps(facts), flush=True)
    answers = {"state": state, "worker": end_program, "fork": end_fork}
    for line in sys.stdin:
        if line.strip() == "quit":
            break
        print(json.dumps(answers[line.strip()]()), flush=True)
    stop.set()
    for thread in threads:
        thread.join()
    sys.exit(3)


main()
