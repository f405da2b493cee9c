"""Creations and ends of real processes and threads, as the kernel driver tells them and as its answers change
them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from typing import Any

import pytest
from windows.kernel.wine.world_tools import LIMIT_S, SPAWN, Program, run, wait_for, watch

STATUS_ACCESS_VIOLATION = 0xC0000005


def created(event: Any, program: str) -> bool:
    name: str = event.process_name
    return name.lower().endswith(program)


def test_a_creation_says_who_creates_what() -> None:
    command = ["cmd.exe", "/c", "exit 3", "a b", 'quo"te', "\u00e9\U0001f600"]
    with watch() as seen:
        [[child, status]], parent, _ = run(SPAWN, *command)
        wait_for(lambda: seen.of(child, "process_termination"))
        [event] = seen.of(child, "process_creation")
        assert status == 3
        assert event.command_line == subprocess.list2cmdline(command)
        assert event.creating_process_id == event.parent_process_id == parent
        assert event.creating_thread_id != 0
        assert event.file_open_name_available
        assert event.process_name.lower() == r"c:\windows\system32\cmd.exe"
        assert event.image_file_name.lower().endswith(r"\windows\system32\cmd.exe")
        [end] = seen.of(child, "process_termination")
        assert (end.exit_status, end.process_name) == (3, event.process_name)
        assert end.start_time == event.start_time


def test_a_life_in_its_order_with_all_of_its_threads() -> None:
    program = """
threads = [threading.Thread(target=time.sleep, args=(0.05,)) for _ in range(3)]
for thread in threads: thread.start()
for thread in threads: thread.join()
os._exit(7)
"""
    with watch() as seen:
        [[inner, status]], _, _ = run(
            SPAWN, sys.executable, "-S", "-c", "import os, threading, time" + program
        )
        assert status == 7
        wait_for(lambda: seen.of(inner, "process_termination"))
        names = seen.names(inner)
        assert names[:2] == ["process_creation", "thread_creation"]
        assert names[-2:] == ["thread_termination", "process_termination"]
        begun = [event.thread_id for event in seen.of(inner, "thread_creation")]
        ended = [event.thread_id for event in seen.of(inner, "thread_termination")]
        assert len(begun) == len(set(begun)) >= 4
        assert sorted(begun) == sorted(ended)
        assert seen.of(inner, "process_termination")[0].exit_status == 7


@pytest.mark.parametrize(("code", "expected"), [(5, 5), (2, 2), (8, 8), (170, 170), (1260, 1260)])
def test_a_refused_creation_fails_with_its_code(code: int, expected: int) -> None:
    """The creator's CreateProcess fails: no program runs, and nobody waits for one."""

    def refuse(event: Any) -> None:
        if created(event, "hostname.exe"):
            event.result_code = code

    with watch(process_creation=refuse) as seen:
        [told], _, _ = run(SPAWN, "hostname.exe")
        assert told == [expected]
        assert seen.process.statistics().refused == 1
        [refused] = [e for name, e in seen.seen if name == "process_creation" and created(e, "hostname.exe")]
        assert seen.names(refused.process_id) == ["process_creation"]


def test_an_end_that_another_process_causes() -> None:
    program = """
child = subprocess.Popen(["cmd.exe", "/c", "pause"], stdin=subprocess.PIPE)
tell(child.pid)
child.kill()
tell(child.wait())
"""
    gate = threading.Event()
    ends: list[Any] = []

    def hold(event: Any) -> None:
        if created(event, "cmd.exe"):
            ends.append(event)
            assert gate.wait(LIMIT_S)

    with watch(process_termination=hold) as seen:
        actor = Program(program)
        [child] = actor.line()
        wait_for(lambda: ends)
        time.sleep(0.1)
        assert actor.child.poll() is None  # it waits for the end, which waits for us
        gate.set()
        assert actor.line() == [1]
        actor.end()
        assert ends[0].process_id == child and ends[0].exit_status == 1
        assert seen.names(child)[-1] == "process_termination"


def test_a_thread_that_another_process_starts() -> None:
    program = """
target = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE)
handle = kernel32.OpenProcess(0x1fffff, 0, target.pid)
start = ctypes.cast(kernel32.GetTickCount, ctypes.c_void_p)
thread = kernel32.CreateRemoteThread(ctypes.c_void_p(handle), None, 0, start, None, 0, None)
kernel32.WaitForSingleObject(ctypes.c_void_p(thread), 10000)
tell(target.pid, kernel32.GetThreadId(ctypes.c_void_p(thread)))
target.communicate(b"\\n")
"""
    with watch() as seen:
        [[target, thread]], actor, _ = run(program)
        wait_for(lambda: seen.of(target, "process_termination"))
        [event] = [event for event in seen.of(target, "thread_creation") if event.thread_id == thread]
        assert event.creating_process_id == actor
        assert (
            len([event for event in seen.of(target, "thread_termination") if event.thread_id == thread]) == 1
        )


def test_a_program_that_crashes() -> None:
    crash = """
import ctypes, threading
ctypes.windll.kernel32.CreateThread(None, 0, ctypes.c_void_p(1), None, 0, None)
threading.Event().wait()"""
    program = [sys.executable, "-S", "-c", crash]
    with watch() as seen:
        [[child, status]], _, _ = run(SPAWN, *program)
        wait_for(lambda: seen.of(child, "process_termination"))
        [end] = seen.of(child, "process_termination")
        assert end.exit_status == status & 0xFFFFFFFF == STATUS_ACCESS_VIOLATION


def test_the_controllers_own_operations_are_not_told_and_those_of_its_children_are() -> None:
    with watch() as seen:
        _, child, _ = run("tell(subprocess.call(['cmd.exe', '/c', 'exit 0']))")
        wait_for(lambda: seen.of(child, "process_termination"))
        assert not seen.of(child, "process_creation")
        creators = [event.creating_process_id for name, event in seen.seen if name == "process_creation"]
        assert creators == [child]
        assert not [event for _, event in seen.seen if event.process_id == os.getpid()]
