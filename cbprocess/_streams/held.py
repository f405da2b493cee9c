"""Events that have left their handler: a copy of the event, and the answer that is still owed for it.

The handler of a monitor (feed.py) makes them in a worker thread. An event is answered once, in any thread.
The library's ticket decides which answer was first; this module remembers the outcome. Knows nothing of
queues or event loops."""

from __future__ import annotations

import os
from ctypes import byref, c_uint64, create_string_buffer
from enum import Enum
from time import monotonic_ns
from typing import Union, get_args

from .. import events
from .._binding import library
from .._checks import UINT32_MAX, checked_int, wrong
from ..constants import (
    ERROR_ACCESS_DENIED,
    ERROR_NO_CALLBACK_ACTIVE,
    ERROR_NOT_FOUND,
    ERROR_TIMEOUT,
    EVENT_FLAG_HELD,
    EVENT_FLAG_TIMED_OUT,
)
from ..errors import CBProcessError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing_extensions import Self

    from .._binding.deferred import DeferredAnswer


class Outcome(Enum):
    """The outcome of a held event: `event.outcome`."""

    PENDING = "pending"  # The operation waits.
    ANSWERED = "answered"  # The operation went on, or was refused, as it was answered.
    TIMED_OUT = "timed out"  # The deadline had passed before the answer.
    FAILED = "failed"  # It was allowed, and then failed in the system: nothing has been executed.
    LET_GO = "let go"  # It went on unanswered: monitor closed, filter stopped, handler failed, event dropped.
    NOT_HELD = "not held"  # It never waited: a rule had decided it, or it cannot be held.


# The number of forks between the process that imported this and this one.
_generation = 0


def _forked() -> None:
    global _generation
    _generation += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


class Ledger:
    """The operations that one consumer owes an answer: their tickets."""

    def __init__(self) -> None:
        loaded = library.load()
        self._defer = loaded.cbp_event_defer
        self._complete = loaded.cbp_event_complete
        self._open: set[int] = set()
        self._generation = _generation

    @property
    def is_foreign(self) -> bool:
        """Whether this is a fork of the process that holds the operations. Nothing here is its own then."""
        return self._generation != _generation

    @property
    def open_count(self) -> int:
        return len(self._open)

    def hold(self, event: events.EventParams) -> HeldEvent:
        """Defers the event that this thread's handler runs for, if its operation waits. Gives the copy."""
        flags = event._words[events.FLAGS]
        if not flags & EVENT_FLAG_HELD or flags & EVENT_FLAG_TIMED_OUT:
            return _HELD_CLASSES[type(event)]._copy(event, self, None)
        ticket = c_uint64()
        self._defer(byref(ticket))
        self._open.add(ticket.value)
        return _HELD_CLASSES[type(event)]._copy(event, self, ticket.value)

    def settle(self, ticket: int, result_code: int = 0, access: int = UINT32_MAX) -> Outcome:
        """Answers an operation; by default as if there were no handler."""
        if self.is_foreign:
            return Outcome.LET_GO
        self._open.discard(ticket)
        try:
            self._complete(ticket, result_code, access)
        except CBProcessError as error:
            if error.code == ERROR_TIMEOUT:
                return Outcome.TIMED_OUT
            if error.code == ERROR_NOT_FOUND:
                return Outcome.LET_GO
            raise
        return Outcome.ANSWERED

    def let_go_all(self) -> None:
        """Lets every unanswered operation go."""
        while self._open:
            # Other threads may be answering meanwhile. A ticket that they took changes nothing.
            for ticket in tuple(self._open):
                self.settle(ticket)


