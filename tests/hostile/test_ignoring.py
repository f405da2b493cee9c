"""Ignored programs: nothing of them is told, and nothing is permitted to them."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hostile_tools import Setting
from live_tools import recording, run_checked

import cbprocess


@pytest.fixture
def denied(tmp_path: Path) -> str:
    return str(shutil.copy("/usr/bin/true", tmp_path / "denied"))


@pytest.mark.parametrize("children", [False, True])
def test_a_deny_rule_holds_against_an_ignored_shell(setting: Setting, denied: str, children: bool) -> None:
    with recording(*setting.config, events=setting.events) as recorder:
        recorder.filter.add_rule(name="denied", action="deny")
        recorder.filter.add_rule(name="*sh", action="ignore", include_children=children)
        # Not its last command, for which it would make no process.
        status, _, _ = run_checked(recorder, ["/bin/sh", "-c", f"{denied}; exit $?"])
        counts = recorder.filter.statistics()
    assert status == (126 if setting.has_filter else 128 + signal.SIGKILL)
    assert (counts.refused, counts.decided_by_rule) == (1, 1)
    assert [denied] not in recorder.executed()


@pytest.mark.parametrize("ignored", ["attacker", "target", "both"])
def test_a_strip_rule_holds_whoever_is_ignored(ignored: str, tmp_path: Path) -> None:
    target = str(shutil.copy("/usr/bin/sleep", tmp_path / "target"))
    with recording() as recorder:
        recorder.filter.add_rule(name="target", action="strip", access=cbprocess.PROCESS_TERMINATE)
        if ignored != "target":
            recorder.filter.add_rule(name="*sh", action="ignore")
        if ignored != "attacker":
            recorder.filter.add_rule(name="target", action="ignore")
        victim = recorder.filter.popen([target, "60"])
        try:
            status, _, _ = run_checked(recorder, ["/bin/sh", "-c", f"kill -KILL {victim.pid}"])
            assert status == 1
            assert victim.poll() is None
        finally:
            recorder.filter.stop_filter()
            victim.kill()
            victim.wait(10)
    assert recorder.filter.statistics().refused == 1


def test_the_command_line(denied: str) -> None:
    line = [sys.executable, "-m", "cbprocess", "run", "--deny", "denied", "--ignore", "*sh"]
    done = subprocess.run(
        [*line, "--", "/bin/sh", "-c", f"{denied}; exit $?"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 126
    assert "denied: Permission denied" in done.stderr
