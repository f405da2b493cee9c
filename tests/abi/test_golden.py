"""Golden bytes: what each message looks like on the wire, byte for byte (little-endian machines). A change of
these is a change of the protocol and needs a new version."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

import pytest
from abi.wire import MAGIC, MESSAGE_TYPES, STRUCTURES, VERSION, make_message

from cbprocess._binding import library

HEADER = {"id": 0x1122334455667788, "deadline_ns": 0x0102030405060708}

# name: (variable parts, fields, the bytes behind the header's size and type)
GOLDEN: dict[str, tuple[dict[str, bytes], dict[str, Any], str]] = {
    "hello": (
        {},
        {"magic": MAGIC, "version": VERSION, "clock_ns": 0xA1A2A3A4A5A6A7A8, "process_id": 0xB1B2B3B4},
        "31434250 03000000 a8a7a6a5a4a3a2a1 b4b3b2b1 00000000",
    ),
    "reply": (
        {},
        {"status": 87, "version": 1, "value": 0xFF, "clock_ns": 2},
        "57000000 01000000 ff00000000000000 0200000000000000",
    ),
    "session_settings": (
        {},
        {
            "session_id": 15,
            "events": 0x1B,
            "timeout_ms": 3000,
            "timeout_action": 1,
            "refuse_with": 1,
            "flags": 7,
            "altitude": 0xC1C2C3C4C5C6C7C8,
        },
        "0f000000 1b000000 b80b0000 01000000 01000000 07000000 c8c7c6c5c4c3c2c1",
    ),
    "session_close": ({}, {"session_id": 3}, "03000000 00000000"),
    "rules": (
        {},
        {
            "session_id": 1,
            "part": 1,
            "attach_rule_id": 0xFFFFFFFF,
            "gone_rule_id": 6,
            "block_size": 0xD1D2D3D4D5D6D7D8,
            "section_handle": 0xE1E2E3E4,
        },
        "01000000 01000000 ffffffff 06000000 d8d7d6d5d4d3d2d1 e4e3e2e100000000",
    ),
    "launch_forget": ({}, {"session_id": 1, "rule_id": 2}, "01000000 02000000"),
    "launch": ({}, {"session_id": 1, "rule_id": 2, "thread_id": 3}, "01000000 02000000 03000000 00000000"),
    "launch_ready": ({}, {}, ""),
    "launch_go": (
        {},
        {"status": 170, "flags": 15, "helper_process_id": 9, "controller_process_id": 8},
        "aa000000 0f000000 09000000 08000000",
    ),
    "launch_result": (
        {},
        {"os_error": 13, "process_id": 4, "start_time": 0x0505},
        "00000000 0d000000 04000000 00000000 0505000000000000",
    ),
    "launch_target": (
        {"argument": b"ls", "paths": b"/bin/ls\0"},
        {"helper_process_id": 9},
        "09000000 00000000 30000000 02000000 32000000 08000000 6c73 2f62696e2f6c7300",
    ),
    "process_query": ({}, {"process_id": 5}, "05000000 00000000"),
    "launch_process": (
        {},
        {
            "session_id": 1,
            "rule_id": 2,
            "thread_id": 3,
            "process_id": 4,
            "section_handle": 0x0505,
            "event_handle": 6,
        },
        "01000000 02000000 03000000 04000000 0505000000000000 0600000000000000",
    ),
    "kernel_session": (
        {"altitude": b"400055.5"},
        {"session_id": 15, "is_strict": 1},
        "0f000000 01000000 28000000 08000000 3430303035352e35",
    ),
    "kernel_worker": ({}, {"session_id": 2, "is_worker": 1}, "02000000 01000000"),
    "kernel_receive": ({}, {"session_id": 3}, "03000000 00000000"),
    "kernel_answer": (
        {},
        {"session_id": 4, "item_count": 2, "item0": (1, 5, 6, 7), "item1": (8, 1, 0x11, 0x12)},
        "04000000 02000000 01000000 05000000 06000000 07000000 08000000 01000000 11000000 12000000"
        " 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000",
    ),
    "kernel_deadline": (
        {},
        {"session_id": 5, "moves": 1, "timeout_ms": 0x0BB8},
        "05000000 01000000 b80b0000 00000000",
    ),
    "kernel_token": ({}, {"session_id": 6}, "06000000 00000000"),
    "kernel_beat": ({}, {"session_id": 7}, "07000000 00000000"),
    "kernel_counts": (
        {},
        {
            "status": 1168,
            "version": 3,
            "lost": 0x0102,
            "timed_out": 2,
            "refused": 3,
            "decided": 4,
            "backlog": 5,
            "supervised": 0xF1F2F3F4F5F6F7F8,
        },
        "90040000 03000000 0201000000000000 0200000000000000 0300000000000000 0400000000000000"
        " 0500000000000000 f8f7f6f5f4f3f2f1",
    ),
    "recording": (
        {"platform": b"Linux", "driver": b"bpf"},
        {"version": 1, "process_id": 2, "clock_ns": 3, "time_ns": 4},
        "01000000 02000000 0300000000000000 0400000000000000 40000000 05000000 45000000 03000000"
        " 4c696e7578 627066",
    ),
    "recording_end": (
        {},
        {"time_ns": 1, "message_count": 2, "verdict_count": 3, "lost": 4},
        "0100000000000000 0200000000000000 0300000000000000 0400000000000000",
    ),
    "verdict": (
        {},
        {
            "sequence": 1,
            "time_ns": 2,
            "state": 3,
            "item_count": 4,
            "deferred_items": 5,
            "decided_items": 6,
            **{f"result_code{index}": 7 + index for index in range(4)},
            **{f"desired_access{index}": 11 + index for index in range(4)},
        },
        "0100000000000000 0200000000000000 03000000 04000000 05000000 06000000"
        " 07000000 08000000 09000000 0a000000 0b000000 0c000000 0d000000 0e000000",
    ),
    "script_step": ({}, {"kind": 10, "value": 0x0102}, "0a000000 02010000"),
    "event_message": (
        {"process_name": b"/b", "image_file_name": b"b", "arguments": b"b\0-x\0"},
        {
            "sequence": 1,
            "time_ns": 2,
            "start_time": 3,
            "session_id": 4,
            "item_count": 2,
            "process_id": 6,
            "thread_id": 7,
            "parent_process_id": 8,
            "originator_process_id": 9,
            "originator_thread_id": 10,
            "source_process_id": 11,
            "target_process_id": 12,
            "original_desired_access": 13,
            "user_id": 14,
            "exit_status": 15,
            "capabilities": 16,
            "item0": (1, 5, 0, 0),
            "item1": (8, 1, 0x11, 0x12),
        },
        "0100000000000000 0200000000000000 0300000000000000"
        " 04000000 02000000 06000000 07000000 08000000 09000000 0a000000 0b000000 0c000000 0d000000 0e000000"
        " 0f000000 10000000 00000000"
        " c0000000 02000000 c2000000 01000000 c3000000 05000000"
        " 01000000 05000000 00000000 00000000 08000000 01000000 11000000 12000000"
        " 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000"
        " 2f62 62 62002d7800",
    ),
}


def test_every_message_has_golden_bytes() -> None:
    assert set(GOLDEN) == set(MESSAGE_TYPES) == set(STRUCTURES) - {"message_header", "event_item"}


@pytest.mark.skipif(sys.byteorder != "little", reason="messages have the machine's byte order")
@pytest.mark.parametrize("name", GOLDEN)
def test_bytes(name: str) -> None:
    texts, fields, tail = GOLDEN[name]
    body = bytes.fromhex(tail)
    size = 24 + len(body)
    header = size.to_bytes(4, "little") + MESSAGE_TYPES[name].to_bytes(4, "little")
    header += bytes.fromhex("8877665544332211 0807060504030201")
    message = make_message(name, texts, header=(0, 0, HEADER["id"], HEADER["deadline_ns"]), **fields)
    assert message.hex() == (header + body).hex()


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_messages_are_well_formed_for_their_type_only(name: str) -> None:
    texts, fields, _ = GOLDEN[name]
    message = ctypes.create_string_buffer(make_message(name, texts, **fields))
    size = len(message) - 1
    valid = [kind for kind in range(40) if library.load().cbp_message_validate(message, size, kind) == 0]
    assert valid == [MESSAGE_TYPES[name]]
