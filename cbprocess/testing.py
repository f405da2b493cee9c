"""Tests of handlers without any driver: fires made-up operations at them, and collects the verdicts.

`Simulator` works in any test framework; with pytest the fixture `cbprocess_simulator` gives one. It needs
nothing but this package. docs/recording.md has the promises of a simulation."""

from __future__ import annotations

import ctypes
import inspect
import itertools
import threading

from . import script
from ._api.process import CBProcess
from ._binding import wire
from ._binding.session import SLICE_MS, in_slices
from ._checks import wrong
from .constants import ERROR_NOT_READY, ERROR_OPERATION_ABORTED, ERROR_POSSIBLE_DEADLOCK, ERROR_TIMEOUT
from .errors import CBProcessError
from .recording import ANSWERED, STATES, TIMED_OUT, RecordedVerdict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from typing_extensions import Self

    from ._binding.session import Session

PRODUCT_GUID = "{0d5f1a63-3d0c-4a9c-9a3e-6f0b7a3f6c11}"

# Made-up processes have ids above all that Linux gives to its own.
FIRST_ID = 5_000_000
# This process creates others and opens them, unless a test says otherwise.
CREATOR_ID = FIRST_ID

LIMIT_S = 30.0


class Verdict:
    """The verdict on one made-up operation. It is complete when the call that fired it has returned.

    fired: whether a handler could see it (no rule or setting kept it silent). state: "answered", "timed out",
    "let go" (the filter stopped, or a side of it died, first), "unasked" (it did not wait: a rule had decided
    it, or it was fired with held=False), "silent". result_code: the code of its refusal, or 0.
    desired_access: the rights that are granted. deferred: whether the handler returned before it answered.
    decided_by_rule. raised: the exception of the handler, or None.

    verdicts: for an operation of several events (a + b), a verdict on each of them."""

    def __init__(self, message: wire.VerdictMessage, operation: script.Operation, raised: _Raised) -> None:
        items = [RecordedVerdict(message, index) for index in range(len(message.result_codes))]
        first = items[0]
        self.process_id = operation.process_id
        self.verdicts = items
        self.state = STATES[message.state]
        self.fired = message.sequence != 0
        self.sequence = message.sequence
        self.result_code = next((item.result_code for item in items if item.result_code), 0)
        self.desired_access = first.desired_access
        self.deferred = message.deferred_items != 0
        self.decided_by_rule = message.decided_items != 0
        self._raised = raised
        self._count = len(items)

    @property
    def refused(self) -> bool:
        """Whether a result code refuses it."""
        return self.result_code != 0

    @property
    def answered(self) -> bool:
        """Whether an answer came in time, from the handler or later."""
        return self.state == ANSWERED

    @property
    def timed_out(self) -> bool:
        """Whether the deadline passed first."""
        return self.state == TIMED_OUT

    @property
    def raised(self) -> BaseException | None:
        """The exception of the handler, or None."""
        return self._raised.take(range(self.sequence, self.sequence + self._count)) if self.fired else None

    def __repr__(self) -> str:
        return f"<Verdict: {self.state}, result_code {self.result_code}, access {self.desired_access:#x}>"


class PendingVerdict:
    """The verdict on an operation that was fired without waiting for it."""

    def __init__(self, simulator: Simulator, number: int, operation: script.Operation) -> None:
        self._simulator = simulator
        self._number = number
        self._operation = operation
        self._verdict: Verdict | None = None
        self.process_id = operation.process_id

    def wait(self, timeout: float = LIMIT_S) -> Verdict:
        """The verdict. Waits for it for that many seconds (TimeoutError). CBProcessError 995 if the filter
        was stopped before the operation came to its turn."""
        if self._verdict is None:
            self._verdict = self._simulator._collect(self._number, self._operation, timeout)
        return self._verdict


