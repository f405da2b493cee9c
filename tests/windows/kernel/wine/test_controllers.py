"""Controllers of the kernel driver: their own operations and those of handlers, several at once, and their
death."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import threading
import time
from typing import Any

import pytest
from windows.kernel.wine.firing import State, world
from windows.kernel.wine.world_tools import GUID, LIMIT_S, SPAWN, Program, run, wait_for, watch

from cbprocess import CBProcessError, constants

# A controller of its own, in another process: it tells of each creation that it sees, and answers so.
CONTROLLER = f"""
from cbprocess import CBProcess
process = CBProcess()
process.initialize("{GUID}")
answer = sys.argv[1]
altitude = sys.argv[2]
def created(event):
    if event.process_name.lower().endswith("hostname.exe"):
        tell("seen", event.process_id)
        if answer == "hold": threading.Event().wait()
        elif answer == "end": os._exit(3)
        elif answer == "crash":
            kernel32.CreateThread(None, 0, ctypes.c_void_p(1), None, 0, None)
            threading.Event().wait()
        else: event.result_code = int(answer)
process.on_process_creation = created
for setting in ("Driver=kernel", "EventsToFire=-1"): process.config(setting)
process.altitude = altitude
process.add_filtered_process_by_id(-1, False)
process.start_filter(0)
tell("active")
sys.stdin.readline()
process.stop_filter()
"""


def is_hostname(event: Any) -> bool:
    name: str = event.process_name
    return name.lower().endswith("hostname.exe")


def controller(answer: str, altitude: str = "400055") -> Program:
    made = Program(
        "sys.path[:] = json.loads(sys.argv.pop())\n" + CONTROLLER, answer, altitude, json.dumps(sys.path)
    )
    assert made.line() == ["active"]
    return made


# ---- Death ----


@pytest.mark.parametrize("how", ["end", "crash", "killed"])
def test_a_controller_that_dies_costs_milliseconds(how: str) -> None:
    """The creation that it holds goes on unrefused, and nothing of it stays in the driver."""
    other = controller("hold" if how == "killed" else how)
    actor = Program(SPAWN, "hostname.exe")
    assert other.line()[0] == "seen"
    began = time.monotonic()
    if how == "killed":
        other.child.kill()
    [_child, status] = actor.line()
    assert status == 0
    assert time.monotonic() - began < 5
    assert other.child.wait(LIMIT_S) != 0
    wait_for(lambda: State.read().process_routines + State.read().process_routines_ex2 == 0)
    actor.end()
    other.child.communicate()


def test_a_controller_that_is_stopped_costs_its_deadline() -> None:
    began = time.monotonic()
    gate = threading.Event()

    def hold(event: Any) -> None:
        if is_hostname(event):
            gate.wait(LIMIT_S)

    with watch(timeout=3000, process_creation=hold) as seen:
        [[_child, status]], _, _ = run(SPAWN, "hostname.exe")
        assert status == 0
        assert 2.9 < time.monotonic() - began < 10
        gate.set()
        assert seen.process.statistics().timed_out >= 1


# ---- Several ----


@pytest.mark.parametrize(("own", "others"), [(2, 5), (5, 2)])
def test_of_two_controllers_the_refusal_of_the_higher_altitude_counts(own: int, others: int) -> None:
    other = controller(str(others), "400066")

    def refuse(event: Any) -> None:
        if is_hostname(event):
            event.result_code = own

    with watch(process_creation=refuse):
        [told], _, _ = run(SPAWN, "hostname.exe")
        assert told == [others]
    other.say()
    assert other.end() == 0


def test_a_controller_is_told_of_what_another_one_does() -> None:
    """A controller's operations are not told to itself, and to others as anybody's."""
    with watch() as seen:
        other = controller("0")
        other.say()
        assert other.end() == 0
        wait_for(lambda: seen.of(other.child.pid, "process_termination"))
        assert seen.of(other.child.pid, "thread_creation")  # its workers'


# ---- Own requests, and those of handlers ----


def test_own_requests_are_told_if_that_is_asked_for_and_never_held() -> None:
    with watch("FilterOwnRequests=True") as seen:
        child = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE)
        handle = ctypes.windll.kernel32.OpenProcess(1, 0, child.pid)  # type: ignore[attr-defined]
        ctypes.windll.kernel32.CloseHandle(handle)  # type: ignore[attr-defined]
        child.communicate(b"\n")
        wait_for(lambda: seen.of(child.pid, "process_creation", "process_handle_operation"))
        [event] = seen.of(child.pid, "process_handle_operation")
        assert (event.originator_process_id, event.held) == (os.getpid(), False)


def test_what_a_handler_does_fires_nothing_nor_what_it_starts() -> None:
    started: list[int] = []
    program = "import subprocess; subprocess.call(['cmd.exe', '/c', 'exit 0'])"

    def work(event: Any) -> None:
        if is_hostname(event) and not started:
            child = subprocess.Popen([sys.executable, "-S", "-c", program])
            started.append(child.pid)
            assert child.wait(LIMIT_S) == 0
            threading.Thread(target=time.sleep, args=(0,)).start()

    with watch("FilterOwnRequests=True", process_creation=work) as seen:
        [[child, status]], actor, _ = run(SPAWN, "hostname.exe")
        assert status == 0 and started
        wait_for(lambda: seen.of(child, "process_termination"))
        assert seen.names(started[0]) == []
        assert not [
            e for name, e in seen.seen if name == "process_creation" and e.creating_process_id == started[0]
        ]
        assert seen.of(actor, "process_creation")  # of a thread that is no worker


# ---- The originator's token ----

TOKEN_USER = 1


def user_of(token: int) -> str:
    """The SID of the token's user as text."""
    advapi: Any = ctypes.WinDLL("advapi32")  # type: ignore[attr-defined]
    buffer, size, text = ctypes.create_string_buffer(256), ctypes.c_uint32(), ctypes.c_wchar_p()
    assert advapi.GetTokenInformation(ctypes.c_void_p(token), TOKEN_USER, buffer, 256, ctypes.byref(size))
    assert advapi.ConvertSidToStringSidW(ctypes.c_void_p.from_buffer(buffer), ctypes.byref(text))
    return str(text.value)


