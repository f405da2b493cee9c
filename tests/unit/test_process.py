"""The CBProcess class without any program under it: states, settings, rules, and what it refuses."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Iterator
from typing import Any, Callable

import pytest

import cbprocess
from cbprocess import CBProcess, CBProcessError, CBProcessWarning, constants, own_requests

GUID = "{2B7F1B9E-64C8-4F5D-9C1D-5C1B8C2B6E0F}"

BEFORE_INITIALIZE = """
import cbprocess
process = cbprocess.CBProcess()
calls = {
    "config": lambda: process.config("EventsToFire"),
    "start_filter": lambda: process.start_filter(0),
    "stop_filter": lambda: process.stop_filter(),
    "add": lambda: process.add_filtered_process_by_id(1, False),
    "add name": lambda: process.add_ignored_process_by_name("a", False),
    "remove": lambda: process.remove_filtered_process_by_name("a"),
    "add_rule": lambda: process.add_rule(name="a"),
    "name": lambda: process.get_process_name(1),
    "reset": lambda: process.reset_timeout(0),
    "statistics": lambda: process.statistics(),
    "serialize": lambda: process.serialize_events,
    "capabilities": lambda: process.driver_capabilities(),
    "popen": lambda: process.popen(["true"]),
}
for name, call in calls.items():
    try:
        call()
    except cbprocess.CBProcessError as error:
        assert error.code == cbprocess.ERROR_NOT_READY, (name, error)
    else:
        raise AssertionError(name)
assert process.active is False
with process:
    pass
