"""Ends worker processes in the ways of multiprocessing and subprocess: workers.py MODE."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time


def idle(ready: "multiprocessing.synchronize.Event") -> None:
    ready.set()
    time.sleep(60)


def square(number: int) -> int:
    return number * number


def processes() -> None:
    """terminate() and kill() of multiprocessing, and a pool's end."""
    context = multiprocessing.get_context("fork")
    for method, code in (("terminate", -signal.SIGTERM), ("kill", -signal.SIGKILL)):
        ready = context.Event()
        process = context.Process(target=idle, args=(ready,))
        process.start()
        ready.wait()
        getattr(process, method)()
        process.join()
        assert process.exitcode == code, process.exitcode
    with context.Pool(2) as pool:
        assert pool.map(square, range(20)) == [number * number for number in range(20)]
        pool.close()
        pool.join()


def group() -> None:
    """A process group of its own, stopped, continued and ended as a whole."""
    leader = subprocess.Popen(["sleep", "61"], preexec_fn=os.setpgrp)
    others = [
        subprocess.Popen(["sleep", "62"], preexec_fn=lambda: os.setpgid(0, leader.pid)) for _ in range(2)
    ]
    for number in (signal.SIGSTOP, signal.SIGCONT, 0, signal.SIGTERM):
        os.killpg(leader.pid, number)
    for process in (leader, *others):
        assert process.wait() == -signal.SIGTERM


def handles() -> None:
    """Signals by pidfd, queued ones, and to an own thread, which is nobody else's business."""
    process = subprocess.Popen(["sleep", "63"])
    descriptor = os.pidfd_open(process.pid)
    signal.pidfd_send_signal(descriptor, 0)
    signal.signal(signal.SIGUSR1, lambda number, frame: None)
    signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)
    os.kill(os.getpid(), signal.SIGUSR1)
    signal.pidfd_send_signal(descriptor, signal.SIGTERM)
    assert process.wait() == -signal.SIGTERM
    try:
        os.kill(process.pid, signal.SIGTERM)
    except ProcessLookupError:
        return
    raise AssertionError("a process that was waited for still exists")


def parent() -> None:
    """A child that signals its parent and its brother."""
    seen = []
    signal.signal(signal.SIGUSR2, lambda number, frame: seen.append(number))
    brother = subprocess.Popen(["sleep", "64"])
    text = f"kill -USR2 {os.getpid()}; kill -CONT {brother.pid}; kill -KILL {brother.pid}"
    subprocess.check_call(["sh", "-c", text])
    assert brother.wait() == -signal.SIGKILL and seen == [signal.SIGUSR2]


globals()[sys.argv[1]]()
