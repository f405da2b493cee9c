"""Rules for the whole machine: they hold for programs of all users, in every mount namespace, and on file
systems that are mounted later. A refused program has not run."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from live_tools import Programs, wait_until
from whole_machine import CREATIONS, FANOTIFY, GATE, filtering, has_gate

import cbprocess

REFUSED = "refused-program"  # the name that rules deny
ERRNO, KILLED = (
    126,
    128 + signal.SIGKILL,
)  # as what a shell ends whose program may not be executed, or is ended
MARKED_S = 20  # for a file system to be marked that has been mounted just now


@pytest.fixture(params=[FANOTIFY, GATE], ids=["fanotify", "gate"])
def setting(request: pytest.FixtureRequest) -> str:
    if request.param == GATE and not has_gate():
        pytest.skip("the bpf driver has no gate on this kernel")
    return str(request.param)


@pytest.fixture
def denying(setting: str) -> Iterator[Any]:
    with filtering(setting, events=CREATIONS, everything=False) as recorder:
        recorder.filter.add_rule(name=REFUSED, action="deny")
        yield recorder


@contextlib.contextmanager
def mounted(kind: str, folder: Path, options: str = "", source: str = "none") -> Iterator[Path]:
    folder.mkdir(exist_ok=True)
    line = ["mount", "-t", kind, *(["-o", options] if options else []), source, str(folder)]
    subprocess.run(line, check=True, timeout=60)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True, timeout=60)


# What a process of the controller executes is its own request, which is not asked about: a shell executes
# here.
SHELL = ["sh", "-c", '"$0" "$@"; exit $?']


def run(path: Path | str, *arguments: str, **options: Any) -> int:
    """How a program ends, as a shell tells it."""
    return subprocess.run([*SHELL, str(path), *arguments], timeout=60, **options).returncode


def is_refused(setting: str, status: int) -> bool:
    return status == (ERRNO if setting == FANOTIFY else KILLED)


def await_refusal(setting: str, path: Path) -> None:
    wait_until(lambda: is_refused(setting, run(path, "3")), MARKED_S, f"a refusal of {path}")


def put(folder: Path, programs: Programs) -> Path:
    return Path(programs.copy("status", folder / REFUSED))


def test_every_user(setting: str, denying: Any, programs: Programs) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        path = put(folder, programs)
        await_refusal(setting, path)
        for user in ("root", "nobody", "tester"):
            line = ["setpriv", f"--reuid={user}", "--clear-groups", "sh", "-c", f"{path} 3; exit $?"]
            done = subprocess.run(line, stderr=subprocess.PIPE, text=True)
            assert done.returncode == (ERRNO if setting == FANOTIFY else KILLED), user
            assert "Permission denied" not in done.stderr, "the file system has refused it"
    assert run(programs["status"], "3") == 3
    assert denying.errors == []


def test_a_file_system_mounted_later(setting: str, denying: Any, programs: Programs, tmp_path: Path) -> None:
    for number in range(3):
        with mounted("tmpfs", tmp_path / str(number)) as folder:
            path = put(folder, programs)
            await_refusal(setting, path)
            assert all(is_refused(setting, run(path, "3")) for _ in range(5))


def test_at_once_after_a_mount(setting: str, denying: Any, programs: Programs, tmp_path: Path) -> None:
    """Where the mark came too late the program is ended as soon as the controller sees it."""
    sleeper = shutil.which("sleep")
    assert sleeper
    with mounted("tmpfs", tmp_path / "new") as folder:
        shutil.copy(sleeper, folder / REFUSED)
        assert run(folder / REFUSED, "50") in (ERRNO, KILLED)


def test_a_file_system_in_a_namespace_of_its_own(setting: str, denying: Any, programs: Programs) -> None:
    text = (
        f"mount -t tmpfs none /mnt && cp {programs['status']} /mnt/{REFUSED} && for i in $(seq 200); do "
        f"/mnt/{REFUSED} 3; status=$?; test $status != 3 && exit $status; sleep 0.1; done; exit 3"
    )
    done = subprocess.run(["unshare", "-m", "sh", "-c", text], timeout=100, stderr=subprocess.DEVNULL)
    assert done.returncode == (ERRNO if setting == FANOTIFY else KILLED)


@pytest.mark.parametrize("where", ["lower", "upper"])
def test_overlay(where: str, setting: str, denying: Any, programs: Programs, tmp_path: Path) -> None:
    """Also a program of the lower file system, by the path that the overlay shows."""
    with mounted("tmpfs", tmp_path / "base") as base:
        for name in ("lower", "upper", "work"):
            (base / name).mkdir()
        path = put(base / where, programs)
        options = f"lowerdir={base / 'lower'},upperdir={base / 'upper'},workdir={base / 'work'}"
        with mounted("overlay", tmp_path / "overlay", options, "overlay") as folder:
            await_refusal(setting, folder / REFUSED)
            await_refusal(setting, path)
    wanted = {str(folder / REFUSED), str(path)}
    wait_until(
        lambda: wanted <= {row["process_name"] for row in denying.of("process_creation")}, 20, "the events"
    )


def test_other_ways_to_a_file(setting: str, denying: Any, programs: Programs, tmp_path: Path) -> None:
    """A symbolic link, a bind mount, a deleted file, a descriptor."""
    path = put(tmp_path, programs)
    await_refusal(setting, path)
    (tmp_path / "link").symlink_to(path)
    assert is_refused(setting, run(tmp_path / "link", "3"))
    (tmp_path / "bound").mkdir()
    subprocess.run(["mount", "--bind", str(tmp_path), str(tmp_path / "bound")], check=True)
    try:
        assert is_refused(setting, run(tmp_path / "bound" / REFUSED, "3"))
    finally:
        subprocess.run(["umount", "-l", str(tmp_path / "bound")], check=True)
    descriptor = os.open(path, os.O_PATH)
    path.unlink()
    assert is_refused(setting, run(f"/proc/self/fd/{descriptor}", "3", pass_fds=[descriptor]))
    os.close(descriptor)


def test_a_program_in_memory(setting: str) -> None:
    """fanotify cannot mark what memfd_create gives: it is ended before it has done anything that lasts."""
    sleeper = Path(shutil.which("sleep") or "").read_bytes()
    descriptor = os.memfd_create(REFUSED)
    os.write(descriptor, sleeper)

    def decide(kind: str, event: Any) -> None:
        if REFUSED in event.process_name or REFUSED in event.image_file_name:
            event.result_code = cbprocess.ERROR_ACCESS_DENIED

    with filtering(setting, events=CREATIONS, decide=decide) as recorder:
        path = f"/proc/self/fd/{descriptor}"
        assert run(path, "50", pass_fds=[descriptor]) == KILLED
        found = [row for row in recorder.of("process_creation") if REFUSED in str(row["process_name"])]
        assert [row["arguments"][1:] for row in found] == [["50"]]
    os.close(descriptor)


def test_a_script_is_one_event(setting: str, tmp_path: Path) -> None:
    """Script, interpreter and loader are opened one after the other, and each would be asked about."""
    script = tmp_path / "script"
    script.write_text("#!/bin/sh -e\nexit 6\n")
    script.chmod(0o755)
    with filtering(setting, events=CREATIONS) as recorder:
        assert run(script, "a", "b c") == 6
    found = [
        row
        for row in recorder.of("process_creation")
        if str(script) in row["arguments"] + [row["process_name"]]
    ]
    assert len(found) == 1, found
    assert found[0]["held"]
    assert found[0]["arguments"][-2:] == ["a", "b c"]


def test_nothing_of_a_refused_program_runs(setting: str, denying: Any, tmp_path: Path) -> None:
    """Two hundred attempts at the same time, by many processes: not one gets through."""
    path = tmp_path / REFUSED
    path.write_text(f"#!/bin/sh\necho ran >>{tmp_path / 'ran'}\n")
    path.chmod(0o755)
    text = f"for i in $(seq 25); do {path}; done; exit 0"
    await_refusal(setting, path)
    (tmp_path / "ran").unlink(missing_ok=True)
    shells = [subprocess.Popen(["sh", "-c", text], stderr=subprocess.DEVNULL) for _ in range(8)]
    for shell in shells:
        shell.wait(100)
    assert not (tmp_path / "ran").exists()
    assert denying.filter.statistics().refused >= 200


def test_removed_rules_hold_nothing(setting: str, programs: Programs, tmp_path: Path) -> None:
    path = put(tmp_path, programs)
    with filtering(setting, events=CREATIONS, everything=False) as recorder:
        recorder.filter.add_rule(name=REFUSED, action="deny")
        await_refusal(setting, path)
        recorder.filter.remove_rule(name=REFUSED, action="deny")
        wait_until(lambda: run(path, "3") == 3, MARKED_S, "the end of the rule")
    assert run(path, "3") == 3


def test_observing_holds_nothing(programs: Programs) -> None:
    """An allow rule for everything: all is told, and nothing has waited."""
    with filtering(events=CREATIONS, everything=False) as recorder:
        recorder.filter.add_rule(process_id=-1, action="allow")
        line = [
            sys.executable,
            "-c",
            f"import subprocess; [subprocess.run(['{programs['status']}']) for _ in range(20)]",
        ]
        assert subprocess.run(line, timeout=100).returncode == 0
        wait_until(lambda: len(told(recorder, programs)) == 20, 20, "the events")
    assert not [row for row in recorder.events if row["held"] or row["refusable"]]


def told(recorder: Any, programs: Programs) -> list[Any]:
    return [row for row in recorder.of("process_creation") if row["process_name"] == programs["status"]]
