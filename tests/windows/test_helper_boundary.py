"""The debug helper against controllers that break the protocol: nothing that they send may hang it or end it,
each refusal has its code, and a helper that is started by hand ends with status 1."""

from __future__ import annotations

import random
import struct
import subprocess
from collections.abc import Iterator

import pytest
from driver.rule_blocks import DENY, UTF16, rules_for_all
from windows import raw_helper as raw

INVALID_DATA, NOT_FOUND, INVALID_PARAMETER, OTHER_VERSION = 13, 1168, 87, 340
NO_SUCH_PROCESS = 0x7FFFFFF0
U32 = 2**32 - 1


def hello(magic: int = raw.MAGIC, version: int = raw.VERSION) -> bytes:
    return raw.message(raw.HELLO, struct.pack("=IIQII", magic, version, 0, 0, 0))


def session(number: int = 0, timeout_action: int = 0, refuse_with: int = 0, flags: int = 0) -> bytes:
    return raw.message(raw.SESSION, struct.pack("=6IQ", number, 3, 0, timeout_action, refuse_with, flags, 0))


def session_close(number: int, reserved: int = 0) -> bytes:
    return raw.message(raw.SESSION_CLOSE, struct.pack("=2I", number, reserved))


def process_query(process_id: int, reserved: int = 0) -> bytes:
    return raw.message(raw.PROCESS_QUERY, struct.pack("=2I", process_id, reserved))


def launch_process(number: int = 0, section: int = 0, event: int = 0) -> bytes:
    return raw.message(
        raw.LAUNCH_PROCESS, struct.pack("=4I2Q", number, 0, 0, NO_SUCH_PROCESS, section, event)
    )


def launch_forget(number: int, rule_id: int) -> bytes:
    return raw.message(raw.LAUNCH_FORGET, struct.pack("=2I", number, rule_id))


# One well-formed request of each type that the helper serves.
REQUESTS = {
    "hello": hello(),
    "session": session(),
    "session_close": session_close(5),
    "process_query": process_query(NO_SUCH_PROCESS),
    "launch_process": launch_process(),
    "launch_forget": launch_forget(0, 1),
    "rules": raw.rules_message(0, 0),
}


@pytest.fixture
def helper() -> Iterator[raw.RawHelper]:
    made = raw.RawHelper()
    made.start()
    yield made
    assert made.close() == 0, "the helper did not leave by itself"


@pytest.fixture
def opened(helper: raw.RawHelper) -> raw.RawHelper:
    assert helper.request(hello()) == 0
    assert helper.request(session()) == 0
    return helper


def test_hello_of_another_protocol_is_340(helper: raw.RawHelper) -> None:
    assert helper.request(hello(version=raw.VERSION + 1)) == OTHER_VERSION
    assert helper.request(hello(magic=1)) == OTHER_VERSION
    assert helper.request(hello()) == 0


@pytest.mark.parametrize("name", REQUESTS)
def test_every_truncation_is_13(opened: raw.RawHelper, name: str) -> None:
    """Cut off in the section, cut off and saying so, and of another size than it says."""
    request = REQUESTS[name]
    kind = struct.unpack_from("=I", request, 4)[0]
    for size in range(len(request)):
        assert opened.request(request, size) == INVALID_DATA
        if size >= 8:
            assert opened.request(raw.header(size, kind)[:8] + request[8:], size) == INVALID_DATA
    for said in (0, 23, len(request) - 1, len(request) + 1, 2**31, U32):
        assert opened.request(struct.pack("=I", said) + request[4:]) == INVALID_DATA
    assert opened.request(session()) == 0


@pytest.mark.parametrize("size", [0, 1, 23, raw.REQUEST_SIZE_MAX + 1, 2**31, U32])
def test_a_size_that_no_request_has_is_13(opened: raw.RawHelper, size: int) -> None:
    assert opened.request(session(), size) == INVALID_DATA
    assert opened.request(session()) == 0


def test_unknown_types_are_13(opened: raw.RawHelper) -> None:
    """So are those that go in the other direction, or are for another driver, whatever they hold."""
    served = {struct.unpack_from("=I", request, 4)[0] for request in REQUESTS.values()}
    for kind in [*range(64), 2**16, 2**31, U32]:
        if kind not in served:
            for size in (24, 48, 72, 192, 4096):
                assert opened.request(raw.message(kind, bytes(size - 24))) == INVALID_DATA, (kind, size)
    assert opened.request(session()) == 0