class _Raised:
    """The exceptions of handlers, by the event's number, until a test has looked at them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[int, BaseException] = {}
        self._unseen: dict[int, BaseException] = {}

    def add(self, sequence: int, error: BaseException) -> None:
        with self._lock:
            self._unseen[sequence] = error

    def take(self, sequences: range) -> BaseException | None:
        with self._lock:
            for sequence in sequences:
                if sequence in self._unseen:
                    self._seen[sequence] = self._unseen.pop(sequence)
            return next((self._seen[sequence] for sequence in sequences if sequence in self._seen), None)

    def unseen(self) -> BaseException | None:
        with self._lock:
            return next(iter(self._unseen.values()), None)


class Simulator:
    """Fires made-up operations at an instance's handlers.

    `process` is the instance: its handlers are set as ever. One of the simulator's own fires every event of
    every process. One that is passed in (or later given to use()) keeps its rules and its EventsToFire. The
    driver becomes `simulated`. The first operation starts the filter, if it is not active yet: with
    timeout_ms (or timeout, its older name), as start_filter() has it. Once it has stopped, operations give
    error 21.

    The methods named like events take the properties of the event object as keywords; ids that are not given
    are new ones. Further keywords: start_time, time_ns, held (False: it has happened already), and those of
    Operation.with_steps(). They return the verdict once the handler has answered, within 30 seconds
    (TimeoutError); pending() does not wait.

    As a context manager it closes itself. It can be used in any thread. In a handler its waiting methods are
    error 1131."""

    def __init__(
        self, process: CBProcess | None = None, timeout_ms: int = 0, *, timeout: int | None = None
    ) -> None:
        if timeout_ms and timeout is not None:
            raise wrong("timeout is the older name of timeout_ms: give one of them")
        self._timeout_ms = timeout_ms if timeout is None else timeout
        self._ids = itertools.count(FIRST_ID + 1)
        self._numbers = itertools.count(1)
        self._changed = threading.Condition()
        self._reading = False
        self._messages: dict[int, wire.VerdictMessage] = {}
        self._names: dict[int, str] = {}
        self._raised = _Raised()
        self._created = process is None
        self.process = CBProcess() if process is None else process
        self._prepare()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close(check=exception[0] is None)

    def use(self, process: CBProcess) -> None:
        """Fires operations at this instance from now on. To be called before it is started."""
        self.close()
        self._created = False
        self.process = process
        self._prepare()

    def start(self) -> None:
        """Starts the filter now instead of with the first operation; also after it was stopped."""
        if not self.process.active:
            self.process.start_filter(self._timeout_ms)
        self._was_started = True

    def close(self, check: bool = True) -> None:
        """Stops the filter. With check, raises the exception of a handler if no test looked at it
        (`raised`)."""
        self.process.stop_filter()
        self.process._hooks.raised = None
        unseen = self._raised.unseen()
        self._raised = _Raised()
        if check and unseen is not None:
            raise unseen

    def new_id(self) -> int:
        """An unused id for a process or a thread."""
        return next(self._ids)

    # ---- Operations ----

    def process_creation(self, **keywords: Any) -> Verdict:
        """A program is about to be executed: process_name, arguments, image_file_name, process_id,
        parent_process_id, creating_process_id, creating_thread_id, user_id, fork."""
        return self._fire_one("process_creation", keywords)

    def process_termination(self, **keywords: Any) -> Verdict:
        """A process is about to end: process_id, process_name, exit_status, user_id."""
        return self._fire_one("process_termination", keywords)

    def thread_creation(self, **keywords: Any) -> Verdict:
        """A thread is about to begin: process_id, thread_id, creating_process_id, creating_thread_id."""
        return self._fire_one("thread_creation", keywords)

    def thread_termination(self, **keywords: Any) -> Verdict:
        """A thread is about to end: process_id, thread_id, exit_status."""
        return self._fire_one("thread_termination", keywords)

    def process_handle_operation(self, **keywords: Any) -> Verdict:
        """A process asks for rights to another: originator_process_id, originator_thread_id, process_id,
        desired_access (PROCESS_ bits), duplication, source_process_id, target_process_id."""
        return self._fire_one("process_handle_operation", keywords)

    def thread_handle_operation(self, **keywords: Any) -> Verdict:
        """A process asks for rights to a thread of another: as process_handle_operation(), with thread_id;
        desired_access are THREAD_ bits."""
        return self._fire_one("thread_handle_operation", keywords)

    def pending(self, name: str, **keywords: Any) -> PendingVerdict:
        """Fires the operation of that name, such as "process_creation", with the keywords of that method, and
        does not wait for its verdict. Works in a handler, too."""
        return self.fire_and_go_on(self._make(name, keywords))[0]

    def fire(self, *entries: script.Operation | script.Step) -> list[Verdict]:
        """Fires operations of cbprocess.script, and steps between them, all at once: those of different
        processes can be in handlers at the same time. Gives the verdicts on the operations, in their
        order."""
        self._check_thread()
        return [pending.wait() for pending in self.fire_and_go_on(*entries)]

    def fire_and_go_on(self, *entries: script.Operation | script.Step) -> list[PendingVerdict]:
        """Fires them as fire() does, and does not wait for their verdicts."""
        pending: list[PendingVerdict] = []
        messages: list[bytes] = []
        for entry in entries:
            number = next(self._numbers)
            messages.append(entry.message(number))
            if isinstance(entry, script.Operation):
                pending.append(PendingVerdict(self, number, entry))
        self._play(b"".join(messages))
        return pending

    # ---- Disturbances ----

    def lose(self, count: int) -> None:
        """That many events are lost."""
        self._play(script.loss(count).message())

    def malformed(self) -> None:
        """A malformed message arrives."""
        self._play(script.malformed().message())

    def advance(self, seconds: float) -> None:
        """That much time passes for the deadlines of the operations that wait for an answer. It has passed
        when this returns, unless a process's next operation still waits for its turn."""
        self._play(script.time_passes(seconds).message())

    def kill_driver(self) -> None:
        """The driver dies: the filter stops with error 109."""
        self._play(script.driver_death().message())

    def kill_controller(self) -> None:
        """The controller dies, as the driver sees it: no handler is called any more."""
        self._play(script.controller_death().message())

    def wait(self, timeout: float = LIMIT_S) -> None:
        """Waits until everything that was fired has been answered and all handlers have returned.
        TimeoutError; CBProcessError 21 if the filter is not active or stops."""
        self._check_thread()
        session = self._session()
        self._wait(timeout, lambda: session.library.cbp_script_wait(session.pointer, SLICE_MS))

    # ---- Inside ----

    def _prepare(self) -> None:
        if self._created:
            self.process.initialize(PRODUCT_GUID)
            self.process.config("EventsToFire=-1")
            self.process.add_filtered_process_by_id(-1, True)
        self._was_started = False
        self.process.config("Driver=simulated")
        self.process._hooks.raised = lambda sequence, error: self._raised.add(sequence, error)

    def _session(self) -> Session:
        return self.process._ready()

    def _check_thread(self) -> None:
        if self._session().library.cbp_in_handler():
            raise CBProcessError(
                ERROR_POSSIBLE_DEADLOCK, "a handler cannot wait for another operation's verdict"
            )

    def _make(self, name: str, keywords: dict[str, Any]) -> script.Operation:
        make: Callable[..., script.Operation] | None = getattr(script, name, None)
        if name not in _DEFAULTS or make is None:
            raise wrong(f"there is no operation {name}; possible: {', '.join(_DEFAULTS)}")
        steps = {key: keywords.pop(key) for key in _STEP_KEYWORDS if key in keywords}
        for key in ("process_id", *_DEFAULTS[name]):
            keywords.setdefault(key, CREATOR_ID if key in _CREATORS else self.new_id())
        if name == "process_creation":
            self._names[keywords["process_id"]] = keywords.get("process_name", script.DEFAULT_NAME)
        elif name == "process_termination":
            keywords.setdefault("process_name", self._names.get(keywords["process_id"], ""))
        unknown = set(keywords) - set(inspect.signature(make).parameters)
        if unknown:
            raise wrong(f"{name} has no {', '.join(sorted(unknown))}")
        return make(**keywords).with_steps(**steps)

    def _fire_one(self, name: str, keywords: dict[str, Any]) -> Verdict:
        return self.fire(self._make(name, keywords))[0]

    def _play(self, messages: bytes) -> None:
        if not self._was_started:
            self.start()
        session = self._session()
        session.library.cbp_script_play(session.pointer, messages, len(messages))

    def _collect(self, number: int, operation: script.Operation, timeout: float) -> Verdict:
        try:
            self._wait(timeout, lambda: self._read_until(number))
        except CBProcessError as error:
            if error.code != ERROR_NOT_READY:
                raise
            text = "the filter was stopped before the operation came to its turn"
            raise CBProcessError(ERROR_OPERATION_ABORTED, text) from None
        return Verdict(self._messages.pop(number), operation, self._raised)

    def _read_until(self, number: int) -> None:
        """Waits for that verdict for a while (error 1460). One thread at a time reads, for the others too."""
        while True:
            with self._changed:
                if self._reading and number not in self._messages:
                    self._changed.wait(SLICE_MS / 1000)
                if number in self._messages:
                    return
                if self._reading:
                    raise CBProcessError(ERROR_TIMEOUT)
                self._reading = True
            try:
                self._read_one()
            finally:
                with self._changed:
                    self._reading = False
                    self._changed.notify_all()

    def _read_one(self) -> None:
        session = self._session()
        buffer = ctypes.create_string_buffer(wire.VerdictMessage.SIZE)
        session.library.cbp_script_next_verdict(session.pointer, SLICE_MS, buffer, len(buffer))
        message = wire.VerdictMessage(buffer.raw)
        self._messages[message.number] = message

    def _wait(self, timeout: float, call: Callable[[], object]) -> None:
        """Makes a call that waits for a slice of time, until it has succeeded."""
        if not in_slices(call, timeout):
            counts = self.process.statistics()
            raise TimeoutError(
                f"nothing within {timeout:g} s: {counts.deferred} operations are deferred, "
                f"{counts.queued} messages wait, {counts.delivered} events were delivered"
            )


_STEP_KEYWORDS = ("answer_after", "copies", "expired", "fails_after")
_CREATORS = ("creating_process_id", "originator_process_id")
# Each operation needs these ids, beside its process_id.
_DEFAULTS = {
    "process_creation": ("creating_process_id",),
    "process_termination": (),
    "thread_creation": ("thread_id",),
    "thread_termination": ("thread_id",),
    "process_handle_operation": ("originator_process_id",),
    "thread_handle_operation": ("originator_process_id", "thread_id"),
}
