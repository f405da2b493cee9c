"""The class reference as a table: every member, its default, and the codes with which it fails where it must
not be called. Written from the reference; test_reference.py holds the package against it.

What differs from the reference on purpose: rules can be changed whether the filter is active or not; a driver
that needs no installation is always running and of the package's version.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from unit.instances import GUID

OWN = os.getpid()
NOT_READY, WRONG, NO_HANDLER, IN_HANDLER, ACTIVE, TOO_SHORT = 21, 87, 614, 1131, 1230, 1292

NO_TEXTS: tuple[Any, ...] = (5, b"text", "a\0b", "\ud800")
NO_BOOLEANS: tuple[Any, ...] = (2, -1, None, "True")
NO_NUMBERS: tuple[Any, ...] = ("1", None, 1.0, True, -1, 2**32)
NO_GUIDS: tuple[Any, ...] = (*NO_TEXTS, None, "", "{}", GUID[1:-1], GUID + " ")
NO_NAMES: tuple[Any, ...] = (*NO_TEXTS, None, "", "x" * 4097)


class Method(NamedTuple):
    """Parameters as callers may name them, and what fits each of them."""

    parameters: dict[str, Any] = {}  # name: a value with which the call can be made
    before: int = NOT_READY  # before initialize(); 0: it works
    outside: int = 0  # in no handler
    inside: int = 0  # in a handler, on an instance that is not active
    active: int = 0  # while active, in no handler
    wrong: dict[str, tuple[Any, ...]] = {}  # values that are error 87
    result: Any = None  # what it gives on a new instance; a type where the value is not fixed


_BY_ID = {"process_id": OWN, "include_children": False}
_BY_NAME = {"process_name": "no-such-program", "include_children": False}
_NO_ID = (*NO_NUMBERS, 0)
_NO_RULE = {"include_children": NO_BOOLEANS}
_INSTALL = {"cab_file_name": "driver.cab", "product_guid": GUID, "path_to_install": "", "flags": 0}
_UNINSTALL = {"cab_file_name": "driver.cab", "product_guid": GUID, "installed_path": "", "flags": 3}
_SHUTDOWN = {"shutdown_prompt": "bye", "timeout": 60, "force_close_apps": False, "reboot": True}
_INDEX = {"running_process_index": 0}
_NO_INDEX = {"running_process_index": ("0", None, True, -1, 10**9)}

METHODS = {
    "add_filtered_process_by_id": Method(_BY_ID, wrong={"process_id": (*_NO_ID[:-3], -2, 2**32), **_NO_RULE}),
    "add_filtered_process_by_name": Method(_BY_NAME, wrong={"process_name": NO_NAMES, **_NO_RULE}),
    "add_ignored_process_by_id": Method(_BY_ID, wrong={"process_id": _NO_ID, **_NO_RULE}),
    "add_ignored_process_by_name": Method(_BY_NAME, wrong={"process_name": NO_NAMES, **_NO_RULE}),
    "close_running_processes_snapshot": Method(inside=IN_HANDLER),
    "config": Method(
        {"configuration_string": "EventsToFire"},
        before=0,
        wrong={"configuration_string": (*NO_TEXTS, None, "", "=", "NoSuchSetting", "EventsToFire=x")},
        result="0",
    ),
    "create_running_processes_snapshot": Method(inside=IN_HANDLER),
    "get_driver_status": Method(
        {"product_guid": GUID}, before=0, inside=IN_HANDLER, wrong={"product_guid": NO_GUIDS}, result=4
    ),
    "get_driver_version": Method(
        {"product_guid": GUID}, before=0, inside=IN_HANDLER, wrong={"product_guid": NO_GUIDS}, result=int
    ),
    "get_originator_token": Method(outside=NO_HANDLER, active=NO_HANDLER, result=int),
    "get_process_name": Method(
        {"process_id": OWN}, wrong={"process_id": NO_NUMBERS}, result=os.readlink("/proc/self/exe")
    ),
    "initialize": Method({"product_guid": GUID}, before=0, wrong={"product_guid": NO_GUIDS}),
    "install": Method(
        _INSTALL,
        before=0,
        inside=IN_HANDLER,
        wrong={
            "cab_file_name": NO_TEXTS,
            "product_guid": NO_GUIDS,
            "path_to_install": NO_TEXTS,
            "flags": (*NO_NUMBERS, 8, 0x80000000),
        },
        result=False,
    ),
    "remove_filtered_process_by_id": Method(
        {"process_id": OWN}, wrong={"process_id": (*NO_NUMBERS[:-2], -2)}
    ),
    "remove_filtered_process_by_name": Method(
        {"process_name": "no-such-program"}, wrong={"process_name": NO_NAMES}
    ),
    "remove_ignored_process_by_id": Method({"process_id": OWN}, wrong={"process_id": NO_NUMBERS}),
    "remove_ignored_process_by_name": Method(
        {"process_name": "no-such-program"}, wrong={"process_name": NO_NAMES}
    ),
    "reset_timeout": Method(
        {"timeout": 5000}, outside=NO_HANDLER, active=NO_HANDLER, wrong={"timeout": NO_NUMBERS}, result=bool
    ),
    "shutdown_system": Method(
        _SHUTDOWN,
        before=0,
        inside=IN_HANDLER,
        wrong={
            "shutdown_prompt": NO_TEXTS,
            "timeout": NO_NUMBERS,
            "force_close_apps": NO_BOOLEANS,
            "reboot": NO_BOOLEANS,
        },
        result=True,
    ),
    "start_filter": Method(
        {"timeout": 3000}, inside=IN_HANDLER, active=ACTIVE, wrong={"timeout": ("0", None, 0.5, True, 2**32)}
    ),
    "stop_filter": Method(),
    "uninstall": Method(
        _UNINSTALL,
        before=0,
        inside=IN_HANDLER,
        wrong={
            "cab_file_name": NO_TEXTS,
            "product_guid": NO_GUIDS,
            "installed_path": NO_TEXTS,
            "flags": (*NO_NUMBERS, 4),
        },
        result=False,
    ),
    # Of the arrays only the methods stand in the reference. They are properties: there is no snapshot yet.
    "get_running_process_command_line": Method(_INDEX, before=WRONG, wrong=_NO_INDEX, outside=WRONG),
    "get_running_process_process_id": Method(_INDEX, before=WRONG, wrong=_NO_INDEX, outside=WRONG),
    "get_running_process_process_name": Method(_INDEX, before=WRONG, wrong=_NO_INDEX, outside=WRONG),
}


class Property(NamedTuple):
    default: Any
    value: Any = None  # another one that it can have; None: it is read-only
    inside: int = 0  # setting it in a handler, on an instance that is not active
    active: int = 0  # setting it while active
    wrong: tuple[Any, ...] = ()


PROPERTIES = {
    "active": Property(False),
    "altitude": Property(
        "400055",
        "385201.5",
        wrong=(400055, None, "", "x", "-1", "0", "1.", "4294967296", "1\0", "\ud800", b"1"),
    ),
    "running_process_count": Property(0),
    "serialize_events": Property(0, 1, inside=IN_HANDLER, active=ACTIVE, wrong=(2, -1, "1", None, True, 1.0)),
    "strict_altitude": Property(False, True, wrong=NO_BOOLEANS),
    "tag": Property(0, -(2**40), wrong=("1", None, 1.0, True)),
    "track_command_line": Property(False, True, inside=IN_HANDLER, active=ACTIVE, wrong=NO_BOOLEANS),
}


class Setting(NamedTuple):
    default: str | None  # None: any text
    value: str | None = None  # another one, as it is read; None: it is read-only
    inside: int = 0
    active: int = 0
    wrong: tuple[str, ...] = ()


SETTINGS = {
    "EventsToFire": Setting("0", "63", wrong=("64", "x", "", "-2")),
    # No driver of today sees them: an error once it is known which one it is.
    "FilterOwnRequests": Setting("False", "True", active=50, wrong=("2", "maybe", "")),
    "LoggingEnabled": Setting("False", "True", wrong=("2", "maybe", "")),
    "MaxWorkerThreadCount": Setting("0", "8", wrong=("1025", "-1", "x", "")),
    "MinWorkerThreadCount": Setting("0", "2", wrong=("1025", "-1", "x", "")),
    "WorkerInitialStackSize": Setting(
        "0", "262144", inside=IN_HANDLER, active=ACTIVE, wrong=("1073741825", "-1", "x", "")
    ),
    "BuildInfo": Setting(None),
    "LicenseInfo": Setting(None),
}

_RESULT = {"result_code": 0}
_HANDLE = {
    "duplication": False,
    "process_id": int,
    "originator_process_id": int,
    "originator_thread_id": int,
    "source_process_id": int,
    "target_process_id": int,
    "original_desired_access": int,
    "desired_access": int,
    **_RESULT,
}

# Events with what their objects have: the value when the event fires, or its type.
EVENTS: dict[str, dict[str, Any]] = {
    "on_error": {"error_code": 574, "description": str},
    "on_process_creation": {
        "process_id": int,
        "parent_process_id": int,
        "creating_process_id": int,
        "creating_thread_id": int,
        "process_name": str,
        "image_file_name": str,
        "file_open_name_available": bool,
        "command_line": str,
        **_RESULT,
    },
    "on_process_handle_operation": _HANDLE,
    "on_process_termination": {"process_id": int, "process_name": str, **_RESULT},
    "on_thread_creation": {
        "process_id": int,
        "thread_id": int,
        "creating_process_id": int,
        "creating_thread_id": int,
        **_RESULT,
    },
    "on_thread_handle_operation": {**_HANDLE, "thread_id": int},
    "on_thread_termination": {"process_id": int, "thread_id": int, **_RESULT},
    "on_worker_thread_creation": _RESULT,
    "on_worker_thread_termination": {},
}
WRITABLE = ("result_code", "desired_access")

CONSTANTS = {
    "PROC_EVT_NONE": 0,
    "PROC_EVT_PROCESS_CREATION": 1,
    "PROC_EVT_PROCESS_TERMINATION": 2,
    "PROC_EVT_PROCESS_HANDLE_OPERATION": 4,
    "PROC_EVT_THREAD_CREATION": 8,
    "PROC_EVT_THREAD_TERMINATION": 0x10,
    "PROC_EVT_THREAD_HANDLE_OPERATION": 0x20,
    "PROC_EVT_ALL": -1,
    "seOnMultipleThreads": 0,
    "seOnOneWorkerThread": 1,
    "MODULE_STATUS_NOT_PRESENT": 0,
    "MODULE_STATUS_STOPPED": 1,
    "MODULE_STATUS_RUNNING": 4,
    "INSTALL_REMOVE_OLD_VERSIONS": 1,
    "INSTALL_KEEP_START_TYPE": 2,
    "INSTALL_REQUESTS_VIA_DRIVER_STACK": 4,
    "INSTALL_ALWAYS_PREPARE_FILES": 0x10000,
    "INSTALL_FORCE_APP_PERMISSION_CHECK": 0x20000,
    "INSTALL_FORCE_SECURITY_CHECKS": 0x40000,
    "UNINSTALL_VERSION_PREVIOUS": 1,
    "UNINSTALL_VERSION_CURRENT": 2,
    "UNINSTALL_VERSION_ALL": 3,
    "ERROR_FILE_NOT_FOUND": 2,
    "ERROR_NOT_READY": 21,
    "ERROR_INVALID_KERNEL_INFO_VERSION": 340,
    "ERROR_APP_INIT_FAILURE": 575,
    "ERROR_FS_DRIVER_REQUIRED": 588,
    "ERROR_NO_CALLBACK_ACTIVE": 614,
    "ERROR_CONNECTION_ACTIVE": 1230,
    "ERROR_IMPLEMENTATION_LIMIT": 1292,
    "ERROR_PRIVILEGE_NOT_HELD": 0x0522,
}
