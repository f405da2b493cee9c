"""What hosts say of themselves is a stranger's text: lists of hosts bound it and print it harmlessly."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cbprocess.cli.fleet import CELL_MAX, _line, _row, _table
from cbprocess.cli.fleet_watch import TEXT_MAX, encoder, guarded, text_line
from cbprocess.fleet.presence import Host

NONSENSE: list[Any] = [
    None,
    7,
    -1.5,
    float("nan"),
    True,
    "x",
    [],
    [7],
    {},
    {"all": 7},
    {"x": {"y": []}},
    10**400,
]


@pytest.mark.parametrize("key", ["every", "rules", "sessions", "shipping", "trouble", "is_ending", "at"])
@pytest.mark.parametrize("value", NONSENSE, ids=repr)
def test_any_word_makes_a_row(key: str, value: Any) -> None:
    host = Host("web1", 1.0, {key: value})
    assert _table([_row(host)])[0].startswith("web1")
    assert host.scope("all") == {} or key == "rules"
    assert not host.has_applied("all", 1) and not host.has_refused("all", 1)
    assert host.takes("all") == (key == "rules" and isinstance(value, dict) and "all" in value)


@pytest.mark.parametrize("every", [1e9, float("inf"), float("nan"), -5, 0, True, "forever"])
def test_nobody_is_alive_for_ever(every: Any) -> None:
    assert not Host("web1", 3600.0, {"every": every}).is_alive


def test_in_force_is_what_has_not_expired_and_no_session_refuses() -> None:
    """The acknowledgement of a revision means that it holds, not only that it came."""

    def host(state: str, **more: Any) -> Host:
        return Host("web1", 1.0, {"rules": {"all": {"revision": 5, "state": state, "count": 1}}, **more})

    assert host("in force").has_applied("all", 5) and host("in force").why_not("all") == ""
    assert not host("in force").has_applied("all", 6)
    assert not host("expired").has_applied("all", 5) and host("expired").why_not("all") == "expired"
    failed = host("in force", rules_failed=True)
    assert not failed.has_applied("all", 5) and "sessions" in failed.why_not("all")
    assert "sessions do not have them" in " ".join(_row(failed))


def test_no_host_makes_a_cell_wide() -> None:
    long = "x" * 60_000
    told = {
        "rules": {long: {"refused": long}},
        "sessions": {"live": long, "waiting": long},
        "shipping": {"events": long},
        "trouble": {"text": long},
    }
    assert all(len(cell) <= CELL_MAX for cell in _row(Host("web1", 1.0, told)))
    record = {"event": long, "host": long, "time": long, "process_id": long, "command_line": long}
    assert len(text_line(record)) < 6 * TEXT_MAX
    assert len(text_line({"event": "unsupervised", "process_ids": [long] * 100})) < 6 * TEXT_MAX


def test_a_line_about_processes_that_go_on() -> None:
    line = text_line({"event": "unsupervised", "host": "web1", "process_ids": [12, 13]}).decode()
    assert line.split()[-3:] == ["processes", "12,", "13"]


@pytest.mark.parametrize("value", NONSENSE, ids=repr)
def test_a_line_of_a_host_is_json(value: Any) -> None:
    deep: Any = value
    for _ in range(5000):
        deep = [deep]
    for told in ({"trouble": value}, {"rules": {"all": deep}}, {"x": float("inf")}):
        line = json.loads(_line(Host("web1", 1.0, told)), parse_constant=pytest.fail)
        assert (line["name"], line["alive"]) == ("web1", True)


def test_alive_by_its_own_interval() -> None:
    assert Host("h", 80.0, {"every": 30}).is_alive and not Host("h", 100.0, {"every": 30}).is_alive
    assert not Host("h", 0.0, {"every": 30, "is_ending": True}).is_alive
    assert Host("h", 5.0, {}).is_alive and not Host("h", 60.0, {}).is_alive


def test_a_name_of_escape_sequences_reaches_no_terminal() -> None:
    told = {"trouble": {"text": "\x1b[2Jgone"}, "rules": {"\x1b]0;x": {"refused": "\x07"}}}
    text = "".join(_table([_row(Host("\x1b[31mred", 1.0, told))]))
    assert "\x1b" not in text and "\x07" not in text


@pytest.mark.parametrize("form", ["text", "cbprocess", "ecs", "ocsf", "otel"])
@pytest.mark.parametrize(
    "key",
    [
        "time",
        "time_ns",
        "event",
        "process_id",
        "arguments",
        "command_line",
        "exit_status",
        "flags",
        "result_code",
    ],
)
@pytest.mark.parametrize("value", NONSENSE, ids=repr)
def test_any_record_ends_no_watch(form: str, key: str, value: Any) -> None:
    record = {"schema": 1, "host": "h", "boot": "b", "session": "s", "number": 1, "event": "process_creation"}
    line = guarded(encoder(form))({**record, key: value})
    assert line == b"" or (line.endswith(b"\n") and line.count(b"\n") == 1 and b"\x1b" not in line)


@pytest.mark.parametrize("form", ["text", "cbprocess", "ecs", "ocsf", "otel"])
@pytest.mark.parametrize("key", ["extra", "arguments", "flags"])
def test_a_deep_record_ends_no_watch(form: str, key: str) -> None:
    """It would end each later one, too: it is in the stream for days."""
    deep: Any = "x"
    for _ in range(900):
        deep = [deep]
    record = {"schema": 1, "host": "h", "boot": "b", "session": "s", "number": 1, "event": "process_creation"}
    line = guarded(encoder(form))({**record, "command_line": "\ud800", key: deep})
    assert line == b"" or line.endswith(b"\n")
