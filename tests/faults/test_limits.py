"""Limits that are reached while a filter or a program is started: the error names the limit, nothing is left
behind, and without the limit everything works again."""

from __future__ import annotations

import errno
import json
import os
import random
import subprocess
import sys
from typing import Any

import pytest
from live_tools import PROGRAMS

import cbprocess

ALL_WELL = {"failed": None, "status": 0}


def run_limited(kind: str, limit: int, user: int = 0) -> dict[str, Any]:
    line = [sys.executable, str(PROGRAMS / "limited.py"), kind, str(limit), str(user)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, cwd="/")
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    if not result["reachable"]:
        pytest.skip("another user cannot reach the folder of the package that is tested")
    assert result["same"] and result["left"] == [], result
    assert result["after"] == ALL_WELL, result
    found: dict[str, Any] = result["under"]
    return found


def fresh_user() -> int:
    """A user id that nothing runs as: what has ended counts until somebody reaps it."""
    return random.randrange(2**20, 2**30)


def expect_process_limit(outcome: dict[str, Any]) -> None:
    if outcome["failed"] == "start":
        assert outcome["code"] == cbprocess.ERROR_NO_SYSTEM_RESOURCES, outcome
    else:
        assert (outcome["failed"], outcome["errno"]) == ("popen", errno.EAGAIN), outcome
    assert "RLIMIT_NPROC" in outcome["message"]


def test_no_process_is_left() -> None:
    """One process at most: that is the controller itself."""
    expect_process_limit(run_limited("RLIMIT_NPROC", 1, fresh_user() if os.getuid() == 0 else 0))


@pytest.mark.skipif(os.getuid() != 0, reason="takes a user that nothing else runs as, which only root can be")
def test_every_number_of_processes_that_is_too_small() -> None:
    """The limit strikes in turn the helper, its threads, dispatcher, worker and program: eleven tasks."""
    outcomes = [run_limited("RLIMIT_NPROC", limit, fresh_user()) for limit in range(1, 12)]
    failures = [outcome for outcome in outcomes if outcome != ALL_WELL]
    for outcome in failures:
        expect_process_limit(outcome)
    assert outcomes == failures + [ALL_WELL] * (len(outcomes) - len(failures))
    assert {outcome["failed"] for outcome in failures} == {"start", "popen"}
    assert len({outcome["message"].partition(":")[0] for outcome in failures}) >= 3
    assert outcomes[-1] == ALL_WELL


def test_every_number_of_descriptors_that_is_too_small() -> None:
    limits = range(4, 32)
    outcomes = [run_limited("RLIMIT_NOFILE", limit) for limit in limits]
    failures = [outcome for outcome in outcomes if outcome != ALL_WELL]
    for outcome in failures:
        if "errno" in outcome:
            assert outcome["errno"] == errno.EMFILE, outcome
        else:
            assert outcome["code"] == cbprocess.ERROR_TOO_MANY_OPEN_FILES, outcome
            assert "RLIMIT_NOFILE" in outcome["message"]
    assert outcomes == failures + [ALL_WELL] * (len(outcomes) - len(failures))
    assert failures and outcomes[-1] == ALL_WELL
