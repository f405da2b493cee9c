"""Records as events of the Open Cybersecurity Schema Framework (OCSF): Process Activity, class 1007.

What OCSF has no attribute for stands in `unmapped`, under its own name. Knows records as dicts; nothing of
files and of the other formats."""

from __future__ import annotations

import contextlib

from ._fields import (
    HANDLE_OPERATIONS,
    NS_PER_MS,
    OPERATIONS,
    PRODUCT,
    Fields,
    as_number,
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
    taken_rights,
    time_ns_of,
    time_text,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ._fields import Record

VERSION = "1.5.0"
CLASS_UID = 1007

OTHER = 99
# Names of activities by their numbers; threads have none of their own.
ACTIVITIES = {1: "Launch", 2: "Terminate", 3: "Open"}
ACTIVITY_IDS = {
    "process_creation": 1,
    "process_termination": 2,
    "process_handle_operation": 3,
    "thread_handle_operation": 3,
}
SUCCESS, FAILURE = 1, 2
INFORMATIONAL, LOW, HIGH = 1, 2, 4
ALLOWED, DENIED, OBSERVED, MODIFIED = 1, 2, 3, 4
REGULAR_FILE = 1


def document_of(record: Record) -> dict[str, Any]:
    """The OCSF event of a record. An operation is an event of class 1007; every other record, as of an error
    or of a loss, is one of class 0 (Base Event).

    The actor of a launch is the process that made it, and that of an opening is the process that asked. For
    whatever else it is the process itself."""
    fields = Fields(record)
    kind = fields.take_text("event") or ""
    time_ns = time_ns_of(record)
    # The exact time stays: "time" counts milliseconds.
    fields.drop("time")
    # Without a process there is no activity of one.
    is_activity = kind in OPERATIONS and as_number(record.get("process_id")) is not None
    document: dict[str, Any] = {
        "time": time_ns // NS_PER_MS,
        "message": sentence(record),
        "metadata": _metadata(kind, record, fields, time_ns, is_activity),
    }
    if is_activity:
        document.update(_activity(kind, record, fields))
    else:
        # A base event has no device: host and boot stay in `unmapped`.
        document.update(_base(kind, record, fields))
    document["unmapped"] = fields.left()
    return pruned(document)


def _metadata(kind: str, record: Record, fields: Fields, time_ns: int, is_activity: bool) -> dict[str, Any]:
    from .. import __version__

    profiles = []
    if is_activity:
        profiles.append("security_control")
        if record.get("container_id"):
            profiles.append("container")
    return {
        "version": VERSION,
        "product": {"name": PRODUCT, "vendor_name": PRODUCT, "version": __version__},
        "profiles": profiles or None,
        "event_code": kind or None,
        "log_name": PRODUCT,
        "original_time": time_text(time_ns),
        "sequence": fields.take_number("sequence"),
        "uid": event_id(record),
    }


def _base(kind: str, record: Record, fields: Fields) -> dict[str, Any]:
    failed = is_trouble(record)
    return {
        "class_uid": 0,
        "class_name": "Base Event",
        "category_uid": 0,
        "category_name": "Uncategorized",
        "activity_id": OTHER,
        "activity_name": _words(kind) or "Record",
        "type_uid": OTHER,
        "severity_id": HIGH if failed else INFORMATIONAL,
        "status_id": FAILURE if failed else SUCCESS,
        "status_code": fields.take_id("error_code"),
        "status_detail": fields.take_text("description"),
    }


def _activity(kind: str, record: Record, fields: Fields) -> dict[str, Any]:
    activity = ACTIVITY_IDS.get(kind, OTHER)
    code = fields.take_number("result_code")
    failed = has_failed(record)
    user = {"uid": fields.take_id("user_id"), "name": fields.take_text("user_name")}
    process = _process(record, fields, user)
    name = ACTIVITIES.get(activity) or _words(kind)
    document: dict[str, Any] = {
        "class_uid": CLASS_UID,
        "class_name": "Process Activity",
        "category_uid": 1,
        "category_name": "System Activity",
        "activity_id": activity,
        "activity_name": name,
        "type_uid": CLASS_UID * 100 + activity,
        "type_name": f"Process Activity: {'Other' if activity == OTHER else name}",
        "severity_id": LOW if failed else INFORMATIONAL,
        "status_id": FAILURE if failed else SUCCESS,
        "status_code": str(code) if code else None,
        "status_detail": reason(record),
        "action_id": _action(record, code),
        "device": {
            "hostname": fields.take_text("host") or "unknown",
            "boot_uid": boot_uuid(fields.take_text("boot")),
            "type_id": 0,
        },
        "process": process,
        "actor": {"process": _actor(kind, record, fields, process)},
        "exit_code": fields.take_number("exit_status"),
    }
    if kind in HANDLE_OPERATIONS:
        # The names stay in `unmapped`: the numbers are what this schema asks for.
        document["requested_permissions"] = _rights(kind, record.get("original_desired_access"))
        document["actual_permissions"] = _rights(kind, record.get("desired_access"))
    return document


def _process(record: Record, fields: Fields, user: dict[str, Any]) -> dict[str, Any]:
    path = fields.take_text("process_name")
    name = file_name(path)
    container = fields.take_text("container_id")
    if is_one_line(record):
        # `cmd_line` has all of it.
        fields.drop("arguments")
    file = {
        "path": path,
        "name": name,
        "type_id": REGULAR_FILE,
        "is_deleted": "image_deleted" in flags(record) or None,
    }
    pid, uid = fields.take_number("process_id"), entity_id(record)
    if pid is None and uid is None:
        # The schema wants a process that has a name, also for an id that is no number of it.
        uid = str(record.get("process_id"))
    return {
        "pid": pid,
        "uid": uid,
        "tid": fields.take_number("thread_id"),
        "name": name,
        "path": path,
        "file": file if path else None,
        "cmd_line": fields.take_text("command_line"),
        "working_directory": fields.take_text("working_directory"),
        "user": user,
        "container": {"uid": container} if container else None,
        "session": {"uid": fields.take_id("session_id"), "terminal": fields.take_text("terminal")},
        "parent_process": {
            "pid": fields.take_number("parent_process_id"),
            "uid": entity_id(record, "parent_process_id", "parent_start_time"),
        },
    }


def _actor(kind: str, record: Record, fields: Fields, process: dict[str, Any]) -> dict[str, Any]:
    """The process that acts; the process of the event itself where no other is named."""
    whom, start, thread = "creating_process_id", "creator_start_time", "creating_thread_id"
    if kind in HANDLE_OPERATIONS:
        whom, start, thread = "originator_process_id", "originator_start_time", "originator_thread_id"
    actor = {
        "pid": fields.take_number(whom),
        "uid": entity_id(record, whom, start),
        "tid": fields.take_number(thread),
    }
    if actor["pid"] is None:
        return {"pid": process["pid"], "uid": process["uid"]}
    return actor


def _action(record: Record, code: int | None) -> int:
    """What was done about the operation: one that did not wait was only observed."""
    if code:
        return DENIED
    if taken_rights(record):
        return MODIFIED
    names = flags(record)
    return ALLOWED if "held" in names or "decided_by_rule" in names else OBSERVED


def _rights(kind: str, names: object) -> int | None:
    """Access rights as one number, from their names or from the number itself."""
    if not isinstance(names, list):
        return as_number(names)
    from ..enums import ProcessAccess, ThreadAccess

    members: Any = ThreadAccess if kind == "thread_handle_operation" else ProcessAccess
    mask = 0
    for name in names:
        if str(name).upper() in members.__members__:
            mask |= int(members[str(name).upper()])
        elif str(name).startswith("0x"):
            # Rights without a name are told in hexadecimal.
            with contextlib.suppress(ValueError):
                mask |= int(str(name), 16)
    return mask


def _words(kind: str) -> str:
    return kind.replace("_", " ").capitalize()
