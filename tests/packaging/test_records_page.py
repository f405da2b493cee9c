"""docs/records.md says what the JSON Schema says: its keys, kinds, flags, hidden names and example."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from cbprocess import records
from cbprocess.enums import EventFlag

COMMON = ("schema", "host", "boot", "session", "number", "event", "time", "time_ns")


@pytest.fixture(scope="module")
def page(checkout: Path) -> str:
    return (checkout / "docs" / "records.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def kinds() -> dict[str, list[str]]:
    """The keys of each kind of records, as the schema demands them."""
    found = {}
    for rule in records.schema()["allOf"]:
        event = rule["if"]["properties"].get("event")
        if event:
            found[event["const"]] = rule["then"]["required"]
    return found


def section(page: str, title: str) -> str:
    return page.split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_every_kind_has_a_rule_and_a_row(page: str, kinds: dict[str, list[str]]) -> None:
    assert set(kinds) == set(records.EVENTS)
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", section(page, "The kinds"), re.MULTILINE)
    assert set(dict(rows)) == set(records.EVENTS)
    keys = re.findall(r"`(\w+)`", section(page, "The keys"))
    for name, text in rows:
        same = dict(rows)["process_handle_operation"] if name == "thread_handle_operation" else ""
        told = {*keys, *re.findall(r"`(\w+)`", text + same)}
        assert set(kinds[name]) <= told, name


def test_every_key_of_the_schema_is_on_the_page(page: str) -> None:
    schema = records.schema()
    assert schema["required"] == list(COMMON)
    for key in schema["properties"]:
        assert f"`{key}`" in page or key.endswith("_bytes"), key
        if key.endswith("_bytes"):
            assert key[: -len("_bytes")] in schema["properties"]


def test_the_schema_has_lost_nothing_that_was_promised(kinds: dict[str, list[str]]) -> None:
    """Schema 1, as it was first published: what is here is never taken out."""
    operation = {"sequence", "process_id", "start_time", "user_id", "flags", "result_code"}
    creator = {"creating_process_id", "creating_thread_id", "creator_start_time"}
    command = {"process_name", "arguments", "command_line"}
    originator = {"originator_process_id", "originator_thread_id", "originator_start_time"}
    handle = {*operation, *originator, "original_desired_access", "desired_access"}
    parent = {"parent_process_id", "parent_start_time", "image_file_name"}
    promised: dict[str, set[str]] = {
        "process_creation": {*operation, *command, *creator, *parent},
        "process_termination": {*operation, "process_name", "image_file_name", "exit_status"},
        "thread_creation": {*operation, *creator, "thread_id"},
        "thread_termination": {*operation, "thread_id", "exit_status"},
        "process_handle_operation": handle,
        "thread_handle_operation": {*handle, "thread_id"},
        "error": {"sequence", "error_code", "description", "os_error"},
        "running_process": {
            "process_id",
            "start_time",
            "user_id",
            "parent_process_id",
            "parent_start_time",
            "thread_count",
            *command,
        },
        "unsupervised": {"process_ids"},
        "lost": {"count", "reason"},
        "session_end": {"last_number"},
        "summary": {"counts", "programs", "processes"},
    }
    for name, keys in promised.items():
        assert keys <= set(kinds[name]), name


def test_flags_and_hidden_names_are_all_there(page: str) -> None:
    for name in EventFlag.__members__:
        assert f"`{name.lower()}`" in section(page, "The keys")
    hidden = section(page, "Hidden values").split("these words:")[1].split(".")[0]
    assert tuple(re.findall(r"`([\w-]+)`", hidden)) == records.DEFAULT_REDACTED
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)`", section(page, "Enrichment"), re.MULTILINE)
    assert rows == [(name, keys[0]) for name, keys in records.ENRICHMENTS.items()]


def test_the_example_is_a_record(page: str) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    example: dict[str, Any] = json.loads(section(page, "An example").split("```json\n")[1].split("```")[0])
    jsonschema.Draft202012Validator(records.schema()).validate(example)
    assert records.exact(example, "arguments") == [b"/bin/true", b"caf\xe9"]
    assert records.exact(example, "command_line") == b"/bin/true 'caf\xe9'"
