"""Handles to processes and threads, opened and duplicated by real programs: what the kernel driver tells, and
which rights are left."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from windows.kernel.wine.firing import Flag, Kind, fire
from windows.kernel.wine.world_tools import (
    DUPLICATE_SAME_ACCESS,
    PROCESS_ALL_ACCESS,
    THREAD_ALL_ACCESS,
    machine,
    run,
    wait_for,
    watch,
)

from cbprocess import constants

TERMINATE = constants.PROCESS_TERMINATE
ACCESS_DENIED = 5
# A program that lasts, and its first thread.
TARGET = """
target = subprocess.Popen([sys.executable, "-S", "-c",
    "import ctypes; print(ctypes.windll.kernel32.GetCurrentThreadId(), flush=True); input()"],
    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
thread_id = int(target.stdout.readline())
"""
END = "\ntarget.communicate('\\n')\n"


def strip_all(event: Any) -> None:
    event.desired_access = 0


def test_an_opened_process_loses_the_right_that_a_handler_takes() -> None:
    program = f"""{TARGET}
handle = kernel32.OpenProcess({TERMINATE | 0x400}, 0, target.pid)
status = ctypes.c_uint32()
error = error_of(kernel32.TerminateProcess(ctypes.c_void_p(handle), 1))
looked = error_of(kernel32.GetExitCodeProcess(ctypes.c_void_p(handle), ctypes.byref(status)))
tell(target.pid, bool(handle), error, looked, status.value){END}"""

    def strip(event: Any) -> None:
        event.desired_access &= ~TERMINATE

    with watch(process_handle_operation=strip) as seen:
        [[target, opened, error, looked, status]], actor, _ = run(program)
        assert (opened, error, looked, status) == (True, ACCESS_DENIED, 0, 259)  # it still runs
        [event] = seen.of(target, "process_handle_operation")
        assert event.original_desired_access == TERMINATE | 0x400
        assert (event.originator_process_id, event.duplication) == (actor, False)
        assert event.originator_thread_id != 0
        assert seen.process.statistics().refused == 1


def test_an_opened_thread_loses_the_right_that_a_handler_takes() -> None:
    program = f"""{TARGET}
handle = kernel32.OpenThread({constants.THREAD_SUSPEND_RESUME | 0x40}, 0, thread_id)
failed = kernel32.SuspendThread(ctypes.c_void_p(handle)) == -1
tell(target.pid, thread_id, failed, ctypes.get_last_error()){END}"""

    def strip(event: Any) -> None:
        event.desired_access &= ~constants.THREAD_SUSPEND_RESUME

    with watch(thread_handle_operation=strip) as seen:
        [[target, thread, failed, error]], actor, _ = run(program)
        assert (failed, error) == (True, ACCESS_DENIED)
        [event] = seen.of(target, "thread_handle_operation")
        assert (event.thread_id, event.originator_process_id) == (thread, actor)
        assert event.original_desired_access == constants.THREAD_SUSPEND_RESUME | 0x40


@pytest.mark.parametrize("same", [True, False])
def test_a_duplicated_process_loses_the_right_that_a_handler_takes(same: bool) -> None:
    """From a handle that has every right, which its owner got by creating the process."""
    options = DUPLICATE_SAME_ACCESS if same else 0
    program = f"""{TARGET}
copy = duplicate(int(target._handle), {TERMINATE}, {options})
tell(target.pid, bool(copy), error_of(kernel32.TerminateProcess(ctypes.c_void_p(copy), 1))){END}"""

    def strip(event: Any) -> None:
        event.desired_access &= ~TERMINATE

    with watch(process_handle_operation=strip) as seen:
        [[target, copied, error]], actor, _ = run(program)
        assert (copied, error) == (True, ACCESS_DENIED)
        [event] = seen.of(target, "process_handle_operation")
        assert event.duplication
        assert event.source_process_id == event.target_process_id == event.originator_process_id == actor
        assert event.original_desired_access == (PROCESS_ALL_ACCESS if same else TERMINATE)


def test_a_handle_that_is_put_into_another_process() -> None:
    """Source, target and originator are three processes."""
    program = f"""{TARGET}
other = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE)
into = kernel32.OpenProcess(0x40, 0, other.pid)
given = duplicate(thread_handle := kernel32.OpenThread(0x1fffff, 0, thread_id), 0, 2, -1, into)
tell(target.pid, other.pid, bool(given))
other.communicate(b"\\n"){END}"""
    with watch() as seen:
        [[target, other, given]], actor, _ = run(program)
        assert given
        opened, copied = seen.of(target, "thread_handle_operation")
        assert (opened.duplication, copied.duplication) == (False, True)
        assert (copied.source_process_id, copied.target_process_id) == (actor, other)
        assert copied.original_desired_access == THREAD_ALL_ACCESS
        [into] = seen.of(other, "process_handle_operation")
        assert into.original_desired_access == constants.PROCESS_DUP_HANDLE


@pytest.mark.parametrize("when", [1, 2])
def test_a_handle_that_a_creation_gives_keeps_what_a_rule_strips(when: int) -> None:
    """The kernel may ask for the handles that a creation gives, before it tells of the creation or after it.
    What the creator opens later is a handle as any other."""
    program = f"""
