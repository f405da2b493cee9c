"""A server of several processes, and load for it.

server.py serve SOCKET WORKERS PROGRAM    answers until it is ended by SIGTERM; prints "ready"
server.py load SOCKET SECONDS             asks all the time; prints what it asked and how fast it was answered

A request is a line: "echo", "thread" (a thread of its own answers) or "spawn" (PROGRAM is run first).
"""

import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time


def answer(connection: socket.socket, program: str) -> None:
    with connection, connection.makefile("rw") as stream:
        request = stream.readline().strip()
        if request == "spawn":
            request += str(subprocess.call([program, "5"]))
        stream.write(request + "\n")


def work(listener: socket.socket, program: str) -> None:
    while True:
        connection, _ = listener.accept()
        if connection.recv(1) == b"t":
            thread = threading.Thread(target=answer, args=(connection, program))
            thread.start()
            thread.join()
        else:
            answer(connection, program)


def serve(path: str, count: str, program: str) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(64)
    workers = []
    for _ in range(int(count)):
        worker = os.fork()
        if worker == 0:
            work(listener, program)
        workers.append(worker)
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    print("ready", flush=True)
    signal.pause()
    for worker in workers:
        os.kill(worker, signal.SIGTERM)
        os.waitpid(worker, 0)
    sys.exit(4)


REQUESTS = {"echo": "echo", "thread": "hread", "spawn": "spawn5"}


def ask(path: str, request: str) -> str:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(path)
        # The first letter tells a worker how to answer; "e" and "s" are put in front again.
        line = request if request == "thread" else request[0] + request
        connection.sendall(line.encode() + b"\n")
        return connection.makefile().readline().strip()


def load(path: str, seconds: str) -> None:
    end, number = time.monotonic() + float(seconds), 0
    counts = dict.fromkeys(REQUESTS, 0)
    times = []
    while time.monotonic() < end:
        number += 1
        request = "spawn" if number % 20 == 0 else "thread" if number % 5 == 0 else "echo"
        begin = time.monotonic()
        found = ask(path, request)
        if request == "echo":
            times.append(time.monotonic() - begin)
        assert found == REQUESTS[request], (request, found)
        counts[request] += 1
    print(json.dumps({**counts, "latency_us": statistics.quantiles(times, n=10)[0] * 1e6}))


{"serve": serve, "load": load}[sys.argv[1]](*sys.argv[2:])
