"""The wire messages in ctypes, written by hand from the protocol's description, for comparison with the built
library and for building messages in tests."""

from __future__ import annotations

import ctypes
from ctypes import c_uint32, c_uint64
from typing import Any

MESSAGE_TYPES = {
    "hello": 1,
    "reply": 2,
    "session_settings": 3,
    "session_close": 4,
    "rules": 5,
    "launch_forget": 6,
    "launch": 7,
    "launch_ready": 8,
    "launch_go": 9,
    "launch_result": 10,
    "launch_target": 11,
    "event_message": 12,
    "process_query": 13,
    "launch_process": 20,
    "kernel_session": 21,
    "kernel_worker": 22,
    "kernel_receive": 23,
    "kernel_answer": 24,
    "kernel_deadline": 25,
    "kernel_token": 26,
    "kernel_beat": 27,
    "kernel_counts": 28,
    "recording": 32,
    "recording_end": 33,
    "verdict": 34,
    "script_step": 35,
}
MAGIC = 0x50424331
VERSION = 3


class MessageHeader(ctypes.Structure):
    _fields_ = [("size", c_uint32), ("type", c_uint32), ("id", c_uint64), ("deadline_ns", c_uint64)]


class Hello(ctypes.Structure):
    _fields_ = [
        ("header", MessageHeader),
        ("magic", c_uint32),
        ("version", c_uint32),
        ("clock_ns", c_uint64),
        ("process_id", c_uint32),
        ("reserved", c_uint32),
    ]


class Reply(ctypes.Structure):
    _fields_ = [
        ("header", MessageHeader),
        ("status", c_uint32),
        ("version", c_uint32),
        ("value", c_uint64),
        ("clock_ns", c_uint64),
    ]


class SessionSettings(ctypes.Structure):
    _fields_ = [
        ("header", MessageHeader),
        ("session_id", c_uint32),
        ("events", c_uint32),
        ("timeout_ms", c_uint32),
        ("timeout_action", c_uint32),
        ("refuse_with", c_uint32),
        ("flags", c_uint32),
        ("altitude", c_uint64),
    ]


class SessionClose(ctypes.Structure):
    _fields_ = [("header", MessageHeader), ("session_id", c_uint32), ("reserved", c_uint32)]


class Rules(ctypes.Structure):
    _fields_ = [
        ("header", MessageHeader),
        ("session_id", c_uint32),
        ("part", c_uint32),
        ("attach_rule_id", c_uint32),
        ("gone_rule_id", c_uint32),
        ("block_size", c_uint64),
        ("section_handle", c_uint64),
    ]


class LaunchForget(ctypes.Structure):
    _fields_ = [("header", MessageHeader), ("session_id", c_uint32), ("rule_id", c_uint32)]


class Launch(ctypes.Structure):
    _fields_ = [
        ("header", MessageHeader),
        ("session_id", c_uint32),
        ("rule_id", c_uint32),
        ("thread_id", c_uint32),
        ("reserved", c_uint32),
    ]


class LaunchReady(ctypes.Structure):
    _fields_ = [("header", MessageHeader)]


class LaunchGo(ctypes.Structure):
    _fields_ = [
        ("header", MessageHeader),
        ("status", c_uint32),
        ("flags", c_uint32),
        ("helper_process_id", c_uint32),
        ("controller_process_id", c_uint32),
    ]


class LaunchResult(ctypes.Structure):
    _fields_ = [
        ("header", MessageHeader),
        ("status", c_uint32),
        ("os_error", c_uint32),
        ("process_id", c_uint32),
        ("reserved", c_uint32),
        ("start_time", c_uint64),
    ]


class LaunchTarget(ctypes.Structure):
    _fields_ = [
        ("header", MessageHeader),
        ("helper_process_id", c_uint32),
        ("reserved", c_uint32),
        ("argument_offset", c_uint32),
        ("argument_size", c_uint32),
        ("paths_offset", c_uint32),
        ("paths_size", c_uint32),
    ]


class EventItem(ctypes.Structure):
    _fields_ = [
        ("type", c_uint32),
        ("flags", c_uint32),
        ("result_code", c_uint32),
        ("desired_access", c_uint32),
    ]


class EventMessage(ctypes.Structure):
    _fields_ = [
        ("header", MessageHeader),
        ("sequence", c_uint64),
        ("time_ns", c_uint64),
        ("start_time", c_uint64),
        ("session_id", c_uint32),
        ("item_count", c_uint32),
        ("process_id", c_uint32),
        ("thread_id", c_uint32),
        ("parent_process_id", c_uint32),
        ("originator_process_id", c_uint32),
        ("originator_thread_id", c_uint32),
        ("source_process_id", c_uint32),
        ("target_process_id", c_uint32),
        ("original_desired_access", c_uint32),
        ("user_id", c_uint32),
        ("exit_status", c_uint32),
        ("capabilities", c_uint32),
        ("reserved", c_uint32),
        ("process_name_offset", c_uint32),
        ("process_name_size", c_uint32),
        ("image_file_name_offset", c_uint32),
        ("image_file_name_size", c_uint32),
        ("arguments_offset", c_uint32),
        ("arguments_size", c_uint32),
        ("item0", EventItem),
        ("item1", EventItem),
        ("item2", EventItem),
        ("item3", EventItem),
    ]


class ProcessQuery(ctypes.Structure):
    _fields_ = [("header", MessageHeader), ("process_id", c_uint32), ("reserved", c_uint32)]


