"""Values of the command line's options, from their text. A wrong text is refused in words.

Knows the names of events and no option."""

from __future__ import annotations

from .words import EVENT_GROUPS, EVENT_NAMES


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
