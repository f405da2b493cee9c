"""What hosts say of themselves is a stranger's text: lists of hosts bound it and print it harmlessly."""

from __future__ import annotations

from typing import Any

import pytest

from cbprocess.cli.fleet import _row, _table
from cbprocess.cli.fleet_watch import encoder, guarded
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
