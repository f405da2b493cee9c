"""What the doctor says about the machine: limits against what the system itself tells, and the notes."""

from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import sys
from typing import Any

import pytest

from cbprocess import cli
from cbprocess.cli import conditions, doctor

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the limits and namespaces are of Linux")


@pytest.mark.parametrize(
    "note", [conditions.task_limit_note, conditions.group_limit_note, conditions.descriptor_limit_note]
)
def test_only_limits_that_are_near_are_worth_a_note(note: Any) -> None:
    assert note(10_000, None) == ""
    assert note(10, 1_000) == ""
    for used, limit in [(995, 1_000), (1_000, 1_000), (1_200, 1_000)]:
        assert f"{used} of {limit}" in note(used, limit)


def test_notes_name_limit_code_and_remedy() -> None:
    assert all(word in conditions.task_limit_note(1, 2) for word in ("RLIMIT_NPROC", "1450", "ulimit -u"))
    assert all(word in conditions.group_limit_note(1, 2) for word in ("pids.max", "1450"))
    assert all(word in conditions.descriptor_limit_note(1, 2) for word in ("RLIMIT_NOFILE", "error 4"))
    assert conditions.namespace_note(0) == ""
    assert os.strerror(errno.ENOSPC) in conditions.namespace_note(errno.ENOSPC)


def test_descriptors_are_those_of_this_process() -> None:
    used, limit = conditions.descriptors()
    files = [os.open("/dev/null", os.O_RDONLY) for _ in range(5)]
    assert conditions.descriptors() == (used + 5, limit)
    for file in files:
        os.close(file)
    assert limit == resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def test_tasks_are_counted_with_their_threads() -> None:
    child = subprocess.Popen([sys.executable, "-c", THREADS], stdout=subprocess.PIPE)
    assert child.stdout is not None and child.stdout.readline() == b"ready\n"
    counts = dict(conditions.threads_of_processes())
    child.kill()
    child.communicate()
    assert counts[child.pid] == (os.getuid(), 4)


THREADS = """
import threading, time
for _ in range(3):
    threading.Thread(target=time.sleep, args=(60,)).start()
print("ready", flush=True)
"""


def test_the_limit_of_tasks_is_seen_as_the_kernel_enforces_it() -> None:
    """Root is exempt, and so is whoever may raise limits; for others it is what getrlimit tells."""
    used, limit = conditions.user_tasks()
    soft = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    if os.getuid() == 0 or soft == resource.RLIM_INFINITY:
        assert (used, limit) == (0, None)
    else:
        assert limit == soft and used >= 1


def test_the_tightest_control_group_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = {"/sys/fs/cgroup/a/b": (5, 100), "/sys/fs/cgroup/a": (50, 60), "/sys/fs/cgroup": (0, None)}
    monkeypatch.setattr(conditions, "group_numbers", lambda folder: numbers[folder])
    monkeypatch.setattr(conditions, "group_path", lambda: "/a/b")
    assert conditions.group_tasks() == (50, 60)
    monkeypatch.setattr(conditions, "group_path", lambda: "")
    assert conditions.group_tasks() == (0, None)


def test_user_namespaces_as_unshare_finds_them() -> None:
    done = subprocess.run(["unshare", "--user", "true"], capture_output=True, timeout=60)
    assert (conditions.user_namespace_error() == 0) == (done.returncode == 0)


def test_the_doctor_shows_the_notes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "conditions", lambda: ["something is nearly full"])
    cli.main(["doctor"])
    assert "this machine:\n  something is nearly full\n" in capsys.readouterr().out
    cli.main(["doctor", "--json"])
    assert json.loads(capsys.readouterr().out)["notes"] == ["something is nearly full"]
    monkeypatch.setattr(doctor, "conditions", list)
    cli.main(["doctor"])
    assert "this machine" not in capsys.readouterr().out
