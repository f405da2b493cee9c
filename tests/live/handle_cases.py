"""The system calls by which one process does something to another, and the rights that each asks for: an
oracle written from the table in docs/linux.md, not from the driver.

Each case is a line of arguments for the program `handles`, with what one call of it has to fire.
"""

from __future__ import annotations

from typing import NamedTuple

from cbprocess import (
    PROCESS_DUP_HANDLE,
    PROCESS_QUERY_INFORMATION,
    PROCESS_QUERY_LIMITED_INFORMATION,
    PROCESS_SET_INFORMATION,
    PROCESS_SET_QUOTA,
    PROCESS_SUSPEND_RESUME,
    PROCESS_SYNCHRONIZE,
    PROCESS_TERMINATE,
    PROCESS_VM_OPERATION,
    PROCESS_VM_READ,
    PROCESS_VM_WRITE,
    THREAD_GET_CONTEXT,
    THREAD_QUERY_LIMITED_INFORMATION,
    THREAD_SET_CONTEXT,
    THREAD_SET_INFORMATION,
    THREAD_SUSPEND_RESUME,
    THREAD_SYNCHRONIZE,
    THREAD_TERMINATE,
)

PROCESS, THREAD = "process_handle_operation", "thread_handle_operation"

# Right to a process, and the right to a thread that goes with it.
COUNTERPARTS = {
    PROCESS_TERMINATE: THREAD_TERMINATE,
    PROCESS_SUSPEND_RESUME: THREAD_SUSPEND_RESUME,
    PROCESS_VM_READ: THREAD_GET_CONTEXT,
    PROCESS_VM_WRITE: THREAD_SET_CONTEXT,
    PROCESS_SET_INFORMATION: THREAD_SET_INFORMATION,
    PROCESS_QUERY_LIMITED_INFORMATION: THREAD_QUERY_LIMITED_INFORMATION,
    PROCESS_SYNCHRONIZE: THREAD_SYNCHRONIZE,
}

_QUERY, _STOP, _END = (
    PROCESS_QUERY_LIMITED_INFORMATION,
    PROCESS_SUSPEND_RESUME,
    PROCESS_TERMINATE,
)
# Name, number and the right to a process that sending it asks for.
SIGNALS = {
    "none": (0, _QUERY),
    "CHLD": (17, _QUERY),
    "URG": (23, _QUERY),
    "WINCH": (28, _QUERY),
    "STOP": (19, _STOP),
    "TSTP": (20, _STOP),
    "TTIN": (21, _STOP),
    "TTOU": (22, _STOP),
    "CONT": (18, _STOP),
    "KILL": (9, _END),
    "TERM": (15, _END),
    "USR1": (10, _END),
    "RTMIN": (34, _END),
}


def bits(mask: int) -> list[int]:
    """The single bits of a mask."""
    return [1 << position for position in range(32) if mask >> position & 1]


def thread_rights(process_rights: int) -> int:
    return sum(COUNTERPARTS[right] for right in bits(process_rights))


class Case(NamedTuple):
    """One call of `handles`."""

    command: tuple[str, ...]
    kind: str
    process_rights: int  # for a thread operation: those whose counterparts it asks for
    duplication: bool = False

    @property
    def access(self) -> int:
        return self.process_rights if self.kind == PROCESS else thread_rights(self.process_rights)

    @property
    def call(self) -> str:
        """The system call, or what `handles` calls its variant."""
        return next(word for word in self.command if word[0] != "-" and not word.isdigit())

    @property
    def target_count(self) -> int:
        return int(self.command[self.command.index("-c") + 1]) if "-c" in self.command else 1

    @property
    def aims_at_thread(self) -> bool:
        return "-a" in self.command


def _signal_cases() -> dict[str, Case]:
    cases: dict[str, Case] = {}

    def add(
        name: str, kind: str, signals: str, *options: str, call: str | None = None, flags: str = ""
    ) -> None:
        for signal_name in signals.split():
            number, rights = SIGNALS[signal_name]
            command = (*options, call or name, f"{number}{flags}")
            cases[f"{name}-{signal_name}"] = Case(command, kind, rights)

    add("kill", PROCESS, " ".join(SIGNALS))
    add("kill-by-thread-id", PROCESS, "TERM STOP", "-a", call="kill")
    add("kill-of-a-group", PROCESS, "TERM STOP none", "-c", "3", call="killpg")
    add("kill-of-ones-own-group", PROCESS, "TERM USR1", "-c", "2", call="kill-own-group")
    add("kill-of-everybody", PROCESS, "TERM URG", "-n", "-c", "2", call="kill-all")
    add("rt_sigqueueinfo", PROCESS, "TERM CONT URG RTMIN")
    add("tkill", THREAD, "TERM STOP none", "-a")
    add("tgkill", THREAD, "TERM KILL STOP CONT URG none", "-a")
    add("tgkill-of-the-leader", THREAD, "USR1 TSTP", call="tgkill")
    add("rt_tgsigqueueinfo", THREAD, "USR1 URG STOP", "-a")
    add("pidfd_send_signal", PROCESS, "TERM STOP none USR1")
    add("pidfd_send_signal-by-folder", PROCESS, "TERM", call="pidfd_send_signal-folder")
    add("pidfd_send_signal-as-thread", THREAD, "USR1", call="pidfd_send_signal", flags=":1")
    add("pidfd_send_signal-of-a-thread", THREAD, "USR1 TERM URG", "-a", call="pidfd_send_signal")
    add("pidfd_send_signal-as-process", PROCESS, "USR1", "-a", call="pidfd_send_signal", flags=":2")
    add("pidfd_send_signal-as-group", PROCESS, "TERM", "-c", "2", call="pidfd_send_signal", flags=":4")
    return cases


