"""Checks of arguments: every wrong value becomes CBProcessError 87 with a sentence that names it. Texts of
the system become str here, and bytes again; lists of arguments become command lines, and texts for people get
no character that could end a line or steer a terminal.

Knows no library and no process."""

from __future__ import annotations

import sys

from .constants import (
    ACTION_ALLOW,
    ACTION_ASK,
    ACTION_DENY,
    ACTION_IGNORE,
    ACTION_STRIP,
    ERROR_ACCESS_DENIED,
    ERROR_INVALID_PARAMETER,
    PATTERN_SIZE_MAX,
)
from .errors import CBProcessError

# A system name that is not valid text passes through a str and back with this error handling.
TEXT_ERRORS = "surrogatepass" if sys.platform == "win32" else "surrogateescape"

# A shell takes these characters as they are.
SAFE_CHARACTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@%+=:,./-"

UINT32_MAX = 0xFFFFFFFF
ACTIONS = {
    "ask": ACTION_ASK,
    "ignore": ACTION_IGNORE,
    "allow": ACTION_ALLOW,
    "deny": ACTION_DENY,
    "strip": ACTION_STRIP,
}
ALL_PROCESSES = -1
CO_COROUTINE = 0x80  # of code.co_flags; importing inspect for its name would be dear


def wrong(message: str) -> CBProcessError:
    return CBProcessError(ERROR_INVALID_PARAMETER, message)


def checked_int(value: object, name: str, low: int, high: int) -> int:
    """The value, if it is an int from `low` to `high`. A bool is none."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise wrong(f"{name} must be an int, not {type(value).__name__}")
    if not low <= value <= high:
        raise wrong(f"{name} must be from {low} to {high}, not {int_text(value)}")
    return int(value)


def int_text(value: int) -> str:
    """An int in a sentence. Python refuses to write one of thousands of digits, which a file can have."""
    return str(value) if value.bit_length() <= 128 else f"one of {value.bit_length()} bits"


def checked_bool(value: object, name: str) -> bool:
    """The value as a bool. Programs written for the reference may give the int 1 or 0 in its place."""
    if not isinstance(value, int):
        raise wrong(f"{name} must be True or False, not {type(value).__name__}")
    if value not in (0, 1):
        raise wrong(f"{name} must be True or False, not {int_text(value)}")
    return bool(value)


def checked_text(value: object, name: str) -> bytes:
    """The bytes of a str without NUL. A system name that became a str by TEXT_ERRORS becomes its bytes
    again."""
    if not isinstance(value, str):
        raise wrong(f"{name} must be a str, not {type(value).__name__}")
    try:
        data = value.encode("utf-8", TEXT_ERRORS)
    except UnicodeEncodeError:
        raise wrong(f"{name} has a character that no text encoding can carry") from None
    if b"\0" in data:
        raise wrong(f"{name} must not contain a NUL character")
    return data


def as_text(data: bytes) -> str:
    """A text of the system, or of the library, as a str."""
    return data.decode("utf-8", TEXT_ERRORS)


def quoted(arguments: list[str]) -> str:
    """Arguments as one line that a shell would split into them again: what shlex.join() gives, at half the
    cost."""
    # Nothing is left of a word of safe characters.
    return " ".join(
        [
            word if word and not word.strip(SAFE_CHARACTERS) else "'" + word.replace("'", "'\"'\"'") + "'"
            for word in arguments
        ]
    )


def printable(text: str) -> str:
    """The text with escape sequences in place of characters that could end a line or steer a terminal."""
    if text.isprintable():
        return text
    return "".join(part if part.isprintable() else _escaped(part) for part in text)


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        # This is a byte of a name that is not UTF-8.
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def checked_pattern(value: object, name: str) -> bytes:
    data = checked_text(value, name)
    if not data:
        raise wrong(f"{name} must not be empty")
    if len(data) > PATTERN_SIZE_MAX:
        raise wrong(f"{name} has {len(data)} bytes; at most {PATTERN_SIZE_MAX} are possible")
    return data


def checked_process_id(value: object, all_allowed: bool) -> int:
    """A process id as the library takes it: 0xffffffff stands for all processes."""
    if all_allowed and isinstance(value, int) and not isinstance(value, bool) and value == ALL_PROCESSES:
        return UINT32_MAX
    return checked_int(value, "process_id", 0, UINT32_MAX - 1)


def checked_target(name: object, process_id: object, action: int) -> bytes | int:
    """The target of a rule with this action: a pattern of names, or an id as the library takes it."""
    if (name is None) == (process_id is None):
        raise wrong("a rule is for a name or for a process_id: give one of them")
    if name is not None:
        return checked_pattern(name, "name")
    return checked_process_id(process_id, action != ACTION_IGNORE)


def checked_action(action: object) -> int:
    """The number of an action that is given by name, as a member of Action or as an ACTION_ constant."""
    if isinstance(action, str) and action in ACTIONS:
        return ACTIONS[action]
    if isinstance(action, int) and not isinstance(action, bool) and action in ACTIONS.values():
        return int(action)
    raise wrong(f"action must be one of {', '.join(ACTIONS)}, not {action!r:.100}")


def checked_action_value(action: int, code: object, access: object) -> int:
    """The number that belongs to an action; 0 for one that has none."""
    for name, value, owner in (("code", code, "deny"), ("access", access, "strip")):
        if value is not None and action != ACTIONS[owner]:
            raise wrong(f"{name} means nothing with this action: it belongs to {owner!r}")
    if action == ACTION_DENY:
        return checked_int(ERROR_ACCESS_DENIED if code is None else code, "code", 1, UINT32_MAX)
    if action == ACTION_STRIP:
        return checked_int(0 if access is None else access, "access", 1, UINT32_MAX)
    return 0


def checked_handler(value: object, name: str) -> None:
    if value is not None and not callable(value):
        raise wrong(f"{name} must be callable or None, not {type(value).__name__}")
    code = getattr(getattr(value, "__func__", value), "__code__", None)
    if code is not None and code.co_flags & CO_COROUTINE:
        raise wrong(f"{name} must be a plain function here: coroutine functions need AsyncCBProcess")
