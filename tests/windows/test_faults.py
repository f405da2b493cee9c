"""Controllers, helpers and handlers that fail: what becomes of the tree, who is told, what is left behind."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from windows.windows_tools import (
    CHILD,
    COMMAND,
    LIMIT_S,
    PIPES,
    helpers,
    is_cmd,
    living,
    make,
    sleeper,
    wait_for,
)

from cbprocess import CBProcessError, constants
from cbprocess._binding.library import native_folder

DEADLINE_MS = 3000
STATUS_TIMEOUT = 0xC0070000 | constants.ERROR_TIMEOUT


def end(process_id: int) -> None:
    """At once, whatever it is doing."""
    os.kill(process_id, signal.SIGTERM)


def start_controller(*arguments: str) -> tuple[subprocess.Popen[str], int, int]:
    """A controller that holds a child of its program for ever: it, the program, the child."""
    script = Path(__file__).with_name("controller.py")
    command = [sys.executable, str(script), *arguments, sys.executable, "-c", CHILD]
    controller = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert controller.stdout is not None
    root, held = map(int, controller.stdout.readline().split())
    assert {root, held} <= living()
    return controller, root, held


class TestController:
    def test_killed_lets_everything_go(self) -> None:
        controller, root, held = start_controller()
        controller.kill()
        controller.communicate()
        # The held child runs now and ends, and so do its parent and the helper, which nobody needs any more.
        wait_for(lambda: not {root, held} & living())
        wait_for(lambda: not helpers())

    def test_that_ends_in_a_handler(self) -> None:
        controller, root, held = start_controller("--exit", "5")
        assert controller.wait(LIMIT_S) == 5
        controller.communicate()
        wait_for(lambda: not {root, held} & living())
        wait_for(lambda: not helpers())

    def test_that_is_suspended_costs_the_deadline(self) -> None:
        """All its threads stand still: no answer, no heartbeat."""
        controller, root, held = start_controller("--timeout", str(DEADLINE_MS))
        ntdll: Any = ctypes.WinDLL("ntdll")  # type: ignore[attr-defined]
        handle = ctypes.c_void_p(int(controller._handle))  # type: ignore[attr-defined]
        started = time.monotonic()
        assert ntdll.NtSuspendProcess(handle) == 0
        wait_for(lambda: not {root, held} & living())
        assert time.monotonic() - started < 3 * DEADLINE_MS / 1000
        controller.kill()
        controller.communicate()
        wait_for(lambda: not helpers())


class TestHelper:
    def test_killed_ends_the_session_and_nothing_else(self) -> None:
        """The error is told a moment after the session has ended."""
        errors: list[int] = []
        child = sleeper()
        process = make(on_error=lambda event: errors.append(event.error_code))
        process.start_filter(0)
        process.add_filtered_process_by_id(child.pid, True)
        (helper,) = helpers()
        end(helper)
        wait_for(lambda: not process.active and errors)
        assert errors == [constants.ERROR_BROKEN_PIPE]
        assert child.poll() is None
        child.communicate("\n")
        assert child.returncode == 0

    def test_killed_lets_go_what_is_held(self) -> None:
        """It dies while a creation waits for its handler: the program and its child go on all the same."""
        errors: list[int] = []

        def kill_helper(event: Any) -> None:
            if is_cmd(event):
                end(helpers()[0])
                time.sleep(1)
                event.result_code = constants.ERROR_ACCESS_DENIED  # nobody is there to refuse it

        process = make(
            on_process_creation=kill_helper, on_error=lambda event: errors.append(event.error_code)
        )
        process.start_filter(0)
        child = process.popen([sys.executable, "-c", CHILD])
        assert child.wait(LIMIT_S) == 3
        wait_for(lambda: not process.active and errors)
        assert errors == [constants.ERROR_BROKEN_PIPE]
        with pytest.raises(CBProcessError) as raised:
            process.popen(COMMAND)
        assert raised.value.code == constants.ERROR_NOT_READY
        assert not helpers()

    def test_can_be_followed_by_another(self) -> None:
        created: list[str] = []
        process = make(on_process_creation=lambda event: created.append(event.process_name), on_error=id)
        process.start_filter(0)
        end(helpers()[0])
        wait_for(lambda: not process.active)
        process.stop_filter()
        with process:
            process.start_filter(0)
            assert process.popen(COMMAND).wait(LIMIT_S) == 3
        assert len(created) == 1

    def test_killed_in_a_launch_fails_it(self) -> None:
        """popen() itself is told, and its program is not left behind."""
        process = make(on_process_creation=lambda event: end(helpers()[0]), on_error=id)
        process.start_filter(0)
        before = living()
        with pytest.raises(CBProcessError) as raised:
            process.popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        assert raised.value.code == constants.ERROR_BROKEN_PIPE
        wait_for(lambda: living() <= before)


class TestHandler:
    @pytest.mark.parametrize("kind", [ValueError, SystemExit, KeyboardInterrupt])
    def test_that_raises_is_reported(self, kind: type[BaseException]) -> None:
        errors: list[Any] = []

        def fail(event: Any) -> None:
            event.result_code = constants.ERROR_ACCESS_DENIED
            raise kind("what the handler says")

        def keep(error: Any) -> None:
            errors.append((error.error_code, error.description))

        with make(on_process_creation=fail, on_error=keep) as process:
            process.start_filter(0)
            assert process.popen(COMMAND).wait(LIMIT_S) == 3
            assert process.statistics().failed_in_handler == 1
        ((code, text),) = errors
        assert code == constants.ERROR_UNHANDLED_EXCEPTION
        assert "Traceback" in text and "what the handler says" in text and "in fail" in text

    @pytest.mark.parametrize(("action", "status"), [("allow", 3), ("deny", STATUS_TIMEOUT)])
    def test_that_is_late(self, action: str, status: int) -> None:
        """The operation goes on at its deadline, or is refused then; the answer changes nothing."""
        answered = threading.Event()

        def sleep(event: Any) -> None:
            if is_cmd(event):
                time.sleep(DEADLINE_MS / 1000 + 1.5)
                event.result_code = constants.ERROR_ACCESS_DENIED
                answered.set()

        program = "import subprocess; print(subprocess.call(['cmd.exe', '/c', 'exit 3']) & 0xffffffff)"
        with make(f"TimeoutAction={action}", on_process_creation=sleep) as process:
            process.start_filter(DEADLINE_MS)
            started = time.monotonic()
            child = process.popen([sys.executable, "-c", program], **PIPES)
            assert int(child.communicate()[0]) == status
            took_s = time.monotonic() - started
            assert answered.wait(LIMIT_S)
            wait_for(lambda: process.statistics().late == 1)
            assert process.statistics().timed_out == 1
        assert took_s > DEADLINE_MS / 1000 - 0.1

    def test_of_a_filter_that_stops(self) -> None:
        """What is held goes on; the filter has not waited for an answer that never comes."""
        held, over = threading.Event(), threading.Event()

        def hold(event: Any) -> None:
            if is_cmd(event):
                held.set()
                over.wait(LIMIT_S)

        process = make(on_process_creation=hold)
        process.start_filter(0)
        child = process.popen([sys.executable, "-c", CHILD])
        assert held.wait(LIMIT_S)
        stopper = threading.Thread(target=process.stop_filter)
        stopper.start()
        assert child.wait(LIMIT_S) == 3
        over.set()
        stopper.join(LIMIT_S)
        assert not process.active


def handle_count() -> int:
    kernel: Any = ctypes.WinDLL("kernel32")  # type: ignore[attr-defined]
    kernel.GetCurrentProcess.restype = ctypes.c_void_p
    count = ctypes.c_uint32()
    assert kernel.GetProcessHandleCount(ctypes.c_void_p(kernel.GetCurrentProcess()), ctypes.byref(count))
    return count.value


def files() -> set[str]:
    """Where something could be left: the temporary folder, the package's, the working folder."""
    folders = (os.environ["TEMP"], native_folder(), os.getcwd())
    return {os.path.join(folder, name) for folder in folders for name in os.listdir(folder)}


def test_nothing_is_left_behind() -> None:
    """No process, no file, no handle: of sections and events there is nothing else, they have no names."""

    def refuse(event: Any) -> None:
        if "exit 4" in event.command_line:
            event.result_code = constants.ERROR_ACCESS_DENIED

    def one_session() -> None:
        with make(on_process_creation=refuse) as process:
            process.start_filter(0)
            assert process.popen(COMMAND).wait(LIMIT_S) == 3
            with pytest.raises(PermissionError):
                process.popen(["cmd.exe", "/c", "exit 4"])
            child = sleeper()
            process.add_filtered_process_by_id(child.pid, True)
            child.communicate("\n")

    one_session()
    wait_for(lambda: not helpers())
    processes, before, handles = living(), files(), handle_count()
    for _ in range(6):
        one_session()
    wait_for(lambda: not helpers())
    wait_for(lambda: living() <= processes)
    assert files() == before
    # A thread that is ending may still have its own.
    wait_for(lambda: handle_count() <= handles + 2)
