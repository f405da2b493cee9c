"""Tries every system call by which one process can do something to another, against each process whose id is
an argument, through the ids of its threads, too. Prints what came of each as one JSON object: 0, or the name
of the errno. The signal is SIGCONT, which does no harm where it gets by; with "end" in front of the ids it is
SIGSTOP, then SIGKILL."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import platform
import signal
import sys

libc = ctypes.CDLL(None, use_errno=True)
NUMBERS = {
    "x86_64": {
        "tkill": 200, "tgkill": 234, "rt_sigqueueinfo": 129, "rt_tgsigqueueinfo": 297, "ptrace": 101,
        "process_vm_readv": 310, "process_vm_writev": 311, "prlimit64": 302, "setpriority": 141,
        "ioprio_set": 251, "sched_setaffinity": 203, "sched_setparam": 142, "sched_setscheduler": 144,
        "sched_setattr": 314,
    },
    "aarch64": {
        "tkill": 130, "tgkill": 131, "rt_sigqueueinfo": 138, "rt_tgsigqueueinfo": 240, "ptrace": 117,
        "process_vm_readv": 270, "process_vm_writev": 271, "prlimit64": 261, "setpriority": 140,
        "ioprio_set": 30, "sched_setaffinity": 122, "sched_setparam": 118, "sched_setscheduler": 119,
        "sched_setattr": 274,
    },
}[platform.machine()]  # fmt: skip
NUMBERS.update({"kill": -1, "pidfd_send_signal": 424, "pidfd_open": 434, "pidfd_getfd": 438,
                "process_madvise": 440})  # fmt: skip
PTRACE_ATTACH, PTRACE_SEIZE, PTRACE_DETACH, PIDFD_THREAD = 16, 0x4206, 17, os.O_EXCL
MADV_COLD, RLIMIT_CORE, SI_QUEUE = 20, 4, -1


def call(name: str, *arguments: object) -> object:
    values = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    called = libc.kill if name == "kill" else libc.syscall
    result = called(*values) if name == "kill" else called(ctypes.c_long(NUMBERS[name]), *values)
    return 0 if result >= 0 else errno.errorcode[ctypes.get_errno()]


def pidfd(pid: int, flags: int = 0) -> int:
    return int(libc.syscall(ctypes.c_long(NUMBERS["pidfd_open"]), ctypes.c_long(pid), ctypes.c_long(flags)))


def siginfo(number: int) -> ctypes.Array[ctypes.c_int]:
    info = (ctypes.c_int * 32)()
    info[0], info[2] = number, SI_QUEUE
    return info


def io_vector(buffer: ctypes.Array[ctypes.c_char]) -> ctypes.Array[ctypes.c_ulong]:
    return (ctypes.c_ulong * 2)(ctypes.addressof(buffer), len(buffer))


def signals(pid: int, tid: int, number: int) -> dict[str, object]:
    fd = pidfd(pid)
    thread_fd = pidfd(tid, PIDFD_THREAD)
    folder = os.open(f"/proc/{pid}", os.O_RDONLY | os.O_DIRECTORY)
    info = siginfo(number)
    return {
        "kill": call("kill", tid, number),
        "tkill": call("tkill", tid, number),
        "tgkill": call("tgkill", pid, tid, number),
        "rt_sigqueueinfo": call("rt_sigqueueinfo", tid, number, info),
        "rt_tgsigqueueinfo": call("rt_tgsigqueueinfo", pid, tid, number, info),
        "pidfd_send_signal": call("pidfd_send_signal", fd, number, None, 0),
        "pidfd_send_signal of a folder": call("pidfd_send_signal", folder, number, None, 0),
        "pidfd_send_signal of a thread": call("pidfd_send_signal", thread_fd, number, None, 0)
        if thread_fd >= 0
        else "EPERM",
    }


def memory(pid: int, tid: int) -> dict[str, object]:
    buffer = ctypes.create_string_buffer(b"1234567", 8)
    ours = io_vector(buffer)
    fd = pidfd(pid)
    return {
        "process_vm_readv": call("process_vm_readv", tid, ours, 1, ours, 1, 0),
        "process_vm_writev": call("process_vm_writev", tid, ours, 1, ours, 1, 0),
        "process_madvise": call("process_madvise", fd, ours, 1, MADV_COLD, 0),
        "pidfd_getfd": call("pidfd_getfd", fd, 0, 0),
    }


def settings(pid: int, tid: int) -> dict[str, object]:
    limit = (ctypes.c_ulong * 2)(0, 0)
    parameter = ctypes.c_int(0)
    attributes = (ctypes.c_uint32 * 12)(48)
    mask = ctypes.c_ulong(0xFFFFFFFF)
    return {
        "prlimit64": call("prlimit64", tid, RLIMIT_CORE, limit, None),
        "setpriority": call("setpriority", 0, tid, 5),
        "ioprio_set": call("ioprio_set", 1, tid, 3 << 13),
        "sched_setaffinity": call("sched_setaffinity", tid, 8, ctypes.byref(mask)),
        "sched_setparam": call("sched_setparam", tid, ctypes.byref(parameter)),
        "sched_setscheduler": call("sched_setscheduler", tid, 0, ctypes.byref(parameter)),
        "sched_setattr": call("sched_setattr", tid, attributes, 0),
    }


def tracing(tid: int) -> dict[str, object]:
    made: dict[str, object] = {}
    for name, request in (("PTRACE_SEIZE", PTRACE_SEIZE), ("PTRACE_ATTACH", PTRACE_ATTACH)):
        made[name] = call("ptrace", request, tid, None, None)
        if made[name] == 0:
            os.waitpid(tid, 0x40000000) if request == PTRACE_ATTACH else None
            call("ptrace", PTRACE_DETACH, tid, None, None)
    return made


def files(pid: int) -> dict[str, object]:
    made: dict[str, object] = {}
    ways = dict.fromkeys(("environ", "fd/0", "fd/3", "fd/4", "auxv"), os.O_RDONLY)
    ways.update(dict.fromkeys(("mem", "coredump_filter", "oom_score_adj"), os.O_RDWR))
    ways["clear_refs"] = os.O_WRONLY
    for name, way in ways.items():
        try:
            os.close(os.open(f"/proc/{pid}/{name}", way))
            made[name] = 0
        except OSError as error:
            made[name] = errno.errorcode[error.errno or 0]
    return made


def main() -> None:
    ends = sys.argv[1] == "end"
    told: dict[str, object] = {}
    for pid in map(int, sys.argv[1 + ends :]):
        threads = [pid] if ends else sorted(map(int, os.listdir(f"/proc/{pid}/task")))[:3]
        for tid in threads:
            row = {} if ends else {**memory(pid, tid), **settings(pid, tid), **tracing(tid)}
            for number in (signal.SIGSTOP, signal.SIGKILL) if ends else (signal.SIGCONT,):
                row.update({f"{way} {number.name}": r for way, r in signals(pid, tid, number).items()})
            told[f"{pid}/{tid}"] = row
        if not ends:
            told[f"{pid}/files"] = files(pid)
    print(json.dumps(told), flush=True)


main()
