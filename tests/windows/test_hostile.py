"""Programs that mean harm, or have faults, under the debug driver: what docs/limits.md says of it, as far as
Wine can show it. Orders of events that Wine hides are in test_scripted.py."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from windows.windows_tools import COMMAND, LIMIT_S, PIPES, STATUS_ACCESS_DENIED, compiled, make, wait_for

from cbprocess import CBProcess, constants
from cbprocess._api import launching

STATUS_BUSY = 0xC0070000 | constants.ERROR_BUSY
HANDLE_FLAG_INHERIT = 1
DEBUG_PROCESS = 1


def attack(process: CBProcess, *arguments: str) -> str:
    """What hostile.exe prints under the filter, and that it comes out by itself."""
    child = process.popen([compiled("hostile.exe"), *arguments], **PIPES)
    output: str = child.communicate()[0]
    assert child.returncode == 0
    return output


class TestGettingBy:
    def test_a_child_with_a_debugger_of_its_own_is_ended(self) -> None:
        """The system tells of it only its own debugger; it is found, ended, counted and told as refused."""
        created: list[Any] = []
        with make(on_process_creation=created.append) as process:
            process.start_filter(0)
            started = time.monotonic()
            found = attack(process, "debug", compiled("sleeper.exe")).strip()
            assert found in (str(STATUS_BUSY), "not created")
            assert time.monotonic() - started < 15
            assert process.statistics().refused == 1
        (child,) = [event for event in created if event.result_code == constants.ERROR_BUSY]
        assert child.creating_process_id == created[0].process_id and not child.held

    def test_a_child_whose_creator_has_ended(self) -> None:
        """It has the launch's rule and is asked about; a rule against it holds."""
        asked: list[str] = []
        with make(on_process_creation=lambda event: asked.append(event.process_name)) as process:
            process.start_filter(0)
            for _ in range(5):
                process.popen([compiled("hostile.exe"), "orphan", compiled("program.exe")]).wait(LIMIT_S)
            wait_for(lambda: sum(name.endswith("program.exe") for name in asked) == 5)
            assert process.statistics().lost == 0

    def test_an_abbreviated_name_is_no_other_name(self) -> None:
        with make() as process:
            process.start_filter(0)
            process.add_rule(name="*\\program.exe", action="deny", code=5)
            found = attack(process, "short", compiled("program.exe"))
        assert found.strip() in (str(STATUS_ACCESS_DENIED), "no other name")

    @pytest.mark.parametrize("by_rule", [True, False])
    def test_a_refused_first_program_of_a_controller_that_stalls(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_rule: bool
    ) -> None:
        """However late the claim comes: it does not run, and the error is true."""
        leave = launching.Launch.leave

        def stall(begun: launching.Launch, process_id: int) -> None:
            time.sleep(4.5)
            leave(begun, process_id)

        def refuse(event: Any) -> None:
            event.result_code = 0 if by_rule else constants.ERROR_ACCESS_DENIED

        monkeypatch.setattr(launching.Launch, "leave", stall)
        mark = tmp_path / "mark"
        with make(on_process_creation=refuse) as process:
            process.start_filter(0)
            if by_rule:
                process.add_rule(name="cmd.exe", action="deny", code=5)
            with pytest.raises(PermissionError):
                process.popen(["cmd.exe", "/c", f"echo > {mark}"])
        assert not mark.exists()

    def test_a_launch_that_is_given_up_leaves_its_process_to_the_rules(self) -> None:
        """Nobody says any more whose it is: a child of some process of the trees, and this is told."""
        errors: list[int] = []
        with make(on_error=lambda event: errors.append(event.error_code)) as process:
            process.start_filter(0)
            process.add_rule(name="program.exe", action="deny", code=5)
            with launching.Launch(process._session) as begun:
                begun.enter(True)
                child = subprocess.Popen([compiled("program.exe")], creationflags=DEBUG_PROCESS)
            assert child.wait(LIMIT_S) & 0xFFFFFFFF == STATUS_ACCESS_DENIED
            assert process.statistics().guessed == 1
            wait_for(lambda: errors == [constants.ERROR_NOT_FOUND])

    def test_children_of_what_was_attached_are_found(self) -> None:
        """Wine does not debug them by itself; the look at all processes finds them, and rules hold."""
        program = (
            "import subprocess, sys; sys.stdin.readline();"
            f"print(subprocess.call([{compiled('sleeper.exe')!r}]) & 0xffffffff)"
        )
        child = subprocess.Popen([sys.executable, "-c", program], **PIPES)
        with make() as process:
            process.start_filter(0)
            process.add_filtered_process_by_id(child.pid, True)
            process.add_rule(name="sleeper.exe", action="deny", code=5)
            assert child.stdin is not None and child.stdout is not None
            child.stdin.write("\n")
            child.stdin.flush()
            assert int(child.stdout.readline()) == STATUS_ACCESS_DENIED
            child.communicate()


class TestAsIfNobodyListened:
    def test_closing_a_wrong_handle_fails_and_raises_nothing(self) -> None:
        with make() as process:
            process.start_filter(0)
            lines = attack(process, "close").splitlines()
        invalid, unclosable, seen = lines
        assert invalid == "0 6" and unclosable.startswith("0 ") and seen == "0"

    def test_what_a_program_raises_itself_it_gets(self) -> None:
        with make() as process:
            process.start_filter(0)
            assert attack(process, "raise") == "2\n"

    def test_what_was_attached_sees_no_debugger_either(self) -> None:
        child = subprocess.Popen([compiled("hostile.exe"), "present"], **PIPES)
        assert child.stdin is not None and child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        with make() as process:
            process.start_filter(0)
            process.add_filtered_process_by_id(child.pid, True)
            child.stdin.write("\n")
            child.stdin.flush()
            assert child.stdout.readline() == "0\n"
        child.communicate()
        assert child.returncode == 0


def test_a_storm_of_debug_events_starves_nobody() -> None:
    """Requests, launches and deadlines are served while some processes send all they can."""
    with make() as process:
        process.start_filter(0)
        storms = [process.popen([compiled("hostile.exe"), "storm"], **PIPES) for _ in range(2)]
        for storm in storms:
            assert storm.stdout.readline() == "ready\n"
        started = time.monotonic()
        assert process.get_process_capabilities(storms[0].pid)
        assert process.popen(COMMAND).wait(LIMIT_S) == 3
        assert time.monotonic() - started < 15
        for storm in storms:
            storm.communicate()


def test_nothing_is_inheritable_while_the_helper_starts() -> None:
    """What other threads create in that moment would inherit it."""
    kernel: Any = ctypes.WinDLL("kernel32")  # type: ignore[attr-defined]
    flags = ctypes.c_uint32()

    def inheritable() -> set[int]:
        found = set()
        for handle in range(4, 4096, 4):
            flags.value = 0
            if kernel.GetHandleInformation(ctypes.c_void_p(handle), ctypes.byref(flags)):
                found |= {handle} if flags.value & HANDLE_FLAG_INHERIT else set()
        return found

    before, during = inheritable(), set()
    process = make()
    for _ in range(3):
        starter = threading.Thread(target=process.start_filter, args=(0,))
        starter.start()
        while starter.is_alive():
            during |= inheritable()
        process.stop_filter()
    assert during <= before
