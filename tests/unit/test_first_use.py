"""What an instance makes when it is first needed: once, also where two threads need it at the same time, in
the same thread again, and in a fork."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Callable

import pytest
from unit.instances import GUID, assert_code

import cbprocess
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
    """The other thread holds the lock of first use then, and is not there in the child."""
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


def test_first_rules_of_two_threads_have_one_warning(
    process: CBProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = slowly(monkeypatch, supervision, "IdleWarning")
    process.start_filter(0)
    names = [f"no program is called so {number}" for number in range(4)]
    adds = [lambda name=name: process.add_filtered_process_by_name(name, False) for name in names]
    assert at_once(*adds) == []
    assert made == [process._idle_warning]
    assert len(process._known_rules) == len(names)
    process.stop_filter()


def test_a_launch_while_the_warning_is_made_settles_it(
    process: CBProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = supervision.IdleWarning

    def make(rules: Any) -> object:
        process._launching()
        return original(rules)

    monkeypatch.setattr(supervision, "IdleWarning", make)
    process.start_filter(0)
    process.add_filtered_process_by_name("no program is called so", False)
    assert process._idle_warning is not None
    assert process._idle_warning._settled and process._idle_warning._timer is None
    process.stop_filter()


def test_every_operation_has_a_handler_by_its_number() -> None:
    """The numbers stand beside the handlers, so that these do not need the classes of all events."""
    assert {kind.handler: kind.type for kind in events.OPERATIONS} == properties.OPERATION_TYPES
    assert max(events.KINDS) + 1 == hooks.HANDLER_COUNT


# ---- In an interpreter that has not used anything yet ----

BEGIN = f"""
import errno, os, signal, sys, _thread, time
sys.path.append({str(Path(cbprocess.__file__).parent.parent)!r})
import cbprocess
from cbprocess import CBProcess, CBProcessError

def made():
    process = CBProcess()
    process.initialize({GUID!r})
    process.config("Driver=simulated")
    return process

def failure(call, *arguments):
    try:
        call(*arguments)
    except CBProcessError as error:
        return error
    raise AssertionError("no failure")

class Meanwhile:
    # Has a function called once, when a module is imported: one of those of a filter.
    def __init__(self, call, name="cbprocess._binding.structures"):
        self.call, self.name = call, name
        sys.meta_path.insert(0, self)

    def find_spec(self, name, path, target=None):
        if name == self.name:
            sys.meta_path.remove(self)
            self.call()

process = made()
"""
WITHOUT_DESCRIPTORS = """
import resource
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

def set_limit(count):
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
"""
END = """
process.start_filter(0)
assert process.active
process.stop_filter()
assert not process.active
"""


def run_fresh(*parts: str) -> None:
    """Runs a program of these parts without site, which may import modules."""
    line = [sys.executable, "-I", "-S", "-c", "".join((BEGIN, *parts))]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


linux_only = pytest.mark.skipif(sys.platform == "win32", reason="limits of descriptors are for POSIX")

# An import that fails tells the reason, or hides it.
REASONS = {
    "the process's": ("", "RLIMIT_NOFILE"),
    "unknown": ("raise ImportError('no file')", "RLIMIT_NOFILE"),
    "the system's": ("raise OSError(errno.ENFILE, 'too many')", "fs.file-max"),
}


@linux_only
@pytest.mark.parametrize(("failing", "limit"), REASONS.values(), ids=REASONS)
def test_a_first_start_without_descriptors(failing: str, limit: str) -> None:
    """The modules of a filter cannot be imported then. The error names the limit."""
    # The first of them fails, before a file is opened.
    meanwhile = f"def fail(): {failing}\nMeanwhile(fail, 'cbprocess._binding.callbacks')\n" if failing else ""
    program = f"""
set_limit(3)
error = failure(process.start_filter, 0)
set_limit(soft)
assert error.code == cbprocess.ERROR_TOO_MANY_OPEN_FILES, error
limits = [name for name in ("RLIMIT_NOFILE", "fs.file-max") if name in error.message]
assert limits == [{limit!r}], error
"""
    run_fresh(WITHOUT_DESCRIPTORS, meanwhile, program, END)


def test_an_import_that_fails_otherwise_is_told_as_it_is() -> None:
    program = """
