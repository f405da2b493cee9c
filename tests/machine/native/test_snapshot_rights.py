"""Snapshots by programs in the kernel: who may have them, what of them stays in a process, and what is done
where they cannot be had."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cbprocess._binding.library import native_folder

SLEEP = shutil.which("sleep") or "/bin/sleep"
NOBODY = 65534

PREPARED = """
import os, cbprocess
def links():
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{name}"))
        except OSError:
            pass
    return sum("bpf" in each for each in found)
"""


def run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_code(code: str, *launcher: str) -> str:
    return run([*launcher, sys.executable, "-c", PREPARED + code])


def test_auto_uses_the_kernel_from_the_third_call_on() -> None:
    code = "for _ in range(4): cbprocess.snapshot(); print(links())"
    assert run_code(code).split() == ["0", "0", "2", "2"]


def test_nothing_but_two_descriptors_stays() -> None:
    code = """
cbprocess.snapshot(source="bpf")
children = open(f"/proc/self/task/{os.getpid()}/children").read().split()
descriptors = [each for each in range(3, 64) if os.path.exists(f"/proc/self/fd/{each}")]
inherited = [each for each in descriptors if os.get_inheritable(each)]
print(links(), children, inherited, len(cbprocess.snapshot(source="bpf")) > 5)
"""
    assert run_code(code) == "2 [] [] True\n"


def test_a_user_without_rights_is_told_why_and_has_the_other_way() -> None:
    code = f"""
cbprocess.snapshot()
os.setuid({NOBODY})
try:
    cbprocess.snapshot(source="bpf")
except cbprocess.CBProcessError as error:
    print(error.code, "CAP_" in error.message)
for _ in range(4): found = cbprocess.snapshot()
print(links(), os.getpid() in [each.process_id for each in found])
"""
    assert run_code(code) == "50 True\n0 True\n"


def test_rights_that_are_given_up_later_are_not_used() -> None:
    """The links stay open. Whoever has them could list what /proc would not show."""
    code = f"""
cbprocess.snapshot(source="bpf")
os.setuid({NOBODY})
try:
    cbprocess.snapshot(source="bpf")
except cbprocess.CBProcessError as error:
    print(error.code)
found = cbprocess.snapshot()
print(len(found) > 5, [each.path for each in found if each.process_id == 2])
"""
    assert run_code(code) == "50\nTrue ['']\n"


def test_a_fork_has_no_part_in_it() -> None:
    code = """
cbprocess.snapshot(source="bpf")
print(links(), flush=True)
child = os.fork()
if child == 0:
    print(links(), len(cbprocess.snapshot()) > 5, links(), flush=True)
    print(len(cbprocess.snapshot(source="bpf")) > 5, links(), flush=True)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
print(links(), len(cbprocess.snapshot(source="bpf")) > 5)
"""
    assert run_code(code) == "2\n0 True 0\nTrue 2\n2 True\n"


@pytest.mark.parametrize(
    "options", [["--pid", "--fork", "--mount-proc"], ["--time", "--boottime", "1000", "--fork"]]
)
def test_in_a_namespace_with_other_numbers(options: list[str]) -> None:
    code = """
try:
    cbprocess.snapshot(source="bpf")
except cbprocess.CBProcessError as error:
    print(error.code, "namespace" in error.message)
for _ in range(4): found = cbprocess.snapshot()
(own,) = [each for each in found if each.process_id == os.getpid()]
print(links(), own.path == os.path.realpath("/proc/self/exe"))
"""
    assert run_code(code, "unshare", *options) == "50 True\n0 True\n"


def test_under_another_root(tmp_path: Path) -> None:
    """/proc shows paths from the reader's root on."""
    shutil.copy(SLEEP, tmp_path / "sleep")
    (tmp_path / "proc").mkdir()
    code = f"""
import subprocess
subprocess.run(["mount", "--bind", "/proc", {str(tmp_path / "proc")!r}], check=True)
child = subprocess.Popen([{str(tmp_path / "sleep")!r}, "600"])
try:
    cbprocess.snapshot(source="bpf")
    os.chroot({str(tmp_path)!r})
    os.chdir("/")
    for source in ("proc", "bpf"):
        print([each.path for each in cbprocess.snapshot(source=source) if each.process_id == child.pid])
finally:
    child.kill()
    child.wait()
"""
    assert run_code(code, "unshare", "--mount") == "['/sleep']\n['/sleep']\n"


def test_without_the_guard(tmp_path: Path) -> None:
    for file in Path(native_folder()).iterdir():
        if "guard" not in file.name:
            shutil.copy(file, tmp_path)
    code = """
try:
    cbprocess.snapshot(source="bpf")
except cbprocess.CBProcessError as error:
    print(error.code, "cbprocess-guard" in error.message)
for _ in range(4): found = cbprocess.snapshot()
print(links(), len(found) > 5)
"""
    assert run_code(code, "env", f"CBPROCESS_NATIVE_DIR={tmp_path}") == "50 True\n0 True\n"


def test_without_descriptors() -> None:
    code = """
import resource
cbprocess.snapshot(source="bpf")
spare = os.dup(0)
os.close(spare)
limits = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (spare, limits[1]))
try:
    cbprocess.snapshot(source="bpf")
except cbprocess.CBProcessError as error:
    print(error.code)
resource.setrlimit(resource.RLIMIT_NOFILE, limits)
print(len(cbprocess.snapshot(source="bpf")) > 5)
"""
    assert run_code(code) == "4\nTrue\n"


def test_a_failure_that_passes_is_tried_again() -> None:
    code = """
import resource
cbprocess.snapshot()
spare = os.dup(0)
os.close(spare)
limits = resource.getrlimit(resource.RLIMIT_NOFILE)
for room in range(12):
    resource.setrlimit(resource.RLIMIT_NOFILE, (spare + room, limits[1]))
    try:
        cbprocess.snapshot(source="bpf")
    except cbprocess.CBProcessError as error:
        assert error.code == 4, (room, error)
    else:
        break
assert room > 0
resource.setrlimit(resource.RLIMIT_NOFILE, limits)
print(len(cbprocess.snapshot(source="bpf")) > 5, links())
"""
    assert run_code(code) == "True 2\n"


def test_the_command() -> None:
    line = [sys.executable, "-m", "cbprocess", "snapshot", "--json", "--source"]
    by_kernel, by_files = (run([*line, source]) for source in ("bpf", "proc"))
    (first, second) = (
        [row for row in map(json.loads, text.splitlines()) if row["process_id"] == os.getpid()]
        for text in (by_kernel, by_files)
    )
    assert len(first) == len(second) == 1
    of_the_command = ("session", "time", "time_ns")
    assert {**first[0], **dict.fromkeys(of_the_command)} == {**second[0], **dict.fromkeys(of_the_command)}
