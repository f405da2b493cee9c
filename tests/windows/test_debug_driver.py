"""The debug driver with real programs: starting, refusing, attaching, and what a controller's end leaves."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable

import pytest

from cbprocess import CBProcess, CBProcessError, constants, probe_driver
from cbprocess.running import running_processes

GUID = "{0F5D9C5B-6B8F-4B9C-9E59-0B8C8A3B6B10}"
LIMIT_S = 20.0
STATUS_ACCESS_DENIED = 0xC0000022
COMMAND = ["cmd.exe", "/c", "exit 3"]
CHILD = "import subprocess, sys; sys.exit(subprocess.call(['cmd.exe', '/c', 'exit 3']) & 0xff)"


def make(**handlers: Callable[[Any], None]) -> CBProcess:
    process = CBProcess()
    process.initialize(GUID)
    process.config("EventsToFire=-1")
    for name, handler in handlers.items():
        setattr(process, name, handler)
    return process


def wait_for(condition: Callable[[], object]) -> None:
    limit = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < limit, "not within its time"
        time.sleep(0.01)


def test_capabilities_say_what_is_missing() -> None:
    report = probe_driver("debug")
    assert report.capabilities & constants.CAP_KILL_PROCESS_CREATION
    assert not report.capabilities & constants.CAP_REFUSE_PROCESS_CREATION
    assert not report.capabilities & (constants.CAP_SEE_PROCESS_HANDLE | constants.CAP_SEE_THREAD_HANDLE)
    assert "kernel driver" in report.reason


def test_popen_is_a_popen() -> None:
    created: list[Any] = []
    with make(on_process_creation=created.append) as process:
        process.start_filter(0)
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        program = "import sys; print(sys.stdin.read().upper()); sys.exit(300)"
        child = process.popen([sys.executable, "-c", program], **pipes)
        assert child.communicate("abc")[0] == "ABC\n"
        assert child.returncode == 300
        assert created[0].process_id == child.pid
        assert created[0].process_name.lower().endswith("python.exe")
        assert program in created[0].command_line
        with pytest.raises(FileNotFoundError):
            process.popen(["no-such-program"])
        with pytest.raises(ValueError, match="suspended"):
            process.popen(COMMAND, creationflags=4)


def test_no_debugger_is_seen() -> None:
    program = "import ctypes, sys; sys.exit(ctypes.windll.kernel32.IsDebuggerPresent())"
    with make() as process:
        process.start_filter(0)
        assert process.popen([sys.executable, "-c", program]).wait() == 0


def test_a_refused_program_raises_and_never_runs(tmp_path: Path) -> None:
    mark = tmp_path / "mark"

    def refuse(event: Any) -> None:
        event.result_code = 5

    with make(on_process_creation=refuse) as process:
        process.start_filter(0)
        with pytest.raises(PermissionError) as raised:
            process.popen(["cmd.exe", "/c", f"echo > {mark}"])
        assert raised.value.winerror == 5  # type: ignore[attr-defined]
        assert not mark.exists()
        assert process.statistics().refused == 1


def test_a_refused_child_ends_with_access_denied() -> None:
    def refuse(event: Any) -> None:
        if event.process_name.lower().endswith("cmd.exe"):
            event.result_code = 5

    program = "import subprocess; print(subprocess.call(['cmd.exe', '/c', 'exit 3']))"
    with make(on_process_creation=refuse) as process:
        process.start_filter(0)
        child = process.popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
        assert int(child.communicate()[0]) == STATUS_ACCESS_DENIED


def test_surrogates_reach_the_handler(tmp_path: Path) -> None:
    created: list[Any] = []
    with make(on_process_creation=created.append) as process:
        process.start_filter(0)
        argument = "\u00e9\u4e2d\U0001f600\udc00"
        assert process.popen(["cmd.exe", "/c", "exit 0", argument]).wait() == 0
        assert argument in created[0].command_line


def test_attaching_and_letting_go() -> None:
    seen: list[str] = []
    program = (
        "import sys, threading; sys.stdin.readline(); t = threading.Thread(target=int); t.start(); t.join();"
        "print('went on', flush=True); sys.stdin.readline()"
    )
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    child = subprocess.Popen([sys.executable, "-c", program], **pipes)
    assert child.stdin is not None and child.stdout is not None
    with make(on_thread_creation=lambda event: seen.append("creation")) as process:
        process.start_filter(0)
        process.add_filtered_process_by_id(child.pid, True)
        assert process.get_process_capabilities(child.pid)
        with pytest.raises(CBProcessError) as raised:
            make().get_process_capabilities(child.pid)
        assert raised.value.code == constants.ERROR_NOT_READY
        child.stdin.write("\n")
        child.stdin.flush()
        assert child.stdout.readline() == "went on\n"
        wait_for(lambda: seen == ["creation"])
    assert child.poll() is None
    child.communicate("\n")
    assert child.returncode == 0


def test_a_second_controller_is_refused() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    program = (
        "import sys; from cbprocess import *; p = CBProcess(); "
        f"p.initialize({GUID!r}); p.start_filter(0)\n"
        f"try: p.add_filtered_process_by_id({child.pid}, True)\n"
        "except CBProcessError as error: sys.exit(error.code)"
    )
    with make() as process:
        process.start_filter(0)
        process.add_filtered_process_by_id(child.pid, True)
        assert subprocess.call([sys.executable, "-c", program]) == constants.ERROR_BUSY
    child.communicate(b"\n")
    assert child.returncode == 0


def test_a_killed_controller_lets_everything_go() -> None:
    script = Path(__file__).with_name("controller.py")
    command = [sys.executable, str(script), sys.executable, "-c", CHILD]
    controller = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert controller.stdout is not None
    root, held = map(int, controller.stdout.readline().split())
    living = {process.process_id for process in running_processes(False)}
    assert {root, held} <= living
    controller.kill()
    controller.wait()
    controller.stdout.close()
    # The held child runs now and ends, and so do its parent and the helper, which nobody needs any more.
    wait_for(lambda: not {root, held} & {process.process_id for process in running_processes(False)})
    wait_for(lambda: not [p for p in running_processes(False) if "cbprocess-debug" in p.process_name])


def test_a_killed_helper_ends_the_session_and_nothing_else() -> None:
    errors: list[int] = []
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process = make(on_error=lambda event: errors.append(event.error_code))
    process.start_filter(0)
    process.add_filtered_process_by_id(child.pid, True)
    helpers = [p.process_id for p in running_processes(False) if "cbprocess-debug" in p.process_name]
    assert len(helpers) == 1
    subprocess.run(["taskkill", "/F", "/PID", str(helpers[0])], check=True, stdout=subprocess.DEVNULL)
    wait_for(lambda: not process.active)
    assert errors == [constants.ERROR_BROKEN_PIPE]
    assert child.poll() is None
    child.communicate(b"\n")
    assert child.returncode == 0


def ids_that_the_system_enumerates() -> set[int]:
    ids, size = (ctypes.c_uint32 * 4096)(), ctypes.c_uint32()
    kernel: Any = ctypes.WinDLL("kernel32")  # type: ignore[attr-defined]
    assert kernel.K32EnumProcesses(ids, ctypes.sizeof(ids), ctypes.byref(size))
    return set(ids[: size.value // 4]) - {0}


def test_snapshot_is_what_the_system_enumerates() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    before = ids_that_the_system_enumerates()
    found = {process.process_id: process for process in running_processes()}
    after = ids_that_the_system_enumerates()
    assert before & after <= set(found) <= before | after
    assert child.pid in found
    own = found[child.pid]
    assert own.command_line.endswith("-c input()")
    assert own.process_name.lower().endswith("python.exe")
    assert own.parent_process_id == os.getpid()
    child.communicate(b"\n")
