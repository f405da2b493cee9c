"""The helper against controllers that break the protocol: nothing they send may hang or end it early, no
task may stay stopped, and each refusal has its code. Source: cbp_message.h and cbp_channel.h."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
import raw_controller as raw

from cbprocess._binding.library import find_folder

CREATION, TERMINATION, THREAD_CREATION, THREAD_TERMINATION = 0x01, 0x02, 0x08, 0x10
HELD, DECIDED, REFUSABLE, TIMED_OUT, FORK = 0x01, 0x02, 0x04, 0x08, 0x80


@pytest.fixture
def controller() -> Iterator[raw.RawController]:
    made = raw.RawController(Path(find_folder()))
    yield made
    assert made.close() == 0, "the helper did not leave by itself"


@pytest.fixture
def opened(controller: raw.RawController) -> raw.RawController:
    assert controller.hello() == 0
    assert controller.open_session() == 0
    return controller


def test_hello_of_another_protocol_is_340(controller: raw.RawController) -> None:
    assert controller.hello(version=raw.VERSION + 1) == 340
    assert controller.hello(magic=1) == 340
    assert controller.hello() == 0


@pytest.mark.parametrize(
    "data",
    [
        raw.header(24, 99),
        raw.header(0, raw.SESSION),
        raw.header(2**32 - 1, raw.RULES),
        raw.message(raw.SESSION, struct.pack("=6IQ", 16, 0, 0, 0, 0, 0, 0)),
        raw.message(raw.SESSION, struct.pack("=6IQ", 0, 0, 0, 9, 0, 0, 0)),
        raw.message(raw.SESSION, struct.pack("=6IQ", 0, 0, 0, 0, 0, 0, 0) + bytes(8))[:-4],
        raw.RawController.rules_message(bytes(8), session=16),
        raw.RawController.rules_message(bytes(8), part=2),
        raw.RawController.rules_message(bytes(8), gone=1),
        raw.RawController.rules_message(bytes(8)),
        raw.message(raw.LAUNCH_FORGET, struct.pack("=2I", 16, 1)),
        raw.message(raw.EVENT, bytes(168)),
    ],
)
def test_malformed_request_is_13_and_changes_nothing(opened: raw.RawController, data: bytes) -> None:
    assert opened.request(data) == 13
    assert opened.open_session() == 0


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(min_size=24, max_size=300), kind=st.integers(0, 15))
def test_arbitrary_requests_are_answered(opened: raw.RawController, body: bytes, kind: int) -> None:
    data = struct.pack("=II", len(body), kind) + body[8:]
    assert opened.request(data) in (0, 8, 13, 340, 575, 1168, 1450)


def test_launch_without_descriptors_is_refused(opened: raw.RawController) -> None:
    assert opened.request(raw.message(raw.LAUNCH, struct.pack("=4I", 0, 1, 0, 0))) == 1450


def test_closing_an_unknown_session_is_1168(opened: raw.RawController) -> None:
    assert opened.request(raw.message(raw.SESSION_CLOSE, struct.pack("=2I", 5, 0))) == 1168
    assert opened.request(raw.message(raw.LAUNCH_FORGET, struct.pack("=2I", 0, 77))) == 1168


def test_message_says_what_was_executed(opened: raw.RawController) -> None:
    child, result = opened.launch(["sh", "-c", "exit 7", "three"], "/bin/sh")
    events = opened.answer_all(child)
    first, last = events[0], events[-1]
    assert (first["types"], first["pid"], first["tid"]) == ([CREATION, THREAD_CREATION], child.pid, child.pid)
    assert first["args"] == b"sh\0-c\0exit 7\0three\0"
    assert first["name"] == os.fsencode(os.path.realpath("/bin/sh")) and first["image"] == b"/bin/sh"
    assert first["creator"] == os.getpid() and first["user"] == os.getuid()
    assert first["flags"] == [HELD | REFUSABLE, HELD]
    assert (last["types"], last["exit_status"]) == ([THREAD_TERMINATION, TERMINATION], 7 << 8)
    assert child.wait(10) == 7
    size, kind, _id, _deadline, status, os_error, pid = struct.unpack_from("=IIQQIII", result.recv(100))
    assert (size, kind, status, os_error, pid) == (48, raw.LAUNCH_RESULT, 0, 0, child.pid)


def test_sequences_have_no_gap(opened: raw.RawController) -> None:
    child, _ = opened.launch(["sh", "-c", "for i in 1 2 3 4 5 6 7 8; do /bin/true & done; wait"], "/bin/sh")
    expected = 1
    for event in opened.answer_all(child):
        assert event["sequence"] == expected
        expected += event["count"]


def test_held_task_waits_for_its_answer(opened: raw.RawController) -> None:
    child, _ = opened.launch(["true"], "/bin/true")
    taken = opened.take()
    assert taken is not None
    time.sleep(0.3)
    assert child.poll() is None
    opened.answer(taken[0])
    opened.answer_all(child)
    assert child.wait(10) == 0


def test_answer_after_the_deadline_changes_nothing(controller: raw.RawController) -> None:
    assert controller.hello() == 0 and controller.open_session(timeout_ms=3000) == 0
    # From before the event: this process may get no processor until its deadline has passed.
    started = time.monotonic()
    child, _ = controller.launch(["true"], "/bin/true")
    taken = controller.take()
    assert taken is not None
    while controller.word(controller.slot(taken[0])) == raw.OPEN and time.monotonic() < started + 60:
        controller.beat()
        time.sleep(0.05)
    assert controller.word(controller.slot(taken[0])) == raw.EXPIRED
    assert time.monotonic() - started > 2.5
    controller.answer(taken[0], (5,))
    controller.answer_all(child)
    assert child.wait(10) == 0


def test_slot_given_back_twice_is_taken_once(opened: raw.RawController) -> None:
    child, _ = opened.launch(["sh", "-c", "/bin/true; /bin/true; exit 3"], "/bin/sh")
    for _ in range(4):
        taken = opened.take()
        assert taken is not None
        opened.answer(taken[0])
        opened.give_back(taken[0])
    opened.answer_all(child)
    assert child.wait(10) == 3


@pytest.mark.parametrize("number", [0, 17, 2055, 2056, 2**31, 2**32 - 2])
def test_slot_that_is_not_out_is_ignored(opened: raw.RawController, number: int) -> None:
    struct.pack_into("=I", opened.memory, raw.ANSWERS, number + 1)
    opened.ring()
    child, _ = opened.launch(["true"], "/bin/true")
    opened.answer_all(child)
    assert child.wait(10) == 0


def test_answer_list_that_is_a_circle_ends(opened: raw.RawController) -> None:
    struct.pack_into("=I", opened.memory, opened.slot(3) + 4, 4)
    struct.pack_into("=I", opened.memory, raw.ANSWERS, 4)
    opened.ring()
    child, _ = opened.launch(["true"], "/bin/true")
    opened.answer_all(child)
    assert child.wait(10) == 0


def test_silent_controller_is_asked_nothing_more(controller: raw.RawController) -> None:
    """Held once until the deadline; then, without a heartbeat, let go at once and counted."""
    assert controller.hello() == 0 and controller.open_session(timeout_ms=3000) == 0
    started = time.monotonic()
    child, _ = controller.launch(["sh", "-c", "for i in 1 2 3 4 5 6 7 8 9; do /bin/true; done"], "/bin/sh")
    assert child.wait(40) == 0
    assert time.monotonic() - started < 25  # each at its deadline would be a minute
    timed_out = struct.unpack_from("=Q", controller.memory, raw.CHANNEL_HEADER + 128 + 16)[0]
    assert timed_out >= 20


def test_more_waiting_than_slots(opened: raw.RawController) -> None:
    """2,500 forks, each held: 2,048 slots are out, the others queue; every one is told, in order."""
    script = (
        "import os, time\nfor i in range(2500):\n  if os.fork() == 0: os._exit(0)\nwhile True:\n"
        "  try: os.wait()\n  except ChildProcessError: break\n"
    )
    child, _ = opened.launch([sys.executable, "-c", script])
    taken = []
    while len(taken) < 2048:
        got = opened.take(timeout=20)
        assert got is not None
        if THREAD_CREATION in got[1]["types"] and got[1]["pid"] != child.pid:
            taken.append(got)
        else:
            opened.answer(got[0])
    for number, _event in taken:
        opened.answer(number)
    events = [event for _number, event in taken] + opened.answer_all(child, quiet=1.0)
    assert child.wait(30) == 0
    forked = [event for event in events if THREAD_CREATION in event["types"] and event["pid"] != child.pid]
    assert len(forked) == 2500
    assert [e["sequence"] for e in events] == sorted(e["sequence"] for e in events)


def test_large_argument_list_travels_whole(opened: raw.RawController) -> None:
    arguments = ["true"] + ["x" * 120_000] * 12
    child, _ = opened.launch(arguments, "/bin/true")
    events = opened.answer_all(child)
    assert child.wait(10) == 0
    assert events[0]["args"] == b"".join(a.encode() + b"\0" for a in arguments)


def test_controller_that_leaves_lets_everything_go(opened: raw.RawController) -> None:
    child, _ = opened.launch(["sh", "-c", "/bin/true; sleep 0.5; exit 4"], "/bin/sh")
    assert opened.take() is not None
    opened.control.close()
    assert child.wait(10) == 4


def test_group_stop_is_kept_when_everything_is_let_go(opened: raw.RawController) -> None:
    child, _ = opened.launch(["sleep", "100"], "/bin/sleep")
    taken = opened.take()
    assert taken is not None
    opened.answer(taken[0])
    os.kill(child.pid, signal.SIGSTOP)
    _wait_for_state(child, "tT")
    opened.control.close()
    _wait_for_state(child, "T")
    os.kill(child.pid, signal.SIGCONT)
    _wait_for_state(child, "S")
    child.kill()
    assert child.wait(10) == -signal.SIGKILL


def _wait_for_state(child: subprocess.Popen[bytes], states: str) -> None:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        state = Path(f"/proc/{child.pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        if state in states:
            return
        time.sleep(0.01)
    raise AssertionError(f"process {child.pid} is in state {state}, not in one of {states!r}")
