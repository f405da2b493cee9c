"""Values of the command line's options, from their text. A wrong text is refused in words.

Knows the names of events and no option."""

from __future__ import annotations

import argparse

from .words import EVENT_GROUPS, EVENT_NAMES


def event_list(text: str) -> tuple[str, ...]:
    names: list[str] = []
    for part in text.split(","):
        if part in EVENT_GROUPS:
            names += EVENT_GROUPS[part]
        elif part in EVENT_NAMES:
            names.append(part)
        else:
            raise argparse.ArgumentTypeError(f"{part!r} is no event; possible: {', '.join(EVENT_NAMES)}")
    return tuple(dict.fromkeys(names))


def name_list(text: str) -> tuple[str, ...]:
    return tuple(filter(None, text.split(",")))


def milliseconds(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of milliseconds") from None
    if value != 0 and not 3000 <= value <= 0xFFFFFFFF:
        raise argparse.ArgumentTypeError(f"{value} is neither 0 nor from 3000 to {0xFFFFFFFF}")
    return value


def process_id(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if not 0 < value < 2**31:
        raise argparse.ArgumentTypeError(f"{text!r} is no process id")
    return value