class LaunchProcess(ctypes.Structure):
    _fields_ = [
        ("header", MessageHeader),
        ("session_id", c_uint32),
        ("rule_id", c_uint32),
        ("thread_id", c_uint32),
        ("process_id", c_uint32),
        ("section_handle", c_uint64),
        ("event_handle", c_uint64),
    ]


class KernelSession(ctypes.Structure):
    _fields_ = [
        ("header", MessageHeader),
        ("session_id", c_uint32),
        ("is_strict", c_uint32),
        ("altitude_offset", c_uint32),
        ("altitude_size", c_uint32),
    ]


class KernelWorker(ctypes.Structure):
    _fields_ = [("header", MessageHeader), ("session_id", c_uint32), ("is_worker", c_uint32)]


class KernelReceive(ctypes.Structure):
    _fields_ = [("header", MessageHeader), ("session_id", c_uint32), ("reserved", c_uint32)]


class KernelAnswer(ctypes.Structure):
    _fields_ = [
        ("header", MessageHeader),
        ("session_id", c_uint32),
        ("item_count", c_uint32),
        ("item0", EventItem),
        ("item1", EventItem),
        ("item2", EventItem),
        ("item3", EventItem),
    ]


class KernelDeadline(ctypes.Structure):
    _fields_ = [
        ("header", MessageHeader),
        ("session_id", c_uint32),
        ("moves", c_uint32),
        ("timeout_ms", c_uint32),
        ("reserved", c_uint32),
    ]


class KernelToken(ctypes.Structure):
    _fields_ = [("header", MessageHeader), ("session_id", c_uint32), ("reserved", c_uint32)]


class KernelBeat(ctypes.Structure):
    _fields_ = [("header", MessageHeader), ("session_id", c_uint32), ("reserved", c_uint32)]


class KernelCounts(ctypes.Structure):
    _fields_ = [
        ("header", MessageHeader),
        ("status", c_uint32),
        ("version", c_uint32),
        ("lost", c_uint64),
        ("timed_out", c_uint64),
        ("refused", c_uint64),
        ("decided", c_uint64),
        ("backlog", c_uint64),
        ("supervised", c_uint64),
    ]


class Recording(ctypes.Structure):
    _fields_ = [
        ("header", MessageHeader),
        ("version", c_uint32),
        ("process_id", c_uint32),
        ("clock_ns", c_uint64),
        ("time_ns", c_uint64),
        ("platform_offset", c_uint32),
        ("platform_size", c_uint32),
        ("driver_offset", c_uint32),
        ("driver_size", c_uint32),
    ]


class RecordingEnd(ctypes.Structure):
    _fields_ = [
        ("header", MessageHeader),
        ("time_ns", c_uint64),
        ("message_count", c_uint64),
        ("verdict_count", c_uint64),
        ("lost", c_uint64),
    ]


class Verdict(ctypes.Structure):
    _fields_ = [
        ("header", MessageHeader),
        ("sequence", c_uint64),
        ("time_ns", c_uint64),
        ("state", c_uint32),
        ("item_count", c_uint32),
        ("deferred_items", c_uint32),
        ("decided_items", c_uint32),
        *((f"result_code{index}", c_uint32) for index in range(4)),
        *((f"desired_access{index}", c_uint32) for index in range(4)),
    ]


class ScriptStep(ctypes.Structure):
    _fields_ = [("header", MessageHeader), ("kind", c_uint32), ("value", c_uint32)]


STRUCTURES: dict[str, type[ctypes.Structure]] = {
    "message_header": MessageHeader,
    "hello": Hello,
    "reply": Reply,
    "session_settings": SessionSettings,
    "session_close": SessionClose,
    "rules": Rules,
    "launch_forget": LaunchForget,
    "launch": Launch,
    "launch_ready": LaunchReady,
    "launch_go": LaunchGo,
    "launch_result": LaunchResult,
    "launch_target": LaunchTarget,
    "event_item": EventItem,
    "event_message": EventMessage,
    "process_query": ProcessQuery,
    "launch_process": LaunchProcess,
    "kernel_session": KernelSession,
    "kernel_worker": KernelWorker,
    "kernel_receive": KernelReceive,
    "kernel_answer": KernelAnswer,
    "kernel_deadline": KernelDeadline,
    "kernel_token": KernelToken,
    "kernel_beat": KernelBeat,
    "kernel_counts": KernelCounts,
    "recording": Recording,
    "recording_end": RecordingEnd,
    "verdict": Verdict,
    "script_step": ScriptStep,
}

# The variable parts of each message: the text's name, in the order in which make_message puts them.
TEXTS = {
    "launch_target": ("argument", "paths"),
    "event_message": ("process_name", "image_file_name", "arguments"),
    "kernel_session": ("altitude",),
    "recording": ("platform", "driver"),
}


def make_message(name: str, texts: dict[str, bytes] | None = None, **fields: Any) -> bytes:
    """The bytes of a message with these fields and variable parts; everything else is 0."""
    structure = STRUCTURES[name]
    message: Any = structure()
    tail = b""
    for key, value in fields.items():
        setattr(message, key, value)
    for text_name in TEXTS.get(name, ()):
        text = (texts or {}).get(text_name, b"")
        setattr(message, f"{text_name}_offset", ctypes.sizeof(structure) + len(tail))
        setattr(message, f"{text_name}_size", len(text))
        tail += text
    message.header.type = MESSAGE_TYPES[name]
    message.header.size = ctypes.sizeof(structure) + len(tail)
    return bytes(message) + tail
