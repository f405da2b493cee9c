"""Events as records: flat dictionaries of schema 1, which other programs read from JSON Lines.

docs/records.md has the keys, cbprocess/schemas/record-1.json the JSON Schema. Additions keep the number of
the schema: readers ignore keys and events that they do not know. Every record is valid for strict readers of
JSON. Knows events and what the system says of a process; nothing of files, formats and the command line."""

from __future__ import annotations

import json
import sys
from functools import cache, lru_cache
from time import gmtime, time_ns

from . import constants, events
from ._checks import checked_text, quoted, wrong
from ._event_fields import EXIT_STATUS
from ._records.context import ENRICHMENTS, checked_enrichments, put_context
from ._records.lineage import Lineage
from ._records.origin import Origin, own_origin
from ._records.reading import SCHEMA, read_lines
from ._records.strict import exact, line_of, made_strict, put, put_list, text_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Optional, Protocol, Union

    from ._records.redaction import DEFAULT_REDACTED, REDACTED, Redactor
    from .running import RunningProcess

    class Configured(Protocol):
        """An instance of CBProcess."""

        def config(self, configuration_string: str) -> str: ...

    class RecordedVerdict(Protocol):
        state: str
        result_code: int
        desired_access: int

    class RecordedEvent(Protocol):
        event: events.EventParams
        verdict: Optional[RecordedVerdict]
        os_error: Optional[int]

    Recordable = Union[events.EventParams, events.CBProcessErrorEventParams, RunningProcess, RecordedEvent]

__all__ = [
    "DEFAULT_REDACTED",
    "ENRICHMENTS",
    "EVENTS",
    "REDACTED",
    "SCHEMA",
    "Origin",
    "Recorder",
    "Redactor",
    "exact",
    "here",
    "line_of",
    "made",
    "process_identity",
    "read_lines",
    "record_of",
    "schema",
    "text_of",
]

OPERATIONS = tuple(kind.name for kind in events.OPERATIONS)
# Records that are no event of a driver have these names.
OTHERS = ("error", "running_process", "unsupervised", "lost", "session_end", "summary")
EVENTS = (*OPERATIONS, *OTHERS)

WHO = {
    "process": ("process_id", "start_time"),
    "parent": ("parent_process_id", "parent_start_time"),
    "creator": ("creating_process_id", "creator_start_time"),
    "originator": ("originator_process_id", "originator_start_time"),
}


def here() -> Origin:
    """The origin of this process's records: this machine, its boot, and a session that is made at the first
    call. A fork of the process has a session of its own."""
    return own_origin()


def record_of(
    event: Recordable,
    origin: Origin | None = None,
    *,
    number: int | None = None,
    redact: Redactor | None = None,
    enrich: Iterable[str] = (),
) -> dict[str, Any]:
    """The record of an event: of a handler, of a monitor, of a recording, of on_error; or of a running
    process of a snapshot. Of a RecordedEvent it has the verdict, too.

    origin: the place that it comes from; here() without one. number: its number in a stream. redact: hides
    values in command lines. enrich: names of ENRICHMENTS, each for one read of the system; they are exact
    while the operation is held, and None where the process has gone. May be called in any thread; to be
    called in the handler for enrichments and the parent's start time. A Recorder is the quick way for many.

    Errors: 87 for anything else, 50 for enrichments on Windows."""
    return Recorder(origin, redact=redact, enrich=enrich).record(event, number)


def made(event: str, origin: Origin | None = None, **fields: Any) -> dict[str, Any]:
    """A record that is no event of a driver: its name, the time now, and these fields. Error 87 for a name
    that is no text, or the name of an operation."""
    checked_text(event, "event")
    if event in OPERATIONS:
        raise wrong(f"{event} is an operation: record_of() makes its record")
    return {
        **_begin(event, own_origin() if origin is None else origin, None, time_ns()),
        **made_strict(fields),
    }


def process_identity(record: dict[str, Any], who: str = "process") -> str | None:
    """The identity of a process over all machines: "host:boot:process_id:start_time". who: "process",
    "parent", "creator" or "originator". None where the record does not have all four. Error 87 for another
    who."""
    if who not in WHO:
        raise wrong(f"who must be one of {', '.join(WHO)}, not {who!r:.100}")
    parts = [record.get(key) for key in ("host", "boot", *WHO[who])]
    return None if None in parts else ":".join(map(str, parts))


