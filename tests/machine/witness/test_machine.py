"""The bpf driver and bpftrace see the same machine: the same processes, argument lists, threads and ends,
over storms of processes. Whatever else runs on the machine meanwhile is compared, too."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

STORM_COUNT = 50_000
STORM_WIDTH = 8
STATUSES = 251  # of programs/child.c

# name: the options of stress-ng, each bounded by a count of operations.
MIXES = {
    "fork": ["--fork", "2", "--fork-ops", "4000", "--vfork", "1", "--vfork-ops", "2000"],
    "clone": ["--clone", "2", "--clone-ops", "2000", "--pthread", "1", "--pthread-ops", "2000"],
    "exec": ["--exec", "2", "--exec-ops", "400"],
    "kill": ["--kill", "1", "--kill-ops", "20000", "--zombie", "1", "--zombie-ops", "1000"],
    "daemon": ["--daemon", "1", "--daemon-ops", "300"],
}
NOBODY = 65534
MIX_S = 8  # the most that one may take


@pytest.mark.limit(300)
def test_storm(both: Any, storm: str, child: str) -> None:
    """Each of 50,000 processes that live for less than a millisecond is told, and told once."""
    with both.marks():
        process = subprocess.Popen([storm, str(STORM_COUNT), str(STORM_WIDTH), child])
        assert process.wait(200) == 0
    assert both.assert_same() > STORM_COUNT
    born = [
        e for e in both.events if e["event"] == "thread_creation" and e["creating_process_id"] == process.pid
    ]
    children = {(event["process_id"], event["start_time"]) for event in born}
    assert (len(born), len(children)) == (STORM_COUNT, STORM_COUNT)
    of_children = [e for e in both.events if (e["process_id"], e["start_time"]) in children]
    counts = Counter(event["event"] for event in of_children)
    kinds = ("thread_creation", "process_creation", "thread_termination", "process_termination")
    assert counts == dict.fromkeys(kinds, STORM_COUNT)
    given = Counter(
        tuple(event["arguments"]) for event in of_children if event["event"] == "process_creation"
    )
    assert given == Counter((child, str(number)) for number in range(STORM_COUNT))
    ends = Counter(event["exit_status"] for event in of_children if event["event"] == "process_termination")
    assert ends == Counter(number % STATUSES for number in range(STORM_COUNT))


@pytest.mark.limit(300)
@pytest.mark.parametrize("name", MIXES)
def test_mix(name: str, both: Any) -> None:
    """Programs of stress-ng that fork, clone, execute and kill as wildly as they can. As root some of them do
    nothing."""
    program = shutil.which("stress-ng")
    if program is None:
        pytest.skip("stress-ng is not installed")
    line = [program, "--quiet", "--timeout", str(MIX_S), *MIXES[name]]
    with tempfile.TemporaryDirectory() as folder, both.marks():
        Path(folder).chmod(0o777)
        line = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *line]
        done = subprocess.run(line, capture_output=True, text=True, timeout=150, cwd=folder)
        assert done.returncode == 0, done.stderr
    assert both.assert_same() > 100


@pytest.mark.limit(300)
def test_build(both: Any, tmp_path: Path, checkout: Path) -> None:
    """A build of cbprocess's own sources with as many jobs as there are processors, and more."""
    folders = [checkout / "driver" / name for name in ("policy", "rules", "text", "protocol")]
    sources = sorted(path for folder in folders for path in folder.glob("*.c"))
    flags = " ".join(f"-I{folder}" for folder in folders)
    objects = " ".join(f"{path.stem}.o" for path in sources)
    rules = "".join(f"{path.stem}.o: {path}\n\t@cc -std=gnu11 -O1 {flags} -c -o $@ $<\n" for path in sources)
    (tmp_path / "Makefile").write_text(f"library.a: {objects}\n\t@ar rcs $@ $^\n{rules}")
    with both.marks():
        line = ["make", "-s", f"-j{2 * (os.cpu_count() or 1)}"]
        done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stderr
    # For each source file a shell or cc itself, cc1 and as.
    assert both.assert_same() >= 3 * len(sources)
