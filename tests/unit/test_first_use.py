"""What an instance makes when it is first needed: once, also where two threads need it at the same time, in
the same thread again, and in a fork."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from typing import Any, Callable

import pytest
from unit.instances import GUID, assert_code

from cbprocess import CBProcess, constants, events
from cbprocess._api import properties, supervision
from cbprocess._binding import callbacks, hooks


def at_once(*calls: Callable[[], object]) -> list[BaseException]:
    """Makes the calls in threads that begin together. Gives what they raised."""
    barrier = threading.Barrier(len(calls))
    raised: list[BaseException] = []

    def run(call: Callable[[], object]) -> None:
        barrier.wait()
        try:
            call()
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised


@pytest.fixture
def process() -> CBProcess:
    made = CBProcess()
    made.initialize(GUID)
    made.config("Driver=simulated")
    return made


def slowly(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> list[object]:
    """Has objects of this class take a while to be made. Gives the list of them."""
    made: list[object] = []
    original = getattr(owner, name)

    def make(*arguments: Any) -> object:
        time.sleep(0.05)
        made.append(original(*arguments))
        return made[-1]

    monkeypatch.setattr(owner, name, make)
    return made


def test_two_threads_start_one_filter(process: CBProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    made = slowly(monkeypatch, callbacks, "NativeCallbacks")
    raised = at_once(*[lambda: process.start_filter(0)] * 4)
    assert [getattr(error, "code", error) for error in raised] == [constants.ERROR_CONNECTION_ACTIVE] * 3
    assert len(made) == 1
    process.stop_filter()
    process.start_filter(0)
    assert len(made) == 1
    process.stop_filter()


def test_a_start_within_a_start(process: CBProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal's handler can do so. The callbacks of the filter that runs are those that are kept."""
    original = callbacks.NativeCallbacks
    made: list[object] = []

    def make(*arguments: Any) -> object:
        mine = original(*arguments)
        if not made:
            made.append(mine)
            process.start_filter(0)
        made.append(mine)
        return mine

    monkeypatch.setattr(callbacks, "NativeCallbacks", make)
    assert_code(constants.ERROR_CONNECTION_ACTIVE, process.start_filter, 0)
    assert process.active and process._session is not None
    assert process._session._callbacks is made[1]
    process.stop_filter()


def test_a_fork_while_another_thread_starts(process: CBProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other thread holds the lock of its session then, and is not there in the child."""
    if not hasattr(os, "fork"):
        pytest.skip("there is no fork()")
    slowly(monkeypatch, callbacks, "NativeCallbacks")
    thread = threading.Thread(target=process.start_filter, args=(0,))
    thread.start()
    time.sleep(0.02)
    child = os.fork()
    if child == 0:
        process.initialize(GUID)
        process.start_filter(0)
        os._exit(0 if process.active else 1)
    thread.join()
    assert os.waitpid(child, 0)[1] == 0
    process.stop_filter()


def test_first_rules_of_two_threads_are_both_known(
    process: CBProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    slowly(monkeypatch, supervision, "IdleWarning")
    names = [f"no program is called so {number}" for number in range(4)]
    adds = [lambda name=name: process.add_filtered_process_by_name(name, False) for name in names]
    assert at_once(*adds) == []
    assert len(process._idle_warnings[0]._rules) == len(names)


def test_every_operation_has_a_handler_by_its_number() -> None:
    """The numbers stand beside the handlers, so that these do not need the classes of all events."""
    assert {kind.handler: kind.type for kind in events.OPERATIONS} == properties.OPERATION_TYPES
    assert max(events.KINDS) + 1 == hooks.HANDLER_COUNT


@pytest.mark.skipif(sys.platform == "win32", reason="descriptors of Linux")
def test_a_first_start_without_descriptors() -> None:
    """The modules of a filter cannot be imported then."""
    program = (
        "import cbprocess, os, resource\n"
        "process = cbprocess.CBProcess()\n"
        f"process.initialize({GUID!r})\n"
        "process.config('Driver=simulated')\n"
        "soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))\n"
        "try: process.start_filter(0)\n"
        "except cbprocess.CBProcessError as error: code = error.code\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))\n"
        "assert code == cbprocess.ERROR_TOO_MANY_OPEN_FILES, code\n"
        "process.start_filter(0)\n"
        "assert process.active\n"
        "process.stop_filter()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
