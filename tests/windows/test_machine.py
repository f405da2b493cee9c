"""What the library asks of the system: the snapshot, names, tokens, the log, installation, shutdown.
Calls that would change the machine, or that Wine only pretends to do, are caught where the library imports
them."""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from windows.windows_tools import COMMAND, GUID, LIMIT_S, make, sleeper, wait_for

from cbprocess import CBProcess, CBProcessError, constants
from cbprocess._binding import library
from cbprocess.running import running_processes

windll: Any = getattr(ctypes, "windll", None)
PAGE_READWRITE, TOKEN_USER = 4, 1


# ---- The snapshot ----


def ids_that_the_system_enumerates() -> set[int]:
    ids, size = (ctypes.c_uint32 * 4096)(), ctypes.c_uint32()
    assert windll.kernel32.K32EnumProcesses(ids, ctypes.sizeof(ids), ctypes.byref(size))
    return set(ids[: size.value // 4]) - {0}


def wmic_listing() -> dict[int, dict[str, str]]:
    """Of every process what wmic, another program, says: a table whose heading marks the columns."""
    if shutil.which("wmic") is None:
        pytest.skip("this Windows has no wmic to compare with")
    columns = "Name,ParentProcessId,ProcessId,ThreadCount"
    command = ["wmic", "process", "get", columns]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True)
    heading, *lines = [line for line in done.stdout.decode("utf-16").splitlines() if line.strip()]
    starts = {match[0]: match.start() for match in re.finditer(r"\w+", heading.lower())}
    ends = [*list(starts.values())[1:], None]
    rows = [{name: line[starts[name] : end].strip() for name, end in zip(starts, ends)} for line in lines]
    return {int(row["processid"]): row for row in rows if int(row["processid"])}


def test_snapshot_is_what_the_system_enumerates() -> None:
    child = sleeper()
    before = ids_that_the_system_enumerates()
    found = {process.process_id: process for process in running_processes()}
    after = ids_that_the_system_enumerates()
    assert before & after <= set(found) <= before | after
    own = found[child.pid]
    assert own.command_line.endswith("-c input()")
    assert own.process_name.lower().endswith("python.exe")
    assert own.parent_process_id == os.getpid()
    child.communicate("\n")


def test_snapshot_is_what_wmic_lists() -> None:
    child = sleeper()
    before = {process.process_id: process for process in running_processes()}
    listed = wmic_listing()
    after = {process.process_id for process in running_processes()}
    stayed = set(before) & after
    assert {os.getpid(), child.pid} <= stayed <= set(listed)
    for process_id in stayed:
        row, process = listed[process_id], before[process_id]
        assert process.process_name.rpartition("\\")[2].lower() == row["name"].lower()
        assert process.parent_process_id == int(row["parentprocessid"])
    assert before[child.pid].thread_count == int(listed[child.pid]["threadcount"])
    child.communicate("\n")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["a b", 'quo"ted', "back\\slash\\", "", "tab\there"],
        ["\u00e9\u4e2d\U0001f600"],
        ["half \ud83d", "\udc00 half"],
        ["x" * 30000],
    ],
)
def test_command_lines_are_what_their_processes_have(arguments: list[str]) -> None:
    """Each child says itself what its command line is, in UTF-16 as numbers."""
    program = (
        "import ctypes, json; get = ctypes.windll.kernel32.GetCommandLineW; get.restype = ctypes.c_wchar_p;"
        "print(json.dumps(get()), flush=True); input()"
    )
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    child = subprocess.Popen([sys.executable, "-c", program, *arguments], **pipes)
    assert child.stdout is not None
    own = json.loads(child.stdout.readline())
    found = {process.process_id: process for process in running_processes()}[child.pid]
    assert found.command_line == own
    assert found.arguments == [own]
    child.communicate(b"\n")


def test_snapshot_through_the_class() -> None:
    child = sleeper()
    process = CBProcess()
    process.initialize(GUID)
    process.track_command_line = True
    process.create_running_processes_snapshot()
    index = process.running_process_process_id.index(child.pid)
    assert process.get_running_process_process_name(index).lower().endswith("python.exe")
    assert process.get_running_process_command_line(index).endswith("-c input()")
    process.close_running_processes_snapshot()
    child.communicate("\n")


