"""`--format ecs` against the Elastic Common Schema as it is published: names and types of its fields
(ecs_fields.json, made by tools/ecs_fields.py), and the categories that its documentation allows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from formats.samples import ENRICHED, RECORDS, SAMPLES, TIME, creation
from hypothesis import given, settings

from cbprocess import formats
from cbprocess.formats import ecs

PUBLISHED = json.loads((Path(__file__).parent / "ecs_fields.json").read_text())
FIELDS: dict[str, str] = PUBLISHED["fields"]
# ECS: "event.kind", "event.outcome", and the types that it expects of the category "process".
KINDS = {"alert", "asset", "enrichment", "event", "metric", "state", "pipeline_error", "signal"}
PROCESS_TYPES = {"access", "change", "end", "info", "start"}
ELASTIC_LONG = 2**63


def leaves(document: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in document.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and FIELDS.get(name) != "object":
            found |= leaves(value, f"{name}.")
        else:
            found[name] = value
    return found


def is_of_type(value: object, kind: str) -> bool:
    if kind.endswith("[]") and isinstance(value, list):
        return all(is_of_type(item, kind[:-2]) for item in value)
    kind = kind.removesuffix("[]")
    if kind == "number":
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) < ELASTIC_LONG
    return isinstance(value, {"string": str, "boolean": bool, "object": dict}[kind])


@pytest.mark.parametrize("name", SAMPLES)
def test_every_field_is_one_of_the_published_schema_and_of_its_type(name: str) -> None:
    check(SAMPLES[name])


@settings(deadline=None)
@given(record=RECORDS)
def test_whatever_stands_in_a_record_the_fields_keep_their_types(record: dict[str, Any]) -> None:
    check(record)


def check(record: dict[str, Any]) -> None:
    document = ecs.document_of(record)
    own = document.pop("cbprocess", {})
    assert own.get("event") == record.get("event")
    for field, value in leaves(document).items():
        assert field in FIELDS, field
        assert value is not None
        # What a broken record has instead of a text is passed on only below `cbprocess`.
        assert is_of_type(value, FIELDS[field]), (field, value)
    assert document["ecs"]["version"] == PUBLISHED["version"]
    event = document["event"]
    assert event["kind"] in KINDS
    assert event.get("outcome", "unknown") in {"failure", "success", "unknown"}
    if "category" in event:
        assert event["category"] == ["process"]
        assert set(event["type"]) <= PROCESS_TYPES


def test_a_creation_in_full() -> None:
    document = ecs.document_of(creation(**ENRICHED))
    host, boot = "web1", "8a0c5c0e27a14c3a9d2e5f6f0e3c1b7d"
    assert document == {
        "@timestamp": TIME,
        "ecs": {"version": "9.4.0"},
        "message": "process creation 4102 /usr/bin/ls",
        "event": {
            "kind": "event",
            "module": "cbprocess",
            "dataset": "cbprocess.process",
            "category": ["process"],
            "type": ["start"],
            "action": "exec",
            "outcome": "success",
            "id": f"{host}:{boot}:{'5e' * 16}:7",
            "sequence": 12,
        },
        "host": {"name": host, "boot": {"id": "8a0c5c0e-27a1-4c3a-9d2e-5f6f0e3c1b7d"}},
        "user": {"id": "1000", "name": "app"},
        "process": {
            "pid": 4102,
            "entity_id": f"{host}:{boot}:4102:8812345",
            "executable": "/usr/bin/ls",
            "name": "ls",
            "args": ["ls", "-l", "a b"],
            "args_count": 3,
            "command_line": "ls -l 'a b'",
            "working_directory": "/srv/app",
            "parent": {"pid": 4101, "entity_id": f"{host}:{boot}:4101:8812300"},
            "session_leader": {"pid": 4000},
            "real_user": {"id": "1000", "name": "app"},
        },
        "container": {"id": "ab" * 32},
        "cbprocess": {
            "event": "process_creation",
            "schema": 1,
            "session": "5e" * 16,
            "number": 7,
            "start_time": "8812345",
            "flags": ["held", "refusable"],
            "image_file_name": "/bin/ls",
            "parent_start_time": "8812300",
            "creating_process_id": 4102,
            "creating_thread_id": 4102,
            "creator_start_time": "8812345",
            "creator_entity_id": f"{host}:{boot}:4102:8812345",
            "cgroup": "/system.slice/app.service",
            "terminal": "/dev/pts/3",
        },
    }


@pytest.mark.parametrize(
    ("name", "kind", "action", "outcome"),
    [
        ("creation", "start", "exec", "success"),
        ("fork", "start", "fork", "success"),
        ("refused creation", "info", "exec", "failure"),
        ("failed creation", "info", "exec", "failure"),
        ("termination", "end", "end", "success"),
        ("thread creation", "info", "thread_creation", "success"),
        ("process handle", "access", "process_handle_operation", "success"),
        ("stripped process handle", "access", "process_handle_operation", "failure"),
    ],
)
def test_what_happened_is_told_by_the_fields_that_ecs_has_for_it(
    name: str, kind: str, action: str, outcome: str
) -> None:
    event = ecs.document_of(SAMPLES[name])["event"]
    assert (event["type"], event["action"], event["outcome"]) == ([kind], action, outcome)
    assert ("reason" in event) == (outcome == "failure")


def test_a_refusal_says_who_refused_and_why() -> None:
    refused = ecs.document_of(SAMPLES["refused creation"])
    assert refused["event"]["reason"] == "refused by a rule with error 5"
    # A code of the event would name its kind, as the event ids of Windows do.
    assert refused["error"] == {"code": "5"} and "code" not in refused["event"]
    assert "error" not in ecs.document_of(SAMPLES["creation"])
    stripped = ecs.document_of(SAMPLES["stripped process handle"])
    assert stripped["event"]["reason"] == "a rule took away the rights vm_read"
    originator = stripped["cbprocess"]["originator_entity_id"]
    assert originator == formats.entity_id({**SAMPLES["creation"], "process_id": 4200, "start_time": 8812400})


def test_the_user_of_a_running_process_is_the_effective_one() -> None:
    document = ecs.document_of(SAMPLES["running process"])
    assert document["user"] == document["process"]["user"] == {"id": "0"}
    assert "real_user" not in document["process"]


def test_a_command_line_of_windows_is_no_list_of_arguments() -> None:
    document = ecs.document_of(SAMPLES["creation on Windows"])
    assert document["process"]["command_line"] == "cmd /c dir"
    assert not {"args", "args_count", "real_user"} & set(document["process"]) and "user" not in document
    assert "arguments" not in document["cbprocess"]


def test_an_error_has_its_sentence_and_no_category() -> None:
    document = ecs.document_of(SAMPLES["error"])
    assert document["error"]["code"] == "31"
    assert document["error"]["message"].startswith("Traceback")
    assert document["message"] == "error: ValueError: x"
    assert document["event"]["type"] == ["error"] and "category" not in document["event"]
