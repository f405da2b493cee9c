"""`--format ocsf` against the published OCSF schemas: each document is validated as JSON Schema, in which an
attribute that the schema does not have is an error."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from formats.samples import ENRICHED, OPERATIONS, RECORDS, SAMPLES, TIME, creation, handle_operation
from hypothesis import example, given, settings

from cbprocess.enums import ProcessAccess, ThreadAccess
from cbprocess.formats import ocsf

jsonschema = pytest.importorskip("jsonschema")
published = pytest.importorskip("ocsf_json_schema")

# Minor versions only add: what is valid by the version that a document names is valid by later ones.
LATER = "1.8.0"


@functools.cache
def schema(version: str) -> dict[str, Any]:
    found: dict[str, Any] = published.get_ocsf_schema(version=version)
    return found


@functools.cache
def validator(version: str, name: str, profiles: tuple[str, ...]) -> Any:
    classes = published.OcsfJsonSchemaEmbedded(schema(version))
    return jsonschema.Draft202012Validator(classes.get_class_schema(name, list(profiles)))


def errors_of(document: dict[str, Any], version: str = ocsf.VERSION) -> list[str]:
    """What the published schema finds wrong with a document of its class and profiles."""
    class_name = {1007: "process_activity", 0: "base_event"}[document["class_uid"]]
    profiles = tuple(document["metadata"].get("profiles", ()))
    found = validator(version, class_name, profiles).iter_errors(document)
    return [f"{'/'.join(map(str, error.absolute_path))}: {error.message}" for error in found]


@pytest.mark.parametrize("version", [ocsf.VERSION, LATER])
@pytest.mark.parametrize("name", SAMPLES)
def test_every_document_is_valid_by_the_published_schema(name: str, version: str) -> None:
    assert not errors_of(ocsf.document_of(SAMPLES[name]), version)


@settings(deadline=None, max_examples=60)
@given(record=RECORDS)
@example(record={"event": "process_creation", "process_id": 2**63})
def test_whatever_stands_in_a_record_the_document_stays_valid(record: dict[str, Any]) -> None:
    assert not errors_of(ocsf.document_of(record))


def test_the_validator_refuses_what_the_schema_does_not_have() -> None:
    document = ocsf.document_of(creation())
    check = validator(ocsf.VERSION, "process_activity", ("security_control",))
    for change in ({"no_such": 1}, {"time": "now"}, {"activity_id": 6}, {"process": {"pid": "x"}}):
        assert not check.is_valid({**document, **change})
    assert check.is_valid(document)


@pytest.mark.parametrize("name", OPERATIONS)
def test_numbers_and_their_names_agree_with_the_schema(name: str) -> None:
    document = ocsf.document_of(SAMPLES[name])
    attributes = schema(ocsf.VERSION)["classes"]["process_activity"]["attributes"]
    activity = document["activity_id"]
    caption = attributes["activity_id"]["enum"][str(activity)]["caption"]
    assert document["activity_name"] == caption or activity == 99
    assert document["type_uid"] == document["class_uid"] * 100 + activity
    assert document["type_name"] == attributes["type_uid"]["enum"][str(document["type_uid"])]["caption"]
    for key, caption in (("class_uid", "class_name"), ("category_uid", "category_name")):
        assert document[caption] == attributes[key]["enum"][str(document[key])]["caption"]
    for key in ("severity_id", "status_id", "action_id"):
        assert str(document[key]) in attributes[key]["enum"]
    assert document["time"] == 1767323045123 and document["metadata"]["original_time"] == TIME
    assert document["unmapped"]["time_ns"] == "1767323045123456789"


def test_a_launch_names_process_parent_and_actor_for_good() -> None:
    document = ocsf.document_of(creation(creating_process_id=4000, creator_start_time="77", **ENRICHED))
    machine = "web1:8a0c5c0e27a14c3a9d2e5f6f0e3c1b7d"
    process = document["process"]
    assert document["activity_name"] == "Launch" and document["action_id"] == ocsf.ALLOWED
    assert (process["pid"], process["uid"]) == (4102, f"{machine}:4102:8812345")
    assert process["parent_process"] == {"pid": 4101, "uid": f"{machine}:4101:8812300"}
    assert document["actor"]["process"] == {"pid": 4000, "tid": 4102, "uid": f"{machine}:4000:77"}
    assert process["file"] == {"path": "/usr/bin/ls", "name": "ls", "type_id": 1}
    assert process["user"] == {"uid": "1000", "name": "app"}
    assert process["container"] == {"uid": "ab" * 32} and "container" in document["metadata"]["profiles"]
    assert process["session"] == {"uid": "4000", "terminal": "/dev/pts/3"}
    assert document["device"] == {
        "hostname": "web1",
        "boot_uid": "8a0c5c0e-27a1-4c3a-9d2e-5f6f0e3c1b7d",
        "type_id": 0,
    }


@pytest.mark.parametrize(
    ("name", "status", "action"),
    [
        ("creation", ocsf.SUCCESS, ocsf.ALLOWED),
        ("refused creation", ocsf.FAILURE, ocsf.DENIED),
        ("failed creation", ocsf.FAILURE, ocsf.ALLOWED),
        ("stripped process handle", ocsf.FAILURE, ocsf.MODIFIED),
        ("termination", ocsf.SUCCESS, ocsf.OBSERVED),
    ],
)
def test_status_and_action(name: str, status: int, action: int) -> None:
    document = ocsf.document_of(SAMPLES[name])
    assert (document["status_id"], document["action_id"]) == (status, action)
    assert ("status_detail" in document) == (status == ocsf.FAILURE)


def test_an_opening_has_the_rights_as_numbers_and_the_asking_process_as_actor() -> None:
    document = ocsf.document_of(SAMPLES["stripped process handle"])
    asked = ProcessAccess.TERMINATE | ProcessAccess.VM_READ
    assert document["requested_permissions"] == int(asked)
    assert document["actual_permissions"] == int(ProcessAccess.TERMINATE)
    assert document["actor"]["process"]["pid"] == 4200 and document["process"]["pid"] == 4102
    thread = ocsf.document_of(SAMPLES["thread handle"])
    assert thread["requested_permissions"] == int(ThreadAccess.TERMINATE) | 0x10000
    for nonsense in ("0xno", "no such right", 5):
        broken = handle_operation("process_handle_operation", original_desired_access=[nonsense])
        assert ocsf.document_of(broken)["requested_permissions"] == 0


def test_errors_and_losses_are_base_events() -> None:
    error, lost = (ocsf.document_of(SAMPLES[name]) for name in ("error", "lost"))
    assert (error["class_uid"], error["type_uid"], error["status_code"]) == (0, 99, "31")
    assert lost["message"] == "lost 12 of events: memory"
    assert lost["unmapped"]["first_number"] == 8 and lost["status_id"] == ocsf.FAILURE


def test_a_command_line_of_windows_is_told_once() -> None:
    document = ocsf.document_of(SAMPLES["creation on Windows"])
    assert document["process"]["cmd_line"] == SAMPLES["creation on Windows"]["command_line"]
    assert "arguments" not in document.get("unmapped", {})
    # Other lists say more than the line.
    assert ocsf.document_of(SAMPLES["creation"])["unmapped"]["arguments"]
