"""Machines that allow less than this one may: Yama's settings, a sandbox without ptrace. What the driver says
that it can do there, and how a start fails where it can do nothing.

Yama's setting is a file of the kernel; a mount namespace of the test's own puts another in its place, which
shows what the package makes of it, not what the kernel would do."""

from __future__ import annotations

import functools
import json
import os
import platform
import shutil
import subprocess
import sys
from typing import Any

import pytest
from live_tools import PROGRAMS

import cbprocess

SCOPE = "/proc/sys/kernel/yama/ptrace_scope"
MOUNT = f"mount -t tmpfs none /proc/sys/kernel && mkdir {os.path.dirname(SCOPE)} && echo $0 > {SCOPE} && "
WITHOUT_CAPABILITY = ["setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace"]
START = """
import cbprocess
process = cbprocess.CBProcess()
process.initialize("{1B0F5C02-3B2B-49C0-8E0F-2C7D2E7B8B11}")
print(cbprocess.probe_driver().capabilities)
try:
    process.start_filter(0)
except cbprocess.CBProcessError as error:
    print(error.code, error.message)
else:
    print(process.popen(["true"]).wait())
"""


@functools.cache
def mount_namespace() -> list[str]:
    """How to start a shell that may mount; [] where that cannot be."""
    if shutil.which("unshare") is None or shutil.which("setpriv") is None:
        return []
    for line in (["unshare", "--mount"], ["unshare", "--user", "--map-root-user", "--mount"]):
        attempt = [*line, "sh", "-c", MOUNT + "true", "0"]
        if subprocess.run(attempt, capture_output=True, timeout=60).returncode == 0:
            return line
    return []


def under_yama(scope: int, capable: bool, *command: str) -> str:
    if not mount_namespace():
        pytest.skip("this machine lets nobody make a mount namespace, or lacks unshare and setpriv")
    line = command if capable else (*WITHOUT_CAPABILITY, *command)
    shell = [*mount_namespace(), "sh", "-c", MOUNT + 'exec "$@"', str(scope), *line]
    done = subprocess.run(shell, capture_output=True, text=True, timeout=60)
    assert done.stderr == "", done.stderr
    return done.stdout


def probe_under_yama(scope: int, capable: bool) -> dict[str, Any]:
    output = under_yama(scope, capable, sys.executable, "-m", "cbprocess", "doctor", "--json")
    report: dict[str, Any] = json.loads(output)["drivers"]["ptrace"]
    return report


@pytest.mark.parametrize(
    ("scope", "capable", "runs", "attaches", "word"),
    [
        (0, False, True, True, ""),
        (0, True, True, True, ""),
        (1, False, True, False, "CAP_SYS_PTRACE"),
        (1, True, True, True, ""),
        (2, False, False, False, "CAP_SYS_PTRACE"),
        (2, True, True, True, ""),
        (3, False, False, False, "restart"),
        (3, True, False, False, "restart"),
    ],
)
def test_yama(scope: int, capable: bool, runs: bool, attaches: bool, word: str) -> None:
    report = probe_under_yama(scope, capable)
    assert (report["runs"], "ATTACH" in report["capabilities"]) == (runs, attaches)
    assert ("LAUNCH" in report["capabilities"]) == runs
    assert word in report["reason"] and bool(word) == bool(report["reason"])
    assert ("ptrace_scope" in report["reason"]) == bool(word)


def test_a_start_where_nobody_may_trace() -> None:
    lines = under_yama(2, False, sys.executable, "-c", START).splitlines()
    code, _, message = lines[1].partition(" ")
    assert (lines[0], int(code)) == ("0", cbprocess.ERROR_PRIVILEGE_NOT_HELD)
    assert "CAP_SYS_PTRACE" in message


def test_a_start_under_yama_1() -> None:
    capabilities, status = under_yama(1, False, sys.executable, "-c", START).splitlines()
    assert int(capabilities) & cbprocess.CAP_LAUNCH and not int(capabilities) & cbprocess.CAP_ATTACH
    assert status == "0"


# By the kernel's tables of x86-64 and AArch64.
CALL_NUMBERS = {"x86_64": {"ptrace": 101, "pidfd_open": 434}, "aarch64": {"ptrace": 117, "pidfd_open": 434}}


@pytest.mark.parametrize(
    ("call", "code", "words"),
    [
        ("ptrace", cbprocess.ERROR_PRIVILEGE_NOT_HELD, "forbids ptrace"),
        ("pidfd_open", cbprocess.ERROR_GEN_FAILURE, "Operation not permitted"),
    ],
)
def test_a_sandbox(call: str, code: int, words: str) -> None:
    number = CALL_NUMBERS[platform.machine()][call]
    line = [sys.executable, str(PROGRAMS / "without_call.py"), str(number), START]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    capabilities, failure = done.stdout.splitlines()
    assert capabilities == "0"
    assert failure.startswith(f"{code} ") and words in failure


# A denied program of a shell: a refusal by errno is 126, and one that ends the process 137.
DENIED = """
import cbprocess
filter = cbprocess.CBProcess()
filter.initialize("{5ABD3A8B-6A3F-4C52-9F0C-5E1F0A1C7D13}")
filter.add_rule(name="*/true", action="deny")
with filter:
    filter.start_filter(0)
    filter.popen(["/bin/sh", "-c", "/bin/true; echo $?"]).wait()
"""


@pytest.mark.parametrize("calls", ["437", "439", "437,439"], ids=["openat2", "faccessat2", "both"])
def test_a_refusal_in_an_older_sandbox(calls: str) -> None:
    """Its profile does not know a call that the helper uses, and answers EPERM instead of ENOSYS."""
    line = [sys.executable, str(PROGRAMS / "without_call.py"), calls, DENIED]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.returncode) == ("126\n", 0), done.stderr
