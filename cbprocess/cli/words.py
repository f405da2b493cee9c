"""What several parts of the command line know by name: groups of events, limits, exit statuses."""

from __future__ import annotations

from ..events import OPERATIONS

# What env, timeout and their like end with when they themselves fail.
OWN_FAILURE = 125

# Of the summary's lists and tree, unless all is asked for.
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
