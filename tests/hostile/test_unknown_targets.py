"""What cannot be known fails closed: calls of a member of the tree whose target the helper cannot read, while
a rule protects a server. Each of them did harm, or failed for honest programs as well."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable

import pytest
from live_tools import Recorder, recording, run_checked, tracer_of

import cbprocess

UNSUPPORTED = 98
# All that a rule may take but to look at it.
RIGHTS = 0x1FFFFF & ~(cbprocess.PROCESS_QUERY_LIMITED_INFORMATION | cbprocess.PROCESS_SYNCHRONIZE)
WAYS = [
    "hidden-signal",
    "hidden-folder",
    "hidden-getfd",
    "namespace-of-caller",
    "namespace-of-server",
    "locked-pidfd",
    "groups-of-server",
    "groups-in-namespace",
    "exchanged-getfd",
]

Stage = Callable[[str], list[str]]


@pytest.fixture
def stage(attack: Callable[[str], str], tmp_path: Path) -> Stage:
    """The command line of one way, with a server of its own."""
    server = tmp_path / "guarded-server"

    def line(way: str) -> list[str]:
        program = attack("unknown")
        shutil.copy2(program, server)
        return [program, way, str(server)]

    return line


def outcome_of(status: int, output: str, errors: str) -> dict[str, Any]:
    if status == UNSUPPORTED:
        pytest.skip("this user may not take groups, make namespaces, or lock pidfds here")
    assert (status, errors) == (0, "")
    found: dict[str, Any] = json.loads(output.splitlines()[-1])
    return found


def protect(recorder: Recorder, rights: int = RIGHTS) -> None:
    recorder.filter.add_rule(name="guarded*", action="strip", access=rights)


@pytest.mark.parametrize("way", WAYS)
def test_a_target_that_cannot_be_read(way: str, stage: Stage) -> None:
    """Bare, it harms the server or reads its secret; under the rule it fails with EPERM, which is counted."""
    line = stage(way)
    done = subprocess.run(line, capture_output=True, text=True, timeout=30)
    bare = outcome_of(done.returncode, done.stdout, done.stderr)
    assert bare["got"] or not bare["lived"], "the attack fails anyway: it proves nothing"
    with recording(events=0) as recorder:
        protect(recorder)
        outcome = outcome_of(*run_checked(recorder, line))
        refused = recorder.filter.statistics().refused
    assert outcome == {"errno": errno.EPERM, "got": False, "lived": True}
    assert refused >= 1


def test_an_honest_program_that_is_not_dumpable(stage: Stage) -> None:
    """It signals its child by its id, and asks for it by a pidfd. What such a descriptor stands for nobody
    can see, and it could be the helper's: a signal that does something is refused, with EPERM."""
    for rights in (0, cbprocess.PROCESS_VM_READ):
        with recording() as recorder:
            if rights:
                protect(recorder, rights)
            found = outcome_of(*run_checked(recorder, stage("honest")))
            # Root's helper can see it.
            number = errno.EPERM if os.getuid() != 0 else 0
            assert found == {"errno": number, "got": True, "lived": True}


def test_a_helper_without_descriptors(stage: Stage) -> None:
    """Where the helper can open nothing any more, nothing gets by."""
    with recording(events=0) as recorder:
        protect(recorder)
        process = recorder.filter.popen(stage("signal-of-a-group"), stdin=-1, stdout=-1, stderr=-1, text=True)
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        helper = tracer_of(process.pid)
        before = resource.prlimit(helper, resource.RLIMIT_NOFILE)
        resource.prlimit(helper, resource.RLIMIT_NOFILE, (3, before[1]))
        output, errors = process.communicate("\n", timeout=30)
        resource.prlimit(helper, resource.RLIMIT_NOFILE, before)
    assert outcome_of(process.returncode, output, errors) == {
        "errno": errno.EPERM,
        "got": False,
        "lived": True,
    }


HIDING = """
import sys
sys.path[:0] = {paths!r}
from live_tools import recording, run_checked
with recording(events=0) as recorder:
    recorder.filter.add_rule(name="guarded*", action="strip", access={rights})
    status, output, errors = run_checked(recorder, {line!r})
    sys.stdout.write(output)
    sys.stderr.write(errors)
    sys.exit(status)
"""


@pytest.mark.parametrize("way", ["hidden-signal", "namespace-of-server", "signal-of-a-group"])
def test_a_proc_that_hides(way: str, attack: Callable[[str], str], open_folder: Path) -> None:
    """hidepid=2 shows the helper, which has no privileges, no process that is not dumpable."""
    if os.getuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("only root can mount a /proc that hides processes from others")
    program, server = open_folder / "unknown", open_folder / "guarded-server"
    for copy in (program, server):
        shutil.copy2(attack("unknown"), copy)
    user = "--reuid 65534 --regid 65534 --clear-groups"
    shell = f'mount -t proc -o hidepid=2 proc /proc && exec setpriv {user} "$@"'
    script = HIDING.format(paths=sys.path, rights=RIGHTS, line=[str(program), way, str(server)])
    command = ["unshare", "-m", "sh", "-c", shell, "sh", sys.executable, "-c", script]
    done = subprocess.run(command, input="\n", capture_output=True, text=True, timeout=60)
    if "mount" in done.stderr or "Permission denied" in done.stderr:
        pytest.skip(f"no such mount, or no way in for another user: {done.stderr}")
    assert outcome_of(done.returncode, done.stdout, done.stderr) == {
        "errno": errno.EPERM,
        "got": False,
        "lived": True,
    }
