"""The debug driver with real programs: starting, refusing, attaching, and what a controller's end leaves."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from windows.windows_tools import COMMAND, GUID, PIPES, STATUS_ACCESS_DENIED, make, wait_for

from cbprocess import CBProcessError, constants, probe_driver


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


@pytest.fixture
def own_python() -> Iterator[Path]:
    """A Python of a name of its own, in the folder where it finds its library."""
    program = Path(sys.executable).with_name("cbprocess-attached.exe")
    shutil.copy(sys.executable, program)
    yield program
    wait_for(lambda: removed(program))


def removed(program: Path) -> bool:
    """A program that has just ended may be open still."""
    with contextlib.suppress(PermissionError):
        program.unlink()
    return not program.exists()


def test_attaching_by_name_and_letting_go(own_python: Path) -> None:
    """Whatever case the pattern has; once no rule names it, the process is nobody's business."""
    seen: list[int] = []
    program = "print('ready', flush=True); input()"
    child = subprocess.Popen([own_python, "-c", program], **PIPES)
    assert child.stdout is not None and child.stdout.readline() == "ready\n"
    with make(on_process_termination=lambda event: seen.append(event.process_id)) as process:
        process.start_filter(0)
        process.add_filtered_process_by_name("CBProcess-Att*.EXE", True)
        assert process.get_process_capabilities(child.pid)
        process.remove_filtered_process_by_name("CBProcess-Att*.EXE")
        with pytest.raises(CBProcessError) as raised:
            process.get_process_capabilities(child.pid)
        assert raised.value.code == constants.ERROR_NOT_FOUND
        process.add_filtered_process_by_name("*\\cbprocess-attached.exe", True)
        child.communicate("\n")
        assert child.returncode == 0
        wait_for(lambda: seen)
    assert seen == [child.pid]


def test_a_second_controller_is_refused() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    program = (
        "import sys; from cbprocess import *; p = CBProcess(); p.config('Driver=debug'); "
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
