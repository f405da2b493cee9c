"""Statements of the reference that depend on the driver, on the kernel driver: a program for its class,
installing, codes of errors, and the members of events. docs/conformance.md has the table."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from windows.kernel.wine.firing import Flag, Kind, fire
from windows.kernel.wine.world_tools import GUID, SPAWN, Watch, run, wait_for, watch

from cbprocess import CBProcess, CBProcessError, constants
from cbprocess._binding import library

FOLDER = Path(os.environ["CBPROCESS_TEST_WORLD"]).parent
PACKAGE = FOLDER / "cbprocess.cab"
OTHER_GUID = "{4B2F0B1E-5C5F-4C57-8E4B-5F6E0D2B9A11}"


def code_of(call: Any, *arguments: Any) -> int:
    with pytest.raises(CBProcessError) as raised:
        call(*arguments)
    return raised.value.code


# ---- A program for the class ----


def test_a_program_for_the_class() -> None:
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    program = Path(__file__).with_name("reference_program.py")
    child = subprocess.Popen([sys.executable, str(program), str(PACKAGE)], **pipes)
    assert child.stdout is not None
    lines = [child.stdout.readline().split(maxsplit=1) for _ in range(2)]
    version = library.load().cbp_version().decode().split(".")
    assert lines[0][0] == "installed" and lines[0][1].split()[:2] == ["False", "4"]
    number = int(lines[0][1].split()[2], 16)
    assert [str(number >> shift & 0xFFFF) for shift in (48, 32, 16)] == version
    assert lines[1] == ["active", "True\n"]
    told, _, _ = run(SPAWN, "cmd.exe", "/c", "hostname & whoami & exit 9")
    assert told[0][1] == 9
    output, _ = child.communicate("\n", timeout=30)
    created = re.findall(r"^created (.*?) (\d+) \d+$", output, re.MULTILINE)
    names = [name.lower().rpartition("\\")[2] for name, _creator in created]
    assert names == ["cmd.exe", "hostname.exe", "whoami.exe"]
    assert {int(creator) for _name, creator in created[1:]} == {told[0][0]}
    ended = [line.rpartition("\\")[2] for line in output.lower().splitlines() if line.startswith("ended")]
    assert ended == ["cmd.exe"]  # hostname did not run, and whoami is ignored
    assert re.search(r"^thread \d+ \d+$", output, re.MULTILINE)
    assert "error" not in output and "failed" not in output
    assert output.splitlines()[-1] == "uninstalled False"
    assert child.returncode == 0


# ---- Installed, or not ----


def test_a_product_that_has_not_installed_the_driver() -> None:
    program = f"""