@pytest.mark.parametrize(
    ("request_data", "code"),
    [
        (session(16), INVALID_DATA),
        (session(U32), INVALID_DATA),
        (session(timeout_action=9), INVALID_DATA),
        (session(refuse_with=9), INVALID_DATA),
        (session(flags=1 << 31), INVALID_DATA),
        (session_close(16), INVALID_DATA),
        (session_close(U32), INVALID_DATA),
        (session_close(0, reserved=1), INVALID_DATA),
        (session_close(5), NOT_FOUND),
        (process_query(0), NOT_FOUND),
        (process_query(NO_SUCH_PROCESS), NOT_FOUND),
        (process_query(U32), NOT_FOUND),
        (process_query(0, reserved=1), INVALID_DATA),
        (launch_forget(16, 1), INVALID_DATA),
        (launch_forget(0, 77), NOT_FOUND),
        (raw.rules_message(8, 0, session=16), INVALID_DATA),
        (raw.rules_message(8, 0, part=2), INVALID_DATA),
        (raw.rules_message(8, 0, gone=1), INVALID_DATA),
        (raw.rules_message(0, 0), INVALID_DATA),
        (raw.rules_message(4096, 0), INVALID_DATA),
        (raw.rules_message(4096, 2**64 - 1), INVALID_DATA),
        (raw.rules_message(4096, 0x7FFFFFF0), INVALID_DATA),
        (launch_process(16), INVALID_DATA),
        (launch_process(0, 0, 0), INVALID_DATA),
        (launch_process(0, 2**64 - 1, 2**64 - 1), INVALID_DATA),
        (launch_process(0, 0x7FFFFFF0, 0x7FFFFFF4), INVALID_DATA),
    ],
)
def test_what_is_out_of_range_has_its_code(opened: raw.RawHelper, request_data: bytes, code: int) -> None:
    assert opened.request(request_data) == code
    assert opened.request(session()) == 0


def test_a_claim_of_handles_of_another_kind(opened: raw.RawHelper) -> None:
    """An event where the section should be, and one of the helper's own handles at that."""
    for handle in opened.handles:
        assert opened.request(launch_process(0, handle, handle)) == INVALID_DATA
    assert opened.request(session()) == 0


def test_a_claim_that_is_refused_leaves_no_handle(opened: raw.RawHelper) -> None:
    """Whichever of the two is the wrong one; the helper's own stay open."""
    event, section = opened.give(opened.request_event), opened.give_section(bytes(64))
    reserved = opened.give_section(bytes(1 << 16), raw.SEC_RESERVE)
    for pair in ((0, event), (section, 0), (reserved, opened.give(opened.request_event)), (event, event)):
        assert opened.request(launch_process(0, *pair)) == INVALID_DATA
        assert not any(opened.has(handle) for handle in pair if handle)
    for own in (*opened.handles, opened.section):
        given = opened.give_section(bytes(64))
        assert opened.request(launch_process(0, given, own)) == INVALID_DATA
        assert opened.has(own) and not opened.has(given)
    assert opened.request(session()) == 0


DENY_ALL = rules_for_all((1, DENY, 5), comparison=UTF16)
BAD_BLOCKS = {
    "nothing": (b"", None),
    "shorter than told": (DENY_ALL, 1 << 20),
    "of a size beyond memory": (DENY_ALL, 1 << 40),
    "of no possible size": (DENY_ALL, 2**64 - 1),
    "longer than its header says": (DENY_ALL + bytes(8), None),
    "cut": (DENY_ALL[:100], None),
    "of another kind": (bytes(4096), None),
    "for Linux": (rules_for_all((1, DENY, 5)), None),
    "with an unknown action": (DENY_ALL[:-2] + b"\x09" + DENY_ALL[-1:], None),
}


@pytest.mark.parametrize("name", BAD_BLOCKS)
def test_bad_rules_are_13(opened: raw.RawHelper, name: str) -> None:
    """And their section's handle is closed as that of good ones."""
    block, size = BAD_BLOCKS[name]
    section = opened.give_section(block)
    assert opened.set_rules(block, size, section) == INVALID_DATA
    assert not opened.has(section)
    assert opened.set_rules(DENY_ALL) == 0


