"""What all formats ask of a record: names of processes and events, times, the outcome, and what is left over.

Knows records as dicts (docs/records.md); nothing of any format, of events as objects, or of files."""

from __future__ import annotations

import time

from .._checks import printable, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    Record = Mapping[str, Any]

PRODUCT = "cbprocess"
NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000
# A longer text is no number of 64 bits, and dear to convert.
DIGITS_MAX = 20

BOOT_DIGITS = 32
# The parts of a UUID, as (first digit, digit behind the last).
UUID_PARTS = ((0, 8), (8, 12), (12, 16), (16, 20), (20, BOOT_DIGITS))

# The six kinds of operations; every other record is about the stream itself.
HANDLE_OPERATIONS = ("process_handle_operation", "thread_handle_operation")
OPERATIONS = (
    "process_creation",
    "process_termination",
    "thread_creation",
    "thread_termination",
    *HANDLE_OPERATIONS,
)


class Fields:
    """The keys of one record. Each is taken at most once; `left` has those that nobody took."""

    def __init__(self, record: Record) -> None:
        self._left = dict(record)

    def drop(self, *keys: str) -> None:
        """Takes keys that the format tells in another way."""
        for key in keys:
            self._left.pop(key, None)

    def take_text(self, key: str) -> str | None:
        """The text of this key, or None where it is absent or empty. What is no text stays where it is."""
        if isinstance(self._left.get(key), str):
            return self._left.pop(key) or None
        return None

    def take_number(self, key: str) -> int | None:
        """The number of this key, which a record may have as a text of digits. What is none, or fits into
        no 64 bits, stays where it is."""
        value = as_number(self._left.get(key))
        if value is None or not -(2**63) <= value < 2**63:
            return None
        del self._left[key]
        return value

    def take_id(self, key: str) -> str | None:
        """A number or a text, as a text: ids of users and codes of errors are no numbers to count with."""
        number = self.take_number(key)
        return self.take_text(key) if number is None else str(number)

    def take_texts(self, key: str) -> list[str] | None:
        """The list of texts of this key, or None where it is absent or empty. What is none stays."""
        value = self._left.get(key)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            return None
        return self._left.pop(key) or None

    def left(self) -> dict[str, Any]:
        """The keys that were not taken, without those that have no value."""
        return {key: value for key, value in self._left.items() if value is not None}


def as_number(value: object) -> int | None:
    """The int that a key has, as a number or as a text of digits; None for everything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, str):
        digits = value[1:] if value[:1] == "-" else value
        if digits.isascii() and digits.isdigit() and len(digits) <= DIGITS_MAX:
            return int(value)
    return None


def pruned(document: dict[str, Any]) -> dict[str, Any]:
    """The document without None and without objects that are empty then. Lists stay as they are."""
    kept: dict[str, Any] = {}
    for key, value in document.items():
        inner = pruned(value) if isinstance(value, dict) else value
        if inner is not None and inner != {}:
            kept[key] = inner
    return kept


def entity_id(record: Record, process: str = "process_id", start: str = "start_time") -> str | None:
    """Names a process for good, over all machines and restarts: `host:boot:process_id:start_time`. The
    session stands for a boot that is not known, as that of a recording. None where the record does not name
    the process so exactly. process, start: the keys that have its id and its start."""
    process_id, start_time = as_number(record.get(process)), as_number(record.get(start))
    if process_id is None or not start_time:
        return None
    boot = record.get("boot") or record.get("session")
    return f"{record.get('host') or ''}:{boot or ''}:{process_id}:{start_time}"


def event_id(record: Record) -> str | None:
    """Names an event for good, over all machines: `host:boot:session:number`. None for a record without a
    number: one that is in no stream."""
    number = as_number(record.get("number"))
    if number is None:
        return None
    return ":".join([*(str(record.get(key) or "") for key in ("host", "boot", "session")), str(number)])


def boot_uuid(boot: str | None) -> str | None:
    """The id of a boot as /proc/sys/kernel/random/boot_id has it, which other sensors tell: records have its
    digits alone. Any other text, as of Windows, stays as it is."""
    if boot is None or len(boot) != BOOT_DIGITS or boot.strip("0123456789abcdef"):
        return boot
    return "-".join(boot[begin:end] for begin, end in UUID_PARTS)


def is_one_line(record: Record) -> bool:
    """Whether the arguments are the command line as one text, as on Windows. On Linux a text that is more
    than a plain word has quotes in the command line."""
    arguments, line = record.get("arguments"), record.get("command_line")
    return isinstance(line, str) and line != "" and arguments == [line] and quoted([line]) != line


def file_name(path: object) -> str | None:
    """The last part of a path. A path of Windows may have either separator."""
    if not isinstance(path, str) or not path:
        return None
    plain = path if path.startswith("/") else path.replace("\\", "/")
    return plain.rpartition("/")[2] or path


def time_ns_of(record: Record) -> int:
    """The time of a record in nanoseconds since 1970. A record that has none is one that is made now."""
    value = as_number(record.get("time_ns"))
    return time.time_ns() if value is None or not 0 <= value < 2**64 else value


def time_text(time_ns: int) -> str:
    """A time in nanoseconds since 1970 as RFC 3339 has it, in UTC. From 0 to 2^64 - 1, which is in
    the year 2554."""
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time_ns // NS_PER_S))
    return f"{whole}.{time_ns % NS_PER_S:09d}Z"


def has_failed(record: Record) -> bool:
    """Whether the operation was refused, failed in the system after it had been allowed, or lost rights that
    it asked for."""
    if as_number(record.get("result_code")) or record.get("os_error") is not None:
        return True
    return bool(taken_rights(record))


def is_trouble(record: Record) -> bool:
    """Whether the record is no operation, but tells of an error or of a loss."""
    return record.get("event") in ("error", "lost")


def taken_rights(record: Record) -> list[str]:
    """The names of the rights that were asked for and not granted."""
    asked, granted = record.get("original_desired_access"), record.get("desired_access")
    if not isinstance(asked, list) or not isinstance(granted, list):
        return []
    return [str(right) for right in asked if right not in granted]


def reason(record: Record) -> str | None:
    """A sentence that says why an operation did not go as it was asked for; None where it did."""
    code, failure = as_number(record.get("result_code")), as_number(record.get("os_error"))
    by_whom = "a rule" if "decided_by_rule" in flags(record) else "a handler"
    if code:
        return f"refused by {by_whom} with error {code}"
    if failure is not None:
        return f"failed in the system with errno {failure}" if failure else "its process ended in it"
    rights = taken_rights(record)
    return f"{by_whom} took away the rights {', '.join(rights)}" if rights else None


def flags(record: Record) -> list[str]:
    """The names of the record's flags."""
    value = record.get("flags")
    return value if isinstance(value, list) else []


def sentence(record: Record) -> str:
    """The record in one line, for whoever reads a log."""
    event = str(record.get("event") or "record")
    parts = [printable(event.replace("_", " "))]
    if record.get("process_id") is not None:
        # Programs can have any name, also one that looks like the next line of a log.
        parts.append(printable(f"{record['process_id']} {record.get('process_name') or ''}".rstrip()))
    if event == "lost":
        count = "an unknown number" if record.get("count") is None else printable(str(record["count"]))
        parts.append(f"{count} of events")
    told = record.get("description") or (record.get("reason") if event == "lost" else None)
    why = told if isinstance(told, str) else reason(record)
    # A description may be a traceback: its last line says what happened.
    return " ".join(parts) + (f": {printable(why.strip().splitlines()[-1])}" if why and why.strip() else "")