@cache
def _schema_text() -> str:
    from importlib.resources import files

    return (files(__package__) / "schemas" / f"record-{SCHEMA}.json").read_text(encoding="utf-8")


def schema() -> dict[str, Any]:
    """The JSON Schema of records (draft 2020-12), as a dictionary of the caller's own."""
    loaded: dict[str, Any] = json.loads(_schema_text())
    return loaded


class Recorder:
    """Makes the records of one stream. It remembers the start times of processes that it was told of, so that
    the identities of parents and creators take a read only for others; it has to be told of terminations,
    too.

    origin, redact and enrich are those of record_of(). Only events of this boot of this machine make it ask
    the system. One thread at a time, in the handler."""

    __slots__ = ("_enrich", "_is_of_windows", "_lineage", "_redact", "origin")

    def __init__(
        self,
        origin: Origin | None = None,
        *,
        redact: Redactor | None = None,
        enrich: Iterable[str] = (),
    ) -> None:
        self.origin = own_origin() if origin is None else origin
        self._redact = redact
        self._enrich = checked_enrichments(enrich) if enrich else ()
        if not self.origin.is_this_boot:
            self._enrich = ()
        self._lineage = Lineage(self.origin.is_this_boot)
        self._is_of_windows = self.origin.is_of_windows

    @classmethod
    def of(
        cls, process: Configured, origin: Origin | None = None, *, redact: Redactor | None = None
    ) -> Recorder:
        """A recorder with the enrichments of this instance: those of config("Enrich=...")."""
        return cls(origin, redact=redact, enrich=process.config("Enrich"))

    def record(self, event: Recordable, number: int | None = None) -> dict[str, Any]:
        """The record of an event, as record_of() makes it. Error 87 for anything else."""
        fill = _fills.get(type(event))
        if fill is None:
            fill = _fills[type(event)] = _fill_of(type(event))
        record: dict[str, Any] = fill(self, event, number)
        return record

    def note(self, event: events.EventParams | RunningProcess) -> None:
        """Remembers the process of an event that gets no record, and whether it ends; or a process of a
        snapshot."""
        if event.start_time:
            is_end = isinstance(event, events.CBProcessProcessTerminationEventParams)
            tell = self._lineage.ended if is_end else self._lineage.saw
            tell(event.process_id, event.start_time)

    def line(self, event: Recordable, number: int | None = None) -> bytes:
        """The record as one line of JSON Lines."""
        return line_of(self.record(event, number))

    def text(self, event: Recordable, number: int | None = None) -> str:
        """The record as one line of JSON without its end."""
        return text_of(self.record(event, number))

    def _command(self, record: dict[str, Any], subject: Any) -> None:
        """Adds the arguments and the command line."""
        arguments = subject.arguments
        if self._is_of_windows:
            line = "\0".join(arguments)
            if self._redact is not None:
                line = self._redact.command_line(line)
            arguments = [line] if arguments else []
        else:
            if sys.platform == "win32":
                # This is a recording of Linux, of which Windows gives the whole list as one text.
                arguments = arguments[0].removesuffix("\0").split("\0") if arguments[0] else []
            if self._redact is not None:
                arguments = self._redact.arguments(arguments)
            line = quoted(arguments)
        put_list(record, "arguments", arguments)
        put(record, "command_line", line)

    def _ancestor(self, process_id: int, event: events.EventParams) -> str | None:
        if process_id == event.process_id:
            return _start(event.start_time)
        return _start(self._lineage.start_time(process_id, event.start_time) or 0)

    def _operation(self, name: str, event: events.EventParams, number: int | None) -> dict[str, Any]:
        record = _begin(name, self.origin, number, event.time_ns)
        process_id, start_time = event.process_id, event.start_time
        flags = event.flags
        if event.timed_out:
            flags |= constants.EVENT_FLAG_TIMED_OUT  # of a held event, by now
        record["sequence"] = event.sequence
        record["process_id"] = process_id
        record["start_time"] = _start(start_time)
        record["user_id"] = None if self._is_of_windows else event.user_id
        record["flags"] = list(_names("EVENT_FLAG_", flags))
        record["result_code"] = event.result_code
        if start_time:
            self._lineage.saw(process_id, start_time)
        return record

    def _creation(
        self, name: str, event: events.CBProcessProcessCreationEventParams, number: int | None
    ) -> dict[str, Any]:
        record = self._operation(name, event, number)
        put(record, "process_name", event.process_name)
        put(record, "image_file_name", event.image_file_name)
        self._command(record, event)
        parent, creator = event.parent_process_id, event.creating_process_id
        record["parent_process_id"] = parent
        record["parent_start_time"] = self._ancestor(parent, event)
        record["creating_process_id"] = creator
        record["creating_thread_id"] = event.creating_thread_id
        record["creator_start_time"] = (
            record["parent_start_time"] if creator == parent else self._ancestor(creator, event)
        )
        if self._enrich:
            whose = event.process_id, event.start_time, event.user_id
            put_context(record, self._enrich, *whose, event.held and not event.timed_out)
        return record

    def _termination(
        self, name: str, event: events.CBProcessProcessTerminationEventParams, number: int | None
    ) -> dict[str, Any]:
        record = self._operation(name, event, number)
        put(record, "process_name", event.process_name)
        put(record, "image_file_name", event.image_file_name)
        record["exit_status"] = events.exit_status_of(event._words[EXIT_STATUS], self._is_of_windows)
        self._lineage.ended(event.process_id, event.start_time)
        return record

    def _thread_creation(
        self, name: str, event: events.CBProcessThreadCreationEventParams, number: int | None
    ) -> dict[str, Any]:
        record = self._operation(name, event, number)
        record["thread_id"] = event.thread_id
        record["creating_process_id"] = event.creating_process_id
        record["creating_thread_id"] = event.creating_thread_id
        record["creator_start_time"] = self._ancestor(event.creating_process_id, event)
        return record

    def _thread_termination(
        self, name: str, event: events.CBProcessThreadTerminationEventParams, number: int | None
    ) -> dict[str, Any]:
        record = self._operation(name, event, number)
        record["thread_id"] = event.thread_id
        record["exit_status"] = events.exit_status_of(event._words[EXIT_STATUS], self._is_of_windows)
        return record

    def _handle(
        self, name: str, event: events.CBProcessProcessHandleOperationEventParams, number: int | None
    ) -> dict[str, Any]:
        record = self._operation(name, event, number)
        prefix = "PROCESS_"
        if isinstance(event, events.CBProcessThreadHandleOperationEventParams):
            record["thread_id"] = event.thread_id
            prefix = "THREAD_"
        originator = event.originator_process_id
        record["originator_process_id"] = originator
        record["originator_thread_id"] = event.originator_thread_id
        # The originator need not be older than the process.
        record["originator_start_time"] = (
            record["start_time"]
            if originator == event.process_id
            else _start(self._lineage.start_time(originator, 0) or 0)
        )
        record["original_desired_access"] = list(_names(prefix, event.original_desired_access))
        record["desired_access"] = list(_names(prefix, event.desired_access))
        if event.duplication:
            record["source_process_id"] = event.source_process_id
            record["target_process_id"] = event.target_process_id
        return record

    def _error(
        self, name: str, params: events.CBProcessErrorEventParams, number: int | None
    ) -> dict[str, Any]:
        record = _begin(name, self.origin, number, time_ns())
        record["sequence"] = params.sequence
        record["error_code"] = params.error_code
        put(record, "description", params.description)
        record["os_error"] = params.os_error
        return record

    def _running(self, name: str, process: RunningProcess, number: int | None) -> dict[str, Any]:
        record = _begin(name, self.origin, number, time_ns())
        record["process_id"] = process.process_id
        record["start_time"] = _start(process.start_time)
        record["user_id"] = None if self._is_of_windows else process.user_id
        record["parent_process_id"] = parent = process.parent_process_id
        record["parent_start_time"] = _start(self._lineage.start_time(parent, process.start_time) or 0)
        record["thread_count"] = process.thread_count
        put(record, "process_name", process.process_name)
        self._command(record, process)
        if self._enrich:
            put_context(record, self._enrich, process.process_id, process.start_time, process.user_id, False)
        return record

    def _recorded(self, name: str, item: RecordedEvent, number: int | None) -> dict[str, Any]:
        record = self.record(item.event, number)
        verdict = item.verdict
        record["verdict"] = None if verdict is None else verdict.state
        if verdict is not None:
            record["result_code"] = verdict.result_code
            if "desired_access" in record:
                prefix = "THREAD_" if record["event"].startswith("thread") else "PROCESS_"
                record["desired_access"] = list(_names(prefix, verdict.desired_access))
        if item.os_error is not None:
            record["os_error"] = item.os_error
        return record


