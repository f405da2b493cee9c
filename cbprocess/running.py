"""The processes that run now, as the system lists them. That needs no driver and no filter.

Knows nothing of sessions or events. _api/snapshots.py has the members of CBProcess that use it."""

from __future__ import annotations

import ctypes
import struct
import sys
from ctypes import POINTER, byref

from ._binding import abi, layouts, library
from ._checks import as_text, checked_bool
from .constants import SNAPSHOT_FLAG_IMAGE_DELETED

ON_WINDOWS = sys.platform == "win32"
RECORD = "=" + "".join(kind for _, kind in layouts.FIELDS["process_record"])


class RunningProcess:
    """One process at the moment of a snapshot.

    process_id, parent_process_id, thread_count. start_time: in clock ticks since boot, as an event's; with
    the id it names a process for ever. process_name: the executable's path, or the short name that the system
    shows where it does not tell the path (a kernel thread, another user's process). image_deleted: whether
    the executable's file has been deleted since, or replaced by another (Linux)."""

    __slots__ = (
        "_arguments",
        "image_deleted",
        "parent_process_id",
        "process_id",
        "process_name",
        "start_time",
        "thread_count",
    )

    def __init__(
        self,
        process_id: int,
        parent: int,
        start_time: int,
        thread_count: int,
        name: str,
        arguments: bytes,
        image_deleted: bool = False,
    ) -> None:
        self.process_id = process_id
        self.parent_process_id = parent
        self.start_time = start_time
        self.thread_count = thread_count
        self.process_name = name
        self._arguments = arguments
        self.image_deleted = image_deleted

    def __repr__(self) -> str:
        return f"<RunningProcess {self.process_id} {self.process_name!r}>"

    @property
    def arguments(self) -> list[str]:
        """The arguments that the process was started with, or has written in their place since (on Windows
        the command line as one). The list is empty if they were not asked for, and for a process that has
        none."""
        return as_text(self._arguments).split("\0")[:-1]

    @property
    def command_line(self) -> str:
        """The arguments as one line that a shell would split into them again; on Windows the command line."""
        if ON_WINDOWS:
            return "".join(self.arguments)
        import shlex

        return shlex.join(self.arguments)


def running_processes(command_lines: bool = True) -> list[RunningProcess]:
    """A snapshot of the processes that this one can see, by rising id. With command_lines False they have no
    arguments, and it takes about half the time. May be called at any time, in handlers too.

    Errors: 87 for an argument of the wrong type, 4 without a free file descriptor, 8 without memory, 31 where
    the system's list cannot be read (Linux: /proc is not there), 588 if the native library is missing."""
    native = library.load()
    pointer = POINTER(abi.Snapshot)()
    native.cbp_snapshot_create(checked_bool(command_lines, "command_lines"), byref(pointer))
    try:
        snapshot = pointer.contents
        records = ctypes.string_at(snapshot.records, snapshot.count * snapshot.record_size)
        texts = ctypes.string_at(snapshot.texts, snapshot.texts_size)
        return _processes(records, snapshot.record_size, texts)
    finally:
        native.cbp_snapshot_destroy(pointer)


def _processes(records: bytes, record_size: int, texts: bytes) -> list[RunningProcess]:
    own = struct.calcsize(RECORD)
    layout = struct.Struct(f"{RECORD}{record_size - own}x")  # a later library's records may be longer
    return [
        RunningProcess(
            process_id,
            parent,
            start_time,
            thread_count,
            as_text(texts[name_at : name_at + name_size]),
            texts[arguments_at : arguments_at + arguments_size],
            flags & SNAPSHOT_FLAG_IMAGE_DELETED != 0,
        )
        for (
            process_id,
            parent,
            start_time,
            thread_count,
            name_size,
            name_at,
            arguments_at,
            arguments_size,
            flags,
        ) in layout.iter_unpack(records)
    ]
