"""Common names of the command line: groups of events, limits, exit statuses."""

from __future__ import annotations

import sys

from ..events import OPERATIONS

# env, timeout and programs like them end with this status when they themselves fail.
OWN_FAILURE = 125

# This is the product that the command line is to drivers. A driver that it has installed is its own.
PRODUCT_GUID = "{5e0f3c2b-8f0a-4a57-9d86-6c1b9c1f7e42}"

# This is no product. The bpf driver then runs from the package itself, and nothing has to be installed.
NO_PRODUCT = "{00000000-0000-0000-0000-000000000000}"

# This driver sees the whole machine, and is installed for products.
MACHINE_DRIVER = "kernel" if sys.platform == "win32" else "bpf"

# The drivers of each system. A driver of another one is never possible here, so people need not read of it.
SYSTEM_DRIVERS = ("debug", "kernel") if sys.platform == "win32" else ("ptrace", "bpf")
EVERYWHERE_DRIVERS = ("simulated",)

# The states of a process by the choice of processes (choice.py), which a change of its program can bring.
SHOWN, LEFT, STAYED = "shown", "left", "stayed"

# The summary's lists and its tree have so many lines, unless all is asked for.
TREE_LINES = 40

EVENT_NAMES = tuple(kind.name for kind in OPERATIONS)
PROCESS_NAMES = EVENT_NAMES[:2]
THREAD_NAMES = EVENT_NAMES[2:4]
LIFETIME_NAMES = EVENT_NAMES[:4]
HANDLE_NAMES = EVENT_NAMES[4:]
EVENT_GROUPS = {
    "all": EVENT_NAMES,
    "process": PROCESS_NAMES,
    "thread": THREAD_NAMES,
    "handle": HANDLE_NAMES,
}