# The functions that make records, by the class of what is recorded; a held event's class is made of one.
_fills: dict[type[Any], Callable[[Recorder, Any, Optional[int]], dict[str, Any]]] = {}


def _fill_of(kind: type[Any]) -> Callable[[Recorder, Any, int | None], dict[str, Any]]:
    makers: dict[Any, Callable[..., dict[str, Any]]] = {
        events.CBProcessProcessCreationEventParams: Recorder._creation,
        events.CBProcessProcessTerminationEventParams: Recorder._termination,
        events.CBProcessThreadCreationEventParams: Recorder._thread_creation,
        events.CBProcessThreadTerminationEventParams: Recorder._thread_termination,
        events.CBProcessProcessHandleOperationEventParams: Recorder._handle,
        events.CBProcessThreadHandleOperationEventParams: Recorder._handle,
    }
    names = {operation.event_class: operation.name for operation in events.OPERATIONS}
    for base in kind.__mro__:
        if base in makers:
            return _named(names[base], makers[base])
    if issubclass(kind, events.CBProcessErrorEventParams):
        return _named("error", Recorder._error)
    if {"event", "verdict", "os_error"} <= set(getattr(kind, "__slots__", ())):
        return _named("", Recorder._recorded)
    from .running import RunningProcess

    if issubclass(kind, RunningProcess):
        return _named("running_process", Recorder._running)
    raise wrong(f"event must be an event, not {kind.__name__}")


