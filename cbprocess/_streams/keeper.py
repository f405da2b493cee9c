"""The thread of a monitor. It owns a filter while that runs, starts the program in it, and stops it when the
program or the interest in it has ended. The iterating thread could not do that: its verdict may be needed for
what it would wait for. Knows nothing of iterators and event loops."""

from __future__ import annotations

import threading
from time import monotonic

from .. import constants
from .._binding.hooks import is_only_counted, tell_unraisablehook
from .._binding.library import check_outside_handler
from ..errors import CBProcessError
from ..events import OPERATIONS
from .feed import Feed, close_feeds_at_exit

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from concurrent.futures import Future
    from typing import Any

    from .._api.process import CBProcess

# The keeper looks so often, without a program and with one.
LOOK_S = 0.1
LOOK_AT_PROGRAM_S = 0.02
# Descendants that go on after the program must not keep the iteration going.
LAST_EVENTS_LIMIT_S = 2.0
# The stop waits so long for programs that are being started.
LAUNCH_LIMIT_S = 5.0


class Keeper:
    """The thread of a monitor, and the rest of it when the monitor itself has been forgotten."""

    def __init__(
        self,
        process: CBProcess,
        feed: Feed,
        command: tuple[Any, dict[str, Any]] | None,
        holds: bool = True,
    ) -> None:
        self.process = process
        self._holds = holds
        self._is_allowed = self._was_allowed = False  # the rule for all processes, now and before
        self.feed = feed
        self.child: subprocess.Popen[Any] | None = None
        self.error: BaseException | None = None
        self.is_gone: Callable[[], bool] = lambda: False  # whether the consumer can never take another event
        self.is_done = threading.Event()
        self.launches: set[Future[subprocess.Popen[Any]]] = set()
        self._on_done: list[Callable[[], None]] = []
        self._command = command
        self._restore: list[tuple[str, Any]] = []
        self._events_before = "0"

    def start(self, mask: int, timeout_ms: int) -> None:
        """Sets the handlers and starts the filter and the thread. On failure everything is as before."""
        process = self.process
        check_outside_handler("starting a monitor")
        if process.active:
            raise CBProcessError(constants.ERROR_CONNECTION_ACTIVE, "the instance's filter is active already")
        self._events_before = process.config("EventsToFire")
        self._restore = [
            (kind.handler, getattr(process, kind.handler)) for kind in OPERATIONS if mask & kind.type
        ]
        self._restore.append(("on_error", process.on_error))
        try:
            process.config(f"EventsToFire={mask}")
            on_error = self._restore[-1][1]
            for name, _ in self._restore:
                setattr(process, name, self.feed.offer)
            process.on_error = on_error or self._hear
            process._hooks.take_back = self.feed.take_back
            if not self._holds:
                self._let_all_go()
            process.start_filter(timeout_ms)
            close_feeds_at_exit()
            threading.Thread(target=self._run, name="cbprocess-monitor", daemon=True).start()
        except BaseException:
            self.feed.close()
            self._end()
            raise

    def _let_all_go(self) -> None:
        """Adds the rule by which nothing waits. Rules that refuse are stronger. One worker fires the events,
        in their order: with nothing held, several would gain nothing."""
        self._restore.append(("serialize_events", self.process.serialize_events))
        self.process.serialize_events = constants.SERIALIZE_ON_ONE_WORKER_THREAD
        try:
            # A rule that is there already is the user's, and stays.
            self.process.remove_rule(process_id=-1, action="allow")
            self._was_allowed = True
        except CBProcessError as error:
            if error.code != constants.ERROR_NOT_FOUND:
                raise
        self.process.add_rule(process_id=-1, action="allow")
        self._is_allowed = True

    def when_done(self, call: Callable[[], None]) -> None:
        """Calls this in the keeper's thread after its end, or here if it has ended."""
        self._on_done.append(call)
        if self.is_done.is_set():
            self._tell_done()

    def _hear(self, error: Any) -> None:
        """Takes errors outside any call, where the user does not hear them. An error that ended the filter
        ends the iteration."""
        if is_only_counted(error.error_code, error.sequence):
            return
        failure = CBProcessError(error.error_code, error.description)
        if self.process.active:
            tell_unraisablehook(failure)
        else:
            self.error = self.error or failure

    def _run(self) -> None:
        try:
            if self._command is not None:
                self.child = self.process.popen(self._command[0], **self._command[1])
            self._keep()
        except BaseException as error:
            self.error = self.error or error
        finally:
            self._end()

    def _keep(self) -> None:
        """Keeps the filter, and returns when there is no reason to go on."""
        ended_at: float | None = None
        delivered = -1
        while not self.feed.wait_closed(LOOK_S if self.child is None else LOOK_AT_PROGRAM_S):
            if self.is_gone():
                self.feed.close()
            if not self.process.active:
                return
            if self.child is None or self.child.poll() is None:
                continue
            ended_at = ended_at or monotonic()
            counts = self.process.statistics()
            is_quiet = counts.delivered == delivered and counts.queued == 0
            delivered = counts.delivered
            if self.feed.is_idle and (is_quiet or monotonic() - ended_at > LAST_EVENTS_LIMIT_S):
                return

    def _end(self) -> None:
        # A worker that waits for room would delay the stop. Events that come from now on are not held.
        self.feed.lift_bound()
        for step in (self._wait_for_launches, self.process.stop_filter, self._restore_settings):
            try:
                step()
            except BaseException as error:
                self.error = self.error or error
        self.feed.finish()
        self.is_done.set()
        self._tell_done()

    def _restore_settings(self) -> None:
        for name, before in self._restore:
            setattr(self.process, name, before)
        self.process._hooks.take_back = None
        if self._is_allowed and not self._was_allowed:
            self._is_allowed = False
            self.process.remove_rule(process_id=-1, action="allow")
        self.process.config(f"EventsToFire={self._events_before}")

    def _wait_for_launches(self) -> None:
        """Waits for programs that are being started: a program that is let go now must not be ended because
        the filter stops under its start."""
        if self.launches and self.feed.is_closed:
            from concurrent.futures import wait

            wait(list(self.launches), LAUNCH_LIMIT_S)

    def _tell_done(self) -> None:
        while True:
            try:
                call = self._on_done.pop()
            except IndexError:
                return
            call()