_ATTACH = PROCESS_VM_READ | PROCESS_VM_WRITE | PROCESS_SUSPEND_RESUME
_OPEN = PROCESS_QUERY_LIMITED_INFORMATION | PROCESS_SYNCHRONIZE
_WRITE = PROCESS_VM_WRITE | PROCESS_VM_OPERATION
_SET = PROCESS_SET_INFORMATION
_OWN = PROCESS_TERMINATE | PROCESS_SUSPEND_RESUME

CASES: dict[str, Case] = {
    **_signal_cases(),
    "pidfd_open": Case(("pidfd_open",), PROCESS, _OPEN),
    "pidfd_open-of-a-thread": Case(("-a", "pidfd_open"), THREAD, _OPEN),
    "pidfd_getfd": Case(("pidfd_getfd",), PROCESS, PROCESS_DUP_HANDLE, duplication=True),
    "ptrace-attach": Case(("ptrace", "attach"), PROCESS, _ATTACH | PROCESS_VM_OPERATION),
    "ptrace-seize": Case(("ptrace", "seize"), PROCESS, _ATTACH | PROCESS_VM_OPERATION),
    "ptrace-attach-of-a-thread": Case(("-a", "ptrace", "attach"), THREAD, _ATTACH),
    "ptrace-seize-of-a-thread": Case(("-a", "ptrace", "seize"), THREAD, _ATTACH),
    "process_vm_readv": Case(("process_vm_readv",), PROCESS, PROCESS_VM_READ),
    "process_vm_readv-by-thread-id": Case(("-a", "process_vm_readv"), PROCESS, PROCESS_VM_READ),
    "process_vm_writev": Case(("process_vm_writev",), PROCESS, _WRITE),
    "process_madvise": Case(("process_madvise",), PROCESS, PROCESS_VM_OPERATION),
    "process_mrelease": Case(("process_mrelease",), PROCESS, PROCESS_VM_OPERATION),
    "prlimit64-set": Case(("prlimit64", "set"), PROCESS, PROCESS_SET_QUOTA),
    "prlimit64-get": Case(("prlimit64", "get"), PROCESS, PROCESS_QUERY_INFORMATION),
    "prlimit64-both": Case(("prlimit64", "both"), PROCESS, PROCESS_SET_QUOTA | PROCESS_QUERY_INFORMATION),
    "setpriority": Case(("setpriority", "process"), PROCESS, _SET),
    "setpriority-of-a-thread": Case(("-a", "setpriority", "process"), THREAD, _SET),
    "setpriority-of-a-group": Case(("-c", "2", "setpriority", "group"), PROCESS, _SET),
    "setpriority-of-a-user": Case(("-n", "-c", "2", "setpriority", "user"), PROCESS, _SET),
    "ioprio_set": Case(("ioprio_set", "process"), PROCESS, _SET),
    "ioprio_set-of-a-thread": Case(("-a", "ioprio_set", "process"), THREAD, _SET),
    "ioprio_set-of-a-group": Case(("-c", "2", "ioprio_set", "group"), PROCESS, _SET),
    "ioprio_set-of-a-user": Case(("-n", "-c", "2", "ioprio_set", "user"), PROCESS, _SET),
    "sched_setaffinity": Case(("-a", "sched_setaffinity"), THREAD, _SET),
    "sched_setaffinity-of-the-leader": Case(("sched_setaffinity",), THREAD, _SET),
    "sched_setparam": Case(("-a", "sched_setparam"), THREAD, _SET),
    "sched_setscheduler": Case(("-a", "sched_setscheduler"), THREAD, _SET),
    "sched_setattr": Case(("-a", "sched_setattr"), THREAD, _SET),
    "move_pages-set": Case(("move_pages", "set"), PROCESS, PROCESS_VM_OPERATION),
    "move_pages-get": Case(("move_pages", "get"), PROCESS, PROCESS_QUERY_INFORMATION),
    "migrate_pages": Case(("migrate_pages",), PROCESS, PROCESS_VM_OPERATION),
    "perf_event_open": Case(("perf_event_open",), PROCESS, PROCESS_VM_READ | PROCESS_TERMINATE),
    "perf_event_open-of-a-thread": Case(
        ("-a", "perf_event_open"), THREAD, PROCESS_VM_READ | PROCESS_TERMINATE
    ),
    "kcmp": Case(("kcmp",), PROCESS, PROCESS_QUERY_INFORMATION),
    "get_robust_list": Case(("get_robust_list",), PROCESS, PROCESS_QUERY_INFORMATION),
    "setown": Case(("setown", "process"), PROCESS, _OWN),
    "setown-of-a-group": Case(("-c", "2", "setown", "group"), PROCESS, _OWN),
    "setown-typed": Case(("setown", "typed"), PROCESS, _OWN),
    "setown-by-ioctl": Case(("setown", "ioctl"), PROCESS, _OWN),
}

# One of each system call, for what need not be tried with every variant.
ONE_OF_EACH = [
    "kill-TERM",
    "tkill-TERM",
    "tgkill-TERM",
    "rt_sigqueueinfo-TERM",
    "rt_tgsigqueueinfo-USR1",
    "pidfd_send_signal-TERM",
    "pidfd_open",
    "pidfd_getfd",
    "ptrace-attach",
    "process_vm_readv",
    "process_vm_writev",
    "process_madvise",
    "process_mrelease",
    "prlimit64-both",
    "setpriority",
    "ioprio_set",
    "sched_setaffinity",
    "sched_setparam",
    "sched_setscheduler",
    "sched_setattr",
    "move_pages-set",
    "migrate_pages",
    "perf_event_open",
    "kcmp",
    "get_robust_list",
    "setown",
    "setown-typed",
    "setown-by-ioctl",
]