def _named(
    name: str, maker: Callable[..., dict[str, Any]]
) -> Callable[[Recorder, Any, int | None], dict[str, Any]]:
    def fill(recorder: Recorder, event: Any, number: int | None) -> dict[str, Any]:
        return maker(recorder, name, event, number)

    return fill


def _begin(name: str, origin: Origin, number: int | None, at_ns: int) -> dict[str, Any]:
    host, boot, session = origin
    return {
        "schema": SCHEMA,
        "host": host,
        "boot": boot,
        "session": session,
        "number": number,
        "event": name,
        "time": f"{_second(at_ns // 1_000_000_000)}.{at_ns % 1_000_000_000:09d}Z",
        "time_ns": str(at_ns),
    }


@lru_cache(maxsize=16)
def _second(second: int) -> str:
    """A second since 1970 as RFC 3339 has it, without the zone."""
    t = gmtime(second)
    return f"{t[0]:04d}-{t[1]:02d}-{t[2]:02d}T{t[3]:02d}:{t[4]:02d}:{t[5]:02d}"


def _start(start_time: int) -> str | None:
    # It may be beyond 2**53, which is where numbers of JSON lose digits in many readers.
    return str(start_time) if start_time else None


@cache
def _bits(prefix: str) -> tuple[tuple[int, str], ...]:
    """The bits of constants with this prefix, with their names."""
    found = [(name, value) for name, value in vars(constants).items() if name.startswith(prefix)]
    return tuple((value, name[len(prefix) :].lower()) for name, value in found)


@lru_cache(maxsize=1024)
def _names(prefix: str, mask: int) -> tuple[str, ...]:
    """The names of the bits in a mask, in lower case; bits without a name as one hexadecimal number."""
    names = []
    for bit, name in _bits(prefix):
        if mask & bit:
            names.append(name)
            mask &= ~bit
    return (*names, f"{mask:#x}") if mask else tuple(names)


def __getattr__(name: str) -> object:
    # Only who hides values pays for the patterns of that.
    if name in ("DEFAULT_REDACTED", "REDACTED", "Redactor"):
        from ._records import redaction

        value: object = getattr(redaction, name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
