"""`cbprocess monitor` as people start it: every process of the machine with its command line, how it ends,
what it leaves, what it says to those who may not, and the installed driver.

It only looks, at the whole machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
from machine import own_place
from machine.native.machine_tools import attached, guards_of
from machine.native.monitor_tools import START_LIMIT_S, Starting, command, environment, run_marked, wait_until
from machine.native.monitor_tools import monitor as monitor

from cbprocess._binding.library import native_folder

GUID = "{7D1B9A57-6C0E-4E0C-93B2-9C3E5D1E0A11}"


def test_every_process_with_its_command_line(monitor: Starting) -> None:
    watching = monitor()
    marks = [uuid.uuid4().hex for _ in range(200)]
    long = "x" * 100_000
    for number, mark in enumerate(marks):
        subprocess.run(["/bin/sh", "-c", f"exit {number % 256}", mark, "a b", long[: number * 500]])
    watching.wait_for(marks[-1])
    assert watching.stop() == 0
    assert watching.errors.read_text() == ""
    events = watching.events()
    creations = {
        event["arguments"][3]: event
        for event in events
        if event["event"] == "process_creation" and len(event["arguments"]) == 6
    }
    assert set(marks) <= set(creations)
    # An id may have been given out again meanwhile.
    ends = {
        (event["process_id"], event["start_time"]): event
        for event in events
        if event["event"] == "process_termination"
    }
    for number, mark in enumerate(marks[:-1]):
        event = creations[mark]
        wanted = ["/bin/sh", "-c", f"exit {number % 256}", mark, "a b", long[: number * 500]]
        assert event["arguments"] == wanted
        assert event["creating_process_id"] == os.getpid()
        assert ends[event["process_id"], event["start_time"]]["exit_status"] == number % 256
    # Nothing of all that has waited.
    assert not any("held" in event["flags"] for event in events)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_ends_by_signals_and_leaves_nothing(monitor: Starting, number: int) -> None:
    watching = monitor()
    found = attached(watching.process.pid)
    assert found.processes and found.links and not found.marks
    assert watching.stop(number) == 0
    wait_until(lambda: not found.left(), 40, "all of it has gone")
    assert run_marked() not in watching.output.read_text()


def test_it_ends_on_a_machine_that_never_rests(monitor: Starting) -> None:
    """There is always another event: what has happened before the signal is told, and no more awaited."""
    script = "while :; do /bin/true; done"
    restless = [subprocess.Popen(["/bin/sh", "-c", script]) for _ in range(2)]
    try:
        watching = monitor()
        mark = run_marked()
        assert watching.stop() == 0
    finally:
        for each in restless:
            each.kill()
            each.wait()
    assert mark in watching.text()


def test_a_killed_monitor_leaves_nothing(monitor: Starting) -> None:
    watching = monitor()
    found = attached(watching.process.pid)
    assert found.processes
    watching.process.kill()
    watching.process.wait()
    start = time.monotonic()
    run_marked()
    assert time.monotonic() - start < 10
    wait_until(lambda: not found.left(), 40, "all of it has gone")


def test_a_stopped_monitor_holds_nobody(monitor: Starting) -> None:
    watching = monitor()
    watching.process.send_signal(signal.SIGSTOP)
    try:
        start = time.monotonic()
        marks = [run_marked() for _ in range(50)]
        assert time.monotonic() - start < 20
    finally:
        watching.process.send_signal(signal.SIGCONT)
    watching.wait_for(marks[-1])
    text = watching.output.read_text()
    assert all(mark in text for mark in marks)
    assert watching.stop() == 0


def test_only_what_was_named_and_its_children(monitor: Starting) -> None:
    watching = monitor("--name", "env", waits=False)
    marks: list[str] = []

    def is_seen() -> bool:
        marks.append(uuid.uuid4().hex)
        subprocess.run(["/usr/bin/env", "/bin/echo", marks[-1]], stdout=subprocess.DEVNULL, check=True)
        return any(mark in watching.output.read_text() for mark in marks if watching.output.exists())

    wait_until(is_seen, START_LIMIT_S, "the monitor sees env")
    other = run_marked()
    subprocess.run(["/usr/bin/env", "sh", "-c", f"/bin/echo child-{other}"], stdout=subprocess.DEVNULL)
    watching.wait_for(f"child-{other}")
    assert watching.stop() == 0
    hidden = [
        event
        for event in watching.events()
        if event["event"] == "process_creation" and event["arguments"] == ["/bin/true", other]
    ]
    assert hidden == []


def test_the_summary_has_what_ran_already_and_nothing_twice(monitor: Starting) -> None:
    with subprocess.Popen(["/bin/sleep", "987654"]) as sleeper:
        try:
            watching = monitor("--summary", "--tree")
            assert watching.stop() == 0
        finally:
            sleeper.kill()
    [summary] = [event for event in watching.events() if event["event"] == "summary"]
    lines = [row["command_line"] for row in summary["processes"] if row["process_id"] == sleeper.pid]
    assert lines == ["/bin/sleep 987654"]
    indexes = [row["index"] for row in summary["processes"]]
    assert len(indexes) == len(set(indexes))


def test_many_short_processes_are_all_there(monitor: Starting) -> None:
    watching = monitor()
    script = "i=0; while [ $i -lt 1500 ]; do /bin/true $0-$i; i=$((i+1)); done"
    mark = uuid.uuid4().hex
    children = [subprocess.Popen(["/bin/sh", "-c", script, f"{mark}-{number}"]) for number in range(2)]
    assert [child.wait(100) for child in children] == [0, 0]
    for number in range(2):
        watching.wait_for(f"{mark}-{number}-1499")
    assert watching.stop() == 0 and watching.errors.read_text() == ""
    seen = [
        event["arguments"][1]
        for event in watching.events()
        if event["event"] == "process_creation"
        and " ".join(event["arguments"]).startswith(f"/bin/true {mark}-")
    ]
    wanted = {f"{mark}-{number}-{i}" for number in range(2) for i in range(1500)}
    assert wanted <= set(seen) and len(seen) == len(set(seen))


# ---- Who may, and what is installed ----


def test_without_the_capability_it_says_what_is_missing() -> None:
    without = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"]
    line = [*without, sys.executable, "-m", "cbprocess", "monitor"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, env=environment())
    assert done.returncode == 125 and "CAP_SYS_ADMIN" in done.stderr and done.stderr.count("\n") == 1
    assert "(error 1314)" in done.stderr and done.stdout == ""


def test_a_product_without_the_driver_is_told_to_install_it() -> None:
    done = command("monitor", "--product", GUID)
    assert done.returncode == 125 and "(error 2)" in done.stderr
    assert "cbprocess install --product" in done.stderr and done.stderr.count("\n") == 1


def test_a_machine_without_libbpf_loses_this_driver_and_nothing_else() -> None:
    find = "import ctypes; ctypes.CDLL('libbpf.so.1'); print(open('/proc/self/maps').read())"
    maps = subprocess.run([sys.executable, "-c", find], capture_output=True, text=True).stdout
    paths = {line.split(maxsplit=5)[5] for line in maps.splitlines() if "/libbpf.so" in line}
    if not paths or (Path(native_folder()) / "libbpf.so.1").exists():
        pytest.skip("the guard uses no libbpf of this machine")
    hidden = " && ".join(f"mount --bind /dev/null {path}" for path in paths)
    python = f"{sys.executable} -m cbprocess"
    line = f"{hidden} && {python} doctor; {python} monitor; {python} run -- true; echo status $?"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", line],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(),
    )
    assert "bpf: cannot run\n  this machine has no libbpf.so.1: install" in done.stdout
    assert "(error 588)" in done.stderr and done.stdout.endswith("status 0\n"), done.stderr


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "root"
    made.mkdir()
    return made


def test_install_monitor_and_uninstall(root: Path, monitor: Starting) -> None:
    at = {own_place.TEST_ROOT: str(root)}
    assert command("status", "--product", GUID, **at).stdout.endswith(f"not installed for {GUID}\n")
    done = command("install", "--product", GUID, **at)
    assert done.returncode == 0 and done.stdout.startswith("the bpf driver "), done.stderr
    assert (root / "usr/lib/cbprocess").is_dir()
    assert "installed, not loaded" in command("status", "--product", GUID, **at).stdout
    watching = monitor("--product", GUID, **at)
    guard = guards_of(watching.process.pid)[0]
    assert os.readlink(f"/proc/{guard}/exe").startswith(f"{root}/usr/lib/cbprocess/")
    assert json.loads(command("status", "--json", "--product", GUID, **at).stdout)["status"] == "running"
    assert watching.stop() == 0
    done = command("uninstall", "--product", GUID, **at)
    assert done.returncode == 0, done.stderr
    assert not (root / "usr/lib/cbprocess").exists() and not (root / "var/lib/cbprocess").exists()


def test_nothing_is_installed_for_the_command_line_itself(root: Path, monitor: Starting) -> None:
    watching = monitor(**{own_place.TEST_ROOT: str(root)})
    assert watching.stop() == 0
    assert not (root / "usr").exists()
