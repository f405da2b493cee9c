"""The CBProcess class: the life of the filter, and questions to it. Its handlers and its other properties are
in properties.py, its rules in rule_methods.py, its methods for drivers, the machine and the processes that
run there in installation.py.

Checks arguments and hands them to the native session; knows nothing of ctypes or threads."""

from __future__ import annotations

import os
import sys

from .._checks import TEXT_ERRORS, UINT32_MAX, as_text, checked_int, checked_text, wrong
from ..constants import ERROR_IMPLEMENTATION_LIMIT, ERROR_NOT_READY
from ..errors import CBProcessError, warn
from .installation import Installation, Snapshot, Snapshots
from .properties import OPERATION_TYPES, HandlerProperties, Settings, setting_value
from .rule_methods import Rules

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from typing import Any

    from typing_extensions import Self

    from .._binding.hooks import Handler
    from .._binding.session import Session
    from .statistics import Statistics
    from .supervision import IdleWarning

LICENSE_INFO = """Product: cbprocess
Product Key: none needed
License Source: the package itself
License Type: MIT"""

SILENCE = (
    "a handler is set, but EventsToFire is 0: nothing fires; "
    'config("EventsToFire=-1") or the PROC_EVT_ bits of some operations change that'
)

# initialize() sets these for the whole process: the GUID, and the process that it was called in.
_product_guid: bytes | None = None
_initialized_by = 0