def test_the_originators_token_is_a_handle_of_the_controllers() -> None:
    users: list[str] = []

    def look(event: Any) -> None:
        token = seen.process.get_originator_token()
        users.append(user_of(token))
        assert ctypes.windll.kernel32.CloseHandle(ctypes.c_void_p(token))  # type: ignore[attr-defined]

    with watch(process_creation=look, process_handle_operation=look) as seen:
        run(SPAWN, "hostname.exe")
        wait_for(lambda: users)
        with pytest.raises(CBProcessError) as raised:
            seen.process.get_originator_token()
        assert raised.value.code == constants.ERROR_NO_CALLBACK_ACTIVE
        assert not seen.errors
    assert set(users) == {own_user()}
    assert State.read().tokens == 0


def own_user() -> str:
    advapi: Any = ctypes.WinDLL("advapi32")  # type: ignore[attr-defined]
    token = ctypes.c_void_p()
    assert advapi.OpenProcessToken(ctypes.c_void_p(-1), 8, ctypes.byref(token))
    return user_of(token.value or 0)


# ---- Starts and stops ----


def test_callbacks_are_registered_while_a_filter_is_active() -> None:
    for _ in range(3):
        with watch():
            state = State.read()
            assert state.process_routines_ex2 == state.thread_routines == state.object_registrations == 1
            assert state.process_routines == 0
        wait_for(lambda: State.read().object_registrations == 0)
        state = State.read()
        assert state.process_routines_ex2 == state.thread_routines == 0


def test_a_stop_lets_go_of_what_it_holds() -> None:
    entered = threading.Event()

    def hold(event: Any) -> None:
        if is_hostname(event):
            entered.set()
            event.defer()

    with watch(process_creation=hold) as seen:
        actor = Program(SPAWN, "hostname.exe")
        assert entered.wait(LIMIT_S)
        seen.process.stop_filter()
        assert actor.line()[1] == 0
        actor.end()


def test_the_world_is_there() -> None:
    """Without this, tests that expect no event would hold everywhere."""
    assert world().world_set_notice
    [[_child, status]], _, _ = run(SPAWN, "cmd.exe", "/c", "exit 4")
    assert status == 4
