"""Records as documents of the Elastic Common Schema (ECS), for Elasticsearch and what reads its field names.

What ECS has no field for stands below `cbprocess`, under its own name. Knows records as dicts; nothing of
files and of the other formats."""

from __future__ import annotations

from ._fields import (
    HANDLE_OPERATIONS,
    OPERATIONS,
    PRODUCT,
    Fields,
    boot_uuid,
    entity_id,
    event_id,
    file_name,
    flags,
    has_failed,
    is_one_line,
    is_trouble,
    pruned,
    reason,
    sentence,
    time_ns_of,
    time_text,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ._fields import Record

VERSION = "9.4.0"

# Actions have the names that Elastic's own sensor gives them; kinds that it does not know keep theirs.
ACTIONS = {"process_creation": "exec", "process_termination": "end"}
TYPES = {"process_creation": "start", "process_termination": "end"}
RUNNING = "running_process"


def document_of(record: Record) -> dict[str, Any]:
    """The ECS document of a record. Any record is taken: one of no operation has no category, and is of type
    "error" if it tells of one.

    A refused operation has the outcome "failure" and the type "info": nothing has started."""
    fields = Fields(record)
    time_ns = time_ns_of(record)
    fields.drop("time_ns", "time")
    kind = fields.take_text("event") or ""
    user = {"id": fields.take_id("user_id"), "name": fields.take_text("user_name")}
    document: dict[str, Any] = {
        "@timestamp": time_text(time_ns),
        "ecs": {"version": VERSION},
        "message": sentence(record),
        "event": _event(kind, record, fields),
        "host": {"name": fields.take_text("host"), "boot": {"id": boot_uuid(fields.take_text("boot"))}},
        "user": user,
        # An event has the real user, a process of a snapshot the one whose rights it has.
        "process": {**_process(record, fields), "user" if kind == RUNNING else "real_user": user},
        "container": {"id": fields.take_text("container_id")},
    }
    if kind in OPERATIONS:
        code = fields.take_number("result_code")
        document["error"] = {"code": str(code) if code else None}
    else:
        document["error"] = {
            "code": fields.take_id("error_code"),
            "message": fields.take_text("description"),
        }
    document[PRODUCT] = {
        "event": kind or None,
        "creator_entity_id": entity_id(record, "creating_process_id", "creator_start_time"),
        "originator_entity_id": entity_id(record, "originator_process_id", "originator_start_time"),
        **fields.left(),
    }
    return pruned(document)


def _event(kind: str, record: Record, fields: Fields) -> dict[str, Any]:
    event: dict[str, Any] = {
        "kind": "event",
        "module": PRODUCT,
        "dataset": f"{PRODUCT}.{kind.partition('_')[0] or 'record'}",
        "action": "fork" if "fork" in flags(record) else ACTIONS.get(kind, kind or None),
        "id": event_id(record),
        "sequence": fields.take_number("sequence"),
    }
    if kind not in OPERATIONS:
        event["type"] = ["error" if is_trouble(record) else "info"]
        return event
    failed = has_failed(record)
    return {
        **event,
        "category": ["process"],
        "type": [_type(kind, failed)],
        "outcome": "failure" if failed else "success",
        "reason": reason(record),
    }


def _type(kind: str, failed: bool) -> str:
    if kind in HANDLE_OPERATIONS:
        return "access"
    return "info" if failed else TYPES.get(kind, "info")


def _process(record: Record, fields: Fields) -> dict[str, Any]:
    executable = fields.take_text("process_name")
    arguments = fields.take_texts("arguments")
    if is_one_line(record):
        # It is not known what the arguments are; `command_line` has all of them.
        arguments = None
    # The id of a process stays a number. Its start stays in `cbprocess`, since ECS wants a date there.
    return {
        "pid": fields.take_number("process_id"),
        "entity_id": entity_id(record),
        "executable": executable,
        "name": file_name(executable),
        "args": arguments,
        "args_count": None if arguments is None else len(arguments),
        "command_line": fields.take_text("command_line"),
        "exit_code": fields.take_number("exit_status"),
        "working_directory": fields.take_text("working_directory"),
        "thread": {"id": fields.take_number("thread_id")},
        "parent": {
            "pid": fields.take_number("parent_process_id"),
            "entity_id": entity_id(record, "parent_process_id", "parent_start_time"),
        },
        "session_leader": {"pid": fields.take_number("session_id")},
    }
