"""Every setting that is a number, at 0, at 1, at its least and its largest, and beyond: the filter runs with
what is accepted, and Python code has room in the worker threads. Which there are, the library's own table
says; how far they go, the header's text."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from unit.instances import GUID, assert_code

from cbprocess import CBProcess, constants

NATIVE = Path(__file__).resolve().parents[2] / "native"

# In a process of its own, which a stack that is too small ends.
PROGRAM = """
import json, sys, warnings
from cbprocess.testing import Simulator

def deep(depth):
    # The interpreter's own C functions, one in another: those are what takes stack.
    nested = 0
    for _ in range(depth):
        nested = [nested]
    return len(json.dumps(nested))

seen = []
simulator = Simulator()
simulator.process.config(sys.argv[1])
simulator.process.on_process_creation = lambda event: seen.append((deep(300), event.command_line))
fires = simulator.process.config("EventsToFire") != "0"
if not fires:  # of which the handler's user is warned
    warnings.simplefilter("ignore")
with simulator:
    verdicts = [simulator.process_creation(process_name="/bin/ls", arguments=["ls"]) for _ in range(3)]
assert [(item.answered, item.raised) for item in verdicts] == 3 * [(fires, None)], verdicts
assert seen == 3 * fires * [(601, "ls")], seen
print(simulator.process.config(sys.argv[1].partition("=")[0]))
"""


class Setting(NamedTuple):
    """A row of the library's table: what it takes as a number, and how that reads back."""

    name: str
    kind: str
    accepted: dict[str, str]
    refused: tuple[str, ...]


NEVER = ("-2", str(2**64), "9" * 40, "1e3", "0x", "1_0", "")
BEYOND = (str(2**31), str(2**32), *NEVER)
PLACE = r"(?:AT|IN_TEXTS)\([\w.]+\)"
ROW = re.compile(
    rf'^    \{{"(\w+)", ([A-Z]+), {PLACE}, ([^,]+), (\w+), (?:true|false), (true|false)\}},$', re.MULTILINE
)


def documented_limit(name: str) -> int:
    """The largest number, as the public header has it."""
    header = (NATIVE / "include" / "cbprocess.h").read_text(encoding="utf-8")
    text = re.search(rf"^ \* - {name}: (.*?)^ \* - ", header, re.MULTILINE | re.DOTALL)
    assert text is not None, f"the header says nothing of {name}"
    found = re.search(r"\b0 (?:\.\.|or) (\d+)|at most (\d+) (GiB)", text[1])
    assert found is not None, f"the header does not say how far {name} goes: {text[1]}"
    return int(found[1]) if found[1] else int(found[2]) * 2**30


def choices_of(source: str, name: str) -> list[str]:
    found = re.search(rf"\*const {name}\[\] = \{{(.*?)\}};", source)
    assert found is not None, name
    return re.findall(r'"(\w+)"', found[1])


def setting_of(source: str, name: str, kind: str, choices: str) -> Setting:
    if kind == "NUMBER":
        limit = documented_limit(name)
        numbers = dict.fromkeys((0, 1, limit))
        accepted = {str(number): str(number) for number in numbers}
        accepted[hex(limit)] = str(limit)
        return Setting(name, kind, accepted, ("-1", str(limit + 1), *BEYOND))
    if kind == "EVENTS":
        return Setting(name, kind, {word: word for word in ("0", "1", "63", "-1")}, ("64", *BEYOND))
    if kind == "ALTITUDE":
        words = ("0.000000001", "1", str(2**32 - 1), f"{2**32 - 1}.999999999")
        refused = ("0", "0.0", "-1", "0.0000000001", *BEYOND[1:])
        return Setting(name, kind, {word: word for word in words}, refused)
    if kind == "CHOICE":
        words = choices_of(source, choices)
        numbered = {str(number): word for number, word in enumerate(words)}
        return Setting(name, kind, numbered, ("-1", str(len(words)), *BEYOND))
    assert kind == "BOOLEAN", f"{name} is of a new kind: what numbers does it take?"
    return Setting(name, kind, {"0": "False", "1": "True"}, ("-1", "2", *BEYOND))


def settings() -> list[Setting]:
    """Of what is no number and has none, no row is given."""
    source = (NATIVE / "src" / "core" / "config.c").read_text(encoding="utf-8")
    table = source[source.index("settings_table[] = {") :]
    table = table[: table.index("};")]
    rows = ROW.findall(table)
    assert len(rows) == table.count('    {"') > 10, "a row of the table could not be read"
    return [
        setting_of(source, name, kind, choices)
        for name, kind, _, choices, is_numbered in rows
        if kind != "TEXT" and (kind != "CHOICE" or is_numbered == "true")
    ]


SETTINGS = settings()
# What is switched on concerns drivers that can do it.
RUNNING = [
    (setting.name, value, read)
    for setting in SETTINGS
    for value, read in setting.accepted.items()
    if setting.kind != "BOOLEAN"
]


@pytest.mark.parametrize(("name", "value", "read"), RUNNING)
def test_the_filter_runs_with_what_is_accepted(name: str, value: str, read: str) -> None:
    line = [sys.executable, "-c", PROGRAM, f"{name}={value}"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, cwd="/")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{read}\n", "")


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_what_is_accepted_reads_back(setting: Setting) -> None:
    process = CBProcess()
    process.initialize(GUID)
    for value, read in setting.accepted.items():
        assert process.config(f"{setting.name}={value}") == read
        assert process.config(setting.name) == read


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_what_is_beyond_is_refused(setting: Setting) -> None:
    process = CBProcess()
    process.initialize(GUID)
    before = process.config(setting.name)
    for value in setting.refused:
        assert_code(constants.ERROR_INVALID_PARAMETER, process.config, f"{setting.name}={value}")
    assert process.config(setting.name) == before
