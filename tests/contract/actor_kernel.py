"""The actor of the contract suite under the kernel driver; see actor.py. Threads that are there from the
beginning run the programs, because a creation waits for its answers:

    run NUMBER PROGRAM [ARGUMENT...]    -> "started NUMBER PID", "done NUMBER 0", later "ended NUMBER STATUS"
    signal NUMBER PID                   -> "done NUMBER ERROR": PROCESS_TERMINATE alone, and its use
    bind NUMBER PID                     -> "done NUMBER ERROR": THREAD_SET_INFORMATION of a thread alone

A creation that was refused ends with status 100. Ends with its input, and its children then too."""

import ctypes
import os
import queue
import subprocess
import sys
import threading
import time

REFUSED, RUNNERS = 100, 16
PROCESS_TERMINATE, THREAD_SET_INFORMATION, SNAPSHOT_THREADS = 1, 0x20, 4

kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
for function in (kernel32.OpenProcess, kernel32.OpenThread, kernel32.CreateToolhelp32Snapshot):
    function.restype = ctypes.c_void_p
children = {}
lock = threading.Lock()
current = threading.local()
orders = queue.Queue()


class ThreadEntry(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_uint32),
        ("usage", ctypes.c_uint32),
        ("thread_id", ctypes.c_uint32),
        ("process_id", ctypes.c_uint32),
        ("priorities", ctypes.c_int32 * 2),
        ("flags", ctypes.c_uint32),
    ]


def tell(*words):
    with lock:
        print(*words, flush=True)


@ctypes.WINFUNCTYPE(None, ctypes.c_uint32)
def created(process_id):
    """The process is there, and nobody has been asked about it."""
    tell("started", current.number, process_id)


def run_programs():
    while True:
        number, program, arguments = orders.get()
        current.number = number
        try:
            child = subprocess.Popen([program, *arguments], executable=program)
        except OSError:
            tell("ended", number, REFUSED)
            continue
        tell("done", number, 0)
        children[number] = child


def reap():
    while True:
        for number, child in list(children.items()):
            status = child.poll()
            if status is not None:
                del children[number]
                tell("ended", number, status)
        time.sleep(0.01)


def use(handle, function, *arguments):
    """0, or the error of getting the handle or of using it."""
    if not handle:
        return ctypes.get_last_error()
    error = 0 if function(ctypes.c_void_p(handle), *arguments) else ctypes.get_last_error()
    kernel32.CloseHandle(ctypes.c_void_p(handle))
    return error


def signal(process_id):
    return use(kernel32.OpenProcess(PROCESS_TERMINATE, 0, process_id), kernel32.TerminateProcess, 15)


def first_thread(process_id):
    entry = ThreadEntry(ctypes.sizeof(ThreadEntry))
    snapshot = ctypes.c_void_p(kernel32.CreateToolhelp32Snapshot(SNAPSHOT_THREADS, 0))
    found = kernel32.Thread32First(snapshot, ctypes.byref(entry))
    while found and entry.process_id != process_id:
        found = kernel32.Thread32Next(snapshot, ctypes.byref(entry))
    kernel32.CloseHandle(snapshot)
    return entry.thread_id


def bind(process_id):
    thread = kernel32.OpenThread(THREAD_SET_INFORMATION, 0, first_thread(process_id))
    return use(thread, kernel32.SetThreadPriority, 0)


world = ctypes.WinDLL(os.environ["CBPROCESS_TEST_WORLD"])
world.world_set_notice(created)
for _ in range(RUNNERS):
    threading.Thread(target=run_programs, daemon=True).start()
threading.Thread(target=reap, daemon=True).start()
tell("ready")
for line in sys.stdin:
    command, number, first, *arguments = line.rstrip("\n").split(" ")
    if command == "run":
        orders.put((number, first, arguments))
    else:
        tell("done", number, {"signal": signal, "bind": bind}[command](int(first)))
for child in list(children.values()):
    child.kill()
os._exit(0)
