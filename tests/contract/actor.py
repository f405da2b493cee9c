"""The process whose operations the contract suite watches under a tree driver. It has one thread, obeys one
command a line, and tells what came of it:

    run NUMBER PROGRAM [ARGUMENT...]    -> "started NUMBER PID", later "ended NUMBER STATUS"
    signal NUMBER PID                   -> "done NUMBER ERRNO"
    bind NUMBER PID                     -> "done NUMBER ERRNO": its main thread, to our own processors
    become NUMBER LINK                  -> "became NUMBER 0": it has executed its own interpreter by that name

A program that could not be executed ends with status 100; of one that a signal has ended, it is told as
negative number. Ends with its input, and its children then too."""

import json
import os
import select
import signal
import sys

REFUSED = 100
CHILDREN = "CONTRACT_ACTOR_CHILDREN"


def start(number, arguments):
    pid = os.fork()
    if pid == 0:
        try:
            signal.set_wakeup_fd(-1)
            os.execv(arguments[0], arguments)
        except OSError:
            os._exit(REFUSED)
    children[pid] = number
    print("started", number, pid, flush=True)


def attempt(number, call, *arguments):
    error = 0
    try:
        call(*arguments)
    except OSError as failure:
        error = failure.errno
    print("done", number, error, flush=True)


def become(number, path):
    """The next command is sent after this one has been answered, so nothing that was read is lost."""
    children_too = {**os.environ, CHILDREN: json.dumps([number, children])}
    os.execve(path, [path, "-S", os.path.abspath(__file__)], children_too)


def obey(line):
    command, number, *arguments = line.split()
    if command == "run":
        start(number, arguments)
    elif command == "become":
        become(number, arguments[0])
    elif command == "bind":
        attempt(number, os.sched_setaffinity, int(arguments[0]), os.sched_getaffinity(0))
    else:
        attempt(number, os.kill, int(arguments[0]), signal.SIGTERM)


def reap():
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        print("ended", children.pop(pid), os.waitstatus_to_exitcode(status), flush=True)


children = {}
woken, waker = os.pipe()
os.set_blocking(woken, False)
os.set_blocking(waker, False)
signal.set_wakeup_fd(waker)
signal.signal(signal.SIGCHLD, lambda number, frame: None)
if CHILDREN in os.environ:
    number, older = json.loads(os.environ.pop(CHILDREN))
    children = {int(pid): its_number for pid, its_number in older.items()}
    print("became", number, 0, flush=True)
    reap()
else:
    print("ready", flush=True)
pending = b""
while True:
    readable = select.select([0, woken], [], [])[0]
    if woken in readable:
        os.read(woken, 4096)
        reap()
    if 0 in readable:
        data = os.read(0, 4096)
        if not data:
            break
        *lines, pending = (pending + data).split(b"\n")
        for line in lines:
            obey(line.decode())
for pid in children:
    os.kill(pid, signal.SIGKILL)
sys.stdout.close()
