"""The example of a systemd unit: systemd takes it, its capabilities suffice, and each of them is needed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from machine import own_place

NOBODY = 65534
PROGRAM = "/opt/cbprocess/bin/cbprocess"


@pytest.fixture(scope="module")
def unit(checkout: Path) -> str:
    return (checkout / "examples" / "systemd" / "cbprocess-monitor.service").read_text()


def setting(unit: str, name: str) -> str:
    [value] = [line.partition("=")[2] for line in unit.splitlines() if line.startswith(f"{name}=")]
    return value


def with_only(capabilities: list[str]) -> list[str]:
    """The beginning of a command that then has these capabilities, and gets no more by an execution."""
    names = ",".join(f"+{name.removeprefix('CAP_').lower()}" for name in capabilities)
    return ["setpriv", "--no-new-privs", f"--bounding-set=-all,{names}", f"--inh-caps=-all,{names}"]


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != own_place.ONLY_DESCENDANTS}


def as_nobody() -> None:
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
def test_systemd_takes_it(unit: str, tmp_path: Path) -> None:
    path = tmp_path / "cbprocess-monitor.service"
    path.write_text(unit.replace(PROGRAM, "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(path)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_its_command_is_one(unit: str) -> None:
    program, *arguments = setting(unit, "ExecStart").split()
    assert program == PROGRAM and arguments[0] == "monitor"
    code = f"from cbprocess import cli; cli.parse({arguments!r})"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_its_capabilities_suffice(unit: str, tmp_path: Path) -> None:
    capabilities = setting(unit, "CapabilityBoundingSet").split()
    line = [sys.executable, "-m", "cbprocess", *setting(unit, "ExecStart").split()[1:]]
    output = tmp_path / "output"
    mark = uuid.uuid4().hex
    number = 0
    with open(output, "wb") as file:
        monitor = subprocess.Popen(with_only(capabilities) + line, stdout=file, env=environment())
    try:
        deadline = time.monotonic() + 60
        while mark not in output.read_text():
            assert monitor.poll() is None and time.monotonic() < deadline
            number += 1
            subprocess.run(["/bin/true", f"{mark}-{number}"], preexec_fn=as_nobody, check=True)
            time.sleep(0.1)
        subprocess.run(["/bin/sh", "-c", "exit 7", f"end-{mark}"], preexec_fn=as_nobody)
        while f"end-{mark}" not in output.read_text():
            assert monitor.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        monitor.terminate()
    assert monitor.wait(60) == 0
    events = [json.loads(line) for line in output.read_text().splitlines()]
    [creation] = [
        event
        for event in events
        if event["event"] == "process_creation" and f"end-{mark}" in event["arguments"]
    ]
    assert creation["arguments"] == ["/bin/sh", "-c", "exit 7", f"end-{mark}"]
    assert creation["user_id"] == NOBODY


@pytest.fixture
def sleeper() -> Iterator[int]:
    with subprocess.Popen(["/bin/sleep", "1000"], preexec_fn=as_nobody) as child:
        yield child.pid
        child.kill()


def program_of(process_id: int, capabilities: list[str]) -> str:
    """The program of a running process, as a snapshot tells it that is taken with these capabilities."""
    line = [sys.executable, "-m", "cbprocess", "snapshot", "--json", "--source", "proc"]
    done = subprocess.run(
        with_only(capabilities) + line, capture_output=True, text=True, check=True, env=environment()
    )
    [found] = [row for row in map(json.loads, done.stdout.splitlines()) if row["process_id"] == process_id]
    return str(found["process_name"])


def test_each_capability_is_needed(unit: str, sleeper: int) -> None:
    capabilities = setting(unit, "CapabilityBoundingSet").split()
    assert capabilities == ["CAP_SYS_ADMIN", "CAP_SYS_PTRACE"]
    line = [*with_only(["CAP_SYS_PTRACE"]), sys.executable, "-m", "cbprocess", "monitor"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, env=environment())
    assert done.returncode == 125 and "CAP_SYS_ADMIN" in done.stderr
    path = os.readlink(f"/proc/{sleeper}/exe")
    assert program_of(sleeper, capabilities) == path
    assert program_of(sleeper, ["CAP_SYS_ADMIN"]) != path