class CBProcess(HandlerProperties, Settings, Rules, Installation, Snapshots):
    """Watches and controls what processes and threads do.

    initialize(), set handlers and EventsToFire, add rules, start_filter(), run programs with popen() (rules
    for running processes take those under the filter, too), stop_filter(). As a context manager it stops the
    filter at the end of the block. Several instances may be active. An active instance stays alive without a
    reference to it and is stopped at interpreter exit.

    Properties, handlers and config() can be read and set at any time, before initialize() too, and keep their
    values in a fork of the process. Methods may be called from any thread, in handlers too unless they say
    otherwise. Failures are CBProcessError with a Win32 code: 21 from a method before initialize() (and in a
    fork of the process, whose parent keeps the filter), 87 for an argument of the wrong type or value, 1131
    in a handler and 614 outside of one, 1230 while the filter is active. Where several hold, the error is the
    first of them in this order."""

    __slots__ = (
        "__weakref__",
        "_enrichments",
        "_has_launched",
        "_idle_warning",
        "_known_rules",
        "_session",
        "_silence_told",
        "_snapshot",
        "_tag",
    )

    def __init__(self) -> None:
        super().__init__()
        self._session: Session | None = None
        self._known_rules: set[tuple[object, int]] = set()
        self._idle_warning: IdleWarning | None = None
        self._has_launched = False
        self._silence_told = False
        self._tag = 0
        self._enrichments = ""
        self._snapshot = Snapshot()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._owns_session():
            self.stop_filter()

    def initialize(self, product_guid: str) -> None:
        """Makes the class ready, for all instances of this process. product_guid is a GUID in braces that is
        the application's own, such as "{713CC6CE-B3E2-4fd9-838D-E28F558F6866}"; case is ignored.

        Error 87 for anything else, 588 if the native library is missing or damaged."""
        global _product_guid, _initialized_by
        guid = checked_text(product_guid, "product_guid")
        self._configured().initialize(guid)
        _product_guid, _initialized_by = guid, os.getpid()

    def start_filter(self, timeout: int) -> None:
        """Starts filtering. timeout is how many milliseconds an operation waits for a handler before it goes
        on without: 0 (no limit) or at least 3000. A CBProcessWarning, once for an instance, tells of handlers
        that are set while EventsToFire is 0.

        Errors, after which nothing stays attached:

        - 1292 for another timeout; 1230 if active; 1131 in a handler.
        - 588 if the helper's program or the installed driver is missing or damaged; 575 if the helper or the
          first worker thread does not start.
        - 2 if this product has not installed the kernel driver or the bpf driver, or only a restart completes
          that; 340 if the driver is older than the library; 183 for a strict_altitude that another driver
          has; 5 if the caller is no administrator.
        - 31 if /proc is not there or belongs to another PID namespace; 1314 if this machine forbids the
          driver (probe_driver tells why).
        - 1450, 4 or 8 where a limit of processes, descriptors or memory is reached.
        - 170 or 5 where a rule is for a running process that cannot be attached to (see
          add_filtered_process_by_id).
        - 50 if a setting or a rule asks for more than the driver can do, as driver_capabilities() tells."""
        session = self._ready()
        if isinstance(timeout, int) and not isinstance(timeout, bool) and timeout < 0:
            raise CBProcessError(
                ERROR_IMPLEMENTATION_LIMIT, f"timeout must be 0 or at least 3000, not {timeout}"
            )
        timeout = checked_int(timeout, "timeout", 0, UINT32_MAX)
        if any(self._hooks.handlers) and not session.is_active():
            self._tell_silence(session)
        session.start(timeout)
        self._watch_idle(session)

    def stop_filter(self) -> None:
        """Stops filtering and waits until all handlers have returned; operations that wait go on. Rules stay.
        Error 1053: it has stopped here, but the helper does not answer, so that its tasks stay held. Does
        nothing if not active. In a handler it only ends delivery: the stop completes when the handlers have
        returned. Can be interrupted by a signal, and called again then."""
        session = self._ready()
        idle = self._idle_warning
        was_idle = idle is not None and idle.stopping(session)
        session.stop()
        if idle is not None and was_idle:
            idle.warn(2)

    def get_active(self) -> bool:
        """Whether the filter is active: from start_filter() until a stop begins."""
        return self._session is not None and self._owns_session() and self._session.is_active()

    @property
    def active(self) -> bool:
        """Whether the filter is active, as get_active() tells."""
        return self.get_active()

    def get_tag(self) -> int:
        """Gives the property tag."""
        return self._tag

    def set_tag(self, value: int) -> None:
        """Sets the property tag."""
        if not isinstance(value, int) or isinstance(value, bool):
            raise wrong(f"tag must be an int, not {type(value).__name__}")
        self._tag = value

    @property
    def tag(self) -> int:
        """A number of the application's own, of any size; 0 at first."""
        return self._tag

    @tag.setter
    def tag(self, value: int) -> None:
        self.set_tag(value)

    def config(self, configuration_string: str) -> str:
        """Reads a setting ("NAME") or sets it ("NAME=VALUE"); returns its value. Names ignore case; booleans
        are True, False, 1, 0, Yes, No, and an enumeration's members can stand for their values, as in
        f"RefuseWith={RefuseWith.KILL}". Blanks around a value do not count, but in paths. Works before
        initialize(), too.

        Settings, with their defaults:

        - EventsToFire (0): the operations that fire, PROC_EVT_ bits; -1 for all that the driver sees.
        - FilterOwnRequests (False): whether operations of this process itself fire. They are told, and never
          held. Only the kernel driver sees them.
        - MinWorkerThreadCount (0: the number of processors, at least 4), MaxWorkerThreadCount (0: four times
          the number of processors), up to 1024: the number of worker threads when there is nothing to do,
          and at most. A minimum above the maximum is the maximum. A thread above the minimum ends when it
          has had nothing to do for ten seconds.
        - WorkerInitialStackSize (0): bytes of stack of a worker thread, at most 1 GiB; less than 1 MiB means
          1 MiB.
        - SerializeEvents, Altitude, StrictAltitude: as the properties serialize_events, altitude and
          strict_altitude.
        - LoggingEnabled (False): whether filters on this machine write their start, their stop (with their
          counts) and their errors to the system's log. Kept over restarts, for all programs; on Linux in
          /etc/cbprocess/logging, or in the folder that CBPROCESS_CONFIG_DIR names. In force here at once, in
          other programs with their next start_filter().
        - Driver (auto): auto, ptrace, simulated, bpf, debug or kernel. On Windows auto is kernel for an
          administrator's program, else debug; on Linux it is bpf for a product that has installed it, where
          this process has CAP_SYS_ADMIN, else ptrace.
        - TimeoutAction (allow): the end of a creation at its deadline, allow or deny.
        - RefuseWith (errno): the way to refuse an execution, errno or kill.
        - ForkIsCreation (False): whether on_process_creation fires for forks, too.
        - HideController (False): whether start_filter() makes this process one whose memory, descriptors and
          files in /proc its own user cannot open any more, nor trace it, until it ends; Linux.
        - ScopeSignals (False): whether programs that are started from then on can signal no process outside
          of their tree; start_filter() fails with 50 where the kernel cannot do that.
        - ScopeProcFiles (False): whether programs that are started from then on can write no file below
          /proc, not even their own, and read the memory, environment and descriptors of no process outside
          of their tree (inside of it they can); 50 where the kernel cannot do that.
        - HoldPaths: paths with colons between them; with the bpf driver only executions of files on their
          file systems are held, else those of all. Other drivers take no notice of it.
        - RecordTo: a file that every event and verdict is recorded in while the filter is active.
        - Script, ReplaySpeed (max), ReplayVerdicts (asked): the script of the simulated driver, max or
          recorded speed, and whether handlers are asked or the recorded verdicts stand; docs/recording.md.
        - Enrich: what the records of this instance's process creations tell in addition, for one read of the
          system each: cwd, cgroup, terminal, user, with commas between them; docs/records.md. Linux.
        - BuildInfo, LicenseInfo: to read only.

        Errors: 87 for an unknown name or value; 1230 for WorkerInitialStackSize, SerializeEvents, Driver,
        HoldPaths, RecordTo and those for scripts while active, 1131 in a handler; 50 for a driver that is not
        part of this build, while active for more than the driver can do, and for Enrich on Windows; 1314 for
        LoggingEnabled without the right to change it."""
        text = as_text(checked_text(configuration_string, "configuration_string"))
        name, assigned, value = text.partition("=")
        name = name.strip()
        if name.lower() == "licenseinfo":
            if assigned:
                raise wrong("LicenseInfo can only be read")
            return LICENSE_INFO
        if name.lower() == "enrich":
            if assigned:
                from .._records.context import checked_enrichments

                self._enrichments = ",".join(checked_enrichments(value))
            return self._enrichments
        session = self._configured()
        key = name.encode("utf-8", TEXT_ERRORS)
        if assigned:
            session.set_config(key, setting_value(name.lower(), value).encode("utf-8", TEXT_ERRORS))
        text = as_text(session.get_config(key))
        if assigned and name.lower() == "filterownrequests":
            session.set_own_requests(text == "True")
        return text

    def get_process_name(self, process_id: int) -> str:
        """The path of a process's executable, "" if there is no such process. In a creation or termination
        handler the event's own process has the event's process_name."""
        session = self._ready()
        number = checked_int(process_id, "process_id", 0, UINT32_MAX)
        return as_text(session.process_name(number))

    def get_originator_token(self) -> int:
        """A handle of the process that asks for the current event's operation (of a termination: the process
        that ends). On Linux it is a pidfd, for waitid(), poll() or signal.pidfd_send_signal(); on Windows an
        access token. The caller closes it (os.close()). -1 if the process has gone or no handle of it can be
        had. Only in a handler (error 614)."""
        return self._ready().originator_token()

    def get_process_capabilities(self, process_id: int) -> int:
        """The CAP_ bits of a process that the filter supervises now: its operations that can be seen, held
        and refused. An attached process may have fewer than driver_capabilities(), and so may one that was
        started before more was asked for. Errors: 21 if the filter is not active, 1168 for a process that it
        does not supervise."""
        return self._ready().process_capabilities(checked_int(process_id, "process_id", 0, UINT32_MAX))

    def reset_timeout(self, timeout: int) -> bool:
        """Starts the deadline of the current event again: timeout milliseconds from now, or none with 0.
        False if the deadline had passed. Only in a handler (error 614)."""
        session = self._ready()
        return session.reset_timeout(checked_int(timeout, "timeout", 0, UINT32_MAX))

    def statistics(self) -> Statistics:
        """The counts of events since start_filter()."""
        from .statistics import Statistics

        return Statistics(self._ready().statistics(), self._hooks.failed_in_handler)

    def driver_capabilities(self) -> int:
        """The CAP_ bits of this instance's driver here: operations that it can see, hold and refuse. 0 if it
        cannot run."""
        from ..drivers import probe_driver

        return probe_driver(as_text(self._ready().get_config(b"Driver"))).capabilities

    def popen(self, args: Any, *positional: Any, **keywords: Any) -> subprocess.Popen[Any]:
        """Starts a program as subprocess.Popen does, with the arguments of that, and filters it and all of
        its descendants: a rule for it is in force before its first instruction. Returns once the program
        runs, or has been ended by a signal before that. An interrupt until then ends the program.

        Raises the errors of Popen, and the OSError of a refusal (PermissionError for code 5). Errors: 21 if
        the filter is not active, 1131 in a handler, 50 if the driver cannot start programs, 170 if the
        program has another tracer, 109 if the helper died, 4 if no file descriptor is left for the launch.
        The program's user must be able to execute the launcher program of this package (588)."""
        return self._popen(True, args, *positional, **keywords)

    def _popen(self, ask: bool, args: Any, *positional: Any, **keywords: Any) -> subprocess.Popen[Any]:
        """popen(), where ask says whether the program gets a rule of its own."""
        session = self._launching()
        if sys.platform == "win32":
            from .launch_windows import Popen
        else:
            from .launch import Popen

        return Popen(session, ask, args, *positional, **keywords)

    def _launching(self) -> Session:
        """The session, for a launch that is about to begin."""
        session = self._ready()
        self._has_launched = True
        if self._idle_warning is not None:
            self._idle_warning.launched()
        return session

    def _set_handler(self, name: str, handler: Handler | None) -> None:
        super()._set_handler(name, handler)
        if handler is not None and name in OPERATION_TYPES and self.get_active():
            self._tell_silence(self._ready())

    def _tell_silence(self, session: Session) -> None:
        """Warns, once, if no operation is to fire. To be called after the start: a program that sets handlers
        first may well set EventsToFire next."""
        if not self._silence_told and session.get_config(b"EventsToFire") == b"0":
            self._silence_told = True
            warn(SILENCE)

    def _owns_session(self) -> bool:
        """Whether there is a session that was initialized, in this process and not in one that it was forked
        from."""
        session = self._session
        return session is not None and session.process_id == os.getpid() and session.is_initialized

    def _ready(self) -> Session:
        session = self._configured()
        if not session.is_initialized:
            if _product_guid is None:
                raise CBProcessError(ERROR_NOT_READY, "initialize() has not been called")
            if session.is_copy and _initialized_by != os.getpid():
                raise CBProcessError(ERROR_NOT_READY, "this process was forked from the one that initialized")
            session.initialize(_product_guid)
        return session

    def _configured(self) -> Session:
        """The session of this process that keeps the settings, initialized or not."""
        session = self._session
        if session is None or session.process_id != os.getpid():
            from .._binding.session import Session

            session = self._session = Session(self._hooks, session)
            self._known_rules = set()
            self._idle_warning = None
            self._has_launched = False
        return session

    def _rules_changed(self, session: Session, rule: tuple[object, int], present: bool) -> None:
        if present:
            self._known_rules.add(rule)
            self._watch_idle(session)
        else:
            self._known_rules.discard(rule)

    def _watch_idle(self, session: Session) -> None:
        """Looks at a filter or a rule that is new, for the warning that there is nothing to watch. It is for
        a filter that is active and has rules, and after a launch there is no need of it."""
        if self._has_launched or not self._known_rules or not session.is_active():
            return
        try:
            # Threads that add the first rules at once get one warning.
            with session.first_use:
                if self._idle_warning is None:
                    from .supervision import IdleWarning

                    self._idle_warning = IdleWarning(self._known_rules)
        except (ImportError, OSError):
            # No descriptor is left to import it with, or this thread is doing so already, and a signal has
            # come in between. The filter or the rule is in force: a warning is not worth a failure.
            return
        if self._has_launched:
            # Another thread has launched a program meanwhile, and may not have seen this warning.
            self._idle_warning.launched()
        else:
            self._idle_warning.watch(session)
