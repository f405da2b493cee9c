"""Kinds of programs: 32-bit ones, ones that look for a debugger, ones that are refused."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from windows.windows_tools import LIMIT_S, STATUS_ACCESS_DENIED, compiled, make, wait_for

from cbprocess import constants

# What a program finds that looks for a debugger; see windows_debugged.c.
ALONE = {
    "IsDebuggerPresent": 0,
    "BeingDebugged": 0,
    "NtGlobalFlag": 0,
    "CheckRemoteDebuggerPresent": 0,
    "ProcessDebugPort": 0,
}
# The two that only the kernel answers are named in docs/windows.md.
IN_THE_TREE = {**ALONE, "CheckRemoteDebuggerPresent": 1, "ProcessDebugPort": 1}
PROGRAMS = [("debugged.exe", 64), ("debugged32.exe", 32)]


def findings(output: str) -> dict[str, int]:
    return {name: int(value) for name, value in (line.split() for line in output.splitlines())}


@pytest.mark.parametrize(("name", "bits"), PROGRAMS)
class TestLookingForADebugger:
    def test_alone(self, name: str, bits: int) -> None:
        done = subprocess.run([compiled(name)], stdout=subprocess.PIPE, text=True)
        assert (done.returncode, findings(done.stdout)) == (7, {"bits": bits, **ALONE})

    def test_as_the_root(self, name: str, bits: int) -> None:
        with make() as process:
            process.start_filter(0)
            child = process.popen([compiled(name)], stdout=subprocess.PIPE, text=True)
            found = findings(child.communicate()[0])
        assert (child.returncode, found) == (7, {"bits": bits, **IN_THE_TREE})

    def test_as_a_child(self, name: str, bits: int) -> None:
        program = f"import subprocess, sys; sys.exit(subprocess.call([{compiled(name)!r}]))"
        with make() as process:
            process.start_filter(0)
            child = process.popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
            found = findings(child.communicate()[0])
        assert (child.returncode, found) == (7, {"bits": bits, **IN_THE_TREE})


@pytest.mark.parametrize(("name", "bits"), PROGRAMS)
def test_everything_of_a_program_is_told(name: str, bits: int) -> None:
    """Creation and end, path, command line, who created it, with which status it ends."""
    created: dict[str, Any] = {}
    ended: dict[int, int] = {}
    path = compiled(name)

    def keep(event: Any) -> None:
        created[event.process_name.lower()] = event

    with make(
        on_process_creation=keep,
        on_process_termination=lambda event: ended.update({event.process_id: event.exit_status}),
    ) as process:
        process.start_filter(0)
        program = f"import subprocess, sys; sys.exit(subprocess.call([{path!r}, 'a b'], stdout=-3))"
        child = process.popen([sys.executable, "-c", program])
        assert child.wait(LIMIT_S) == 7
    event = created[path.lower()]
    assert event.creating_process_id == event.parent_process_id == child.pid
    assert event.command_line == f'{path} "a b"'
    assert ended[event.process_id] == 7


CODES = [
    (constants.ERROR_ACCESS_DENIED, STATUS_ACCESS_DENIED),
    (constants.ERROR_FILE_NOT_FOUND, 0xC0070002),
    (0x12345, 0xC0072345),
]


@pytest.mark.parametrize(("name", "bits"), PROGRAMS)
@pytest.mark.parametrize(("code", "status"), CODES)
def test_a_refused_program_executes_no_instruction(name: str, bits: int, code: int, status: int) -> None:
    """It has told nobody anything, and its end is an exit status that says why."""
    ended: list[int] = []

    def refuse(event: Any) -> None:
        if event.process_name.lower() == compiled(name).lower():
            event.result_code = code

    program = (
        f"import subprocess; done = subprocess.run([{compiled(name)!r}], stdout=subprocess.PIPE);"
        "print(done.returncode & 0xffffffff, len(done.stdout))"
    )
    with make(
        on_process_creation=refuse, on_process_termination=lambda event: ended.append(event.process_id)
    ) as process:
        process.start_filter(0)
        child = process.popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
        assert child.communicate()[0].split() == [str(status), "0"]
        assert process.statistics().refused == 1
        wait_for(lambda: ended)
    assert ended == [child.pid]


def test_a_rule_refuses_without_asking() -> None:
    told: list[bool] = []
    program = (
        f"import subprocess; done = subprocess.run([{compiled('debugged.exe')!r}], stdout=subprocess.PIPE);"
        "print(done.returncode & 0xffffffff, len(done.stdout))"
    )

    def keep(event: Any) -> None:
        if event.process_name.endswith("debugged.exe"):
            told.append(event.decided_by_rule)
            event.result_code = 0

    with make(on_process_creation=keep) as process:
        process.start_filter(0)
        process.add_rule(name="*\\DEBUGGED.exe", action="deny", code=5)
        child = process.popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
        assert child.communicate()[0].split() == [str(STATUS_ACCESS_DENIED), "0"]
        assert process.statistics().decided_by_rule >= 1
    assert told == [True]