from cbprocess import *
process = CBProcess()
tell(process.get_driver_status("{OTHER_GUID}"), process.get_driver_version("{OTHER_GUID}"))
process.initialize("{OTHER_GUID}")
process.config("Driver=kernel")
try: process.start_filter(0)
except CBProcessError as error: tell(error.code)
try: process.uninstall({str(PACKAGE)!r}, "{OTHER_GUID}", None, UNINSTALL_VERSION_CURRENT)
except CBProcessError as error: tell(error.code)
"""
    told, _, _ = run(f"sys.path[:] = {sys.path!r}\n" + program)
    assert told == [[constants.MODULE_STATUS_NOT_PRESENT, 0], [2], [2]]


def test_a_product_that_has_installed_it() -> None:
    process = CBProcess()
    assert process.get_driver_status(GUID) == constants.MODULE_STATUS_RUNNING
    assert process.get_driver_status(GUID.lower()) == constants.MODULE_STATUS_RUNNING
    version = process.get_driver_version(GUID)
    words = [version >> shift & 0xFFFF for shift in (48, 32, 16)]
    assert ".".join(map(str, words)) == library.load().cbp_version().decode()


@pytest.mark.parametrize(
    "flag", [0, constants.INSTALL_KEEP_START_TYPE, constants.INSTALL_REMOVE_OLD_VERSIONS]
)
def test_installing_it_once_more_changes_nothing(flag: int) -> None:
    process = CBProcess()
    assert process.install(str(PACKAGE), GUID, None, flag) is False
    assert process.get_driver_status(GUID) == constants.MODULE_STATUS_RUNNING
    with watch() as seen:
        [[child, _status]], _, _ = run(SPAWN, "cmd.exe", "/c", "exit 0")
        assert seen.of(child, "process_creation")


def test_a_package_that_is_none() -> None:
    process = CBProcess()
    assert code_of(process.install, str(FOLDER / "none.cab"), GUID, None, 0) == 2
    assert process.get_driver_status(GUID) == constants.MODULE_STATUS_RUNNING


# ---- The filter ----


@pytest.fixture
def inactive() -> Iterator[CBProcess]:
    made = Watch().process
    yield made
    made.stop_filter()


def test_a_start_and_a_stop(inactive: CBProcess) -> None:
    assert inactive.active is False
    inactive.stop_filter()
    for timeout in (1, 2999):
        assert code_of(inactive.start_filter, timeout) == constants.ERROR_IMPLEMENTATION_LIMIT
    inactive.start_filter(3000)
    assert inactive.active is True
    assert code_of(inactive.start_filter, 3000) == constants.ERROR_CONNECTION_ACTIVE
    inactive.stop_filter()
    assert inactive.active is False


def test_capabilities_are_all_of_the_drivers(inactive: CBProcess) -> None:
    found = inactive.driver_capabilities()
    for name in (
        *(
            "SEE_PROCESS_CREATION",
            "HOLD_PROCESS_CREATION",
            "REFUSE_PROCESS_CREATION",
            "SEE_PROCESS_TERMINATION",
        ),
        *("SEE_THREAD_CREATION", "SEE_THREAD_TERMINATION", "SEE_PROCESS_HANDLE", "STRIP_PROCESS_HANDLE"),
        *("SEE_THREAD_HANDLE", "STRIP_THREAD_HANDLE", "WHOLE_MACHINE", "OWN_REQUESTS", "DECIDE_BY_RULE"),
    ):
        assert found & getattr(constants, f"CAP_{name}"), name


BITS = {
    "process_creation": constants.PROC_EVT_PROCESS_CREATION,
    "process_termination": constants.PROC_EVT_PROCESS_TERMINATION,
    "thread_creation": constants.PROC_EVT_THREAD_CREATION,
    "thread_termination": constants.PROC_EVT_THREAD_TERMINATION,
    "process_handle_operation": constants.PROC_EVT_PROCESS_HANDLE_OPERATION,
    "thread_handle_operation": constants.PROC_EVT_THREAD_HANDLE_OPERATION,
}


def everything(process_id: int) -> None:
    """Each operation once, for a process of a script."""
    own: dict[str, Any] = {"flags": Flag.IS_SCRIPTED, "originator_pid": 0x6101, "originator_tid": 0x6102}
    fire(Kind.PROCESS_CREATION, process_id, r"\??\C:\b.exe", "b", **own)
    fire(Kind.THREAD_CREATION, process_id, thread_id=process_id + 1, **own)
    fire(Kind.PROCESS_HANDLE, process_id, access=0x1FFFFF, **own)
    fire(Kind.THREAD_HANDLE, process_id, thread_id=process_id + 1, access=0x1FFFFF, **own)
    fire(Kind.PROCESS_END, process_id, flags=Flag.IS_SCRIPTED, status=3)


@pytest.mark.parametrize("name", list(BITS))
def test_a_bit_of_events_to_fire_is_that_event_and_no_other(name: str) -> None:
    with watch(f"EventsToFire={BITS[name]}") as seen:
        everything(0x6001)
        wait_for(lambda: seen.of(0x6001, name))
        assert seen.names(0x6001) == [name]


def test_what_events_say() -> None:
    with watch() as seen:
        everything(0x6011)
        wait_for(lambda: seen.of(0x6011, "process_termination"))
        of = {name: seen.of(0x6011, name)[0] for name in BITS}
        created = of["process_creation"]
        assert (created.process_name, created.command_line) == (r"C:\b.exe", "b")
        assert (created.creating_process_id, created.creating_thread_id) == (0x6101, 0x6102)
        assert (created.parent_process_id, created.file_open_name_available) == (0x6101, True)
        thread = of["thread_creation"]
        assert (thread.thread_id, thread.creating_process_id, thread.creating_thread_id) == (
            0x6012,
            0x6101,
            0x6102,
        )
        for name in ("process_handle_operation", "thread_handle_operation"):
            handle = of[name]
            assert (handle.originator_process_id, handle.originator_thread_id) == (0x6101, 0x6102)
            assert handle.desired_access == handle.original_desired_access == 0x1FFFFF
            assert (handle.duplication, handle.process_id) == (False, 0x6011)
        assert of["thread_handle_operation"].thread_id == of["thread_termination"].thread_id == 0x6012
        assert of["process_termination"].exit_status == 3
        assert all(event.result_code == 0 for event in of.values())


def test_a_rule_for_a_process_by_its_id_and_by_its_children() -> None:
    """Events fire for requests of that process alone, or of its children, too."""
    process = CBProcess()
    process.initialize(GUID)
    for setting in ("Driver=kernel", f"EventsToFire={constants.PROC_EVT_PROCESS_CREATION}"):
        process.config(setting)
    for children, expected in ((False, 1), (True, 2)):
        seen: list[Any] = []
        process.on_process_creation = seen.append
        program = "input()\nsubprocess.call(['cmd.exe', '/c', 'cmd /c exit 0'])"
        actor = subprocess.Popen(
            [sys.executable, "-S", "-c", "import subprocess\n" + program], stdin=subprocess.PIPE
        )
        process.add_filtered_process_by_id(actor.pid, children)
        process.start_filter(0)
        actor.communicate(b"\n")
        process.stop_filter()
        process.remove_filtered_process_by_id(actor.pid)
        assert len(seen) == expected


def test_no_process_has_that_id() -> None:
    process = Watch().process
    for function in (process.add_filtered_process_by_id, process.add_ignored_process_by_id):
        assert code_of(function, 0x7FFFFFF0, False) == constants.ERROR_INVALID_PARAMETER
    assert process.get_process_name(0x7FFFFFF0) == ""


def test_names_of_processes_are_those_of_events() -> None:
    names: dict[int, str] = {}

    def ask(event: Any) -> None:
        names[event.process_id] = seen.process.get_process_name(event.process_id)

    with watch(process_creation=ask, process_termination=ask) as seen:
        [[child, _status]], _, _ = run(SPAWN, "cmd.exe", "/c", "exit 0")
        wait_for(lambda: seen.of(child, "process_termination"))
        [created], [ended] = seen.of(child, "process_creation"), seen.of(child, "process_termination")
        assert names[child] == created.process_name == ended.process_name != ""


def test_ends_and_threads_cannot_be_refused() -> None:
    def refuse(event: Any) -> None:
        event.result_code = 5

    answers = dict.fromkeys(("process_termination", "thread_creation", "thread_termination"), refuse)
    with watch(**answers) as seen:
        [[child, status]], _, _ = run(SPAWN, "cmd.exe", "/c", "exit 4")
        assert status == 4
        wait_for(lambda: seen.of(child, "process_termination"))
        assert seen.process.statistics().refused == 0


def test_calls_that_are_not_for_handlers() -> None:
    codes: list[int] = []

    def call(event: Any) -> None:
        if codes:
            return
        process = seen.process
        codes.append(code_of(process.install, str(PACKAGE), GUID, None, 0))
        codes.append(code_of(process.create_running_processes_snapshot))

    with watch(process_creation=call) as seen:
        run(SPAWN, "cmd.exe", "/c", "exit 0")
        wait_for(lambda: len(codes) == 2)
        assert codes == [constants.ERROR_POSSIBLE_DEADLOCK] * 2


def test_a_reset_deadline_counts_anew() -> None:
    moved: list[bool] = []
    gate = threading.Event()

    def ask(event: Any) -> None:
        if event.process_name.lower().endswith("cmd.exe") and not moved:
            moved.append(seen.process.reset_timeout(0))
            gate.wait(3.5)
            event.result_code = 5

    with watch(timeout=3000, process_creation=ask) as seen:
        [told], _, _ = run(SPAWN, "cmd.exe", "/c", "exit 4")
        assert (told, moved) == ([5], [True])
        assert seen.process.statistics().timed_out == 0
