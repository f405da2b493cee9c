"""Has the common words and numbers of the command line, and reads the values of options from their text. A
wrong text is refused in words.

Knows which values there are, and no option by its name."""

from __future__ import annotations

import sys

from ..events import OPERATIONS

# env, timeout and programs like them end with this status when they themselves fail.
OWN_FAILURE = 125
# The exit status for an end by a signal is that and its number, as shells have it.
SIGNAL_BASE = 128

# In the place of a file it is standard output.
STANDARD_OUTPUT = "-"
# New files have these modes. They are their owner's alone, because command lines can hold secrets. Files for
# everybody, as far as the umask lets them, are what is installed, as a manual page.
PRIVATE_MODE = 0o600
PUBLIC_MODE = 0o666

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


def wrong_value(message: str) -> Exception:
    """The exception by which argparse learns that a value is wrong, and why."""
    # A start without mistakes does without argparse (plain_options.py).
    import argparse

    return argparse.ArgumentTypeError(message)


def event_list(text: str) -> tuple[str, ...]:
    names: list[str] = []
    for part in text.split(","):
        if part in EVENT_GROUPS:
            names += EVENT_GROUPS[part]
        elif part in EVENT_NAMES:
            names.append(part)
        else:
            raise wrong_value(f"{part!r} is no event; possible: {', '.join(EVENT_NAMES)}")
    return tuple(dict.fromkeys(names))


def name_list(text: str) -> tuple[str, ...]:
    return tuple(filter(None, text.split(",")))


def milliseconds(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        raise wrong_value(f"{text!r} is no number of milliseconds") from None
    if value != 0 and not 3000 <= value <= 0xFFFFFFFF:
        raise wrong_value(f"{value} is neither 0 nor from 3000 to {0xFFFFFFFF}")
    return value


def process_id(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if not 0 < value < 2**31:
        raise wrong_value(f"{text!r} is no process id")
    return value
