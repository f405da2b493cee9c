"""Rules belong to processes and not to numbers, also where a number is given out again: each driver that can
run here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import cbprocess

PROGRAM = Path(__file__).with_name("reused_ids.py")
# A user's own process ids, of which the next can be chosen.
NAMESPACE = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc"]

# The rule of the process that was there before stays for its child, until it is taken out.
WITH_CHILDREN = """\
first: child 5
another: child 5 second 0
added: child 5 second 2
taken out: child 5 second 0
taken out: child 0 second 0
error 1168
added: child 0 second 5
"""
# One that is for nobody else gives way.
ALONE = """\
first: child 0
another: child 0 second 0
added: child 0 second 2
taken out: child 0 second 0
error 1168 child 0 second 0
error 1168
added: child 0 second 5
"""


def namespace_or_skip() -> list[str]:
    # A shell as the first process of the namespace buries orphans.
    line = [*NAMESPACE, "sh", "-c", '"$@"; exit $?', "sh"]
    text = "open('/proc/sys/kernel/ns_last_pid', 'w').write('300')"
    try:
        done = subprocess.run([*line, sys.executable, "-c", text], capture_output=True, text=True, timeout=60)
    except FileNotFoundError:
        pytest.skip("this machine has no unshare")
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        pytest.skip(f"no PID namespace whose ids can be chosen: {said[-1]}")
    return line


@pytest.mark.parametrize("driver", ["simulated", "ptrace"])
def test_a_rule_is_the_process_s_whose_it_was(driver: str) -> None:
    report = cbprocess.probe_driver(driver)
    if not report.runs:
        pytest.skip(f"the {driver} driver cannot run here: {report.reason}")
    line = namespace_or_skip() if driver == "ptrace" else []
    done = subprocess.run(
        [*line, sys.executable, str(PROGRAM), driver], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout) == (0, WITH_CHILDREN + ALONE), done.stderr
