"""The functions that an instance's user has set, and the reports of failures in them. Called from worker
threads; knows nothing of the native library."""

from __future__ import annotations

from _thread import allocate_lock

from ..constants import ERROR_NOT_FOUND, ERROR_UNHANDLED_EXCEPTION, PROC_EVT_THREAD_HANDLE_OPERATION
from ..errors import CBProcessError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Handler = Callable[[Any], object]

# Each event type has a place at its bit, of which this is the highest.
HANDLER_COUNT = PROC_EVT_THREAD_HANDLE_OPERATION + 1


class Hooks:
    """The handlers of one instance, by event type, and the count of those that raised."""

    def __init__(self) -> None:
        self.handlers: list[Handler | None] = [None] * HANDLER_COUNT
        self.error: Handler | None = None
        self.worker_creation: Handler | None = None
        self.worker_termination: Handler | None = None
        # It gets the number of the event (0: none) whose handler has raised, and the exception.
        self.raised: Callable[[int, BaseException], object] | None = None
        # It gets the number of the event whose execution has failed after it was allowed, and the errno.
        self.take_back: Callable[[int, int], object] | None = None
        self.failed_in_handler = 0
        # Whether the handlers surely do without module threading.
        self.without_threading = False
        self._lock = allocate_lock()

    def report(
        self,
        code: int,
        description: str,
        cause: BaseException | None = None,
        failed: tuple[int, int] = (0, 0),
    ) -> None:
        """Fires on_error, or where there is none tells sys.unraisablehook. Never raises. failed is an
        execution that is taken back: its event's sequence, its errno."""
        handler = self.error
        if handler is None:
            tell_unraisablehook(cause or CBProcessError(code, description))
            return
        from .. import events

        try:
            handler(events.CBProcessErrorEventParams(code, description, *failed))
        except BaseException as error:
            tell_unraisablehook(error)

    def handler_raised(self, error: BaseException, sequence: int = 0) -> None:
        """Counts and reports the exception of a handler for the event with that number."""
        from traceback import format_exception

        with self._lock:
            self.failed_in_handler += 1
        if self.raised is not None:
            self.raised(sequence, error)
            if self.error is None:
                return
        text = "".join(format_exception(type(error), error, error.__traceback__))
        self.report(ERROR_UNHANDLED_EXCEPTION, text, error)


def is_only_counted(code: int, failed_sequence: int) -> bool:
    """Whether an error outside any call is no failure of the program: a guessed creator, or an execution that
    the system has refused. Only on_error is told; statistics() has it in any case."""
    return code == ERROR_NOT_FOUND or failed_sequence != 0


def tell_unraisablehook(error: BaseException) -> None:
    """Has the interpreter call sys.unraisablehook. Only it can make the argument, and it does so for a
    callback that raises."""
    from .structures import PlainCallback

    def cbprocess_handler() -> None:
        raise error

    PlainCallback(cbprocess_handler)()
