"""The one warning of a filter that is active, has rules, and has nothing to watch.

A tree driver sees only the trees that it started or was given. A program written for a machine-wide driver
would wait for ever without learning why."""

from __future__ import annotations

from .._checks import as_text
from .._lean import suppress
from ..constants import CAP_LAUNCH, CAP_WHOLE_MACHINE
from ..drivers import probe_driver
from ..errors import CBProcessError, CBProcessWarning

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading

    from .._binding.session import Session

DELAY_S = 2.0

MESSAGE = (
    "the filter is active and has rules, but no process is supervised: "
    "this driver sees programs that are started with popen() and running processes that it was given with "
    "add_filtered_process_by_id() or add_filtered_process_by_name()"
)


class IdleWarning:
    """Looks once, a while after the filter became active with rules, and once more when it stops."""

    def __init__(self, rules: set[tuple[object, int]]) -> None:
        """rules are those that the instance has at any time: it adds to them and takes away."""
        self._rules = rules
        self._settled = False
        self._timer: threading.Timer | None = None

    def watch(self, session: Session) -> None:
        """Looks at a filter or a rule that is new. A process that is supervised now may have ended at the
        next look."""
        if self._settled or not self._rules or not session.is_active():
            return
        self._settled = session.statistics().supervised > 0
        if self._settled:
            self._cancel()
        elif self._timer is None:
            self._start_timer(session)

    def _start_timer(self, session: Session) -> None:
        # The look at the end has to do where no thread can be had, or no descriptor to import what makes one.
        with suppress(RuntimeError, ImportError, OSError):
            import threading

            timer = threading.Timer(DELAY_S, self._look, (session,))
            timer.daemon = True
            timer.start()
            self._timer = timer

    def launched(self) -> None:
        """Ends the watch: the program uses popen(), so it needs no warning."""
        self._settled = True
        self._cancel()

    def stopping(self, session: Session) -> bool:
        """Whether warn() is to be called after the stop: a warning that is made an error must not prevent
        it."""
        self._cancel()
        return self._is_due(session)

    def warn(self, stack_level: int) -> None:
        """Warns the caller that is so many frames up."""
        try:
            import warnings
        except (ImportError, OSError):
            # No descriptor is left to import it with, and a stop that has succeeded must not fail by that.
            return
        warnings.warn(MESSAGE, CBProcessWarning, stacklevel=stack_level + 1)

    def _cancel(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _look(self, session: Session) -> None:
        """Looks, in the timer's thread."""
        if self._is_due(session):
            self.warn(1)

    def _is_due(self, session: Session) -> bool:
        try:
            if self._settled or not self._rules or not session.is_active() or not self._is_idle(session):
                return False
        except CBProcessError:
            # The session went while the timer ran, so there is nothing to warn of.
            return False
        self._settled = True
        return True

    def _is_idle(self, session: Session) -> bool:
        counts = session.statistics()
        if counts.supervised or counts.delivered:
            self._settled = True
            return False
        driver = as_text(session.get_config(b"Driver"))
        capabilities = probe_driver(driver).capabilities
        return bool(capabilities & CAP_LAUNCH) and not capabilities & CAP_WHOLE_MACHINE
