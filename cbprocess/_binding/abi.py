"""The C interface of the native library in ctypes: structures, callback types, functions. The fields of
structures are those of layouts.py, but where they are pointers; those and the functions are written by hand.

tests/abi compares every row of it with the built library. Knows nothing of the uses of the functions."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_char_p, c_int32, c_int64, c_uint32, c_uint64, c_void_p

from .._checks import as_text
from ..errors import CBProcessError
from .layouts import FIELDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

TYPES = {"I": c_uint32, "Q": c_uint64}


def _fields(name: str) -> list[tuple[str, Any]]:
    return [(field, TYPES[kind]) for field, kind in FIELDS[name]]


class Event(ctypes.Structure):
    """struct cbp_event: the fixed part; its texts follow."""

    _fields_ = _fields("event")


class Statistics(ctypes.Structure):
    """struct cbp_statistics."""

    _fields_ = _fields("statistics")


class ProcessRecord(ctypes.Structure):
    """struct cbp_process_record."""

    _fields_ = _fields("process_record")


class Snapshot(ctypes.Structure):
    """struct cbp_snapshot."""

    _fields_ = [
        ("count", c_uint32),
        ("record_size", c_uint32),
        ("records", c_void_p),
        ("texts", c_void_p),
        ("texts_size", c_uint64),
    ]


# The event travels as a plain address: a pointer object would cost more than the whole dispatch.
EventCallback = ctypes.CFUNCTYPE(None, c_void_p)
# Events with an address that is known before come by this one. C passes the address all the same, and a C
# function may be given more arguments than it takes; not declaring it saves its conversion.
BlockCallback = ctypes.CFUNCTYPE(None)
ErrorCallback = ctypes.CFUNCTYPE(None, c_uint64, c_uint32, c_char_p)
WorkerCallback = ctypes.CFUNCTYPE(None, c_uint64, c_void_p)
PlainCallback = ctypes.CFUNCTYPE(None)


class Callbacks(ctypes.Structure):
    """struct cbp_callbacks."""

    _fields_ = [
        ("size", c_uint32),
        ("reserved", c_uint32),
        ("context", c_uint64),
        ("event", EventCallback),
        ("error", ErrorCallback),
        ("worker", WorkerCallback),
    ]


class AbiRow(ctypes.Structure):
    """struct cbp_abi_row."""

    _fields_ = [
        ("kind", c_char_p),
        ("owner", c_char_p),
        ("name", c_char_p),
        ("text", c_char_p),
        ("offset", c_uint32),
        ("size", c_uint32),
    ]


class _Status:
    """Stands in the table below for a uint32_t result: 0, or an error code, which is raised."""


FUNCTIONS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "cbp_version": (c_char_p, ()),
    "cbp_error_message": (c_char_p, (c_uint32,)),
    "cbp_error_detail": (c_char_p, ()),
    "cbp_abi_rows": (POINTER(AbiRow), (POINTER(c_uint32),)),
    "cbp_message_validate": (c_uint32, (c_void_p, c_uint64, c_uint32)),
    "cbp_pattern_match": (_Status, (c_char_p, c_uint64, c_char_p, c_uint64, POINTER(c_uint32))),
    "cbp_pattern_set_create": (
        _Status,
        (POINTER(c_char_p), POINTER(c_uint64), c_uint32, c_uint32, POINTER(c_void_p)),
    ),
    "cbp_pattern_set_match": (
        _Status,
        (c_void_p, c_char_p, c_uint64, POINTER(c_uint32), c_uint32, POINTER(c_uint32)),
    ),
    "cbp_pattern_set_destroy": (None, (c_void_p,)),
    "cbp_session_create": (_Status, (c_char_p, POINTER(c_void_p))),
    "cbp_session_destroy": (_Status, (c_void_p,)),
    "cbp_session_set_product_guid": (_Status, (c_void_p, c_char_p)),
    "cbp_session_copy_config": (_Status, (c_void_p, c_void_p)),
    "cbp_session_set_callbacks": (_Status, (c_void_p, POINTER(Callbacks))),
    "cbp_session_set_config": (_Status, (c_void_p, c_char_p, c_char_p)),
    "cbp_session_get_config": (_Status, (c_void_p, c_char_p, c_void_p, c_uint64, POINTER(c_uint64))),
    "cbp_session_start": (_Status, (c_void_p, c_uint32)),
    "cbp_session_stop": (_Status, (c_void_p, c_uint32)),
    "cbp_session_is_active": (_Status, (c_void_p, POINTER(c_uint32))),
    "cbp_session_get_statistics": (_Status, (c_void_p, POINTER(Statistics), c_uint64)),
    "cbp_session_process_capabilities": (_Status, (c_void_p, c_uint32, POINTER(c_uint32))),
    "cbp_rule_add_process": (_Status, (c_void_p, c_uint32, c_uint32, c_uint32, c_uint32)),
    "cbp_rule_add_name": (_Status, (c_void_p, c_char_p, c_uint64, c_uint32, c_uint32, c_uint32)),
    "cbp_rule_remove_process": (_Status, (c_void_p, c_uint32, c_uint32)),
    "cbp_rule_remove_name": (_Status, (c_void_p, c_char_p, c_uint64, c_uint32)),
    "cbp_rules_remove": (
        _Status,
        (c_void_p, c_uint32, POINTER(c_char_p), POINTER(c_uint64), c_uint32, POINTER(c_uint32), c_uint32),
    ),
    "cbp_worker_bind": (_Status, (c_void_p, c_void_p, POINTER(c_void_p))),
    "cbp_worker_bind_type": (_Status, (c_void_p, c_uint32, c_void_p)),
    "cbp_worker_run": (None, (c_void_p,)),
    "cbp_event_reset_timeout": (_Status, (c_uint32, POINTER(c_uint32))),
    "cbp_event_defer": (_Status, (POINTER(c_uint64),)),
    "cbp_event_complete": (_Status, (c_uint64, c_uint32, c_uint32)),
    "cbp_event_originator_token": (_Status, (POINTER(c_int64),)),
    "cbp_in_handler": (c_uint32, ()),
    "cbp_failed_execution": (c_uint64, (POINTER(c_uint32),)),
    "cbp_handler_enter": (_Status, (c_void_p, c_void_p)),
    "cbp_handler_leave": (_Status, ()),
    "cbp_process_name": (_Status, (c_uint32, c_void_p, c_uint64, POINTER(c_uint64))),
    "cbp_snapshot_create": (_Status, (c_uint32, POINTER(POINTER(Snapshot)))),
    "cbp_snapshot_destroy": (None, (POINTER(Snapshot),)),
    "cbp_launch_begin": (
        _Status,
        (c_void_p, c_char_p, c_char_p, c_uint64, c_uint32, POINTER(c_int32), POINTER(c_void_p)),
    ),
    "cbp_launch_enter": (_Status, (c_void_p, c_uint32, POINTER(c_void_p))),
    "cbp_launch_creation_flags": (_Status, (c_void_p, POINTER(c_uint32))),
    "cbp_launch_leave": (_Status, (c_void_p, c_uint32)),
    "cbp_launch_finish": (_Status, (c_void_p, c_uint32, c_uint32, POINTER(c_uint32))),
    "cbp_launcher_path": (_Status, (c_void_p, c_uint64, POINTER(c_uint64))),
    "cbp_script_play": (_Status, (c_void_p, c_char_p, c_uint64)),
    "cbp_script_wait": (_Status, (c_void_p, c_uint32)),
    "cbp_script_next_verdict": (_Status, (c_void_p, c_uint32, c_void_p, c_uint64)),
    "cbp_recording_open": (_Status, (c_char_p, POINTER(c_void_p), POINTER(c_void_p), POINTER(c_uint64))),
    "cbp_recording_next": (_Status, (c_void_p, POINTER(c_void_p), POINTER(c_uint64))),
    "cbp_recording_close": (None, (c_void_p,)),
    "cbp_driver_probe": (_Status, (c_char_p, POINTER(c_uint32), c_void_p, c_uint64)),
    "cbp_driver_status": (_Status, (c_char_p, c_char_p, POINTER(c_uint32))),
    "cbp_driver_version": (_Status, (c_char_p, c_char_p, POINTER(c_uint64))),
    "cbp_driver_install": (_Status, (c_char_p, c_char_p, c_char_p, c_char_p, c_uint32, POINTER(c_uint32))),
    "cbp_driver_uninstall": (_Status, (c_char_p, c_char_p, c_char_p, c_char_p, c_uint32, POINTER(c_uint32))),
    "cbp_system_shutdown": (_Status, (c_char_p, c_uint32, c_uint32, c_uint32, POINTER(c_uint32))),
}


class Library(ctypes.CDLL):
    """The library. A function is declared when it is first used: a program uses a few of them."""

    def __getattr__(self, name: str) -> Any:
        if name not in FUNCTIONS:
            raise AttributeError(name)
        function: Any = self[name]
        result, function.argtypes = FUNCTIONS[name]
        if result is _Status:
            function.restype = c_uint32
            function.errcheck = self._check
        else:
            function.restype = result
        # No thread gets it before it is declared.
        self.__dict__[name] = function
        return function

    def _check(self, status: int, function: Any, arguments: Any) -> int:
        if status:
            text = self.cbp_error_detail() or self.cbp_error_message(status)
            raise CBProcessError(status, as_text(text))
        return status


def open_library(path: str) -> ctypes.CDLL:
    """Opens the library. OSError if it cannot be opened, AttributeError if a function is missing."""
    library = Library(path)
    for name in FUNCTIONS:
        library[name]
    return library


def read_text(call: Any) -> bytes:
    """The text of a function of the shape (..., buffer, size, needed); `call` supplies the leading arguments.
    The text may grow between two calls, so the size is asked for until it is enough."""
    size = 512
    while True:
        buffer = ctypes.create_string_buffer(size)
        needed = c_uint64()
        try:
            call(buffer, size, ctypes.byref(needed))
            return buffer.value
        except CBProcessError:
            if needed.value <= size:
                raise
            size = needed.value
