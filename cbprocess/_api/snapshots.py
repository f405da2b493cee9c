"""The members of CBProcess for the processes that run in the system. running.py makes the list itself."""

from __future__ import annotations

from .._checks import checked_bool, checked_int, wrong
from ..constants import ERROR_CONNECTION_ACTIVE
from ..errors import CBProcessError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._binding.session import Session
    from ..running import RunningProcess


class Snapshot:
    """The state of one instance for these members."""

    __slots__ = ("processes", "track_command_line")

    def __init__(self) -> None:
        self.processes: list[RunningProcess] = []
        self.track_command_line = False


class Snapshots:
    """create_running_processes_snapshot() fills the running_process_ arrays with the processes that run at
    that moment, filtered or not, in any part of the system that this process can see.
    close_running_processes_snapshot() empties them. Each array is a tuple, and has a method that gives one
    item; an index from 0 to running_process_count - 1, else error 87.

    Before initialize() those two are error 21, and there is no snapshot to read."""

    __slots__ = ()

    _snapshot: Snapshot

    def _ready(self) -> Session:
        """The native session; error 21 if there is none."""
        raise NotImplementedError

    def get_active(self) -> bool:
        raise NotImplementedError

    def create_running_processes_snapshot(self) -> None:
        """Takes a snapshot of the running processes in place of an earlier one. Their command lines are in it
        if track_command_line is True. Linux: as /proc shows it.

        Errors: 21 before initialize(), 1131 in a handler, 4 without a free file descriptor, 8 without memory,
        31 if the system's list cannot be read; the earlier snapshot stays then."""
        self._check_outside_handler()
        from ..running import snapshot

        self._snapshot.processes = snapshot(self._snapshot.track_command_line)

    def close_running_processes_snapshot(self) -> None:
        """Lets go of the snapshot: running_process_count is 0 again. Does nothing if there is none.

        Errors: 21 before initialize(), 1131 in a handler."""
        self._check_outside_handler()
        self._snapshot.processes = []

    def get_running_process_count(self) -> int:
        """The number of processes in the snapshot; 0 without one."""
        return len(self._running_processes())

    @property
    def running_process_count(self) -> int:
        """The number of processes in the snapshot, as get_running_process_count() gives it."""
        return self.get_running_process_count()

    def get_running_process_process_id(self, running_process_index: int) -> int:
        """The id of one process of the snapshot."""
        return self._running_process(running_process_index).process_id

    @property
    def running_process_process_id(self) -> tuple[int, ...]:
        """The ids of all processes of the snapshot, rising."""
        return tuple(process.process_id for process in self._running_processes())

    def get_running_process_process_name(self, running_process_index: int) -> str:
        """The path of the executable of one process of the snapshot, as get_process_name() gives it. It is
        the short name where the system does not tell the path (Linux: a kernel thread, another user's
        process)."""
        return self._running_process(running_process_index).process_name

    @property
    def running_process_process_name(self) -> tuple[str, ...]:
        """The names of all processes of the snapshot, as get_running_process_process_name() gives them."""
        return tuple(process.process_name for process in self._running_processes())

    def get_running_process_command_line(self, running_process_index: int) -> str:
        """The command line of one process of the snapshot, quoted as a shell reads it. It is "" if the
        process has none, or if track_command_line was False when the snapshot was taken."""
        return self._running_process(running_process_index).command_line

    @property
    def running_process_command_line(self) -> tuple[str, ...]:
        """The command lines of all processes of the snapshot, as get_running_process_command_line() gives
        them."""
        return tuple(process.command_line for process in self._running_processes())

    def get_track_command_line(self) -> bool:
        """Whether the next snapshot has command lines; False at first. Events carry theirs in any case."""
        return self._snapshot.track_command_line

    def set_track_command_line(self, value: bool) -> None:
        """Sets the property track_command_line. Errors: 87 for anything but a bool, 1131 in a handler, 1230
        while the filter is active."""
        from .._binding.library import check_outside_handler

        checked = checked_bool(value, "track_command_line")
        check_outside_handler("track_command_line")
        if self.get_active():
            raise CBProcessError(
                ERROR_CONNECTION_ACTIVE, "track_command_line: not while the filter is active"
            )
        self._snapshot.track_command_line = checked

    @property
    def track_command_line(self) -> bool:
        """Whether the next snapshot has command lines, as get_track_command_line() tells; False at first."""
        return self.get_track_command_line()

    @track_command_line.setter
    def track_command_line(self, value: bool) -> None:
        self.set_track_command_line(value)

    def _running_processes(self) -> list[RunningProcess]:
        return self._snapshot.processes

    def _running_process(self, index: int) -> RunningProcess:
        processes = self._running_processes()
        if not processes:
            raise wrong("there is no snapshot: create_running_processes_snapshot() takes one")
        return processes[checked_int(index, "running_process_index", 0, len(processes) - 1)]

    def _check_outside_handler(self) -> None:
        from .._binding.library import check_outside_handler

        self._ready()
        check_outside_handler("a snapshot")
