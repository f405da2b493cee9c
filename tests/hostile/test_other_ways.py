"""All the ways to act on a protected server, or on the helper, that are no call which names a process and is
decided about: by terminal, descriptors, creator, clocks, objects, control groups. Each is tried; the table
says what it comes to. docs/limits.md gives the reasons for those that are not held."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable, NamedTuple

import pytest
from hostile_tools import HANDLES, Setting
from live_tools import recording, run_checked, wait_until
from terminals import need_terminal

import cbprocess

UNSUPPORTED = 98
# All that a rule may take but to look at it.
RIGHTS = 0x1FFFFF & ~(cbprocess.PROCESS_QUERY_LIMITED_INFORMATION | cbprocess.PROCESS_SYNCHRONIZE)


class Outcome(NamedTuple):
    """How the try ended: its errno, whether it got what it wanted, whether the server lived."""

    errno: int
    got: bool
    lived: bool


ENDS = Outcome(0, False, False)
GETS = Outcome(0, True, True)
IDLE = Outcome(0, False, True)


def fails(number: int) -> Outcome:
    return Outcome(number, False, True)


# What holds is the kernel: it comes to the same without us.
KERNEL = {
    "hang-up": IDLE,  # it tells the session's leader alone
    "vhangup": fails(errno.EPERM),
    "message-before": IDLE,  # the kernel forgets it when the program changes
    "timer": fails(errno.EINVAL),
    "setns": fails(errno.EPERM),
    "futex": fails(errno.ETIMEDOUT),  # it lends the server its priority, and gets nothing
    "userfaultfd": IDLE,  # it serves its own memory alone
}
# What nothing holds; bare or under a rule.
NOT_HELD = {
    "typed": ENDS,
    "tiocsig": ENDS,
    "hang-up-on-leader": ENDS,
    "give-up": ENDS,
    "owner-before": ENDS,
    "notify-before": ENDS,
    "lease-before": ENDS._replace(errno=errno.EAGAIN),
    "creator-ends": ENDS,
    "clock-before": ENDS,
    "objects": GETS,
    "truncate": ENDS._replace(got=True),
    "ring": GETS,
}
# What we hold: bare, and under the rule.
HELD = {
    "tiocsti": (ENDS, fails(errno.EIO)),
    "keyring": (GETS, fails(errno.EPERM)),
    "traced-before": (GETS, fails(errno.EPERM)),
    "group": (ENDS, fails(errno.EPERM)),
    "own-group": (ENDS, fails(errno.EPERM)),
    "async": (ENDS, fails(errno.EPERM)),
    "async-ioctl": (ENDS, fails(errno.EPERM)),
    "async-exchanged": (GETS, fails(errno.EPERM)),
}
ASYNC = ("async", "async-ioctl", "async-exchanged")
BY_TERMINAL = ("typed", "tiocsti", *ASYNC, "tiocsig", "hang-up", "hang-up-on-leader", "give-up", "vhangup")
AS_ROOT = "root may do it"
Line = Callable[..., list[str]]


@pytest.fixture
def line_of(attack: Callable[..., str], open_folder: Path) -> Line:
    """The command line of one way, with a server of its own."""

    def line(way: str, *more: str) -> list[str]:
        if way in BY_TERMINAL:
            need_terminal()
        program, server = open_folder / "attack", open_folder / "guarded-server"
        for copy in (program, server):
            shutil.copy2(attack("by_terminal" if way in BY_TERMINAL else "other_ways", "-pthread"), copy)
        return [str(program), way, str(server), *more]

    return line


def outcome_of(status: int, output: str, errors: str) -> Outcome:
    if status == UNSUPPORTED:
        pytest.skip("this system, or this user's part of it, does not have what the way takes")
    assert (status, errors) == (0, "")
    found: dict[str, Any] = json.loads(output.splitlines()[-1])
    return Outcome(**found)


def bare(line: list[str]) -> Outcome:
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    return outcome_of(done.returncode, done.stdout, done.stderr)


def protected(line: list[str]) -> Outcome:
    with recording(events=0) as recorder:
        recorder.filter.add_rule(name="guarded*", action="strip", access=RIGHTS)
        return outcome_of(*run_checked(recorder, line, stdin=subprocess.DEVNULL))


@pytest.mark.parametrize("way", KERNEL)
def test_what_the_kernel_holds(way: str, line_of: Line) -> None:
    if os.getuid() == 0 and way in ("vhangup", "setns"):
        pytest.skip(AS_ROOT)
    assert protected(line_of(way)) == KERNEL[way]


@pytest.mark.parametrize("way", NOT_HELD)
def test_what_is_not_held(way: str, line_of: Line) -> None:
    """Should one of these be held some day, docs/limits.md has to say so."""
    assert protected(line_of(way)) == NOT_HELD[way]


@pytest.mark.parametrize("way", HELD)
def test_what_is_held(way: str, line_of: Line) -> None:
    without, under_rule = HELD[way]
    line = line_of(way)
    found = bare(line)
    if way == "tiocsti" and found == fails(errno.EIO):
        pytest.skip("this kernel lets nobody type into terminals")
    assert found == without, "the attack fails anyway: it proves nothing"
    assert protected(line) == under_rule


def test_who_shares_a_core_with_it(line_of: Line) -> None:
    """A kernel without core scheduling says EINVAL; under the rule the call does not come so far. One for a
    group, which is named by a member that can leave it, fires nothing and fails always."""
    line = line_of("sched-core")
    assert bare(line) in (GETS, fails(errno.EINVAL), fails(errno.ENODEV))
    with recording(events=HANDLES) as recorder:
        recorder.filter.add_rule(name="guarded*", action="strip", access=cbprocess.PROCESS_SET_INFORMATION)
        assert outcome_of(*run_checked(recorder, line)) == fails(errno.EPERM)
        wait_until(lambda: len(recorder.handle_operations()) >= 2, 10, "the events")
    told = [(event["event"], event["original_desired_access"]) for event in recorder.handle_operations()]
    process = ("process_handle_operation", cbprocess.PROCESS_SET_INFORMATION)
    assert told == [("thread_handle_operation", cbprocess.THREAD_SET_INFORMATION), process]


@pytest.mark.parametrize("way", ["own-core", "sched-core"])
def test_who_shares_a_core_where_nobody_refuses(way: str, setting: Setting, line_of: Line) -> None:
    """Its own and, where no rule takes the right, another's: it comes to the same without us. A kernel with
    core scheduling would refuse no thread and no process, so that none is tried for the group."""
    line = line_of(way)
    without = bare(line)
    assert without in (GETS, fails(errno.EINVAL), fails(errno.ENODEV))
    with recording(*setting.config, events=setting.events) as recorder:
        assert outcome_of(*run_checked(recorder, line)) == without


def test_who_shares_a_core_with_the_helper(setting: Setting, line_of: Line) -> None:
    """Without a filter it is the kernel that keeps the helper from others; where it can do so at all."""
    if os.getuid() == 0 and not setting.has_filter:
        pytest.skip(AS_ROOT)
    with recording(*setting.config, events=setting.events) as recorder:
        found = outcome_of(*run_checked(recorder, line_of("sched-core", "tracer")))
    unable = [] if setting.has_filter else [fails(errno.EINVAL), fails(errno.ENODEV)]
    assert found in [fails(errno.EPERM), *unable]


@pytest.mark.parametrize("way", ["tiocsti", "keyring", *ASYNC])
def test_in_every_tree_with_a_filter(way: str, setting: Setting, line_of: Line) -> None:
    """Whatever the rules are: the terminal's shell and the creator may be outside of the tree."""
    line = line_of(way)
    without = bare(line)
    with recording(*setting.config, events=setting.events) as recorder:
        found = outcome_of(*run_checked(recorder, line, stdin=subprocess.DEVNULL))
    assert found == (HELD[way][1] if setting.has_filter else without)


