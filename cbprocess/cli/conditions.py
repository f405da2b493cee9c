"""Conditions of this machine that stand in the way of programs or of the filter, in sentences for `cbprocess
doctor`: limits that are nearly reached, namespaces that cannot be made. The probe of a driver tells its
own."""

from __future__ import annotations

import contextlib
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# A filter takes a helper of two threads, a dispatcher and a few workers; its start some ten descriptors.
TASKS_NEEDED = 16
DESCRIPTORS_NEEDED = 32

CAP_SYS_ADMIN = 21
CAP_SYS_RESOURCE = 24
CLONE_NEWUSER = 0x10000000


def conditions() -> list[str]:
    """The sentences; none where nothing is remarkable."""
    if sys.platform != "linux":
        return []
    if not os.path.exists("/proc/self/status"):
        return ["/proc does not show this process, so its limits cannot be told"]
    found = [
        task_limit_note(*user_tasks()),
        group_limit_note(*group_tasks()),
        descriptor_limit_note(*descriptors()),
        namespace_note(user_namespace_error()),
    ]
    return [note for note in found if note]


def task_limit_note(used: int, limit: int | None) -> str:
    if limit is None or limit - used >= TASKS_NEEDED:
        return ""
    return (
        f"RLIMIT_NPROC is nearly reached: {used} of {limit} processes and threads of this user. A filter "
        f"takes about {TASKS_NEEDED} more, and fails with error 1450 without; `ulimit -u` shows and sets it"
    )


def group_limit_note(used: int, limit: int | None) -> str:
    if limit is None or limit - used >= TASKS_NEEDED:
        return ""
    return (
        f"pids.max of the control group (a container's, say) is nearly reached: {used} of {limit} processes "
        f"and threads. A filter takes about {TASKS_NEEDED} more, and fails with error 1450 without them"
    )


def descriptor_limit_note(used: int, limit: int | None) -> str:
    if limit is None or limit - used >= DESCRIPTORS_NEEDED:
        return ""
    return (
        f"RLIMIT_NOFILE is nearly reached: {used} of {limit} file descriptors. A filter takes up to "
        f"{DESCRIPTORS_NEEDED} to start, and fails with error 4 without them; `ulimit -n` shows and sets it"
    )


def namespace_note(error: int) -> str:
    if error == 0:
        return ""
    return (
        f"user namespaces cannot be made here ({os.strerror(error)}): cbprocess needs none, but programs "
        "that use them (browsers, bubblewrap, rootless containers) fail, under the filter as without it"
    )


def user_tasks() -> tuple[int, int | None]:
    """The number of this user's tasks, as far as this process can see, and their limit; None: any number."""
    import resource

    limit = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    exempt = 1 << CAP_SYS_ADMIN | 1 << CAP_SYS_RESOURCE
    if limit == resource.RLIM_INFINITY or os.getuid() == 0 or effective_capabilities() & exempt:
        return 0, None
    user = os.getuid()
    return sum(threads for _, (owner, threads) in threads_of_processes() if owner == user), limit


def threads_of_processes() -> Iterator[tuple[int, tuple[int, int]]]:
    """Every process that can be seen: its id, its user, and the number of its threads."""
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError, KeyError, IndexError):
                status = status_of(entry)
                yield int(entry), (int(status["Uid"].split()[0]), int(status["Threads"]))


def effective_capabilities() -> int:
    return int(status_of("self")["CapEff"], 16)


def status_of(process: str) -> dict[str, str]:
    with open(f"/proc/{process}/status", encoding="utf-8", errors="surrogateescape") as file:
        return {key: value.strip() for key, _, value in (line.partition(":") for line in file)}


def group_tasks() -> tuple[int, int | None]:
    """The number of tasks, and its limit, of the control group with the least room: this process's own or one
    above it."""
    tightest: tuple[int, int | None] = (0, None)
    path = group_path()
    while path:
        used, limit = group_numbers(f"/sys/fs/cgroup{path.rstrip('/')}")
        if limit is not None and (tightest[1] is None or limit - used < tightest[1] - tightest[0]):
            tightest = used, limit
        path = path.rpartition("/")[0]
    return tightest


def group_path() -> str:
    """This process's place in the unified hierarchy of control groups; "" where there is none."""
    with contextlib.suppress(OSError), open("/proc/self/cgroup") as file:
        for line in file:
            if line.startswith("0::"):
                return line[len("0::") :].rstrip("\n")
    return ""


def group_numbers(folder: str) -> tuple[int, int | None]:
    try:
        with open(f"{folder}/pids.current") as current, open(f"{folder}/pids.max") as limit:
            return int(current.read()), int(limit.read())
    except (OSError, ValueError):
        # There is no such controller here, or no limit: "max".
        return 0, None


def descriptors() -> tuple[int, int | None]:
    """The number of open descriptors of this process, and its limit."""
    import resource

    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return len(os.listdir("/proc/self/fd")), None if limit == resource.RLIM_INFINITY else limit


def user_namespace_error() -> int:
    """The errno with which a user namespace is refused, 0 if one can be made. Tried by a child process."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    child = os.fork()
    if child == 0:
        os._exit(0 if libc.unshare(CLONE_NEWUSER) == 0 else ctypes.get_errno())
    return os.WEXITSTATUS(os.waitpid(child, 0)[1])
