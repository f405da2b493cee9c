"""Signals that a descriptor sends to its owner: whoever may not send one himself may not have it sent."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, Callable

import pytest
from hostile_tools import Setting
from live_tools import recording, run_checked, tracer_of

import cbprocess

RIGHTS = cbprocess.PROCESS_TERMINATE | cbprocess.PROCESS_SUSPEND_RESUME
REFUSED = {"errno": errno.EPERM, "got": False, "lived": True}


@pytest.fixture
def line_of(attack: Callable[[str], str], tmp_path: Path) -> Callable[[str], list[str]]:
    server = tmp_path / "guarded-server"

    def line(way: str) -> list[str]:
        shutil.copy2(attack("owner", "-pthread"), server)
        return [attack("owner", "-pthread"), way, str(server)]

    return line


@pytest.mark.parametrize("way", ["setown", "typed", "ioctl", "thread", "swapped"])
def test_a_protected_server(way: str, line_of: Callable[[str], list[str]]) -> None:
    """SIGKILL by way of F_SETSIG; also where the owner is told in memory that another thread changes."""
    done = subprocess.run(line_of(way), stdout=subprocess.PIPE, text=True, timeout=60)
    assert not json.loads(done.stdout)["lived"], "the attack fails anyway: it proves nothing"
    with recording(events=0) as recorder:
        recorder.filter.add_rule(name="guarded*", action="strip", access=RIGHTS)
        status, output, errors = run_checked(recorder, line_of(way))
    assert (status, errors) == (0, "")
    assert json.loads(output) == REFUSED


def test_ones_own_thread(setting: Setting, line_of: Callable[[str], list[str]]) -> None:
    """An honest program that wants a descriptor's signals in one thread (F_OWNER_TID) gets an error wherever
    there is a filter, whatever the rules are."""
    works = {"errno": 0, "got": True, "lived": True}
    fails = {"errno": errno.EPERM, "got": False, "lived": True}
    with recording(*setting.config, events=setting.events) as recorder:
        status, output, errors = run_checked(recorder, line_of("own-thread"))
    assert (status, errors) == (0, "")
    assert json.loads(output) == (fails if setting.has_filter else works)


def test_signals_from_ones_own_socket(setting: Setting, line_of: Callable[[str], list[str]]) -> None:
    """O_ASYNC, by both calls, of an honest program with one thread."""
    with recording(*setting.config, events=setting.events) as recorder:
        status, output, errors = run_checked(recorder, line_of("own-socket"))
    assert (status, errors) == (0, "")
    assert json.loads(output) == {"errno": 0, "got": True, "lived": True}


def test_the_helper(line_of: Callable[[str], list[str]]) -> None:
    """Under any filter, whatever the rules are."""
    with recording() as recorder:
        process = recorder.filter.popen(["sleep", "60"])
        helper = tracer_of(process.pid)
        outcome: Any = json.loads(run_checked(recorder, line_of("helper"))[1])
        assert outcome == REFUSED
        assert tracer_of(process.pid) == helper != 0
        process.kill()
        process.wait(10)
