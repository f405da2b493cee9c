"""The processes that run now, as the system lists them. That needs no driver and no filter.

Knows nothing of sessions or events. _api/installation.py has the members of CBProcess that use it."""

from __future__ import annotations

import ctypes
import sys
from ctypes import POINTER, byref
from itertools import repeat

from ._binding import layouts, library
from ._binding.structures import Snapshot
from ._checks import as_text, checked_bool, wrong
from .constants import (
    SNAPSHOT_FLAG_ENDED,
    SNAPSHOT_FLAG_IMAGE_DELETED,
    SNAPSHOT_FLAG_SHORT_NAME,
    SNAPSHOT_FROM_DRIVER,
    SNAPSHOT_FROM_FILES,
    SNAPSHOT_WITH_ARGUMENTS,
)

ON_WINDOWS = sys.platform == "win32"
SOURCES = {"auto": 0, "proc": SNAPSHOT_FROM_FILES, "bpf": SNAPSHOT_FROM_DRIVER}

WORDS = {"I": 1, "Q": 2}  # of a field's type


def _places() -> dict[str, int]:
    """The place of each field in a record, counted in words of four bytes."""
    places, place = {}, 0
    for name, kind in layouts.FIELDS["process_record"]:
        places[name] = place
        place += WORDS[kind]
    return places


PLACES = _places()
PROCESS_ID = PLACES["process_id"]
PARENT_PROCESS_ID = PLACES["parent_process_id"]
THREAD_COUNT = PLACES["thread_count"]
NAME_SIZE = PLACES["process_name_size"]
ARGUMENTS_SIZE = PLACES["arguments_size"]
FLAGS = PLACES["flags"]
USER_ID = PLACES["user_id"]
# The places of these count double words.
START_TIME, NAME_OFFSET, ARGUMENTS_OFFSET = (
    PLACES[name] // 2 for name in ("start_time", "process_name_offset", "arguments_offset")
)


class _Made:
    """What the library has made: the records of all processes, twice viewed, and their texts."""

    __slots__ = ("quads", "texts", "words")

    def __init__(self, records: bytes, texts: str | bytes) -> None:
        self.words = memoryview(records).cast("I")
        self.quads = memoryview(records).cast("Q")
        self.texts = texts


class RunningProcess:
    """One process at the moment of a snapshot. Its numbers and texts are made when they are asked for."""

    __slots__ = ("_at", "_made")

    def __init__(self, at: int, made: _Made) -> None:
        self._at = at  # the first word of its record; always even
        self._made = made

    def __repr__(self) -> str:
        return f"<RunningProcess {self.process_id} {self.process_name!r}>"

    @property
    def process_id(self) -> int:
        """The process's id."""
        return self._made.words[self._at + PROCESS_ID]

    @property
    def parent_process_id(self) -> int:
        """The id of its parent; 0: it has none."""
        return self._made.words[self._at + PARENT_PROCESS_ID]

    @property
    def start_time(self) -> int:
        """The start time in clock ticks since boot, as an event's; with the id it names a process for
        ever."""
        return self._made.quads[self._at // 2 + START_TIME]

    @property
    def thread_count(self) -> int:
        """The number of its threads."""
        return self._made.words[self._at + THREAD_COUNT]

    @property
    def user_id(self) -> int:
        """The user whose rights the process has: on Linux the effective one, as `ps` shows it; on Windows
        0."""
        return self._made.words[self._at + USER_ID]

    @property
    def image_deleted(self) -> bool:
        """Whether the executable's file has been deleted since, or replaced by another (Linux)."""
        return self._made.words[self._at + FLAGS] & SNAPSHOT_FLAG_IMAGE_DELETED != 0

    @property
    def ended(self) -> bool:
        """Whether it has ended, or is about to, and only its parent has yet to hear of it (Linux)."""
        return self._made.words[self._at + FLAGS] & SNAPSHOT_FLAG_ENDED != 0

    @property
    def process_name(self) -> str:
        """The executable's path, or the short name that the system shows where it does not tell the path (a
        kernel thread, another user's process)."""
        made, at = self._made, self._at
        begin = made.quads[at // 2 + NAME_OFFSET]
        name = made.texts[begin : begin + made.words[at + NAME_SIZE]]
        return name if isinstance(name, str) else as_text(name)

    @property
    def path(self) -> str:
        """The executable's path; "" where the system does not tell it."""
        return "" if self._made.words[self._at + FLAGS] & SNAPSHOT_FLAG_SHORT_NAME else self.process_name

    @property
    def name(self) -> str:
        """The name of the executable's file, or the short name that the system shows."""
        name = self.process_name
        if self._made.words[self._at + FLAGS] & SNAPSHOT_FLAG_SHORT_NAME:
            return name  # it may have any characters
        if ON_WINDOWS:
            name = name.replace("\\", "/")
        return name.rpartition("/")[2]

    @property
    def arguments(self) -> list[str]:
        """The arguments that the process was started with, or has written in their place since (on Windows
        the command line as one). The list is empty if they were not asked for, and for a process that has
        none."""
        made, at = self._made, self._at
        size = made.words[at + ARGUMENTS_SIZE]
        if not size:
            return []
        begin = made.quads[at // 2 + ARGUMENTS_OFFSET]
        whole = made.texts[begin : begin + size - 1]
        return (whole if isinstance(whole, str) else as_text(whole)).split("\0")

    @property
    def command_line(self) -> str:
        """The arguments as one line that a shell would split into them again; on Windows the command line."""
        if ON_WINDOWS:
            return "".join(self.arguments)
        import shlex

        return shlex.join(self.arguments)


def snapshot(command_lines: bool = True, *, source: str = "auto") -> list[RunningProcess]:
    """A snapshot of the processes that this one can see, by rising id. With command_lines False they have no
    arguments, and it takes about half the time. May be called at any time, in handlers too.

    source: "proc" reads /proc (on Windows it asks the system likewise); that works for everybody. "bpf"
    (Linux 6.1 and later, root) asks programs in the kernel, which is about ten times as fast and gives equal
    records. Its first call in a process loads them, which takes a tenth of a second and more. They do nothing
    but answer, and go with the process. "auto" is "bpf" from the third snapshot of a process on, where that
    can be done, and else "proc".

    Errors: 87 for an argument of the wrong type or value, 4 without a free file descriptor, 8 without memory,
    31 where the system's list cannot be read (Linux: /proc is not there), 50 if "bpf" cannot be done here,
    588 if the native library is missing."""
    options = SNAPSHOT_WITH_ARGUMENTS if checked_bool(command_lines, "command_lines") else 0
    if not isinstance(source, str) or source not in SOURCES:
        raise wrong(f"source must be one of {', '.join(SOURCES)}, not {source!r:.100}")
    native = library.load()
    pointer = POINTER(Snapshot)()
    native.cbp_snapshot_create(options | SOURCES[source], byref(pointer))
    try:
        made = pointer.contents
        records = ctypes.string_at(made.records, made.count * made.record_size)
        return _processes(records, made.record_size, ctypes.string_at(made.texts, made.texts_size))
    finally:
        native.cbp_snapshot_destroy(pointer)


def running_processes(command_lines: bool = True) -> list[RunningProcess]:
    """The older name of snapshot()."""
    return snapshot(command_lines)


def _processes(records: bytes, record_size: int, data: bytes) -> list[RunningProcess]:
    # Parts of plain text are had faster than parts of bytes, which are decoded each.
    made = _Made(records, data.decode() if data.isascii() else data)
    # A later library's records may be longer.
    return list(map(RunningProcess, range(0, len(made.words), record_size // 4), repeat(made)))
