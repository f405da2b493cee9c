"""Events as dictionaries (cbprocess.records)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from unit.event_blocks import dispatch_once, make_event
from unit.held_events import Tickets, hold
from unit.instances import assert_code

from cbprocess import constants, events
from cbprocess._streams.held import Ledger
from cbprocess.records import event_record, property_names


@pytest.mark.parametrize("kind", events.OPERATIONS, ids=lambda kind: kind.name)
def test_records_have_the_properties_and_are_json(kind: events.OperationKind) -> None:
    records: list[dict[str, Any]] = []

    def record(event: Any) -> None:
        names = property_names(type(event))
        records.append(event_record(event))
        assert set(names) == {name for name in dir(event) if not name.startswith("_") and name != "defer"}
        assert list(records[0]) == ["event", *names]

    dispatch_once(make_event(kind.type, process_name=b"/caf\xe9", arguments=[b"\xff"]), record)
    text = json.dumps(records[0])
    assert text.isascii() and json.loads(text) == records[0] and records[0]["event"] == kind.name


@pytest.mark.parametrize("kind", events.OPERATIONS, ids=lambda kind: kind.name)
def test_a_held_event_has_the_record_of_its_operation(kind: events.OperationKind) -> None:
    ledger = Ledger()
    Tickets(ledger)
    event = hold(ledger, kind.type, process_id=12, result_code=0)
    record = event_record(event)
    assert list(record) == ["event", *property_names(kind.event_class)]
    assert (record["event"], record["process_id"], record["held"]) == (kind.name, 12, True)
    assert json.loads(json.dumps(record)) == record
    event.deny(constants.ERROR_BUSY)
    assert event_record(event)["result_code"] == constants.ERROR_BUSY


def test_a_record_of_an_error() -> None:
    error = events.CBProcessErrorEventParams(31, "no", 7, 2)
    wanted = {"event": "error", "error_code": 31, "description": "no", "sequence": 7, "os_error": 2}
    assert event_record(error) == wanted


def test_what_is_no_event_has_no_record() -> None:
    assert_code(87, event_record, object())  # type: ignore[arg-type]
