"""The end of a session whose writer died without a word: a line that tells of the loss, and its last number.

The line stands in a segment of its own. The last one may end in the middle of a line, which stays as it is:
nobody who follows it has ever seen that line whole. Knows files and records; no writers and no readers."""

from __future__ import annotations

import os
from pathlib import Path

from .. import records
from .layout import (
    BINARY,
    END,
    HEAD,
    LOCK,
    NO_LINK,
    NOT_INHERITED,
    TEMPORARY,
    last_number,
    lock,
    read_number,
    read_origin,
    segment_name,
    segments,
    write_number,
)

KILLED = "killed"
# These stand in front of the number.
IDENTITY = ("schema", "host", "boot", "session")


def seal(folder: os.PathLike[str] | str) -> bool:
    """Ends a session whose writer is dead. Its last lines may be missing, those of 50 milliseconds or so;
    a record `lost` with the reason "killed" says that. Any process may do this, at any time.

    False, and nothing is done, where the writer lives or the session has ended already. OSError if the disk
    is full."""
    folder = Path(folder)
    if read_number(folder / END) is not None or not (folder / HEAD).exists():
        return False
    try:
        fd = lock(folder / LOCK)
    except (BlockingIOError, FileNotFoundError):
        return False
    try:
        if read_number(folder / END) is not None or not (folder / HEAD).exists():
            return False
        last, whole = _last_of(folder)
        origin = read_origin(folder)
        lost = records.made(
            "lost", origin, reason=KILLED, count=None, first_number=whole + 1, last_number=None
        )
        ended = records.made("session_end", origin, last_number=last + 2)
        data = line_of(lost, last + 1) + line_of(ended, last + 2)
        _write_whole(folder / segment_name(last + 1), data)
        write_number(folder / END, last + 2)
        return True
    finally:
        os.close(fd)


def line_of(record: dict[str, object], number: int) -> bytes:
    """The line of a record that gets this number."""
    return records.line_of(numbered(record, number))


def numbered(record: dict[str, object], number: int) -> dict[str, object]:
    """The record with this number, which stands behind the identity of the session."""
    head: dict[str, object] = {key: record[key] for key in IDENTITY if key in record}
    return {**head, "number": number, **{key: value for key, value in record.items() if key != "number"}}


def _last_of(folder: Path) -> tuple[int, int]:
    """The last number that is taken, and the last of which there is a whole line. A segment without one takes
    the number in its name: a reader may have it open, so that it must not be replaced."""
    parts = segments(folder)
    taken = parts[-1][0] if parts else 0
    for _, path in reversed(parts):
        whole = last_number(path)
        if whole is not None:
            return max(taken, whole), whole
    return taken, max(0, parts[0][0] - 1) if parts else 0


def _write_whole(path: Path, data: bytes) -> None:
    """Writes a file that is there whole or not at all."""
    temporary = path.with_suffix(TEMPORARY)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | NO_LINK | NOT_INHERITED | BINARY
    fd = os.open(temporary, flags, 0o600)
    try:
        while data:
            data = data[os.write(fd, data) :]
    finally:
        os.close(fd)
    os.replace(temporary, path)