ctypes.WinDLL(os.environ["CBPROCESS_TEST_WORLD"]).world_set_births({when})
child = subprocess.Popen(["cmd.exe", "/c", "pause"], stdin=subprocess.PIPE)
later = kernel32.OpenProcess(0x1fffff, 0, child.pid)
error = error_of(kernel32.TerminateProcess(ctypes.c_void_p(later), 2))
child.kill()
tell(child.pid, child.wait(), error)
"""
    with watch() as seen:
        seen.process.add_rule(name="cmd.exe", action="strip", access=TERMINATE)
        [[child, status, error]], _, _ = run(program)
        assert (status, error) == (1, ACCESS_DENIED)
        wait_for(lambda: seen.of(child, "process_termination"))


def test_rights_are_only_taken() -> None:
    def add(event: Any) -> None:
        event.desired_access |= PROCESS_ALL_ACCESS

    program = f"""{TARGET}
handle = kernel32.OpenProcess(0x400, 0, target.pid)
tell(target.pid, error_of(kernel32.TerminateProcess(ctypes.c_void_p(handle), 1))){END}"""
    with watch(process_handle_operation=add) as seen:
        [[target, error]], _, _ = run(program)
        assert error == ACCESS_DENIED
        assert seen.of(target, "process_handle_operation")
        assert set(seen.errors) <= {constants.ERROR_UNHANDLED_EXCEPTION}


def test_operations_on_oneself_are_not_told() -> None:
    program = """
handle = kernel32.OpenProcess(0x1fffff, 0, os.getpid())
tell(bool(handle), bool(duplicate(kernel32.GetCurrentThread(), 0, 2)))
"""
    with watch() as seen:
        [[opened, copied]], actor, _ = run(program)
        assert opened and copied
        assert not seen.of(actor, "process_handle_operation", "thread_handle_operation")


def test_the_controllers_own_handles_are_not_told() -> None:
    with watch() as seen:
        child = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE)
        library = machine()
        handle = library.OpenProcess(TERMINATE, 0, child.pid)
        assert handle
        library.CloseHandle(handle)
        child.communicate(b"\n")
        assert not seen.of(child.pid, "process_handle_operation")


# ---- What no program under Wine can be made to do: by script ----

CALLER = {"originator_pid": 0x7003, "originator_tid": 0x7004}
# Microsoft's pages on OB_PRE_CREATE_HANDLE_INFORMATION list the rights that a driver may take out of handles.
OF_PROCESSES = 0x0001 | 0x0002 | 0x0008 | 0x0020 | 0x0040 | 0x0080 | 0x0100 | 0x0200 | 0x0800
OF_THREADS = 0x0001 | 0x0002 | 0x0010 | 0x0020 | 0x0080 | 0x0100 | 0x0200 | 0x0400


def opening(kind: Kind = Kind.PROCESS_HANDLE, flags: Flag = Flag.IS_SCRIPTED, **fields: int) -> Any:
    return fire(kind, 0x7001, access=PROCESS_ALL_ACCESS, flags=flags, **fields)


@pytest.fixture
def scripted() -> Iterator[None]:
    """A process without a system: two of them, one with a thread."""
    for process_id in (0x7001, 0x7003):
        fire(Kind.PROCESS_CREATION, process_id, r"\??\C:\a.exe", "a", flags=Flag.IS_SCRIPTED)
    fire(Kind.THREAD_CREATION, 0x7001, thread_id=0x7002, flags=Flag.IS_SCRIPTED)
    yield
    for process_id in (0x7001, 0x7003):
        fire(Kind.PROCESS_END, process_id, flags=Flag.IS_SCRIPTED)


def test_a_handle_of_the_kernels_is_left_alone(scripted: None) -> None:
    with watch(process_handle_operation=strip_all) as seen:
        outcome = opening(flags=Flag.IS_KERNEL_HANDLE | Flag.IS_SCRIPTED, **CALLER)
        assert (outcome.calls, outcome.access) == (1, PROCESS_ALL_ACCESS)
        assert not seen.of(0x7001, "process_handle_operation")


def test_a_handle_that_the_system_process_opens_is_left_alone(scripted: None) -> None:
    with watch(process_handle_operation=strip_all) as seen:
        outcome = opening(originator_pid=4, originator_tid=8)
        assert (outcome.calls, outcome.access) == (1, PROCESS_ALL_ACCESS)
        assert not seen.seen


def test_of_all_rights_those_are_taken_that_may_be(scripted: None) -> None:
    with watch() as seen:
        # The driver has to know both processes since before the operation.
        for process_id in (0x7001, 0x7003):
            fire(Kind.PROCESS_CREATION, process_id, r"\??\C:\a.exe", "a", flags=Flag.IS_SCRIPTED)
        seen.process.on_process_handle_operation = seen.process.on_thread_handle_operation = strip_all
        assert PROCESS_ALL_ACCESS & ~opening(**CALLER).access == OF_PROCESSES
        outcome = opening(Kind.THREAD_HANDLE, thread_id=0x7002, **CALLER)
        assert THREAD_ALL_ACCESS & ~outcome.access == OF_THREADS
