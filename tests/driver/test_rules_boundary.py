"""Rules on their way to the helper: what is no rule set is refused and changes nothing, what is one is in
force for all that happens after the reply, whatever becomes of the file it came in. Source: cbp_message.h."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
import raw_controller as raw

from cbprocess._binding.library import find_folder

DENY_ALL = raw.rules_for_all((1, raw.DENY, 5))
ALLOW_ALL = raw.rules_for_all((1, raw.ALLOW, 0))


@pytest.fixture
def opened() -> Iterator[raw.RawController]:
    made = raw.RawController(Path(find_folder()))
    assert made.hello() == 0 and made.open_session(events=0) == 0
    yield made
    assert made.close() == 0, "the helper did not leave by itself"


def launch_error(opened: raw.RawController) -> int:
    """The errno with which a program of ours does not start, 0 if it does."""
    child, result = opened.launch(["true"], "/bin/true", rule=0)
    opened.answer_all(child, quiet=0.05)
    _size, _kind, _id, _deadline, _status, os_error = struct.unpack_from("=IIQQII", result.recv(100))
    child.wait(10)
    result.close()
    return int(os_error)


def test_rules_are_in_force_when_the_reply_is_there(opened: raw.RawController) -> None:
    assert launch_error(opened) == 0
    assert opened.set_rules(DENY_ALL) == 0
    assert launch_error(opened) == 13
    assert opened.set_rules(ALLOW_ALL) == 0
    assert launch_error(opened) == 0


def damaged(block: bytes, at: int, value: int) -> bytes:
    return block[:at] + bytes([value]) + block[at + 1 :]


BAD_BLOCKS = {
    "empty": (b"", None),
    "shorter than told": (DENY_ALL[:-1], len(DENY_ALL)),
    "longer than its header says": (DENY_ALL + bytes(8), None),
    "cut": (DENY_ALL[:100], None),
    "of no possible size": (DENY_ALL, 2**63),
    "of a size beyond memory": (DENY_ALL, 2**40),
    "of another kind": (bytes(4096), None),
    "for Windows": (damaged(DENY_ALL, 12, 2), None),
    "of a later version": (damaged(DENY_ALL, 4, 2), None),
    "with an unknown action": (damaged(DENY_ALL, len(DENY_ALL) - 2, 9), None),
}


@pytest.mark.parametrize("name", BAD_BLOCKS)
def test_a_bad_block_is_13_and_the_old_rules_stay(opened: raw.RawController, name: str) -> None:
    block, size = BAD_BLOCKS[name]
    assert opened.set_rules(DENY_ALL) == 0
    assert opened.set_rules(block, size=size) == 13
    assert launch_error(opened) == 13


def test_a_descriptor_that_is_no_file_is_13(opened: raw.RawController) -> None:
    reading, writing = os.pipe()
    ours, theirs = socket.socketpair()
    try:
        os.write(writing, DENY_ALL)
        for fd in (reading, ours.fileno(), os.open("/", os.O_RDONLY)):
            assert opened.request(opened.rules_message(DENY_ALL), (fd,)) == 13
    finally:
        os.close(fd)
        os.close(reading)
        os.close(writing)
        ours.close()
        theirs.close()


def test_the_session_has_to_be_open(opened: raw.RawController) -> None:
    assert opened.set_rules(DENY_ALL, session=7) == 1168


def test_what_becomes_of_the_file_does_not_matter(opened: raw.RawController) -> None:
    memory = os.memfd_create("rules", os.MFD_CLOEXEC)
    os.write(memory, DENY_ALL)
    assert opened.request(opened.rules_message(DENY_ALL), (memory,)) == 0
    os.pwrite(memory, bytes(len(DENY_ALL)), 0)
    os.ftruncate(memory, 0)
    os.close(memory)
    assert launch_error(opened) == 13


def test_the_rest_adds_to_the_main_part_and_goes_with_it(opened: raw.RawController) -> None:
    assert opened.set_rules(ALLOW_ALL) == 0
    assert opened.set_rules(raw.rules_for_all((2, raw.DENY, 2)), part=raw.REST) == 0
    assert launch_error(opened) == 2
    assert opened.set_rules(raw.rules_for_all(), part=raw.REST) == 0
    assert launch_error(opened) == 0
    assert opened.set_rules(raw.rules_for_all((2, raw.DENY, 2)), part=raw.REST) == 0
    assert opened.set_rules(raw.rules_for_all((3, raw.ALLOW, 0))) == 0
    assert launch_error(opened) == 0


def test_a_rule_of_the_main_part_goes_with_a_rest(opened: raw.RawController) -> None:
    empty = raw.rules_for_all()
    assert opened.set_rules(raw.rules_for_all((3, raw.DENY, 2), (4, raw.DENY, 5))) == 0
    assert opened.set_rules(empty, part=raw.REST, gone=3) == 0
    assert launch_error(opened) == 13
    assert opened.set_rules(empty, part=raw.REST, gone=3) == 0  # it stays out
    assert opened.set_rules(empty, part=raw.REST, gone=4) == 0
    assert launch_error(opened) == 0


@pytest.mark.parametrize("part", [raw.MAIN, raw.REST])
@pytest.mark.parametrize("gone", [2, 5, 0xFFFFFFFF])
def test_a_rule_that_cannot_go_is_13(opened: raw.RawController, part: int, gone: int) -> None:
    """It is not in the main part, or that is replaced as a whole. Nothing has changed then."""
    assert opened.set_rules(raw.rules_for_all((3, raw.DENY, 2))) == 0
    assert opened.set_rules(raw.rules_for_all((5, raw.ALLOW, 0)), part=part, gone=gone) == 13
    assert launch_error(opened) == 2


def test_the_oldest_rule_that_denies_gives_the_code(opened: raw.RawController) -> None:
    """Two deny rules gave the code of the newest on ptrace, and of the oldest elsewhere."""
    assert opened.set_rules(raw.rules_for_all((3, raw.DENY, 2), (4, raw.DENY, 5))) == 0
    assert launch_error(opened) == 2
    assert opened.set_rules(raw.rules_for_all((5, raw.DENY, 8)), part=raw.REST) == 0
    assert launch_error(opened) == 2


@pytest.mark.parametrize("first", [1, 2])
def test_a_rest_that_is_older_than_the_main_part_is_13(opened: raw.RawController, first: int) -> None:
    assert opened.set_rules(raw.rules_for_all((2, raw.ALLOW, 0))) == 0
    assert opened.set_rules(raw.rules_for_all((first, raw.DENY, 5)), part=raw.REST) == 13
    assert launch_error(opened) == 0


def test_a_request_behind_rules_is_answered_after_them(opened: raw.RawController) -> None:
    many = raw.rules_for_all(*[(ident, raw.ALLOW, 0) for ident in range(1, 200_001)])
    memory = os.memfd_create("rules", os.MFD_CLOEXEC)
    os.write(memory, many)
    socket.send_fds(opened.control, [opened.rules_message(many, ident=7)], [memory])
    opened.control.send(raw.message(raw.PROCESS_QUERY, struct.pack("=2I", os.getpid(), 0), ident=8))
    replies = [struct.unpack_from("=IIQQI", opened.control.recv(4096)) for _ in range(2)]
    os.close(memory)
    assert [(ident, status) for _size, _kind, ident, _deadline, status in replies] == [(7, 0), (8, 1168)]


@contextlib.contextmanager
def others_than_the_tracer_starved(helper: int, program: int) -> Iterator[None]:
    """The helper's other threads share one processor with busy programs that come before them, many times
    over; the tracer and the program go to another one, where there is any."""
    first, *others = sorted(os.sched_getaffinity(0))
    loops = [subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in range(16)]
    try:
        for loop in loops:
            os.sched_setaffinity(loop.pid, {first})
        for thread in map(int, os.listdir(f"/proc/{helper}/task")):
            if thread != helper:
                os.sched_setaffinity(thread, {first})
                os.sched_setscheduler(thread, os.SCHED_IDLE, os.sched_param(0))
        for task in (helper, program) if others else ():
            os.sched_setaffinity(task, others)
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def forks_until_the_reply(opened: raw.RawController, block: bytes, shell: subprocess.Popen[bytes]) -> int:
    """How often a shell that is supervised has forked, one after the other, before rules were in force: 4 and
    more are 4."""
    assert shell.stdin is not None and shell.stdout is not None
    memory = os.memfd_create("rules", os.MFD_CLOEXEC)
    os.write(memory, block)
    forks = 0
    with others_than_the_tracer_starved(opened.pid, shell.pid):
        socket.send_fds(opened.control, [opened.rules_message(block)], [memory])
        os.close(memory)
        while forks < 4 and select.select([opened.control], [], [], 0)[0] == []:
            shell.stdin.write(b"x\n")
            assert shell.stdout.read(2) == b"x\n"
            forks += 1
    assert struct.unpack_from("=IIQQI", opened.control.recv(4096))[4] == 0
    return forks


def test_events_flow_while_a_large_set_is_read(opened: raw.RawController) -> None:
    """Half a million rules are validated beside the tracer: if it waited for that, the first fork would, too,
    and only the one behind it could still come before the reply."""
    many = raw.rules_for_all(*[(ident, raw.ALLOW, 0) for ident in range(1, 500_001)])
    loop = ["sh", "-c", "while read -r line; do (echo $line); done"]
    shell, result = opened.launch(loop, "/bin/sh", rule=0, stdin=-1, stdout=-1, bufsize=0)
    assert shell.stdin is not None and shell.stdout is not None
    try:
        counts: list[int] = []
        while 4 not in counts and len(counts) < 20:
            counts.append(forks_until_the_reply(opened, many, shell))
        assert 4 in counts, counts
    finally:
        shell.stdin.close()
        shell.stdout.close()
        shell.wait(10)
        result.close()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, len(DENY_ALL) - 1), value=st.integers(0, 255), part=st.integers(0, 1))
def test_a_damaged_block_is_refused_or_is_another_set(
    opened: raw.RawController, at: int, value: int, part: int
) -> None:
    assert opened.set_rules(damaged(DENY_ALL, at, value), part=part) in (0, 13)


def test_a_controller_that_leaves_while_rules_are_read(opened: raw.RawController) -> None:
    """close() of the fixture: the helper leaves all the same."""
    many = raw.rules_for_all(*[(ident, raw.ALLOW, 0) for ident in range(1, 500_001)])
    memory = os.memfd_create("rules", os.MFD_CLOEXEC)
    os.write(memory, many)
    socket.send_fds(opened.control, [opened.rules_message(many)], [memory])
    os.close(memory)
