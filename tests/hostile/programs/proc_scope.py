"""Opens files of other processes in /proc, in a launch that may write none of them.

proc_scope.py files PID      each file of the table of decision 12, by each path that leads to it
proc_scope.py own COMMAND    starts COMMAND, and opens the files of that and its own
proc_scope.py race PID FILE  a second thread makes a link mean FILE and a file of PID in turn
proc_scope.py mount PID      a /proc of its own, or bound elsewhere, in namespaces of its own

Prints what came of it as JSON: errnos by name, or 0."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import subprocess
import sys
import tempfile
import threading
from typing import Callable

READ, WRITE, CHANGE = os.O_RDONLY, os.O_WRONLY, os.O_RDWR
OTHERS = {
    **dict.fromkeys(("environ", "auxv", "pagemap", "maps", "smaps", "numa_maps", "timers", "mem"), READ),
    **dict.fromkeys(("fd/0", "cwd", "root", "exe", "ns/net"), READ),
}
CHANGED = {
    "mem": CHANGE, "clear_refs": WRITE, "oom_score_adj": CHANGE, "oom_adj": WRITE, "autogroup": CHANGE,
    "sched": WRITE, "coredump_filter": CHANGE, "uid_map": WRITE, "gid_map": WRITE, "projid_map": WRITE,
    "timens_offsets": WRITE,
}  # fmt: skip
FACTS = ("status", "stat", "cmdline", "mountinfo", "limits")
BIND, NAMESPACES = 4096, 0x10000000 | 0x20000  # of users and of mounts
OPENAT2, OPEN_TREE = 437, 428
TRIES = 2000
libc = ctypes.CDLL(None, use_errno=True)


def errno_of(action: Callable[..., int], *arguments: object) -> object:
    try:
        os.close(action(*arguments))
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return 0


def by_call(number: int, *arguments: object) -> int:
    values = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = int(libc.syscall(ctypes.c_long(number), *values))
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
    return result


def openat2(path: str, flags: int) -> int:
    how = (ctypes.c_uint64 * 3)(flags, 0, 0)
    return by_call(OPENAT2, -100, os.fsencode(path), how, 24)


def through_a_descriptor(folder: str, name: str, flags: int) -> int:
    opened = os.open(folder, os.O_PATH)
    try:
        return os.open(name, flags, dir_fd=opened)
    finally:
        os.close(opened)


def reopened(path: str, flags: int) -> int:
    """A place is had by O_PATH, and opened from there."""
    place = by_call(OPEN_TREE, -100, os.fsencode(path), 0)
    try:
        return os.open(f"/proc/self/fd/{place}", flags)
    finally:
        os.close(place)


def through_a_link(path: str, flags: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        os.symlink(path, f"{folder}/link")
        return os.open(f"{folder}/link", flags)


def ways_to(folder: str, name: str, flags: int) -> dict[str, object]:
    path = f"{folder}/{name}"
    return {
        "open": errno_of(os.open, path, flags),
        "self": errno_of(os.open, f"/proc/self/../{path[6:]}", flags),
        "root": errno_of(os.open, f"/proc/self/root{path}", flags),
        "folder": errno_of(through_a_descriptor, folder, name, flags),
        "openat2": errno_of(openat2, path, flags),
        "open_tree": errno_of(reopened, path, flags),
        "link": errno_of(through_a_link, path, flags),
    }


def opened(pid: str, ways: dict[str, int]) -> dict[str, object]:
    return {name: errno_of(os.open, f"/proc/{pid}/{name}", way) for name, way in ways.items()}


def files(pid: str) -> dict[str, object]:
    folders = [f"/proc/{pid}", f"/proc/{pid}/task/{pid}"]
    return {
        "read": {f"{f}/{n}": ways_to(f, n, way) for n, way in OTHERS.items() for f in folders},
        "changed": {f"{f}/{n}": ways_to(f, n, way) for n, way in CHANGED.items() for f in folders},
        "facts": opened(pid, dict.fromkeys(FACTS, READ)),
    }


def own(*command: str) -> dict[str, object]:
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as child:
        found = {pid: opened(pid, CHANGED) for pid in ("self", str(child.pid))}
        read = errno_of(os.open, f"/proc/{child.pid}/environ", READ)
        child.kill()
    return {"changed": found, "environ of a child": read}


def race(pid: str, file: str) -> dict[str, object]:
    got_by, opened, ends = 0, 0, threading.Event()
    with tempfile.TemporaryDirectory() as folder:
        link, next_link = f"{folder}/link", f"{folder}/next"
        os.symlink(file, link)

        def exchange() -> None:
            targets = [f"/proc/{pid}/oom_score_adj", file]
            while not ends.is_set():
                targets.reverse()
                os.symlink(targets[0], next_link)
                os.rename(next_link, link)

        other = threading.Thread(target=exchange)
        other.start()
        for _ in range(TRIES):
            try:
                descriptor = os.open(link, WRITE)
            except OSError:
                continue
            opened += 1
            got_by += os.readlink(f"/proc/self/fd/{descriptor}").startswith("/proc/")
            os.close(descriptor)
        ends.set()
        other.join()
    return {"got by": got_by, "opened": opened}


def mount(pid: str) -> dict[str, object]:
    def result(value: int) -> object:
        return 0 if value == 0 else errno.errorcode[ctypes.get_errno()]

    told: dict[str, object] = {"unshare": result(libc.unshare(NAMESPACES))}
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/file"
        open(file, "w").close()
        path = os.fsencode(f"/proc/{pid}/oom_score_adj")
        told["bind"] = result(libc.mount(path, os.fsencode(file), None, BIND, None))
        told["proc"] = result(libc.mount(b"proc", os.fsencode(folder), b"proc", 0, None))
        told["changed"] = errno_of(os.open, f"/proc/{pid}/oom_score_adj", WRITE)
        for mounted in (folder, file):
            libc.umount(os.fsencode(mounted))
    return told


WAYS: dict[str, Callable[..., dict[str, object]]] = {"files": files, "own": own, "race": race, "mount": mount}
print(json.dumps(WAYS[sys.argv[1]](*sys.argv[2:])))
