"""A name never means process 1, one that the controller descends from, the system's own or another helper; an
id does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from live_tools import name_of, recording, tracer_of, wait_until

from cbprocess._binding.library import native_folder

# By name, then by id: who traces the controller's creator, that one's other child, and a namesake.
CONTROLLER = """
import json, os, sys
from cbprocess import CBProcess

def tracer_of(process_id):
    with open(f"/proc/{process_id}/status") as file:
        return int(next(line for line in file if line.startswith("TracerPid:")).split()[1])

others = [int(word) for word in sys.argv[2:]]
process = CBProcess()
process.initialize("{713CC6CE-B3E2-4fd9-838D-E28F558F6866}")
with process:
    process.start_filter(0)
    process.add_filtered_process_by_name(sys.argv[1], True)
    by_name = [tracer_of(process_id) != 0 for process_id in (os.getppid(), *others)]
    process.add_filtered_process_by_id(os.getppid(), False)
    print(json.dumps([by_name, tracer_of(os.getppid()) != 0]))
"""


@pytest.mark.limit(240)
def test_a_name_means_no_ancestor(tmp_path: Path) -> None:
    """Not the creator of the controller, nor that one's other children, which it does not lead to."""
    program = tmp_path / f"cbprocess-test-{tmp_path.name}"
    shutil.copy(Path("/bin/sh").resolve(), program)
    (tmp_path / "controller.py").write_text(CONTROLLER)
    text = f'sleep 1000 & "{sys.executable}" controller.py {program.name} $! $1; kill $!'
    # The namesake waits for a line that comes when all is over.
    with subprocess.Popen([program, "-c", "read x"], stdin=subprocess.PIPE) as namesake:
        line = [program, "-c", text, "sh", str(namesake.pid)]
        done = subprocess.run(line, cwd=tmp_path, stdout=subprocess.PIPE, timeout=200, check=False)
        assert namesake.stdin is not None
        namesake.stdin.write(b"\n")
        namesake.stdin.close()
    assert json.loads(done.stdout) == [[False, False, True], True]


# A program that lies where the system's own do, in a namespace of mounts. It waits for the end of its input.
OF_THE_SYSTEM = """
mount -t tmpfs none "$1" && cp "$2" "$1/$3" && exec "$1/$3"
"""


def test_a_name_means_nothing_of_the_system(tmp_path: Path) -> None:
    """The system's manager and what belongs to it: whoever holds one of them holds the machine."""
    folder = "/usr/lib/systemd"
    probe = subprocess.run(["unshare", "-Urm", "mount", "-t", "tmpfs", "none", folder], capture_output=True)
    if probe.returncode != 0:
        pytest.skip(f"no namespace, or no {folder} here: {probe.stderr.decode(errors='replace').strip()}")
    name = f"cbp-{tmp_path.name}"[:60]
    cat = Path(shutil.which("cat") or "cat").resolve()
    line = ["unshare", "-Urm", "sh", "-c", OF_THE_SYSTEM, "sh", folder, str(cat), name]
    other = tmp_path / name
    shutil.copy2(cat, other)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(line, **pipes) as system, subprocess.Popen([other], **pipes) as ordinary:
        try:
            wait_until(lambda: name_of(os.readlink(f"/proc/{system.pid}/exe")) == name, 20, "it runs")
            assert os.readlink(f"/proc/{system.pid}/exe") == f"{folder}/{name}"
            with recording() as recorder:
                recorder.filter.add_filtered_process_by_name(name, True)
                assert (tracer_of(system.pid), tracer_of(ordinary.pid) != 0) == (0, True)
                recorder.filter.add_filtered_process_by_id(system.pid, False)
                assert tracer_of(system.pid) != 0
        finally:
            system.kill()
            ordinary.kill()


ANOTHER_CONTROLLER = """
import sys, time
from cbprocess import CBProcess
process = CBProcess()
process.initialize("{713CC6CE-B3E2-4fd9-838D-E28F558F6866}")
with process:
    process.start_filter(0)
    process.add_filtered_process_by_id(-1, True)
    child = process.popen(["cat"])
    with open(f"/proc/{child.pid}/status") as file:
        print(next(line for line in file if line.startswith("TracerPid:")).split()[1], flush=True)
    child.wait()
"""


def test_a_name_means_no_other_helper() -> None:
    """Two that hold each other's tasks would wait for each other."""
    with subprocess.Popen(
        [sys.executable, "-c", ANOTHER_CONTROLLER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/"
    ) as controller:
        assert controller.stdin is not None and controller.stdout is not None
        helper = int(controller.stdout.readline())
        program = str(Path(native_folder(), "cbprocess-ptrace").resolve())
        with recording() as recorder:
            recorder.filter.add_filtered_process_by_name(program, True)
            traced = tracer_of(helper)
        controller.stdin.close()
        assert controller.wait(60) == 0
    assert traced == 0


# Its child goes by another name, says so, and waits for the end of the input. Whether it waits for that, too.
PARENT = 'exec 3<&0; cat <&3 & echo $!; if "$1"; then wait; fi'


def test_a_name_means_no_descendant_of_one_that_has_ended(tmp_path: Path) -> None:
    """Outside of the filter nobody remembers who has ended; the child of one that lives is taken."""
    program = tmp_path / f"cbp-{tmp_path.name}"[:200]
    shutil.copy2(Path("/bin/sh").resolve(), program)
    parents, children = [], []
    for waits in ("false", "true"):
        line = [program, "-c", PARENT, "sh", waits]
        parents.append(subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        output = parents[-1].stdout
        assert output is not None
        children.append(int(output.readline()))
        link = f"/proc/{children[-1]}/exe"
        wait_until(lambda link=link: os.readlink(link) != str(program), 20, "it is executed")
    assert parents[0].wait(60) == 0
    with recording() as recorder:
        recorder.filter.add_filtered_process_by_name(program.name, True)
        traced = [tracer_of(number) != 0 for number in (children[0], parents[1].pid, children[1])]
    for parent in parents:
        parent.communicate(timeout=60)
    assert traced == [False, True, True]