other = cbprocess.CBProcess()
process.initialize("%s")
assert other.config("EventsToFire") == "0"
print("done")
"""


@pytest.fixture
def process() -> Iterator[CBProcess]:
    instance = CBProcess()
    instance.initialize(GUID)
    with instance:
        yield instance


def assert_code(code: int, call: Callable[..., object], *arguments: Any, **keywords: Any) -> CBProcessError:
    with pytest.raises(CBProcessError) as raised:
        call(*arguments, **keywords)
    assert raised.value.code == code, raised.value
    assert raised.value.message
    return raised.value


def test_before_initialize_everything_is_error_21_and_initialize_is_process_wide() -> None:
    program = BEFORE_INITIALIZE % GUID
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout == "done\n", done.stderr


WRONG_GUIDS = [
    *(
        "",
        "{}",
        GUID[1:-1],
        GUID[:-1],
        GUID + "}",
        GUID.replace("-", "_"),
        GUID.replace("B", "G", 1),
        " " + GUID,
    ),
    *("{" + "0" * 36 + "}", GUID + "\0", "\ud800", None, 5, GUID.encode()),
]


@pytest.mark.parametrize("guid", WRONG_GUIDS)
def test_wrong_guids(guid: Any) -> None:
    assert_code(constants.ERROR_INVALID_PARAMETER, CBProcess().initialize, guid)


def test_guids_ignore_case_and_initialize_can_be_repeated(process: CBProcess) -> None:
    process.config("EventsToFire=3")
    process.initialize(GUID.lower())
    process.initialize(GUID.upper())
    assert process.config("EventsToFire") == "3"


def test_a_failed_initialize_changes_nothing(process: CBProcess) -> None:
    process.config("EventsToFire=3")
    assert_code(constants.ERROR_INVALID_PARAMETER, process.initialize, "{}")
    assert process.config("EventsToFire") == "3"


def test_life_of_the_filter(process: CBProcess) -> None:
    assert process.active is process.get_active() is False
    process.stop_filter()
    process.start_filter(0)
    assert process.active is True
    assert_code(constants.ERROR_CONNECTION_ACTIVE, process.start_filter, 0)
    process.stop_filter()
    assert process.active is False
    process.stop_filter()
    process.start_filter(3000)
    assert process.active is True


@pytest.mark.parametrize("timeout", [1, 2999, -1, -3000])
def test_timeouts_that_are_too_short(process: CBProcess, timeout: int) -> None:
    assert_code(constants.ERROR_IMPLEMENTATION_LIMIT, process.start_filter, timeout)
    assert process.active is False


@pytest.mark.parametrize("timeout", [2**32, "0", None, 0.0, True])
def test_timeouts_that_are_none(process: CBProcess, timeout: Any) -> None:
    assert_code(constants.ERROR_INVALID_PARAMETER, process.start_filter, timeout)
    assert process.active is False


def test_attributes_that_cannot_be_set(process: CBProcess) -> None:
    for name in ("active", "no_such_property", "on_proces_creation"):
        with pytest.raises(AttributeError):
            setattr(process, name, 1)


def test_the_context_manager_stops() -> None:
    with CBProcess() as process:
        process.initialize(GUID)
        process.start_filter(0)
        assert process.active
    assert not process.active


def test_tag(process: CBProcess) -> None:
    assert process.tag == process.get_tag() == 0
    process.tag = -(2**70)
    assert process.tag == -(2**70)
    process.set_tag(5)
    assert process.tag == 5
    for value in ("1", None, 1.5, True):
        assert_code(constants.ERROR_INVALID_PARAMETER, process.set_tag, value)
    assert process.tag == 5


def test_serialize_events(process: CBProcess) -> None:
    assert process.serialize_events == constants.SERIALIZE_ON_MULTIPLE_THREADS
    process.serialize_events = constants.SERIALIZE_ON_ONE_WORKER_THREAD
    assert process.get_serialize_events() == 1
    for value in (2, -1, "1", None, True):
        assert_code(constants.ERROR_INVALID_PARAMETER, process.set_serialize_events, value)
    process.start_filter(0)
    assert_code(constants.ERROR_CONNECTION_ACTIVE, process.set_serialize_events, 0)
    assert process.serialize_events == 1


@pytest.mark.parametrize(
    ("setting", "default", "given", "read"),
    [
        ("EventsToFire", "0", "0x3", "3"),
        ("EventsToFire", "0", "-1", "-1"),
        ("FilterOwnRequests", "False", "yes", "True"),
        ("FilterOwnRequests", "False", "0", "False"),
        ("MinWorkerThreadCount", "0", "1", "1"),
        ("MaxWorkerThreadCount", "0", "1024", "1024"),
        ("WorkerInitialStackSize", "0", "262144", "262144"),
        ("SerializeEvents", "0", "1", "1"),
        ("Driver", "auto", "PTRACE", "ptrace"),
        ("TimeoutAction", "allow", "deny", "deny"),
        ("RefuseWith", "errno", "Kill", "kill"),
        ("ForkIsCreation", "False", "TRUE", "True"),
    ],
)
def test_settings(process: CBProcess, setting: str, default: str, given: str, read: str) -> None:
    assert process.config(setting) == default
    assert process.config(f"{setting.upper()}={given}") == read
    assert process.config(setting.lower()) == read
    assert process.config(f" {setting} = {default} ") == default


WRONG_SETTINGS = [
    *(
        "",
        "=",
        "=1",
        "NoSuchSetting",
        "NoSuchSetting=1",
        "EventsToFire=",
        "EventsToFire=x",
        "EventsToFire=1.5",
    ),
    *("EventsToFire=99999999999999999999", "MaxWorkerThreadCount=1025", "MinWorkerThreadCount=-1"),
    *("FilterOwnRequests=maybe", "SerializeEvents=2", "Driver=nosuch", "TimeoutAction=", "RefuseWith=no"),
    *("WorkerInitialStackSize=1073741825", "BuildInfo=x", "LicenseInfo=x", "EventsToFire\0=1", "\ud800"),
    *("EventsToFire=" + "1" * 100_000, "x" * 100_000, None, 5, b"EventsToFire"),
]


@pytest.mark.parametrize("text", WRONG_SETTINGS)
def test_wrong_settings_change_nothing(process: CBProcess, text: Any) -> None:
    assert_code(constants.ERROR_INVALID_PARAMETER, process.config, text)
    assert process.config("EventsToFire") == "0"


def test_settings_that_are_fixed_while_active(process: CBProcess) -> None:
    process.start_filter(0)
    for text in ("SerializeEvents=1", "WorkerInitialStackSize=1048576", "Driver=ptrace"):
        assert_code(constants.ERROR_CONNECTION_ACTIVE, process.config, text)
    assert process.config("EventsToFire=1") == "1"


def test_drivers_of_other_platforms_are_not_supported(process: CBProcess) -> None:
    for name in ("kernel", "debug"):
        if sys.platform != "win32":
            assert_code(constants.ERROR_NOT_SUPPORTED, process.config, f"Driver={name}")
    assert process.config("Driver") == "auto"


def test_information_settings(process: CBProcess) -> None:
    assert cbprocess.__version__ in process.config("BuildInfo")
    assert "MIT" in process.config("LicenseInfo")


def test_own_requests_keep_subprocess_from_blocking_the_handlers(process: CBProcess) -> None:
    names = [name for name in own_requests.FLAGS if hasattr(subprocess, name)]
    before = {name: getattr(subprocess, name) for name in names}
    assert before
    other = CBProcess()
    other.initialize(GUID)
    process.config("FilterOwnRequests=True")
    other.config("FilterOwnRequests=True")
    process.config("FilterOwnRequests=False")
    assert {name: getattr(subprocess, name) for name in names} == dict.fromkeys(names, False)
    del other
    gc.collect()
    assert {name: getattr(subprocess, name) for name in names} == before


HANDLER_NAMES = [name for name in vars(cbprocess.hooks.HandlerProperties) if name.startswith("on_")]


@pytest.mark.parametrize("name", HANDLER_NAMES)
def test_handlers_can_be_set_read_and_taken_away(process: CBProcess, name: str) -> None:
    assert getattr(process, name) is None
    handler = print
    setattr(process, name, handler)
    assert getattr(process, name) is handler
    assert_code(constants.ERROR_INVALID_PARAMETER, setattr, process, name, 5)
    assert getattr(process, name) is handler
    assert [other for other in HANDLER_NAMES if getattr(process, other) is handler] == [name]
    setattr(process, name, None)
    assert getattr(process, name) is None


def test_there_are_nine_handlers() -> None:
    assert len(HANDLER_NAMES) == 9


def dead_process_id() -> int:
    child = subprocess.Popen(["true"])
    child.wait()
    return child.pid


def test_rules_by_id(process: CBProcess) -> None:
    process.add_filtered_process_by_id(os.getpid(), True)
    process.add_filtered_process_by_id(-1, False)
    process.add_ignored_process_by_id(os.getpid(), False)
    process.remove_filtered_process_by_id(os.getpid())
    assert_code(constants.ERROR_NOT_FOUND, process.remove_filtered_process_by_id, os.getpid())
    process.remove_filtered_process_by_id(-1)
    process.remove_ignored_process_by_id(os.getpid())
    assert_code(constants.ERROR_NOT_FOUND, process.remove_ignored_process_by_id, os.getpid())


def test_rules_by_id_need_a_living_process(process: CBProcess) -> None:
    dead = dead_process_id()
    for add in (process.add_filtered_process_by_id, process.add_ignored_process_by_id):
        assert_code(constants.ERROR_INVALID_PARAMETER, add, dead, False)
        assert_code(constants.ERROR_INVALID_PARAMETER, add, 0, False)
    assert_code(constants.ERROR_INVALID_PARAMETER, process.add_ignored_process_by_id, -1, False)


def test_a_rule_outlives_its_process(process: CBProcess) -> None:
    child = subprocess.Popen(["sleep", "60"])
    process.add_filtered_process_by_id(child.pid, True)
    child.kill()
    child.wait()
    process.remove_filtered_process_by_id(child.pid)


@pytest.mark.parametrize("value", ["1", None, True, 1.0, -2, 2**32])
def test_wrong_ids(process: CBProcess, value: Any) -> None:
    for method in (process.add_filtered_process_by_id, process.add_ignored_process_by_id):
        assert_code(constants.ERROR_INVALID_PARAMETER, method, value, False)
    for remove in (process.remove_filtered_process_by_id, process.remove_ignored_process_by_id):
        assert_code(constants.ERROR_INVALID_PARAMETER, remove, value)


@pytest.mark.parametrize("value", [0, 1, None, "True"])
def test_wrong_include_children(process: CBProcess, value: Any) -> None:
    for call in (
        lambda: process.add_filtered_process_by_id(os.getpid(), value),
        lambda: process.add_filtered_process_by_name("a", value),
        lambda: process.add_rule(name="a", include_children=value),
    ):
        assert_code(constants.ERROR_INVALID_PARAMETER, call)
    assert_code(constants.ERROR_NOT_FOUND, process.remove_filtered_process_by_name, "a")


def test_rules_by_name(process: CBProcess) -> None:
    name = "*/caf\udce9?"
    process.add_filtered_process_by_name(name, True)
    process.add_filtered_process_by_name(name, False)
    process.add_ignored_process_by_name(name, False)
    process.remove_filtered_process_by_name(name)
    assert_code(constants.ERROR_NOT_FOUND, process.remove_filtered_process_by_name, name)
    process.remove_ignored_process_by_name(name)
    assert_code(constants.ERROR_NOT_FOUND, process.remove_ignored_process_by_name, "never added")


@pytest.mark.parametrize("value", ["", "a\0b", "\ud800", "x" * 4097, None, 5, b"a"])
def test_wrong_names(process: CBProcess, value: Any) -> None:
    for add in (process.add_filtered_process_by_name, process.add_ignored_process_by_name):
        assert_code(constants.ERROR_INVALID_PARAMETER, add, value, False)
    for remove in (process.remove_filtered_process_by_name, process.remove_ignored_process_by_name):
        assert_code(constants.ERROR_INVALID_PARAMETER, remove, value)


@pytest.mark.parametrize("action", ["ask", "ignore", "allow", "deny", "strip"])
def test_rules_with_actions(process: CBProcess, action: str) -> None:
    process.add_rule(name="a*", action=action, access=1)
    process.add_rule(process_id=os.getpid(), action=action, code=2, access=1)
    process.remove_rule(name="a*", action=action)
    process.remove_rule(process_id=os.getpid(), action=action)
    assert_code(constants.ERROR_NOT_FOUND, process.remove_rule, name="a*", action=action)
    assert_code(constants.ERROR_NOT_FOUND, process.remove_rule, process_id=os.getpid(), action=action)


@pytest.mark.parametrize(
    "keywords",
    [
        {},
        {"name": "a", "process_id": 1},
        {"name": "a", "action": "refuse"},
        {"name": "a", "action": None},
        {"name": "a", "action": "deny", "code": 0},
        {"name": "a", "action": "deny", "code": 2**32},
        {"name": "a", "action": "deny", "code": "5"},
        {"name": "a", "action": "strip"},
        {"name": "a", "action": "strip", "access": -1},
        {"name": "a", "action": "strip", "access": True},
        {"process_id": -1, "action": "ignore"},
        {"process_id": "1"},
        {"name": 5},
    ],
)
def test_wrong_rules(process: CBProcess, keywords: dict[str, Any]) -> None:
    assert_code(constants.ERROR_INVALID_PARAMETER, lambda: process.add_rule(**keywords))
    if "code" not in keywords and "access" not in keywords and keywords.get("action") != "strip":
        assert_code(constants.ERROR_INVALID_PARAMETER, process.remove_rule, **keywords)


def test_process_names(process: CBProcess) -> None:
    assert process.get_process_name(os.getpid()) == os.readlink("/proc/self/exe")
    assert process.get_process_name(dead_process_id()) == ""
    for value in (-1, 2**32, "1", None, True):
        assert_code(constants.ERROR_INVALID_PARAMETER, process.get_process_name, value)


def test_only_in_handlers(process: CBProcess) -> None:
    assert_code(constants.ERROR_NO_CALLBACK_ACTIVE, process.reset_timeout, 0)
    for value in (-1, 2**32, "1", None, True):
        assert_code(constants.ERROR_INVALID_PARAMETER, process.reset_timeout, value)


def test_statistics_are_a_record(process: CBProcess) -> None:
    values = process.statistics()
    assert {name: getattr(values, name) for name in values.__slots__} == dict.fromkeys(values.__slots__, 0)
    assert "delivered=0" in repr(values)
    with pytest.raises(AttributeError):
        values.delivered = 1
    with pytest.raises(AttributeError):
        del values.delivered
    process.start_filter(0)
    assert process.statistics().workers >= 1


def test_capabilities_and_probes(process: CBProcess) -> None:
    assert process.driver_capabilities() == cbprocess.probe_driver().capabilities
    report = cbprocess.probe_driver("kernel")
    if sys.platform != "win32":
        assert not report.runs and report.reason
    for name in ("nosuch", "", "auto\0", None, 5):
        assert_code(constants.ERROR_INVALID_PARAMETER, cbprocess.probe_driver, name)


def test_an_active_instance_stays_alive_and_an_inactive_one_does_not() -> None:
    active, inactive = CBProcess(), CBProcess()
    done = threading.Event()
    active.on_worker_thread_termination = lambda params: done.set()
    for instance in (active, inactive):
        instance.initialize(GUID)
        instance.start_filter(0)
    inactive.stop_filter()
    session = active._session
    gone, kept = weakref.ref(inactive), weakref.ref(session)
    del active, inactive, instance
    gc.collect()
    assert gone() is None
    assert kept() is not None and session is not None and session.is_active()
    session.stop()
    assert done.is_set()
    del session
    gc.collect()
    assert kept() is None


def test_no_thread_is_left_in_pythons_table() -> None:
    names: list[str] = []
    for _ in range(3):
        names.clear()
        with CBProcess() as process:
            process.on_worker_thread_creation = lambda params: names.append(threading.current_thread().name)
            process.initialize(GUID)
            process.start_filter(0)
            limit = time.monotonic() + 10
            while not names and time.monotonic() < limit:
                time.sleep(0.01)
            assert names and all(name.startswith("cbprocess-worker-") for name in names)
    assert [thread for thread in threading.enumerate() if thread.name.startswith("cbprocess")] == []


def test_a_filter_with_rules_and_nothing_to_watch_warns_once() -> None:
    with CBProcess() as process:
        process.initialize(GUID)
        process.add_filtered_process_by_id(-1, True)
        process.start_filter(0)
        with pytest.warns(CBProcessWarning, match="popen") as warned:
            process.stop_filter()
        assert [warning.filename for warning in warned] == [__file__]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            process.start_filter(0)
            process.stop_filter()


def test_a_warning_made_an_error_does_not_keep_the_filter_going() -> None:
    process = CBProcess()
    process.initialize(GUID)
    process.add_filtered_process_by_id(-1, True)
    process.start_filter(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(CBProcessWarning) as raised:
            process.stop_filter()
    assert not process.active
    assert "popen" in str(raised.value)


def test_an_idle_filter_warns_while_it_waits() -> None:
    with CBProcess() as process, pytest.warns(CBProcessWarning, match="popen"):
        process.initialize(GUID)
        process.start_filter(0)
        process.add_filtered_process_by_name("no program has this name", False)
        time.sleep(cbprocess.supervision.DELAY_S + 1)


def test_without_rules_or_with_popen_there_is_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with CBProcess() as process:
            process.initialize(GUID)
            process.start_filter(0)
            process.stop_filter()
            process.add_filtered_process_by_id(-1, True)
            process.start_filter(0)
            assert process.popen(["true"]).wait() == 0


FORKED = """
import os, sys
import cbprocess
process = cbprocess.CBProcess()
process.initialize("%s")
process.start_filter(0)
child = os.fork()
if child == 0:
    codes = [process.active]
    with process:
        pass
    for call in (lambda: process.config("EventsToFire"), lambda: process.start_filter(0),
                 lambda: process.stop_filter(), lambda: process.add_filtered_process_by_id(-1, True),
                 lambda: process.popen(["true"]), lambda: process.statistics()):
        try:
            call()
            codes.append(0)
        except cbprocess.CBProcessError as error:
            codes.append(error.code)
    process.initialize("%s")
    process.start_filter(0)
    works = process.popen(["true"]).wait() == 0
    print(codes, works, flush=True)
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
print(process.active, process.popen(["true"]).wait(), flush=True)
"""


def test_a_fork_of_the_controller_has_a_dead_session_and_can_make_its_own() -> None:
    command = [sys.executable, "-c", FORKED % (GUID, GUID)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[False, 21, 21, 21, 21, 21, 21] True\nTrue 0\n", done.stderr


def test_argument_lists_of_every_size_arrive_whole() -> None:
    """Around the sizes at which an event outgrows its worker's block, and the memory behind that."""
    sizes = [0, 1_000, 16_000, 16_384, 17_000, 20_000, 32_000, 33_000, 34_000, 100_000]
    seen: list[list[str]] = []
    with CBProcess() as process:
        process.initialize(GUID)
        process.config(f"EventsToFire={constants.PROC_EVT_PROCESS_CREATION}")
        process.on_process_creation = lambda event: seen.append(event.arguments)
        process.start_filter(0)
        for size in sizes:
            assert process.popen(["true", "x" * size, "end"]).wait() == 0
    assert [[len(word) for word in words] for words in seen] == [[4, size, 3] for size in sizes]
    assert all(words[0] == "true" and words[2] == "end" and set(words[1]) <= {"x"} for words in seen)
