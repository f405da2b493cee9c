"""Records as log records of OpenTelemetry, in the JSON form of its protocol (OTLP/JSON).

A line is one `LogsData`: what the collector's otlpjsonfile receiver reads, and what an OTLP endpoint takes at
/v1/logs. Attributes have the names of the semantic conventions; others begin with `cbprocess.`. Knows records
as dicts; nothing of files, of the network and of the other formats."""

from __future__ import annotations

from .._checks import wrong
from ._fields import (
    PRODUCT,
    Fields,
    entity_id,
    file_name,
    has_failed,
    is_one_line,
    is_trouble,
    sentence,
    time_ns_of,
    time_text,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from ._fields import Record

# The version of the semantic conventions that the names are of.
SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"

INFO, WARN, ERROR = (9, "INFO"), (13, "WARN"), (17, "ERROR")

# Fields by the attributes of the semantic conventions that have their meaning. The conventions want a control
# group as a line of /proc/PID/cgroup has it, with its hierarchy, which is not in a record.
NUMBERS = {
    "process_id": "process.pid",
    "parent_process_id": "process.parent_pid",
    "exit_status": "process.exit.code",
    "session_id": "process.session_leader.pid",
    "thread_id": "thread.id",
}
TEXTS = {
    "process_name": "process.executable.path",
    "working_directory": "process.working_directory",
    "container_id": "container.id",
}
# These fields are the resource's, not the event's.
RESOURCE = {"host": "host.name", "boot": f"{PRODUCT}.boot", "session": f"{PRODUCT}.session"}


def document_of(record: Record) -> dict[str, Any]:
    """One `LogsData` with this record alone."""
    return logs_data([record])


def logs_data(records: Iterable[Record]) -> dict[str, Any]:
    """Makes one `LogsData`, also the body of a request, of all these records, in their order. Records of one
    host, boot and session stand below one resource."""
    from .. import __version__

    logs: dict[tuple[str, ...], tuple[Record, list[dict[str, Any]]]] = {}
    for record in records:
        key = tuple(str(record.get(name)) for name in RESOURCE)
        logs.setdefault(key, (record, []))[1].append(log_record_of(record))
    scope = {"name": PRODUCT, "version": __version__}
    return {
        "resourceLogs": [
            {
                "resource": resource_of(first),
                "scopeLogs": [{"scope": scope, "logRecords": entries, "schemaUrl": SCHEMA_URL}],
                "schemaUrl": SCHEMA_URL,
            }
            for first, entries in logs.values()
        ]
    }


def resource_of(record: Record) -> dict[str, Any]:
    """The resource of a record: this program, on its host, since its boot, in its session."""
    attributes = {"service.name": PRODUCT}
    for key, name in RESOURCE.items():
        if record.get(key):
            attributes[name] = str(record[key])
    return {"attributes": _attributes(attributes)}


def log_record_of(record: Record) -> dict[str, Any]:
    """The log record of one record, without its resource. A failed or refused operation and a loss are
    warnings; an error is an error."""
    fields = Fields(record)
    fields.drop(*RESOURCE, "time", "time_ns")
    kind = fields.take_text("event") or "record"
    time_ns = time_ns_of(record)
    attributes: dict[str, Any] = {}
    for key, name in NUMBERS.items():
        attributes[name] = fields.take_number(key)
    for key, name in TEXTS.items():
        attributes[name] = fields.take_text(key)
    # An event has the real user, a process of a snapshot the one whose rights it has.
    user = "process.user" if kind == "running_process" else "process.real_user"
    attributes[f"{user}.id"] = fields.take_number("user_id")
    attributes[f"{user}.name"] = fields.take_text("user_name")
    attributes["process.executable.name"] = file_name(record.get("process_name"))
    arguments = fields.take_texts("arguments")
    if arguments is not None and not is_one_line(record):
        attributes["process.command_args"], attributes["process.args_count"] = arguments, len(arguments)
        # It was assembled from the arguments, and the conventions do not want that.
        fields.drop("command_line")
    attributes["process.command_line"] = fields.take_text("command_line")
    if kind == "process_termination":
        attributes["process.exit.time"] = time_text(time_ns)
    attributes[f"{PRODUCT}.entity_id"] = entity_id(record)
    attributes[f"{PRODUCT}.parent_entity_id"] = entity_id(record, "parent_process_id", "parent_start_time")
    attributes.update({f"{PRODUCT}.{key}": value for key, value in fields.left().items()})
    number, text = _severity(record)
    return {
        # Whoever sees an operation observes it at its time.
        "timeUnixNano": str(time_ns),
        "observedTimeUnixNano": str(time_ns),
        "severityNumber": number,
        "severityText": text,
        "eventName": f"{PRODUCT}.{kind}",
        "body": {"stringValue": sentence(record)},
        "attributes": _attributes(attributes),
    }


def _severity(record: Record) -> tuple[int, str]:
    if record.get("event") == "error":
        return ERROR
    return WARN if has_failed(record) or is_trouble(record) else INFO


def _attributes(values: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _any_value(value)} for key, value in values.items() if value is not None]


def _any_value(value: object) -> dict[str, Any]:
    """A value as OTLP/JSON has it: 64-bit numbers are texts there, and only what fits into 64 bits is
    one. None is an empty value. Error 87 for what JSON does not have."""
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)} if -(2**63) <= value < 2**63 else {"stringValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, (list, tuple)):
        return {"arrayValue": {"values": [_any_value(item) for item in value]}}
    if isinstance(value, dict):
        return {"kvlistValue": {"values": _attributes(value)}}
    if value is None:
        return {}
    if isinstance(value, str):
        return {"stringValue": value}
    raise wrong(f"JSON has no {type(value).__name__}")
