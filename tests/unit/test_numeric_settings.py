"""Every setting that is a number, at its bounds and beyond: the filter runs with what is accepted, and Python
code has room in the worker threads."""

from __future__ import annotations

import subprocess
import sys
from typing import NamedTuple

import pytest
from unit.instances import GUID, assert_code

from cbprocess import CBProcess, constants

# In a process of its own, which a stack that is too small ends.
PROGRAM = """
import json, sys
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
with simulator:
    verdicts = [simulator.process_creation(process_name="/bin/ls", arguments=["ls"]) for _ in range(3)]
assert [(item.answered, item.raised) for item in verdicts] == 3 * [(True, None)], verdicts
assert seen == 3 * [(601, "ls")], seen
print(simulator.process.config(sys.argv[1].partition("=")[0]))
"""


class Bounds(NamedTuple):
    name: str
    accepted: tuple[str, ...]
    refused: tuple[str, ...]


BEYOND = ("-2", str(2**31), str(2**32), str(2**64), "9" * 40, "1e3", "0x", "1_0", "")
SETTINGS = (
    Bounds("EventsToFire", ("1", "63", "-1"), ("-2", str(2**64), "9" * 40, "1e3", "0x", "1_0", "")),
    Bounds("MinWorkerThreadCount", ("0", "1", "1024"), ("-1", "1025", *BEYOND)),
    Bounds("MaxWorkerThreadCount", ("0", "1", "1024"), ("-1", "1025", *BEYOND)),
    Bounds(
        "WorkerInitialStackSize", ("0", "1", "4096", "65536", str(2**30)), ("-1", str(2**30 + 1), *BEYOND)
    ),
    Bounds("SerializeEvents", ("0", "1"), ("-1", "2", *BEYOND)),
    Bounds(
        "Altitude",
        ("0.000000001", "1", str(2**32 - 1)),
        ("0", "-1", str(2**32), str(2**64), "9" * 40, "1e3", ""),
    ),
)
ACCEPTED = [(setting.name, value) for setting in SETTINGS for value in setting.accepted]


@pytest.mark.parametrize(("name", "value"), ACCEPTED)
def test_the_filter_runs_with_what_is_accepted(name: str, value: str) -> None:
    line = [sys.executable, "-c", PROGRAM, f"{name}={value}"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, cwd="/")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{value}\n", "")


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_what_is_beyond_is_refused(setting: Bounds) -> None:
    process = CBProcess()
    process.initialize(GUID)
    before = process.config(setting.name)
    for value in setting.refused:
        assert_code(constants.ERROR_INVALID_PARAMETER, process.config, f"{setting.name}={value}")
    assert process.config(setting.name) == before
