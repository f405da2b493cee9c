"""The structures and callback types of the native library in ctypes. The fields of structures are those of
layouts.py, but where they are pointers.

tests/abi compares every field with the built library. A module of its own: ctypes makes a class of
each, and a program that has not started a filter needs none of them."""

from __future__ import annotations

import ctypes
from ctypes import c_char_p, c_uint32, c_uint64, c_void_p

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
