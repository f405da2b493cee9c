"""`--format otel` against OpenTelemetry's own definitions: its protocol buffers read each line, strictly, and
its list of semantic conventions has each attribute."""

from __future__ import annotations

import json
import pkgutil
from importlib import import_module
from typing import Any

import pytest
from formats.samples import ENRICHED, RECORDS, SAMPLES, TIME, TIME_NS, creation
from hypothesis import given, settings

from cbprocess import formats
from cbprocess.formats import otel

logs_pb2 = pytest.importorskip("opentelemetry.proto.logs.v1.logs_pb2")
json_format = pytest.importorskip("google.protobuf.json_format")
conventions = pytest.importorskip("opentelemetry.semconv._incubating.attributes")
schemas = pytest.importorskip("opentelemetry.semconv.schemas")


def known_attributes() -> set[str]:
    names: set[str] = set()
    for package in (conventions, pytest.importorskip("opentelemetry.semconv.attributes")):
        for module in pkgutil.iter_modules(package.__path__):
            found = vars(import_module(f"{package.__name__}.{module.name}"))
            names |= {value for value in found.values() if isinstance(value, str)}
    return names


KNOWN = known_attributes()


def parsed(record: dict[str, Any]) -> Any:
    """The line of a record as OpenTelemetry's protocol buffers read it. An unknown field is an error."""
    return json_format.Parse(formats.encoder("otel")(record), logs_pb2.LogsData())


def plain(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [plain(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return attributes(value.kvlist_value.values)
    return None if kind is None else getattr(value, kind)


def attributes(pairs: Any) -> dict[str, Any]:
    found = {pair.key: plain(pair.value) for pair in pairs}
    assert len(found) == len(pairs), "an attribute stands twice"
    return found


@pytest.mark.parametrize("name", SAMPLES)
def test_every_line_is_read_by_opentelemetrys_own_definitions(name: str) -> None:
    sample = SAMPLES[name]
    data = parsed(sample)
    (resource,) = data.resource_logs
    (scope,) = resource.scope_logs
    (entry,) = scope.log_records
    for key in {*attributes(resource.resource.attributes), *attributes(entry.attributes)}:
        assert key in KNOWN or key.startswith("cbprocess."), key
    assert entry.event_name == f"cbprocess.{sample.get('event', 'record')}"
    assert entry.severity_number in (9, 13, 17) and entry.body.string_value
    if sample.get("time_ns") == str(TIME_NS):
        assert entry.time_unix_nano == entry.observed_time_unix_nano == TIME_NS
    assert resource.schema_url in [schema.value for schema in schemas.Schemas]


@settings(deadline=None)
@given(record=RECORDS)
def test_whatever_stands_in_a_record_the_line_can_be_read(record: dict[str, Any]) -> None:
    (resource,) = parsed(record).resource_logs
    attributes(resource.scope_logs[0].log_records[0].attributes)


def test_unknown_fields_are_refused_by_the_reader() -> None:
    document = otel.document_of(creation())
    document["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]["noSuch"] = 1
    with pytest.raises(json_format.ParseError):
        json_format.Parse(json.dumps(document), logs_pb2.LogsData())


def test_a_creation_in_full() -> None:
    (resource,) = parsed(creation(**ENRICHED)).resource_logs
    assert attributes(resource.resource.attributes) == {
        "service.name": "cbprocess",
        "host.name": "web1",
        "cbprocess.boot": "8a0c5c0e27a14c3a9d2e5f6f0e3c1b7d",
        "cbprocess.session": "5e" * 16,
    }
    entry = resource.scope_logs[0].log_records[0]
    assert (entry.severity_text, entry.body.string_value) == ("INFO", "process creation 4102 /usr/bin/ls")
    assert attributes(entry.attributes) == {
        "process.pid": 4102,
        "process.parent_pid": 4101,
        "process.executable.path": "/usr/bin/ls",
        "process.executable.name": "ls",
        "process.command_args": ["ls", "-l", "a b"],
        "process.args_count": 3,
        "process.working_directory": "/srv/app",
        "process.real_user.id": 1000,
        "process.real_user.name": "app",
        "process.session_leader.pid": 4000,
        "container.id": "ab" * 32,
        "cbprocess.entity_id": "web1:8a0c5c0e27a14c3a9d2e5f6f0e3c1b7d:4102:8812345",
        "cbprocess.parent_entity_id": "web1:8a0c5c0e27a14c3a9d2e5f6f0e3c1b7d:4101:8812300",
        "cbprocess.schema": 1,
        "cbprocess.number": 7,
        "cbprocess.sequence": 12,
        "cbprocess.start_time": "8812345",
        "cbprocess.flags": ["held", "refusable"],
        "cbprocess.result_code": 0,
        "cbprocess.image_file_name": "/bin/ls",
        "cbprocess.parent_start_time": "8812300",
        "cbprocess.creating_process_id": 4102,
        "cbprocess.creating_thread_id": 4102,
        "cbprocess.creator_start_time": "8812345",
        "cbprocess.cgroup": "/system.slice/app.service",
        "cbprocess.terminal": "/dev/pts/3",
    }


def attributes_of(record: dict[str, Any]) -> dict[str, Any]:
    return attributes(parsed(record).resource_logs[0].scope_logs[0].log_records[0].attributes)


def test_the_user_of_an_event_is_the_real_one_and_of_a_running_process_the_effective_one() -> None:
    """As the conventions tell them apart: sudo has the real user 1000 and the effective user 0."""
    event = attributes_of(SAMPLES["termination"])
    assert event["process.real_user.id"] == 1000 and "process.user.id" not in event
    running = attributes_of({**SAMPLES["running process"], "user_name": "root"})
    assert (running["process.user.id"], running["process.user.name"]) == (0, "root")
    assert not [key for key in running if key.startswith("process.real_user")]


def test_a_command_line_of_windows_is_no_list_of_arguments() -> None:
    found = attributes_of(SAMPLES["creation on Windows"])
    assert found["process.command_line"] == "cmd /c dir"
    assert not {"process.command_args", "process.args_count", "process.real_user.id"} & set(found)


def test_severity_exit_code_and_time_of_an_end() -> None:
    levels = {"creation": "INFO", "refused creation": "WARN", "lost": "WARN", "error": "ERROR"}
    for name, level in levels.items():
        assert parsed(SAMPLES[name]).resource_logs[0].scope_logs[0].log_records[0].severity_text == level
    entry = parsed(SAMPLES["termination"]).resource_logs[0].scope_logs[0].log_records[0]
    found = attributes(entry.attributes)
    assert (found["process.exit.code"], found["process.exit.time"]) == (-9, TIME)


def test_records_of_several_hosts_share_a_document_and_keep_their_order() -> None:
    numbers = [(1, "web1"), (2, "web2"), (3, "web1"), (4, "web2")]
    records = [{**creation(), "number": number, "host": host} for number, host in numbers]
    data = json_format.Parse(json.dumps(otel.logs_data(records)), logs_pb2.LogsData())
    found = {
        attributes(resource.resource.attributes)["host.name"]: [
            attributes(entry.attributes)["cbprocess.number"] for entry in resource.scope_logs[0].log_records
        ]
        for resource in data.resource_logs
    }
    assert found == {"web1": [1, 3], "web2": [2, 4]}
    assert otel.logs_data([]) == {"resourceLogs": []}
