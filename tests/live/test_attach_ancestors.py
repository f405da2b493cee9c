"""A name never means process 1 or one that the controller descends from; an id does."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

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