class HeldEvent(events.EventParams):
    """An event whose operation waits for its verdict: allow(), deny(), and strip() for handle operations.

    It has all properties of the event's own class, of which it is an instance as well. Verdicts can be given
    once, in any thread, while `outcome` is PENDING. `result_code` and `desired_access` can be set until then.
    An event that is dropped without a verdict is let go. As a context manager it is answered at the end of
    the block, by these two properties, and let go if the block raises."""

    __slots__ = ("__weakref__", "_is_taken", "_ledger", "_outcome", "_ticket")

    _ledger: Ledger
    _ticket: list[int]  # holds the ticket until an answer takes it out: a pop is atomic
    _outcome: Outcome
    _is_taken: bool

    @classmethod
    def _copy(cls, event: events.EventParams, ledger: Ledger, ticket: int | None) -> HeldEvent:
        data = event._chars[: max(event._words[events.SIZE], events.FIXED_SIZE)]
        fixed = memoryview(bytearray(data[: events.FIXED_SIZE]))
        if ticket is None:
            fixed = fixed.toreadonly()
        held = cls(fixed.cast("I"), fixed.cast("Q"), data, create_string_buffer(event._name.value))
        held._ledger = ledger
        held._ticket = [] if ticket is None else [ticket]
        held._outcome = Outcome.PENDING
        if ticket is None:
            timed_out = event._words[events.FLAGS] & EVENT_FLAG_TIMED_OUT
            held._outcome = Outcome.TIMED_OUT if timed_out else Outcome.NOT_HELD
        held._is_taken = False
        return held

    def __del__(self) -> None:
        if self._ticket:
            self._let_go()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        if kind is None:
            self._finish()
        else:
            self._let_go()

    def allow(self) -> bool:
        """Lets the operation go on as it was asked for. True if this answer did so; False if the operation
        had gone on before (`outcome` says why). Error 1168 after a verdict that counted."""
        return self._answer(0, UINT32_MAX)

    def deny(self, result_code: int = ERROR_ACCESS_DENIED) -> bool:
        """Refuses the operation with this Win32 code, from 1 to 0xffffffff (else error 87); of a handle
        operation it takes all rights. True if the operation is refused; False if it had gone on before
        (`outcome` says why) or cannot be refused (`refusable`). Error 1168 as of allow()."""
        code = checked_int(result_code, "result_code", 1, UINT32_MAX)
        return self._answer(code, UINT32_MAX) and self.refusable

    def hold(self) -> Self:
        """Keeps the operation waiting beyond this turn of the loop, or beyond the end of the coroutine. The
        verdict comes later, from any holder of the event. Gives the event itself."""
        self._is_taken = True
        return self

    @property
    def outcome(self) -> Outcome:
        """PENDING until the operation is answered or goes on without. The next verdict learns of TIMED_OUT
        and LET_GO at the latest."""
        return self._outcome

    @property
    def time_left(self) -> float | None:
        """Seconds until the deadline, 0.0 when it has passed, None without one. The deadline is the one that
        the event was made with."""
        deadline_ns = self._quads[events.DEADLINE_NS_64]
        return max(0.0, (deadline_ns - monotonic_ns()) / 1e9) if deadline_ns else None

    @property
    def timed_out(self) -> bool:
        """Whether the deadline had passed when the event was made or when it was answered."""
        return self._outcome is Outcome.TIMED_OUT

    def defer(self) -> DeferredAnswer:
        """Error 614: the answer of this event is deferred already."""
        raise CBProcessError(ERROR_NO_CALLBACK_ACTIVE, "this event is deferred already: see hold()")

    def _answer(self, result_code: int, access: int) -> bool:
        try:
            ticket = self._ticket.pop()
        except IndexError:
            if self._outcome in (Outcome.PENDING, Outcome.ANSWERED):
                raise CBProcessError(ERROR_NOT_FOUND, "the event has been answered already") from None
            return False
        return self._settle(ticket, result_code, access) is Outcome.ANSWERED

    def _settle(self, ticket: int, result_code: int, access: int) -> Outcome:
        words = self._words
        words[events.RESULT_CODE] = result_code
        if access != UINT32_MAX:
            words[events.DESIRED_ACCESS] &= access
        self._words = words.toreadonly()
        outcome = self._outcome = self._ledger.settle(ticket, result_code, access)
        return outcome

    def _finish(self) -> None:
        """Answers with the properties that were set, as when a handler returns."""
        if self._ticket:
            try:
                ticket = self._ticket.pop()
            except IndexError:
                return
            words = self._words
            self._settle(ticket, words[events.RESULT_CODE], words[events.DESIRED_ACCESS])

    def _let_go(self) -> None:
        """Answers as if there were no handler."""
        try:
            ticket = self._ticket.pop()
        except IndexError:
            return
        outcome = self._ledger.settle(ticket)
        self._words = self._words.toreadonly()
        self._outcome = Outcome.LET_GO if outcome is Outcome.ANSWERED else outcome


class HeldHandleEvent(HeldEvent):
    """The verdicts of a handle operation."""

    __slots__ = ()

    def strip(self, rights: int) -> bool:
        """Takes these access rights (PROCESS_ bits, of a thread THREAD_ bits; error 87 for 0 and for anything
        but an int) out of those that were asked for, and lets the operation go on with the others. On Linux a
        request that needs one of them fails with EPERM. True and False, and error 1168, as of allow()."""
        mask = checked_int(rights, "rights", 0, UINT32_MAX)
        if mask == 0:
            raise wrong("rights must not be 0")
        return self._answer(0, UINT32_MAX & ~mask)

    def deny(self, result_code: int = ERROR_ACCESS_DENIED) -> bool:
        """Takes all rights: on Linux the operation fails with EPERM, whatever the code. True and False, and
        error 1168, as of allow()."""
        return self._answer(checked_int(result_code, "result_code", 1, UINT32_MAX), 0)


class HeldProcessCreation(HeldEvent, events.CBProcessProcessCreationEventParams):
    """A process is being created and waits for its verdict."""

    __slots__ = ("_os_error",)

    @property
    def os_error(self) -> int | None:
        """The errno of an execution that failed although it was allowed (`outcome` is FAILED then); 0 if the
        process has ended in it. It is known before the next event of its process. None until then, and
        otherwise."""
        return getattr(self, "_os_error", None)

    def _take_back(self, os_error: int) -> None:
        self._os_error = os_error
        self._outcome = Outcome.FAILED


class HeldProcessTermination(HeldEvent, events.CBProcessProcessTerminationEventParams):
    """A process is ending and waits until it may: it cannot be refused."""

    __slots__ = ()


class HeldThreadCreation(HeldEvent, events.CBProcessThreadCreationEventParams):
    """A thread is being created and waits until it may: it cannot be refused."""

    __slots__ = ()


class HeldThreadTermination(HeldEvent, events.CBProcessThreadTerminationEventParams):
    """A thread is ending and waits until it may: it cannot be refused."""

    __slots__ = ()


class HeldProcessHandleOperation(HeldHandleEvent, events.CBProcessProcessHandleOperationEventParams):
    """A process is being opened, signalled, traced or the like, and the caller waits for the verdict."""

    __slots__ = ()


class HeldThreadHandleOperation(HeldHandleEvent, events.CBProcessThreadHandleOperationEventParams):
    """A thread is being opened, signalled, traced or the like, and the caller waits for the verdict."""

    __slots__ = ()


# A loop gets one of these. A type checker knows the class where isinstance() has told it.
AnyHeldEvent = Union[
    HeldProcessCreation,
    HeldProcessTermination,
    HeldProcessHandleOperation,
    HeldThreadCreation,
    HeldThreadTermination,
    HeldThreadHandleOperation,
]

_HELD_CLASSES: dict[type[events.EventParams], type[HeldEvent]] = {
    held.__bases__[1]: held for held in get_args(AnyHeldEvent)
}
