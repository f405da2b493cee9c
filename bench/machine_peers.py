"""What the bpf driver is compared with: bpftrace and forkstat, which observe the machine, and fapolicyd,
which holds executions. Each runs beside the workload, and is checked to have seen it where it tells what it
saw.

fapolicyd gets folders of its own and marks nothing but the file system of the measurement. Knows nothing of
cbprocess."""

from __future__ import annotations

import contextlib
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Callable

import own_mounts
from harness import BenchmarkError, Monitor
from peers import make_check, nobody

BESIDE = Path(__file__).resolve().parent / "beside.py"
FORKSTAT = "forkstat, most without command lines"

# What the bpf driver's records tell, but for names and times. All is attached when the interval comes round.
BPFTRACE = """
interval:ms:500 { if (!@attached) { @attached = 1; printf("attached\\n"); } }
tracepoint:syscalls:sys_enter_execve { printf("exec %d ", pid); join(args->argv); }
tracepoint:task:task_newtask { printf("new %d\\n", args->pid); }
tracepoint:sched:sched_process_exit { printf("exit %d\\n", tid); }
"""

OWN_KIND = "ramfs"  # of the measurement's file system: no other mount is of that kind
FAPOLICYD_FOLDERS = ("/etc/fapolicyd", "/var/lib/fapolicyd", "/run/fapolicyd")
FAPOLICYD_SETTINGS = f"""
permissive = 0
nice_val = 0
q_size = 640
uid = root
gid = root
do_stat_report = 0
detailed_report = 0
db_max_size = 50
subj_cache_size = 1549
obj_cache_size = 8191
watch_fs = {OWN_KIND}
trust = file
integrity = none
syslog_format = rule,dec,perm,pid,exe,:,path
rpm_sha256_only = 0
allow_filesystem_mark = 0
"""


def beside(name: str, log: Path, ready: str, monitor: Sequence[str], new_thread: str) -> Monitor:
    def command(workload: list[str]) -> list[str]:
        return [sys.executable, str(BESIDE), ready, str(log), *monitor, "--", *workload]

    return Monitor(name, command, make_check(log, new_thread))


def count_executions(log: Path) -> Callable[[str, str, int], None]:
    """forkstat reads command lines in /proc, where it finds few: only the number can be right."""

    def check(_output: str, _kind: str, count: int) -> None:
        seen = log.read_text(errors="replace").count(" exec ")
        if seen < count:
            raise BenchmarkError(f"{log.name} shows {seen} of {count} executions")

    return check


def observers(folder: Path, kind: str) -> tuple[list[Monitor], list[str]]:
    """The bare workload, bpftrace and forkstat, and a note for each that this machine has not."""
    peers, notes = [nobody()], []
    if shutil.which("bpftrace"):
        line = ["bpftrace", "-e", BPFTRACE]
        peers.append(beside("bpftrace", folder / "bpftrace.log", "attached", line, r"^new "))
    else:
        notes.append("bpftrace is not installed")
    if not shutil.which("forkstat"):
        notes.append("forkstat is not installed")
    elif kind == "spawn":  # it does not tell of threads
        line = ["forkstat", "-l", "-e", "fork,exec,exit"]
        log = folder / "forkstat.log"
        peers.append(beside(FORKSTAT, log, "Time", line, "")._replace(check=count_executions(log)))
    return peers, notes


def count_decisions(log: Path) -> Callable[[str, str, int], None]:
    """fapolicyd tells at its end how many times it was asked: opening and execution are two."""

    def check(_output: str, _kind: str, count: int) -> None:
        found = re.search(r"^Allowed accesses: (\d+)", log.read_text(errors="replace"), re.MULTILINE)
        if found is None or int(found[1]) < count:
            raise BenchmarkError(f"{log.name} does not tell of {count} executions")

    return check


@contextlib.contextmanager
def fapolicyd(folder: Path) -> Iterator[tuple[list[Monitor], list[str]]]:
    """fapolicyd, with one rule that allows everything, or a note that it is not here."""
    if not shutil.which("fapolicyd") or not all(Path(name).is_dir() for name in FAPOLICYD_FOLDERS[:2]):
        yield [], ["fapolicyd is not installed"]
        return
    with contextlib.ExitStack() as mounts:
        for name in FAPOLICYD_FOLDERS:
            Path(name).mkdir(exist_ok=True)
            mounts.enter_context(own_mounts.mounted("tmpfs", Path(name)))
        settings = Path(FAPOLICYD_FOLDERS[0])
        (settings / "fapolicyd.conf").write_text(FAPOLICYD_SETTINGS)
        (settings / "fapolicyd.trust").touch()
        for rules in ("fapolicyd.rules", "compiled.rules"):
            (settings / rules).write_text("allow perm=any all : all\n")
        line = ["fapolicyd", "--debug-deny"]
        log = folder / "fapolicyd.log"
        peer = beside("fapolicyd", log, "Starting to listen for events", line, "")
        yield [peer._replace(check=count_decisions(log))], []