# ---- Names and tokens ----


def test_names_of_processes() -> None:
    path = ctypes.create_unicode_buffer(32768)
    windll.kernel32.GetModuleFileNameW(None, path, len(path))
    process = CBProcess()
    process.initialize(GUID)
    assert process.get_process_name(os.getpid()).lower() == path.value.lower()
    child = sleeper()
    assert process.get_process_name(child.pid).lower() == path.value.lower()
    child.communicate("\n")
    assert process.get_process_name(0x7FFFFFF0) == ""


def user_of(token: int) -> str:
    """The SID of the token's user as text."""
    advapi: Any = ctypes.WinDLL("advapi32")  # type: ignore[attr-defined]
    buffer, size, text = ctypes.create_string_buffer(256), ctypes.c_uint32(), ctypes.c_wchar_p()
    assert advapi.GetTokenInformation(ctypes.c_void_p(token), TOKEN_USER, buffer, 256, ctypes.byref(size))
    sid = ctypes.c_void_p.from_buffer(buffer)
    assert advapi.ConvertSidToStringSidW(sid, ctypes.byref(text))
    return str(text.value)


def own_user() -> str:
    token = ctypes.c_void_p()
    advapi: Any = ctypes.WinDLL("advapi32")  # type: ignore[attr-defined]
    assert advapi.OpenProcessToken(ctypes.c_void_p(-1), 8, ctypes.byref(token))
    return user_of(token.value or 0)


def test_originator_tokens() -> None:
    users: list[str] = []

    def look(event: Any) -> None:
        token = process.get_originator_token()
        users.append(user_of(token))
        assert windll.kernel32.CloseHandle(ctypes.c_void_p(token))

    with make(on_process_creation=look, on_process_termination=look) as process:
        process.start_filter(0)
        assert process.popen(COMMAND).wait(LIMIT_S) == 3
        wait_for(lambda: len(users) == 2)
        with pytest.raises(CBProcessError) as raised:
            process.get_originator_token()
        assert raised.value.code == constants.ERROR_NO_CALLBACK_ACTIVE
    assert users == [own_user()] * 2
    assert users[0].startswith("S-1-5-")


# ---- The log ----


class Import:
    """Puts a function in the place of one that the library imports, for the time of a with block."""

    def __init__(self, name: str, result: Any, arguments: list[Any], function: Any) -> None:
        self._address = self._find(name.encode())
        self._function = ctypes.WINFUNCTYPE(result, *arguments)(function)  # type: ignore[attr-defined]

    @staticmethod
    def _find(name: bytes) -> int:
        """Where the library keeps the address of the import: out of its own headers in memory."""
        base: int = library.load()._handle

        def number(offset: int, kind: str = "=I") -> int:
            return int(struct.unpack(kind, ctypes.string_at(base + offset, struct.calcsize(kind)))[0])

        descriptor = number(number(0x3C) + 0x90)
        while number(descriptor + 12):
            for index in range(4096):
                entry = number(number(descriptor) + 8 * index, "=Q")
                if not entry:
                    break
                if entry < 1 << 63 and ctypes.string_at(base + entry + 2) == name:
                    return base + number(descriptor + 16) + 8 * index
            descriptor += 20
        raise AssertionError(f"the library does not import {name!r}")

    def _put(self, value: int) -> int:
        place = ctypes.c_void_p.from_address(self._address)
        previous = ctypes.c_uint32()
        protect = windll.kernel32.VirtualProtect
        assert protect(ctypes.c_void_p(self._address), 8, PAGE_READWRITE, ctypes.byref(previous))
        before, place.value = place.value, value
        protect(ctypes.c_void_p(self._address), 8, previous.value, ctypes.byref(previous))
        return int(before or 0)

    def __enter__(self) -> None:
        self._before = self._put(int(ctypes.cast(self._function, ctypes.c_void_p).value or 0))

    def __exit__(self, *exception: object) -> None:
        self._put(self._before)


