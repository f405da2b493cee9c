"""`--format` of real commands: each line is one of its format, and says what the tree did."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import supervised
from formats.test_formats import values_of

from cbprocess import formats, records

Document = dict[str, Any]
FORMATS = formats.NAMES[1:]
SCRIPT = "cat /etc/passwd; ls / > listing; exit 3"


@pytest.fixture(scope="module", params=FORMATS)
def told(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, list[Document]]:
    """The format, and what a run has printed in it: a refused execution and others, with a summary."""
    folder = tmp_path_factory.mktemp("formats")
    options = [
        "--deny",
        "*/cat",
        "--enrich",
        "cwd,user",
        "--summary",
        "-o",
        "events",
        "--format",
        request.param,
    ]
    command = [*supervised.COMMAND_LINE, "run", *options, "--", "sh", "-c", SCRIPT]
    done = subprocess.run(command, cwd=folder, capture_output=True, timeout=60, check=False)
    assert done.returncode == 3
    return request.param, [json.loads(line) for line in (folder / "events").read_bytes().splitlines()]


def executions(format_name: str, documents: list[Document]) -> list[tuple[str, bool, str]]:
    """Program, whether it was refused, and working directory of each execution, as the format tells them."""
    found = []
    for document in documents:
        if format_name == "ecs" and document["event"]["action"] == "exec":
            process = document["process"]
            refused = document["event"]["outcome"] == "failure"
            found.append((process["name"], refused, process["working_directory"]))
        elif format_name == "ocsf" and document["activity_id"] == 1:
            process = document["process"]
            found.append((process["name"], document["action_id"] == 2, process["working_directory"]))
        elif format_name == "otel":
            (entry,) = document["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
            values = {pair["key"]: next(iter(pair["value"].values()), None) for pair in entry["attributes"]}
            if entry["eventName"] == "cbprocess.process_creation":
                name, where = values["process.executable.name"], values["process.working_directory"]
                found.append((name, entry["severityText"] == "WARN", where))
    return found


def test_what_was_executed_and_what_was_refused(told: tuple[str, list[Document]]) -> None:
    found = executions(*told)
    names = [(name, refused) for name, refused, _ in found]
    assert ("cat", True) in names and ("ls", False) in names and names[0][1] is False
    assert {Path(where).name[:7] for _, _, where in found} == {"formats"}


def test_the_boot_is_the_one_that_other_sensors_tell(told: tuple[str, list[Document]]) -> None:
    format_name, documents = told
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    if format_name == "ecs":
        assert {document["host"]["boot"]["id"] for document in documents} == {boot}
    elif format_name == "ocsf":
        assert {document["device"]["boot_uid"] for document in documents if "device" in document} == {boot}
    else:
        resource = documents[0]["resourceLogs"][0]["resource"]["attributes"]
        own = {pair["key"]: pair["value"]["stringValue"] for pair in resource}
        assert own["cbprocess.boot"] == boot.replace("-", "")


def test_each_line_is_one_of_the_published_schema(told: tuple[str, list[Document]]) -> None:
    format_name, documents = told
    assert len(documents) > 8
    if format_name == "ecs":
        from formats.test_ecs import FIELDS, is_of_type, leaves

        for document in documents:
            del document["cbprocess"]
            for field, value in leaves(document).items():
                assert is_of_type(value, FIELDS[field]), (field, value)
    elif format_name == "ocsf":
        pytest.importorskip("ocsf_json_schema")
        from formats.test_ocsf import errors_of

        for document in documents:
            assert not errors_of(document)
    else:
        logs = pytest.importorskip("opentelemetry.proto.logs.v1.logs_pb2")
        json_format = pytest.importorskip("google.protobuf.json_format")
        for document in documents:
            json_format.ParseDict(document, logs.LogsData())


@pytest.mark.parametrize("format_name", formats.NAMES)
def test_a_snapshot_has_formats_too(format_name: str, tmp_path: Path) -> None:
    path = tmp_path / "snapshot"
    line = ["snapshot", "--format", format_name, "--redact", "-o", str(path)]
    with subprocess.Popen(["sleep", "60"]) as sleeper:
        done = subprocess.run([*supervised.COMMAND_LINE, *line], capture_output=True, timeout=60, check=True)
        sleeper.kill()
    documents = [json.loads(text) for text in path.read_bytes().splitlines()]
    assert done.stdout == done.stderr == b"" and path.stat().st_mode & 0o777 == 0o600
    if format_name == "cbprocess":
        (record,) = [found for found in documents if found["process_id"] == sleeper.pid]
        assert record["event"] == "running_process" and record["arguments"] == ["sleep", "60"]
        # The parent has an identity, which is that of its own record.
        parents = {records.process_identity(found) for found in documents}
        assert records.process_identity(record, "parent") in parents
    else:
        assert [text for text in values_of(documents) if text == str(sleeper.pid)]
        assert {"ecs": "@timestamp", "ocsf": "class_uid", "otel": "resourceLogs"}[format_name] in documents[0]
