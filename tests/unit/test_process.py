"""The CBProcess class without any program under it: states, settings, questions, and what it refuses."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
import weakref
from typing import Any

import pytest
from unit.instances import GUID, assert_code, dead_process_id

import cbprocess
from cbprocess import CBProcess, EventType, RefuseWith, Serialize, TimeoutAction, constants
from cbprocess._binding import own_requests
from cbprocess._binding.session import Session

BEFORE_INITIALIZE = """
import cbprocess
process = cbprocess.CBProcess()
calls = {
    "start_filter": lambda: process.start_filter(0),
    "stop_filter": lambda: process.stop_filter(),
    "add": lambda: process.add_filtered_process_by_id(1, False),
    "add name": lambda: process.add_ignored_process_by_name("a", False),
    "remove": lambda: process.remove_filtered_process_by_name("a"),
    "add_rule": lambda: process.add_rule(name="a"),
    "name": lambda: process.get_process_name(1),
    "reset": lambda: process.reset_timeout(0),
    "token": lambda: process.get_originator_token(),
    "process capabilities": lambda: process.get_process_capabilities(1),
    "statistics": lambda: process.statistics(),
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
other.start_filter(0)
print("done")
"""


def test_before_initialize_every_method_is_error_21_and_initialize_is_process_wide() -> None:
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
        ("TimeoutAction", "allow", "1", "deny"),
        ("TimeoutAction", "allow", f"{TimeoutAction.DENY}", "deny"),
        ("TimeoutAction", "allow", "TimeoutAction.DENY", "deny"),
        ("RefuseWith", "errno", "Kill", "kill"),
        ("RefuseWith", "errno", f"{RefuseWith.KILL}", "kill"),
        ("RefuseWith", "errno", str(RefuseWith.KILL), "kill"),
        ("RefuseWith", "errno", "RefuseWith.KILL", "kill"),
        ("SerializeEvents", "0", f"{Serialize.ON_ONE_WORKER_THREAD}", "1"),
        ("SerializeEvents", "0", "Serialize.ON_ONE_WORKER_THREAD", "1"),
        ("EventsToFire", "0", f"{EventType.THREAD_CREATION | EventType.PROCESS_CREATION}", "9"),
        ("EventsToFire", "0", str(EventType.THREAD_CREATION | EventType.PROCESS_CREATION), "9"),
        ("EventsToFire", "0", "EventType.THREAD_CREATION|PROCESS_CREATION", "9"),
        ("EventsToFire", "0", f"{EventType.ALL}", "63"),
        ("ForkIsCreation", "False", "TRUE", "True"),
    ],
)
def test_settings(process: CBProcess, setting: str, default: str, given: str, read: str) -> None:
    assert process.config(setting) == default
    assert process.config(f"{setting.upper()}={given}") == read
    assert process.config(setting.lower()) == read
    assert process.config(f" {setting} = {default} ") == default


@pytest.mark.parametrize("name", ["Script", "RecordTo"])
def test_a_path_keeps_its_blanks(process: CBProcess, name: str) -> None:
    for path in (" /a b = c ", "\t", "/a\n"):
        assert process.config(f" {name} ={path}") == path == process.config(f" {name} ")
    assert process.config(f"{name}=") == ""


def test_a_recording_in_a_file_whose_name_has_blanks(process: CBProcess, tmp_path: Any) -> None:
    process.config(f"RecordTo={tmp_path}/ a ")
    process.start_filter(0)
    process.stop_filter()
    assert os.listdir(tmp_path) == [" a "]


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
    *("TimeoutAction=2", "RefuseWith=-1", "RefuseWith=True", "RefuseWith=RefuseWith.NO", "Driver=1"),
    *("RefuseWith=TimeoutAction.DENY", "EventsToFire=EventType.ALL|", "EventsToFire=EventType."),
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


def test_an_active_instance_without_a_reference_keeps_own_requests_safe(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Until its session, which goes on, has stopped: else what this process creates, and a handler of that
    session is asked about, would keep that handler from running. The driver is said to be one that can."""
    monkeypatch.setattr(Session, "set_config", lambda session, name, value: None)
    monkeypatch.setattr(Session, "get_config", lambda session, name: b"True")
    names = [name for name in own_requests.FLAGS if hasattr(subprocess, name)]
    before = {name: getattr(subprocess, name) for name in names}
    instance = CBProcess()
    instance.initialize(GUID)
    instance.config("FilterOwnRequests=True")
    instance.start_filter(0)
    session = instance._session
    del instance
    gc.collect()
    assert session is not None and session.is_active()
    assert {name: getattr(subprocess, name) for name in names} == dict.fromkeys(names, False)
    session.stop()
    del session
    gc.collect()
    assert {name: getattr(subprocess, name) for name in names} == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_fork_has_own_requests_too(process: CBProcess) -> None:
    """It takes the setting over; and loses it when it is switched off."""
    process.config("FilterOwnRequests=True")
    child = os.fork()
    if child == 0:
        kept = process.config("FilterOwnRequests") == "True"
        gc.collect()
        kept = kept and not any(getattr(subprocess, name, False) for name in own_requests.FLAGS)
        process.config("FilterOwnRequests=False")
        os._exit(0 if kept and any(getattr(subprocess, name, False) for name in own_requests.FLAGS) else 1)
    assert os.waitpid(child, 0)[1] == 0


HANDLER_NAMES = [name for name in vars(cbprocess._api.properties.HandlerProperties) if name.startswith("on_")]


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


def test_process_names(process: CBProcess) -> None:
    assert process.get_process_name(os.getpid()) == os.readlink("/proc/self/exe")
    assert process.get_process_name(dead_process_id()) == ""
    for value in (-1, 2**32, "1", None, True):
        assert_code(constants.ERROR_INVALID_PARAMETER, process.get_process_name, value)


def test_only_in_handlers(process: CBProcess) -> None:
    assert_code(constants.ERROR_NO_CALLBACK_ACTIVE, process.reset_timeout, 0)
    assert_code(constants.ERROR_NO_CALLBACK_ACTIVE, process.get_originator_token)
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


def test_capabilities_of_one_process(process: CBProcess) -> None:
    assert_code(constants.ERROR_NOT_READY, process.get_process_capabilities, os.getpid())
    process.start_filter(0)
    for value in (-1, 2**32, "1", None, True):
        assert_code(constants.ERROR_INVALID_PARAMETER, process.get_process_capabilities, value)
    assert_code(constants.ERROR_NOT_FOUND, process.get_process_capabilities, os.getpid())
    assert_code(constants.ERROR_NOT_FOUND, process.get_process_capabilities, dead_process_id())
    child = process.popen(["sleep", "60"])
    found = process.get_process_capabilities(child.pid)
    child.kill()
    child.wait()
    assert found & constants.CAP_SEE_PROCESS_CREATION and found & ~process.driver_capabilities() == 0


@pytest.mark.skipif(sys.platform == "win32", reason="pidfds are of Linux")
def test_the_originators_token_is_its_pidfd(process: CBProcess) -> None:
    found: list[tuple[int, int, bool]] = []

    def created(event: Any) -> None:
        token = process.get_originator_token()
        with open(f"/proc/self/fdinfo/{token}") as info:
            lines = dict(line.split(":", 1) for line in info.read().splitlines())
        found.append((event.creating_process_id, int(lines["Pid"]), os.get_inheritable(token)))
        os.close(token)

    process.config(f"EventsToFire={constants.PROC_EVT_PROCESS_CREATION}")
    process.on_process_creation = created
    process.start_filter(0)
    child = process.popen(["sh", "-c", "true; /bin/true; exit 0"])
    assert child.wait() == 0
    assert found == [(os.getpid(), os.getpid(), False), (child.pid, child.pid, False)]


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


FORKED = """
import os, sys
import cbprocess
process = cbprocess.CBProcess()
process.initialize("%s")
process.altitude = "7.5"
process.config("RecordTo=/dev/null")
process.start_filter(0)
child = os.fork()
if child == 0:
    codes = [process.active]
    with process:
        pass
    kept = [process.altitude, process.config("RecordTo")]
    process.serialize_events = 1
    for call in (lambda: process.start_filter(0), lambda: process.get_process_name(1),
                 lambda: process.stop_filter(), lambda: process.add_filtered_process_by_id(-1, True),
                 lambda: process.popen(["true"]), lambda: process.statistics(),
                 lambda: process.get_process_capabilities(1)):
        try:
            call()
            codes.append(0)
        except cbprocess.CBProcessError as error:
            codes.append(error.code)
    process.initialize("%s")
    process.start_filter(0)
    works = process.popen(["true"]).wait() == 0
    kept += [process.altitude, process.serialize_events]
    print(codes, kept, works, flush=True)
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
print(process.active, process.serialize_events, process.popen(["true"]).wait(), flush=True)
"""


def test_a_fork_of_the_controller_keeps_settings_and_needs_to_initialize() -> None:
    command = [sys.executable, "-c", FORKED % (GUID, GUID)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[False, 21, 21, 21, 21, 21, 21, 21] ['7.5', '', '7.5', 1] True\nTrue 0 0\n", (
        done.stderr
    )


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