def test_rules_of_a_section_without_memory_are_13(opened: raw.RawHelper) -> None:
    """Its pages are only reserved: to read them would be a fault."""
    section = opened.give_section(bytes(1 << 16), raw.SEC_RESERVE)
    assert opened.set_rules(DENY_ALL, len(DENY_ALL), section) == INVALID_DATA
    assert not opened.has(section)
    assert opened.set_rules(DENY_ALL) == 0


def test_rules_of_what_is_no_section_are_13(opened: raw.RawHelper) -> None:
    """The helper's own handles among it, which it keeps."""
    for handle in opened.handles:
        assert opened.set_rules(DENY_ALL, None, handle) == INVALID_DATA
        assert opened.has(handle)
    event = opened.give(opened.request_event)
    assert opened.set_rules(DENY_ALL, None, event) == INVALID_DATA
    assert opened.set_rules(DENY_ALL) == 0


def test_good_rules_are_taken(opened: raw.RawHelper) -> None:
    section = opened.give_section(DENY_ALL)
    assert opened.set_rules(DENY_ALL, None, section) == 0
    assert not opened.has(section)
    assert opened.set_rules(rules_for_all(comparison=UTF16)) == 0
    many = rules_for_all(*[(number, DENY, 5) for number in range(1, 100_001)], comparison=UTF16)
    assert opened.set_rules(many) == 0
    assert (
        opened.request(raw.rules_message(len(DENY_ALL), opened.give_section(DENY_ALL), session=3))
        == NOT_FOUND
    )


def test_arbitrary_requests_are_answered(opened: raw.RawHelper) -> None:
    """Types that make the helper debug or keep nothing, with arbitrary contents."""
    numbers = random.Random(20260)
    kinds = (raw.HELLO, raw.SESSION, raw.SESSION_CLOSE, raw.PROCESS_QUERY, raw.EVENT, 0, 99)
    for _ in range(1500):
        body = bytearray(numbers.choice((0, 1, 255)) for _ in range(numbers.randrange(0, 200)))
        code = opened.request(raw.message(numbers.choice(kinds), bytes(body)))
        assert code in (0, INVALID_DATA, NOT_FOUND, OTHER_VERSION, 575)
    assert opened.request(hello()) == 0


def ends_with(process: subprocess.Popen[bytes]) -> int:
    return process.wait(raw.LIMIT_S)


@pytest.mark.parametrize(
    "arguments", [(), ("x",), ("0",), ("-1",), ("4",), ("4294967295",), ("9" * 40,), ("1", "2"), ("",)]
)
def test_started_by_hand_it_ends(arguments: tuple[str, ...]) -> None:
    assert ends_with(raw.start_helper(*arguments)) == 1


def test_a_section_that_is_too_small_ends_it() -> None:
    helper = raw.RawHelper(size=65536)
    process = raw.start_helper(str(helper.section))
    assert ends_with(process) == 1
    raw.kernel.UnmapViewOfFile(helper.memory)
    for handle in (helper.section, *helper.handles):
        raw.kernel.CloseHandle(handle)


@pytest.mark.parametrize(
    ("offset", "data"),
    [
        (0, bytes(16)),
        (0, struct.pack("=I", raw.MAGIC + 1)),
        (4, struct.pack("=I", raw.VERSION + 1)),
        (8, struct.pack("=Q", raw.CHANNEL_SIZE - 4096)),
        *[(raw.CONTROL + 8 * i, struct.pack("=Q", value)) for i in (0, 1, 2, 3, 19) for value in (0, 0x7FF0)],
    ],
)
def test_a_section_with_wrong_contents_ends_it(offset: int, data: bytes) -> None:
    helper = raw.RawHelper()
    helper.write(offset, data)
    helper.start()
    assert helper.close() == 1


def test_what_cannot_be_waited_for_ends_it() -> None:
    """The section where an event should be: an open handle, but none to wait for."""
    helper = raw.RawHelper()
    helper.write(raw.CONTROL + 8, struct.pack("=Q", helper.section))
    process = helper.start()
    assert ends_with(process) == 0
    helper.close()
