"""Programs in a supervised tree that put themselves in namespaces, under filters of system calls of their
own, or under limits: they work as without a filter, and what they do is seen in the controller's terms."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
import supervised
from handle_cases import PROCESS
from live_tools import LIFETIMES, Programs, recording, refuse, run_checked, wait_until

import cbprocess

UNSHARE = ["unshare", "-Urpf", "--mount-proc"]


def can_unshare() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*UNSHARE, "true"], stderr=subprocess.DEVNULL, timeout=30).returncode == 0


needs_namespaces = pytest.mark.skipif(
    not can_unshare(), reason="this machine lets this user make no namespaces, or has no unshare"
)

INSIDE = """
echo $$ $(id -u)
sleep 89 & kill -0 $!; kill -TERM $!; wait $!; echo $?
(exit 3); echo $?; %(status)s 4; echo $?
set -- /proc/[0-9]*; echo $#
"""


def container(depth: int, programs: Programs) -> list[str]:
    """A shell in so many PID and user namespaces, one in the other."""
    return [*(UNSHARE * depth), "sh", "-c", INSIDE % {"status": programs["status"]}]


@needs_namespaces
@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("options", [(), ("--events", "all"), ("--deny", "nothing")], ids=" ".join)
def test_in_namespaces(
    depth: int, options: tuple[str, ...], programs: Programs, environment: dict[str, str], tmp_path: Path
) -> None:
    """Whatever a container does it does as without a filter; the ids of its events are the controller's."""
    command = container(depth, programs)
    bare = subprocess.run(command, capture_output=True, env=environment, timeout=60)
    events, done = supervised.run(command, tmp_path / "events", *options, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (bare.returncode, bare.stdout, bare.stderr)
    assert bare.stdout.startswith(b"1 0\n") and bare.returncode == 0
    tree = supervised.tree(events)  # each id names one process, whose start is as /proc outside shows it
    ran = [image[0] for process in tree.walk() for image in process.images]
    assert programs["status"] in ran and ran.count("sleep") <= 1
    ids = [process.process_id for process in tree.walk()]
    assert len(set(ids)) == len(ids) and min(ids) > depth + 2
    sent = [event for event in events if event["event"] == PROCESS]
    if options == ("--events", "all"):
        rights = [event["original_desired_access"] for event in sent]
        assert rights == [["query_limited_information"], ["terminate"]]
        ended = {process.process_id: process.end for process in tree.walk()}
        assert [ended[event["process_id"]] for event in sent] == [-signal.SIGTERM] * 2


@needs_namespaces
def test_refusals_in_namespaces(programs: Programs) -> None:
    """Handlers and rules decide there as anywhere, also about a change of the root directory's mounts."""
    with recording(events=cbprocess.PROC_EVT_ALL, decide=refuse("status")) as recorder:
        recorder.filter.add_rule(name="sleep", action="strip", access=cbprocess.PROCESS_TERMINATE)
        protected = "sleep 0.5 & sleep 0.2; kill -KILL $!; echo $?; wait $!; echo $?"
        text = f"{programs['status']} 4; echo $?; {protected}"
        status, output, errors = run_checked(recorder, [*UNSHARE, "sh", "-c", text])
    assert (status, output.split()) == (0, ["126", "1", "0"])
    assert "Permission denied" in errors and "not permitted" in errors


@needs_namespaces
def test_the_first_process_of_a_namespace_ends(programs: Programs, tmp_path: Path) -> None:
    """Its end ends all others in it; each end is told."""
    command = [*UNSHARE, "sh", "-c", "sleep 87 & sleep 86 & sleep 0.2; exit 5"]
    events, done = supervised.run(command, tmp_path / "events", "--events", "all")
    assert done.returncode == 5
    tree = supervised.tree(events)
    ends = sorted(process.end or 0 for process in tree.walk() if process.images[-1:] == [("sleep", "87")])
    assert ends == [-signal.SIGKILL]
    assert all(process.end is not None for process in tree.walk())


SANDBOXES = ["errno", "kill", "trap", "trace"]
FILTERED = [
    pytest.param("RefuseWith=kill", LIFETIMES, id="no-filter"),
    pytest.param("RefuseWith=errno", LIFETIMES, id="executions"),
    pytest.param("RefuseWith=kill", cbprocess.PROC_EVT_ALL, id="handles"),
    pytest.param("RefuseWith=errno", cbprocess.PROC_EVT_ALL, id="both"),
]


def bare_run(line: list[str]) -> tuple[int, str, str]:
    done = subprocess.run(line, capture_output=True, text=True, timeout=30)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(("setting", "events"), FILTERED)
@pytest.mark.parametrize("mode", SANDBOXES)
def test_filters_of_its_own(mode: str, setting: str, events: int, programs: Programs) -> None:
    """What a program's own filter forbids fails or ends it as without ours, and is no operation."""
    line = [programs["sandbox"], mode]
    with recording(setting, events=events) as recorder:
        assert run_checked(recorder, line) == bare_run(line)
        wait_until(lambda: len(recorder.of("process_termination")) == 2, 10, "the ends")
    asked = [event["original_desired_access"] for event in recorder.handle_operations()]
    # Only the signal that all of them send at their end, of which no filter of theirs speaks.
    assert asked == ([cbprocess.PROCESS_TERMINATE] if events < 0 and mode != "kill" else [])
    assert recorder.errors == []


@pytest.mark.parametrize("mode", ["strict", "strict-kill"])
def test_strict_mode(mode: str, programs: Programs) -> None:
    """Without our filter it works; with it the kernel allows no change to it, and says so."""
    line = [programs["sandbox"], mode]
    with recording("RefuseWith=kill") as recorder:
        assert run_checked(recorder, line) == bare_run(line)
    with recording("RefuseWith=errno") as recorder:
        status, output, errors = run_checked(recorder, line)
    assert (status, output) == (99, "") and f"errno {errno.EINVAL}" in errors


class TestListener:
    """A filter of the program's own that asks a listener takes precedence over ours: that must be no way
    out."""

    def test_a_signal(self, programs: Programs) -> None:
        line = [programs["sandbox"], "notify"]
        assert "ended by 15" in bare_run(line)[1]
        with recording(events=cbprocess.PROC_EVT_ALL) as recorder:
            recorder.filter.add_rule(name="sandbox", action="strip", access=cbprocess.PROCESS_TERMINATE)
            process = recorder.filter.popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            output, _ = process.communicate(timeout=30)
        assert "ended by 15" not in output

    @pytest.mark.parametrize("setting", ["RefuseWith=errno", "RefuseWith=kill"])
    def test_an_execution(self, setting: str, programs: Programs, tmp_path: Path) -> None:
        victim = programs.copy("status", tmp_path / "victim")
        line = [programs["sandbox"], "notify-execution", victim]
        assert bare_run(line)[1] == "status 0\n"
        with recording(setting, decide=refuse("victim")) as recorder:
            status, output, _ = run_checked(recorder, line)
            recorder.decide = lambda kind, event: None
            recorder.filter.add_rule(name="victim", action="deny")
            by_rule = run_checked(recorder, line)[1]
        assert "status 0" not in output + by_rule and status >= 0


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv is not installed")
@pytest.mark.parametrize("events", [LIFETIMES, cbprocess.PROC_EVT_ALL])
def test_no_new_privileges(events: int, programs: Programs) -> None:
    line = ["setpriv", "--no-new-privs", programs["handles"], "kill", "15"]
    with recording("RefuseWith=errno", events=events) as recorder:
        status, output, errors = run_checked(recorder, line)
    assert (status, errors) == (0, "") and '"ended"' in output


EXHAUST = """
import os, resource, sys
kind, limit, program = getattr(resource, sys.argv[1]), int(sys.argv[2]), sys.argv[3]
if len(sys.argv) > 4:
    os.setgroups([]); os.setgid(int(sys.argv[4])); os.setuid(int(sys.argv[4]))
resource.setrlimit(kind, (limit, limit))
children, failed = [], 0
read, write = os.pipe()
while not failed and len(children) < 40:
    try:
        if kind == resource.RLIMIT_NPROC:
            child = os.fork()
            if child == 0:
                os.close(write); os.read(read, 1); os._exit(0)
            children.append(child)
        else:
            children.append(os.dup(read))
    except OSError as error:
        failed = error.errno
print(failed, len(children), flush=True)
os.close(write)
if kind == resource.RLIMIT_NPROC:
    for child in children: os.waitpid(child, 0)
else:
    for fd in children[-6:]: os.close(fd)
print(os.spawnv(os.P_WAIT, program, [program, "6"]))
"""


@pytest.mark.parametrize("events", [LIFETIMES, cbprocess.PROC_EVT_ALL])
@pytest.mark.parametrize(
    ("kind", "limit", "number"), [("RLIMIT_NOFILE", 24, errno.EMFILE), ("RLIMIT_NPROC", 6, errno.EAGAIN)]
)
def test_limits_that_are_reached(
    kind: str, limit: int, number: int, events: int, programs: Programs, tmp_path: Path
) -> None:
    """A program that has used up its processes or descriptors meets the limit where it does without a filter,
    and goes on as then."""
    program = programs["status"]
    user: list[str] = []
    if kind == "RLIMIT_NPROC":
        if os.getuid() != 0:
            pytest.skip("takes a user that nothing else runs as, which only root can be")
        user = [str(2**20 + os.getpid())]
        public = Path("/tmp") / f"cbprocess-limits-{os.getpid()}"
        shutil.copy2(program, public)
        program = str(public)
    line = ["/usr/bin/python3", "-c", EXHAUST, kind, str(limit), program, *user]
    try:
        expected = bare_run(line)
        assert expected[0] == 0 and expected[1].startswith(f"{number} ") and expected[1].endswith("\n6\n")
        with recording("RefuseWith=errno", events=events) as recorder:
            assert run_checked(recorder, line) == expected
        assert recorder.errors == []
    finally:
        if user:
            Path(program).unlink()