@pytest.mark.parametrize("way", ["timer", "setns", "futex", "ring"])
def test_the_helper(way: str, setting: Setting, line_of: Line) -> None:
    """By its id, in any tree."""
    if os.getuid() == 0 and way in ("setns", "ring"):
        pytest.skip(AS_ROOT)
    expected = fails(errno.EACCES) if way == "ring" else KERNEL[way]
    with recording(*setting.config, events=setting.events) as recorder:
        found = outcome_of(*run_checked(recorder, line_of(way, "tracer"), stdin=subprocess.DEVNULL))
    assert found == expected


def test_its_own_control_group(line_of: Line) -> None:
    """As an ordinary user finds it: root's."""
    if os.getuid() == 0:
        pytest.skip(AS_ROOT)
    found = protected(line_of("cgroup"))
    if found.got:
        pytest.skip("this user's control group is delegated to it")
    assert found in (fails(errno.EACCES), fails(errno.EROFS), fails(errno.EPERM))


@pytest.fixture
def delegated_group() -> Iterator[Path]:
    """A control group of our own that another user may write, as a service manager gives to its users."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    places = [Path(mount[1]) for mount in mounts if mount[2] == "cgroup2"]
    if os.getuid() != 0 or not places:
        pytest.skip("only root can give a control group away, and only where there are some")
    group = places[0] / f"cbprocess-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made: {error}")
    try:
        for path in (group, group / "cgroup.procs", group / "cgroup.subtree_control"):
            os.chown(path, 65534, 65534)
        yield group
    finally:
        for path in (group / "victims", group):
            with contextlib.suppress(FileNotFoundError):
                path.rmdir()


def test_a_control_group_that_is_the_users(delegated_group: Path, line_of: Line) -> None:
    """The server is moved, frozen and ended through files: not held."""
    if not (delegated_group / "cgroup.kill").exists():
        pytest.skip("control groups of this kernel cannot be ended")
    assert protected(line_of("cgroup-delegated", str(delegated_group))) == Outcome(0, True, False)
