"""Enrichment of records: what the system says of a process, and config("Enrich=...")."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from unit.event_blocks import dispatch_once, make_event
from unit.instances import assert_code

from cbprocess import CBProcess, constants, records
from cbprocess._records import context

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="/proc is Linux's")

HELD = constants.EVENT_FLAG_HELD
ID = "0123456789abcdef" * 4
ALL = "cwd,cgroup,terminal,user"
NOTHING = {
    "working_directory": None,
    "cgroup": None,
    "container_id": None,
    "session_id": None,
    "terminal": None,
}


@pytest.fixture
def child(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    folder = tmp_path / os.fsdecode(b"\xff folder")
    folder.mkdir()
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, cwd=folder, start_new_session=True) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


def start_time(process_id: int) -> int:
    return int(Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[19])


def record_of(process_id: int, enrich: str, **fields: Any) -> dict[str, Any]:
    made: list[dict[str, Any]] = []
    recorder = records.Recorder(enrich=enrich)
    memory = make_event(process_id=process_id, **fields)
    dispatch_once(memory, lambda event: made.append(recorder.record(event)))
    return made[0]


def test_what_the_system_says(child: subprocess.Popen[bytes], tmp_path: Path) -> None:
    made = record_of(child.pid, ALL, flags=HELD, start_time=start_time(child.pid), user_id=os.getuid())
    assert records.exact(made, "working_directory") == os.fsencode(tmp_path) + b"/\xff folder"
    assert made["working_directory"].endswith("/\ufffd folder")
    groups = [line.split(":", 2)[2] for line in Path(f"/proc/{child.pid}/cgroup").read_text().splitlines()]
    assert made["cgroup"] in groups
    assert made["session_id"] == os.getsid(child.pid) == child.pid and made["terminal"] is None
    assert made["user_name"] == pwd.getpwuid(os.getuid()).pw_name
    assert "cgroup" not in record_of(child.pid, "cwd", flags=HELD)
    assert not set(NOTHING) & set(record_of(child.pid, "", flags=HELD))


def test_another_process_with_the_id_is_not_looked_at(child: subprocess.Popen[bytes]) -> None:
    """An operation that does not wait may be long past."""
    right = start_time(child.pid)
    assert record_of(child.pid, "cwd", start_time=right)["working_directory"]
    made = record_of(child.pid, ALL, start_time=right - 1, user_id=0)
    assert {key: made[key] for key in NOTHING} == NOTHING and made["user_name"] == "root"


def test_a_process_that_has_gone_has_nothing() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    made = record_of(process.pid, ALL, flags=HELD, start_time=5, user_id=2**32 - 7)
    assert {key: made[key] for key in NOTHING} == NOTHING and made["user_name"] is None


def test_only_creations_of_this_machine_are_enriched() -> None:
    made: list[dict[str, Any]] = []
    elsewhere = records.Recorder(records.Origin("other", "b", "s"), enrich="cwd")
    memory = make_event(process_id=os.getpid(), flags=HELD)
    dispatch_once(memory, lambda event: made.append(elsewhere.record(event)))
    end = make_event(constants.PROC_EVT_PROCESS_TERMINATION, process_id=os.getpid(), flags=HELD)
    dispatch_once(end, lambda event: made.append(records.record_of(event, enrich=["cwd"])))
    assert not [record for record in made if "working_directory" in record]


@pytest.mark.parametrize(
    ("text", "group", "container"),
    [
        ("0::/\n", "/", None),
        ("", None, None),
        ("0::/user.slice/user-0.slice\n", "/user.slice/user-0.slice", None),
        (f"0::/system.slice/docker-{ID}.scope\n", f"/system.slice/docker-{ID}.scope", ID),
        (f"0::/docker/{ID}/init\n", f"/docker/{ID}/init", ID),
        (f"0::/x/cri-containerd-{ID}.scope\n", f"/x/cri-containerd-{ID}.scope", ID),
        (f"4:memory:/docker/{ID}\n0::/\n", f"/docker/{ID}", ID),
        (f"0::/a:b/libpod-{ID}\n", f"/a:b/libpod-{ID}", ID),
        (f"0::/{ID}{ID}\n", f"/{ID}{ID}", None),
        (f"0::/{ID[:-1]}g\n", f"/{ID[:-1]}g", None),
    ],
)
def test_control_groups_and_containers(text: str, group: str | None, container: str | None) -> None:
    path = context.control_group(text.encode())
    assert path == (None if group is None else group.encode())
    assert (context.container_id(path) if path else None) == container


def test_terminals_have_the_name_of_their_file() -> None:
    parent, terminal = os.openpty()
    try:
        device = os.stat(os.ttyname(terminal)).st_rdev
        # /proc/PID/stat has numbers as the kernel's new_encode_dev() makes them: a signed int.
        major, minor = os.major(device), os.minor(device)
        number = minor & 0xFF | major << 8 | (minor & ~0xFF) << 12
        assert context.terminal_name(number) == os.ttyname(terminal)
    finally:
        os.close(parent)
        os.close(terminal)
    assert context.terminal_name(0) is None
    assert context.terminal_name(0x88 << 8 | 5 | 1 << 20) == "/dev/pts/261"
    assert (
        context.terminal_name(4 << 8 | 1) == "/dev/tty1"
        and context.terminal_name(4 << 8 | 64) == "/dev/ttyS0"
    )
    assert context.terminal_name(204 << 8 | 64) == "204:64"


def test_the_setting() -> None:
    process = CBProcess()
    assert process.config("Enrich") == ""
    assert process.config("enrich = Terminal, cwd ,cwd") == "cwd,terminal"
    assert process.config("ENRICH") == "cwd,terminal" and CBProcess().config("Enrich") == ""
    for wrong in ("shoes", "cwd,", "cwd;user"):
        assert_code(87, process.config, f"Enrich={wrong}")
    assert process.config("Enrich") == "cwd,terminal"
    assert "working_directory" in records.Recorder.of(process).record(_own())
    assert process.config("Enrich=") == ""
    assert "working_directory" not in records.Recorder.of(process).record(_own())


def _own() -> Any:
    from cbprocess import snapshot

    return next(process for process in snapshot() if process.process_id == os.getpid())
