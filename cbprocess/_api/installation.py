"""These methods of CBProcess concern no filter: Installation is for drivers and the machine, Snapshots for
the processes that run there. Those of Installation need no initialize(): a program calls them before it can
start at all. Snapshots has its list from running.py. Both are bases of the class, so that a module for each
would make every import of the package longer."""

from __future__ import annotations

from .._checks import UINT32_MAX, checked_bool, checked_int, checked_text, wrong
from ..constants import ERROR_CONNECTION_ACTIVE
from ..errors import CBProcessError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .._binding.session import Session
    from ..running import RunningProcess


def initiate_shutdown(prompt: bytes, timeout: int, force_close_apps: bool, reboot: bool) -> bool:
    """The one call that shuts the machine down. Programs that test themselves put another function in its
    place (`cbprocess._api.installation.initiate_shutdown`), and nothing happens to the machine."""
    from ctypes import byref, c_uint32

    from .._binding import library

    initiated = c_uint32()
    library.load().cbp_system_shutdown(prompt, timeout, force_close_apps, reboot, byref(initiated))
    return initiated.value != 0


class Installation:
    """The methods for drivers and for the machine. They work before initialize(), too, in any thread, but not
    in a handler (error 1131). product_guid is the application's own GUID in braces; anything else, and a
    value of the wrong type, is error 87.

    The drivers for process trees (ptrace, debug) and the simulated one need no installation. They are
    running, and have the version of the package; there is nothing to install or to take away. The kernel
    driver and the bpf driver are installed for products: each has its own GUID, and they share a driver. With
    the GUID "{00000000-0000-0000-0000-000000000000}" the bpf driver runs from the package itself, and needs
    no installation."""

    __slots__ = ()

    def config(self, configuration_string: str) -> str:
        """CBProcess.config()."""
        raise NotImplementedError

    def get_driver_status(self, product_guid: str) -> int:
        """The MODULE_STATUS_ of this instance's driver (its Driver setting): NOT_PRESENT, STOPPED or RUNNING.
        A driver that is not installed is no error."""
        from ctypes import c_uint32

        return self._ask_driver("cbp_driver_status", product_guid, c_uint32())

    def get_driver_version(self, product_guid: str) -> int:
        """The version of this instance's driver: four 16-bit words, the major number highest
        (0x0002002000060000 for 2.32.6). 0 if it is not installed."""
        from ctypes import c_uint64

        return self._ask_driver("cbp_driver_version", product_guid, c_uint64())

    def install(
        self,
        cab_file_name: str | None,
        product_guid: str,
        path_to_install: str | None,
        flags: int,
        additional: int | None = None,
    ) -> bool:
        """Installs or updates this instance's driver. cab_file_name is the driver's package; for the bpf
        driver that is a folder, and "" or None stands for the one in this Python package. path_to_install
        is the folder for it, "" or None for the usual one. flags are INSTALL_ bits. additional is for
        programs that pass a fifth number, and means nothing. True if only a restart of the machine completes
        it.

        Where the driver needs no installation, nothing is done, the paths are not looked at, and no privilege
        is needed. The kernel driver is installed as a whole or not at all, and a newer one than the package's
        stays. Its errors: 1314 without administrative rights; 2 or 3 if the package or the folder is not
        there; 11 if the package is none, or for another machine; 13 if it is damaged; 577 if its signature is
        missing or does not hold on this machine; 183 if another product has a service of its name; 170 while
        another program installs it, or a restart has to complete an uninstall().

        The bpf driver's errors are these, as far as they can be, and 5 for a folder that others than root can
        change. Its versions lie side by side. A product keeps the older ones until
        INSTALL_REMOVE_OLD_VERSIONS or UNINSTALL_VERSION_PREVIOUS, and a filter uses the version of its own
        package, or else the newest."""
        if additional is not None:
            checked_int(additional, "additional", 0, UINT32_MAX)
        return self._change_driver(
            "cbp_driver_install", cab_file_name, product_guid, path_to_install, flags, "path_to_install"
        )

    def uninstall(
        self, cab_file_name: str | None, product_guid: str, installed_path: str | None, flags: int
    ) -> bool:
        """Takes this instance's driver away again; the arguments are those that install() got, but for flags,
        which are UNINSTALL_ bits. The rest is as for install(). The kernel driver goes with the last product
        that has installed it; it is found without the paths, which are not looked at. Errors: 2 if this
        product has not installed it, 87 if flags are 0."""
        return self._change_driver(
            "cbp_driver_uninstall", cab_file_name, product_guid, installed_path, flags, "installed_path"
        )

    def shutdown_system(
        self, shutdown_prompt: str | None, timeout: int, force_close_apps: bool, reboot: bool
    ) -> bool:
        """Shuts the machine down, or with reboot restarts it. A shutdown_prompt is shown to its users for
        timeout seconds (0 to 0xffffffff) before; with "" or None it begins at once. force_close_apps: do not
        wait for programs. False if that is not allowed to this process, or the system refuses.

        Linux: asks shutdown(8), which counts in minutes (the timeout is rounded up) and always ends programs
        that do not end by themselves, whatever force_close_apps says."""
        prompt = checked_text("" if shutdown_prompt is None else shutdown_prompt, "shutdown_prompt")
        seconds = checked_int(timeout, "timeout", 0, UINT32_MAX)
        force = checked_bool(force_close_apps, "force_close_apps")
        restart = checked_bool(reboot, "reboot")
        from .._binding.library import check_outside_handler

        check_outside_handler("shutting down")
        return initiate_shutdown(prompt, seconds, force, restart)

    def _driver(self) -> bytes:
        return self.config("Driver").encode("ascii")

    def _ask_driver(self, function: str, product_guid: str, result: Any) -> int:
        from ctypes import byref

        from .._binding import library

        guid = checked_text(product_guid, "product_guid")
        getattr(library.load(), function)(guid, self._driver(), byref(result))
        return int(result.value)

    def _change_driver(
        self, function: str, package: str | None, product_guid: str, folder: str | None, flags: int, name: str
    ) -> bool:
        from ctypes import byref, c_uint32

        from .._binding import library

        guid = checked_text(product_guid, "product_guid")
        path = checked_text("" if package is None else package, "cab_file_name")
        target = checked_text("" if folder is None else folder, name)
        bits = checked_int(flags, "flags", 0, UINT32_MAX)
        must_reboot = c_uint32()
        getattr(library.load(), function)(guid, self._driver(), path, target, bits, byref(must_reboot))
        return must_reboot.value != 0


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