def registry_value() -> int:
    import winreg

    with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, r"SOFTWARE\cbprocess") as key:  # type: ignore[attr-defined]
        return int(winreg.QueryValueEx(key, "LoggingEnabled")[0])  # type: ignore[attr-defined]


@pytest.fixture
def logging() -> Iterator[CBProcess]:
    """LoggingEnabled, which holds for the machine, for the time of a test."""
    process = CBProcess()
    process.initialize(GUID)
    process.config("Driver=debug")
    before = process.config("LoggingEnabled")
    process.config("LoggingEnabled=True")
    yield process
    process.config(f"LoggingEnabled={before}")


def test_the_log_is_switched_for_the_machine(logging: CBProcess) -> None:
    assert registry_value() == 1
    assert logging.config("LoggingEnabled") == "True"
    program = (
        f"from cbprocess import *; p = CBProcess(); p.initialize('{GUID}'); print(p.config('LoggingEnabled'))"
    )
    told = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=True)
    assert told.stdout == "True\n"
    logging.config("LoggingEnabled=False")
    assert registry_value() == 0
    assert logging.config("LoggingEnabled") == "False"


def test_lines_go_to_the_event_log(logging: CBProcess) -> None:
    sources: list[str] = []
    lines: list[str] = []

    def register(server: Any, source: str) -> int:
        sources.append(source)
        return 4711

    def report(*given: Any) -> int:
        assert given[:7] == (4711, 4, 0, 1, None, 1, 0)  # to that log, for information, one line
        lines.extend(given[7][:1])
        return 1

    pointer, word, half = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint16
    texts = ctypes.POINTER(ctypes.c_wchar_p)
    arguments = [ctypes.c_size_t, half, half, word, pointer, half, word, texts, pointer]
    with (
        Import("RegisterEventSourceW", ctypes.c_size_t, [pointer, ctypes.c_wchar_p], register),
        Import("ReportEventW", ctypes.c_int, arguments, report),
        Import("DeregisterEventSource", ctypes.c_int, [ctypes.c_size_t], lambda log: log == 4711),
        logging,
    ):
        logging.start_filter(0)
        logging.popen(COMMAND).wait(LIMIT_S)
    assert set(sources) == {"cbprocess"} and len(sources) == len(lines)
    assert f"{GUID} the filter is active: driver debug, timeout 0 ms" in lines[0]
    assert all(GUID in line for line in lines) and len(lines) >= 2


# ---- Installation and shutdown ----


def test_the_driver_needs_no_installation() -> None:
    process = CBProcess()
    process.config("Driver=debug")
    assert process.get_driver_status(GUID) == constants.MODULE_STATUS_RUNNING
    assert process.install("none.cab", GUID, None, 0) is False
    assert process.uninstall("none.cab", GUID, None, 0) is False
    version = process.get_driver_version(GUID)
    words = [version >> shift & 0xFFFF for shift in (48, 32, 16)]
    assert ".".join(map(str, words)) == library.load().cbp_version().decode()
    with pytest.raises(CBProcessError) as raised:
        process.config("Driver=ptrace")
    assert raised.value.code == constants.ERROR_NOT_SUPPORTED


@pytest.mark.parametrize("answer", [True, False])
@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        (("bye \u00e9\U0001f600", 60, True, False), ("bye \u00e9\U0001f600", 60, 1, 0)),
        ((None, 60, False, True), (None, 0, 0, 1)),
        (("x", 2**32 - 1, False, False), ("x", 2**32 - 1, 0, 0)),
    ],
)
def test_shutdown(arguments: tuple[Any, ...], asked: tuple[Any, ...], answer: bool) -> None:
    """Everything but the one call, which is caught: nothing shuts down."""
    seen: list[tuple[Any, ...]] = []

    def initiate(machine: Any, *rest: Any) -> int:
        seen.append((machine, *rest))
        return int(answer)

    word, text = ctypes.c_uint32, ctypes.c_wchar_p
    with Import("InitiateSystemShutdownExW", ctypes.c_int, [text, text, word, word, word, word], initiate):
        assert CBProcess().shutdown_system(*arguments) is answer
    ((machine, *rest, reason),) = seen
    assert (machine, tuple(rest)) == (None, asked)
    assert reason == 0x80040000  # planned, an application's
