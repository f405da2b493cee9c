"""Does one thing to another process as a Python program does it: by the standard library where that has the
call, else by the C library. Says how it went as the C program `handles` does.

handles.py TARGET-PROGRAM MEMORY-FILE [-t] CALL [ARGUMENT]; with -t a secondary thread makes the call.
The target is a child of this process that runs TARGET-PROGRAM with a memory in MEMORY-FILE.
"""

import contextlib
import ctypes
import errno
import json
import mmap
import os
import resource
import signal
import subprocess
import sys
import threading
import time

SIGNAL_COUNT = 65
C = ctypes.CDLL(None, use_errno=True)
PTRACE_ATTACH, PTRACE_DETACH = 16, 17
SYS_TKILL, SYS_TGKILL, SYS_PIDFD_GETFD = 200, 234, 438
if os.uname().machine == "aarch64":
    SYS_TKILL, SYS_TGKILL = 130, 131


class Seen(ctypes.Structure):
    _fields_ = [("turn", ctypes.c_uint32)] + [
        (name, ctypes.c_int32) for name in ("nice", "ioprio", "policy", "cpu_count")
    ]


class Target(ctypes.Structure):
    """struct target of handle_target.h."""

    _fields_ = [
        ("process_id", ctypes.c_int32),
        ("thread_id", ctypes.c_int32),
        ("shown_process_id", ctypes.c_int32),
        ("shown_thread_id", ctypes.c_int32),
        ("word_address", ctypes.c_uint64),
        ("descriptor", ctypes.c_int32),
        ("ready", ctypes.c_uint32),
        ("leave", ctypes.c_uint32),
        ("stopped", ctypes.c_uint32),
        ("word", ctypes.c_uint64),
        ("core_limit", ctypes.c_uint64),
        ("signals", ctypes.c_uint32 * SIGNAL_COUNT),
        ("leader", Seen),
        ("thread", Seen),
    ]


class Part(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("size", ctypes.c_size_t)]


def checked(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), "a call of the C library")
    return result


def move_word(call: str, target: Target, word: int) -> int:
    local = ctypes.c_uint64(word)
    mine = Part(ctypes.addressof(local), 8)
    its = Part(target.word_address, 8)
    checked(getattr(C, call)(target.process_id, ctypes.byref(mine), 1, ctypes.byref(its), 1, 0))
    return local.value


def attach(target: Target) -> None:
    checked(C.ptrace(PTRACE_ATTACH, target.process_id, None, None))
    os.waitpid(target.process_id, 0)
    checked(C.ptrace(PTRACE_DETACH, target.process_id, None, None))


def take_descriptor(target: Target) -> int:
    pidfd = os.pidfd_open(target.process_id)
    taken = checked(C.syscall(SYS_PIDFD_GETFD, pidfd, target.descriptor, 0))
    return int(os.read(taken, 5) == b"taken")


def send_by_pidfd(target: Target, number: int) -> None:
    signal.pidfd_send_signal(os.pidfd_open(target.process_id), number)


def make_call(target: Target, call: str, argument: str) -> int:
    """What the call got."""
    number = int(argument) if argument.isdigit() else 0
    core = resource.RLIMIT_CORE
    calls = {
        "kill": lambda: os.kill(target.process_id, number),
        "killpg": lambda: os.killpg(target.process_id, number),
        "tkill": lambda: checked(C.syscall(SYS_TKILL, target.thread_id, number)),
        "tgkill": lambda: checked(C.syscall(SYS_TGKILL, target.process_id, target.thread_id, number)),
        "sigqueue": lambda: checked(C.sigqueue(target.process_id, number, ctypes.c_void_p(0))),
        "pidfd_open": lambda: os.close(os.pidfd_open(target.process_id)),
        "pidfd_send_signal": lambda: send_by_pidfd(target, number),
        "pidfd_getfd": lambda: take_descriptor(target),
        "ptrace": lambda: attach(target),
        "process_vm_readv": lambda: move_word("process_vm_readv", target, 0),
        "process_vm_writev": lambda: move_word("process_vm_writev", target, 2222) and None,
        "prlimit-get": lambda: resource.prlimit(target.process_id, core)[0],
        "prlimit-set": lambda: resource.prlimit(target.process_id, core, (4096, 65536))[0],
        "setpriority": lambda: os.setpriority(os.PRIO_PROCESS, target.process_id, 7),
        "sched_setaffinity": lambda: os.sched_setaffinity(target.process_id, {min(os.sched_getaffinity(0))}),
        "sched_setparam": lambda: os.sched_setparam(target.process_id, os.sched_param(0)),
        "sched_setscheduler": lambda: os.sched_setscheduler(
            target.process_id, os.SCHED_BATCH, os.sched_param(0)
        ),
    }
    return int(calls[call]() or 0)


def picture(target: Target) -> "dict[str, int]":
    """What of the target may change."""
    shown = {"word": target.word, "core": target.core_limit}
    for who in ("leader", "thread"):
        for name in ("nice", "ioprio", "policy", "cpu_count"):
            shown[f"{who} {name}"] = getattr(getattr(target, who), name)
    shown.update({f"signal {number}": target.signals[number] for number in range(SIGNAL_COUNT)})
    return shown


def fate(target: Target, child: "subprocess.Popen[bytes]") -> str:
    """Waits until it is sure what the target does. That a signal has stopped it its parent is told, tracer or
    not; of the stops that it owes to a tracer never."""
    turn, thread_turn = target.leader.turn, target.thread.turn
    while True:
        if child.poll() is not None:
            return "ended"
        if target.leader.turn >= turn + 3 and target.thread.turn >= thread_turn + 3:
            return "running"
        with contextlib.suppress(ChildProcessError):  # it has just ended
            if os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT) is not None:
                return "stopped"
        time.sleep(0.005)


def act(target: Target, child: "subprocess.Popen[bytes]", call: str, argument: str) -> None:
    before = picture(target)
    result, number, got = 0, 0, 0
    try:
        got = make_call(target, call, argument)
    except OSError as error:
        result, number = -1, error.errno or errno.EIO
    fates = [fate(target, child)]
    after = picture(target)
    fates += [f"{key} {after[key]}" for key in after if after[key] != before[key]]
    outcome = {
        "first": 0,
        "process": os.getpid(),
        "thread": threading.get_native_id(),
        "result": result,
        "errno": number,
        "got": got,
        "targets": [[target.shown_process_id, target.shown_thread_id]],
        "fates": [fates],
    }
    print(json.dumps(outcome), flush=True)


def main() -> None:
    program, file, *rest = sys.argv[1:]
    in_thread = rest[0] == "-t"
    call, argument = [*rest[in_thread:], ""][:2]
    child = subprocess.Popen(
        [program, "target", file], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, start_new_session=True
    )
    assert child.stdout is not None and child.stdout.readline() == b"ready\n"
    with open(file, "r+b") as stream:
        memory = mmap.mmap(stream.fileno(), 0)
    target = Target.from_buffer(memory)
    if in_thread:
        thread = threading.Thread(target=act, args=(target, child, call, argument))
        thread.start()
        thread.join()
    else:
        act(target, child, call, argument)
    target.leave = 1


main()
