"""What all formats have in common: they take every record, lose nothing, and give strict JSON."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from formats.samples import RECORDS, SAMPLES, creation
from hypothesis import given, settings

from cbprocess import CBProcessError, formats
from cbprocess.formats import _fields

OTHERS = formats.NAMES[1:]


def values_of(document: Any) -> list[str]:
    """All values that stand anywhere in a document, as texts."""
    if isinstance(document, dict):
        return [text for value in document.values() for text in values_of(value)]
    if isinstance(document, list):
        return [text for value in document for text in values_of(value)]
    return [str(document)]


@pytest.mark.parametrize("format_name", OTHERS)
@settings(deadline=None)
@given(record=RECORDS)
def test_any_record_becomes_one_line_of_strict_json(format_name: str, record: dict[str, Any]) -> None:
    before = copy.deepcopy(record)
    line = formats.encoder(format_name)(record)
    assert record == before
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    document = json.loads(line, parse_constant=pytest.fail)
    line.decode("ascii")
    assert isinstance(document, dict)


@pytest.mark.parametrize("format_name", OTHERS)
@pytest.mark.parametrize("name", SAMPLES)
def test_nothing_that_a_record_says_is_lost(format_name: str, name: str) -> None:
    sample = dict(SAMPLES[name])
    # The time is told in another form, and a code of 0 as success.
    for key in ("time", "event"):
        sample.pop(key, None)
    if format_name in ("ecs", "otel"):
        sample.pop("time_ns", None)
    if sample.get("result_code") == 0:
        del sample["result_code"]
    if format_name == "otel" and isinstance(sample.get("arguments"), list):
        sample.pop("command_line", None)
    if format_name in ("ecs", "ocsf") and isinstance(sample.get("boot"), str):
        # Told as the kernel writes it, but for records that have no device.
        told_boot = {sample["boot"], _fields.boot_uuid(sample.pop("boot"))}
        assert told_boot & set(values_of(formats.converter(format_name)(SAMPLES[name])))
    told = set(values_of(formats.converter(format_name)(SAMPLES[name])))
    missing = [text for text in values_of(sample) if text not in told and text not in ("None", "")]
    assert not missing


@pytest.mark.parametrize("format_name", ["ecs", "ocsf", "otel"])
def test_a_name_cannot_forge_a_line_of_the_message(format_name: str) -> None:
    name = "/tmp/x\nprocess creation 1 /sbin/init\x1b[2J"
    document = formats.converter(format_name)({**SAMPLES["creation"], "process_name": name})
    messages = [value for value in values_of(document) if value.startswith("process creation")]
    assert [message.isprintable() for message in messages] == [True]
    assert "/tmp/x\\nprocess creation 1" in messages[0]


def test_the_own_format_is_the_record() -> None:
    sample = creation()
    converted = formats.converter("cbprocess")(sample)
    assert converted == sample and converted is not sample
    assert json.loads(formats.encoder("cbprocess")(sample)) == sample


@pytest.mark.parametrize("name", ["", "ECS", "xml", "_fields", "__init__"])
def test_an_unknown_format_is_error_87_that_names_those_that_exist(name: str) -> None:
    for make in (formats.converter, formats.encoder):
        with pytest.raises(CBProcessError, match="cbprocess, ecs, ocsf, otel") as caught:
            make(name)
        assert caught.value.code == 87


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "web1:b:5:9"),
        ({"start_time": 9}, "web1:b:5:9"),
        ({"start_time": None}, None),
        ({"start_time": "0"}, None),
        ({"process_id": None}, None),
        ({"process_id": True}, None),
        ({"host": None, "boot": None}, "::5:9"),
        ({"boot": None, "session": "s"}, "web1:s:5:9"),
    ],
)
def test_the_identity_of_a_process(changes: dict[str, Any], expected: str | None) -> None:
    record = {"host": "web1", "boot": "b", "process_id": 5, "start_time": "9", **changes}
    assert formats.entity_id(record) == expected


def test_the_identity_of_an_event_needs_its_number() -> None:
    record = {"host": "web1", "boot": "b", "session": "s", "number": 0}
    assert formats.event_id(record) == "web1:b:s:0"
    assert formats.event_id({**record, "number": None}) is None


@pytest.mark.parametrize(
    ("boot", "uuid"),
    [
        ("8a0c5c0e27a14c3a9d2e5f6f0e3c1b7d", "8a0c5c0e-27a1-4c3a-9d2e-5f6f0e3c1b7d"),
        ("8a0c5c0e-27a1-4c3a-9d2e-5f6f0e3c1b7d", "8a0c5c0e-27a1-4c3a-9d2e-5f6f0e3c1b7d"),
        ("8a0c5c0e27a1xc3a9d2e5f6f0e3c1b7d0", "8a0c5c0e27a1xc3a9d2e5f6f0e3c1b7d0"),
        ("8a0c5c0e27a1xc3a9d2e5f6f0e3c1b7d", "8a0c5c0e27a1xc3a9d2e5f6f0e3c1b7d"),
        ("17", "17"),
        (None, None),
    ],
)
def test_the_boot_as_the_kernel_writes_it(boot: str | None, uuid: str | None) -> None:
    assert _fields.boot_uuid(boot) == uuid


@pytest.mark.parametrize(
    ("line", "arguments", "expected"),
    [
        ("cmd /c dir", ["cmd /c dir"], True),
        ("C:\\x.exe", ["C:\\x.exe"], True),
        # On Linux these have quotes in the line, and a plain word is the same on both.
        ("'a b'", ["a b"], False),
        ("'\ufffd'", ["\ufffd"], False),
        ("ls", ["ls"], False),
        ("ls -l", ["ls", "-l"], False),
        ("", [""], False),
        (None, [None], False),
        ("a b", "a b", False),
    ],
)
def test_arguments_that_are_one_line(line: object, arguments: object, expected: bool) -> None:
    assert _fields.is_one_line({"command_line": line, "arguments": arguments}) == expected


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/usr/bin/ls", "ls"),
        ("ls", "ls"),
        ("/tmp/a\\b", "a\\b"),
        ("C:\\Windows\\cmd.exe", "cmd.exe"),
        ("\\\\host\\share\\x.exe", "x.exe"),
        ("C:/Tools/x.exe", "x.exe"),
        ("/tmp/", "/tmp/"),
        ("", None),
        (None, None),
    ],
)
def test_the_name_of_a_file_by_its_path(path: str | None, name: str | None) -> None:
    assert _fields.file_name(path) == name


@pytest.mark.parametrize(
    ("time_ns", "text"),
    [
        (0, "1970-01-01T00:00:00.000000000Z"),
        (1767323045123456789, "2026-01-02T03:04:05.123456789Z"),
        (2**64 - 1, "2554-07-21T23:34:33.709551615Z"),
    ],
)
def test_times_as_text(time_ns: int, text: str) -> None:
    assert _fields.time_text(time_ns) == text


@pytest.mark.parametrize("format_name", formats.NAMES)
def test_what_is_not_unicode_becomes_strict_json_with_its_bytes_beside_it(format_name: str) -> None:
    # Other programs' records may have it; those of this package do not.
    record = creation(process_name="/tmp/\udcff", arguments=["\udcff", "x"])
    line = formats.encoder(format_name)(record)
    text = json.dumps(json.loads(line))
    assert "\\udc" not in text and "\\ufffd" in text
    assert "L3RtcC//" in text and "/w==" in text


@pytest.mark.parametrize("format_name", formats.NAMES)
def test_a_value_that_json_does_not_have_is_error_87(format_name: str) -> None:
    for value in (float("nan"), float("inf"), {1, 2}, b"x"):
        with pytest.raises(CBProcessError) as caught:
            formats.encoder(format_name)(creation(other=value))
        assert caught.value.code == 87