def fail(): raise ImportError("no such thing")
Meanwhile(fail)
try:
    process.start_filter(0)
    raise AssertionError("no failure")
except ImportError as error:
    assert str(error) == "no such thing"
"""
    run_fresh(program, END)


STOPS = {
    "stop_filter": """
process.start_filter(0)
forget()
set_limit(3)
process.stop_filter()
""",
    "with": """
with process:
    process.start_filter(0)
    forget()
    set_limit(3)
""",
}


@linux_only
@pytest.mark.parametrize("is_idle", ["asked", "idle"])
@pytest.mark.parametrize("stop", STOPS.values(), ids=STOPS)
def test_a_stop_without_descriptors(stop: str, is_idle: str) -> None:
    """It looks whether there was anything to watch, and may have to warn. It failed then, and the filter went
    on."""
    program = """
def forget():
    pass
process.add_filtered_process_by_name("no program is called so", False)
"""
    if is_idle == "idle":
        program += """
from cbprocess._api import supervision
supervision.IdleWarning._is_idle = lambda idle, session: True
def forget():
    sys.modules.pop("warnings", None)
"""
    run_fresh(WITHOUT_DESCRIPTORS, program, stop, "set_limit(soft)\nassert not process.active\n", END)


@linux_only
def test_a_look_without_descriptors() -> None:
    """The timer's thread ended in a traceback."""
    program = """
import threading
from cbprocess._api import supervision
supervision.DELAY_S = 0.2
process.add_filtered_process_by_name("no program is called so", False)
process.start_filter(0)
timer, = (thread for thread in threading.enumerate() if isinstance(thread, threading.Timer))
raised = []
threading.excepthook = raised.append
set_limit(3)
timer.join()
set_limit(soft)
assert raised == [], raised[0].exc_value
process.stop_filter()
"""
    run_fresh(WITHOUT_DESCRIPTORS, program, END)


@linux_only
@pytest.mark.parametrize("loaded", ["", "from cbprocess._api import supervision"], ids=["nothing", "warning"])
def test_a_first_rule_without_descriptors(loaded: str) -> None:
    """The rule was in force, and the call failed: what may warn, or its thread, could not be imported."""
    program = f"""
{loaded}
process._hooks.without_threading = True
process.start_filter(0)
set_limit(3)
process.add_filtered_process_by_name("no program is called so", False)
set_limit(soft)
assert "threading" not in sys.modules
process.remove_filtered_process_by_name("no program is called so")
process.add_filtered_process_by_name("no program is called so", False)
assert process._idle_warning is not None
process.stop_filter()
"""
    run_fresh(WITHOUT_DESCRIPTORS, program, END)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork()")
def test_a_fork_while_another_thread_imports() -> None:
    """The child waited for ever for a module that the thread, which it had not got, was importing."""
    program = """
import warnings
warnings.simplefilter("ignore")  # Python itself warns of a fork beside threads
importing = []
def wait():
    importing.append(True)
    time.sleep(0.3)
Meanwhile(wait)
_thread.start_new_thread(process.start_filter, (0,))
while not importing:
    time.sleep(0.001)
child = os.fork()
if child == 0:
    signal.alarm(10)
    process.initialize("{2B7F1B9E-64C8-4F5D-9C1D-5C1B8C2B6E0F}")
    process.start_filter(0)
    os._exit(0 if process.active else 1)
assert os.waitpid(child, 0)[1] == 0
while not process.active:
    time.sleep(0.001)
process.stop_filter()
"""
    run_fresh(program, END)


def test_a_start_in_a_signal_during_the_imports_of_a_start() -> None:
    """The signal's handler got a module that was not complete, and an ImportError."""
    program = """
errors = []
signal.signal(signal.SIGINT, lambda *_: errors.append(failure(made().start_filter, 0)))
Meanwhile(lambda: signal.raise_signal(signal.SIGINT))
process.start_filter(0)
assert process.active
process.stop_filter()
assert [error.code for error in errors] == [cbprocess.ERROR_CONNECTION_ACTIVE]
"""
    run_fresh(program, END)


def test_a_worker_that_begins_while_threading_is_imported() -> None:
    """It ended with an exception, because that module had no current_thread() yet."""
    run_fresh("sys.modules['threading'] = type(sys)('threading')\n", END, "del sys.modules['threading']\n")
