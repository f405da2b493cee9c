"""The package against the table of the class reference: every member is there, under its name and with its
parameters, has its default, and fails with the documented code where it must not be called."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Callable

import pytest
from unit.instances import GUID, assert_code
from unit.reference import CONSTANTS, EVENTS, METHODS, PROPERTIES, SETTINGS, WRITABLE, Method, Property

import cbprocess
from cbprocess import CBProcess, CBProcessError
from cbprocess._api import installation

INITIATE = installation.initiate_shutdown
MEMBERS = [*METHODS, *PROPERTIES, *EVENTS]
CHANGEABLE = [name for name, entry in PROPERTIES.items() if entry.value is not None]
SETTABLE = [name for name, entry in SETTINGS.items() if entry.value is not None]

# Does something of each of the six kinds, with a child of its own.
BUSY = """
import os, subprocess
child = subprocess.Popen(["sleep", "60"])
os.sched_setaffinity(child.pid, os.sched_getaffinity(child.pid))
child.kill()
child.wait()
"""


@pytest.fixture(autouse=True)
def nothing_shuts_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "initiate_shutdown", lambda *arguments: True)


@pytest.fixture(autouse=True)
def settings_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    folder = tmp_path / "settings"
    monkeypatch.setenv("CBPROCESS_CONFIG_DIR", str(folder))
    return folder


@pytest.fixture
def active(process: CBProcess) -> CBProcess:
    process.start_filter(0)
    return process


def code_of(call: Callable[..., object], *arguments: Any, **keywords: Any) -> int:
    try:
        call(*arguments, **keywords)
    except CBProcessError as error:
        return error.code
    return 0


def prepare(process: CBProcess, name: str, entry: Method) -> None:
    """What removes a rule needs one."""
    if name.startswith("remove_"):
        getattr(process, name.replace("remove", "add"))(*entry.parameters.values(), False)


def codes_in_a_handler(calls: dict[str, Callable[[], object]]) -> dict[str, int]:
    """Makes the calls in a handler of another instance."""
    codes: dict[str, int] = {}

    def handler(event: object) -> None:
        for name, call in calls.items():
            codes[name] = code_of(call)

    with CBProcess() as controller:
        controller.initialize(GUID)
        controller.config("EventsToFire=1")
        controller.on_process_creation = handler
        controller.start_filter(0)
        controller.popen(["true"]).wait()
    return codes


# ---- Methods ----


@pytest.mark.parametrize("name", METHODS)
def test_parameters_of_methods(name: str) -> None:
    parameters = list(inspect.signature(getattr(CBProcess, name)).parameters.values())[1:]
    wanted = list(METHODS[name].parameters)
    assert [parameter.name for parameter in parameters][: len(wanted)] == wanted
    assert all(parameter.default is not inspect.Parameter.empty for parameter in parameters[len(wanted) :])


@pytest.mark.parametrize("name", METHODS)
def test_methods_in_no_handler(process: CBProcess, name: str) -> None:
    entry = METHODS[name]
    prepare(process, name, entry)
    if entry.outside:
        assert_code(entry.outside, getattr(process, name), *entry.parameters.values())
        return
    result = getattr(process, name)(*entry.parameters.values())
    if isinstance(entry.result, type):
        assert type(result) is entry.result
    else:
        assert result == entry.result
        assert type(result) is type(entry.result)


@pytest.mark.filterwarnings("ignore:the filter is active:cbprocess.CBProcessWarning")
@pytest.mark.parametrize("name", [name for name in METHODS if not name.startswith("get_running")])
def test_methods_while_active(process: CBProcess, name: str) -> None:
    """With the driver that does not look for a name among all processes of the machine: it can be busy."""
    entry = METHODS[name]
    process.config("Driver=simulated")
    process.start_filter(0)
    prepare(process, name, entry)
    assert code_of(getattr(process, name), **entry.parameters) == entry.active
    assert process.active is (name != "stop_filter")


def test_methods_in_a_handler(process: CBProcess) -> None:
    calls: dict[str, Callable[[], object]] = {}
    wanted = {name: entry.inside for name, entry in METHODS.items() if not name.startswith("get_running")}
    for name in wanted:
        entry = METHODS[name]
        prepare(process, name, entry)
        calls[name] = lambda name=name, entry=entry: getattr(process, name)(**entry.parameters)
    assert codes_in_a_handler(calls) == wanted


@pytest.mark.parametrize(
    ("name", "parameter"), [(name, parameter) for name, entry in METHODS.items() for parameter in entry.wrong]
)
def test_wrong_arguments(process: CBProcess, name: str, parameter: str) -> None:
    entry = METHODS[name]
    for value in entry.wrong[parameter]:
        assert_code(87, getattr(process, name), **{**entry.parameters, parameter: value})
    with pytest.raises(TypeError):
        getattr(process, name)()


def test_timeouts_that_are_too_short(process: CBProcess) -> None:
    for timeout in (1, 2999, -1):
        assert_code(cbprocess.ERROR_IMPLEMENTATION_LIMIT, process.start_filter, timeout)
    process.start_filter(3000)


def test_version_of_the_driver(process: CBProcess) -> None:
    words = [int(part) for part in cbprocess.__version__.split(".")] + [0]
    version = process.get_driver_version(GUID)
    assert [version >> shift & 0xFFFF for shift in (48, 32, 16, 0)] == words
    process.config("Driver=ptrace")
    assert process.get_driver_version(GUID) == version
    assert process.get_driver_status(GUID) == cbprocess.MODULE_STATUS_RUNNING


def test_install_takes_a_fifth_argument_and_none_for_texts() -> None:
    process = CBProcess()
    assert process.install(None, GUID, None, cbprocess.INSTALL_REMOVE_OLD_VERSIONS) is False
    assert process.install("a.cab", GUID, "", 0, 0) is False
    assert process.install("a.cab", GUID, "", 0, None) is False
    assert_code(87, process.install, "a.cab", GUID, "", 0, "0")
    assert process.uninstall(None, GUID, None, cbprocess.UNINSTALL_VERSION_CURRENT) is False
    with pytest.raises(TypeError):
        process.uninstall(None, GUID, None, 0, 0)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        (("bye", 60, True, False), (b"bye", 60, True, False)),
        ((None, 0, False, True), (b"", 0, False, True)),
        (("", 2**32 - 1, False, False), (b"", 2**32 - 1, False, False)),
        (("\udcff ü", 3, True, True), (b"\xff \xc3\xbc", 3, True, True)),
    ],
)
@pytest.mark.parametrize("answer", [True, False])
def test_shutdown(
    monkeypatch: pytest.MonkeyPatch, arguments: tuple[Any, ...], asked: tuple[Any, ...], answer: bool
) -> None:
    seen: list[tuple[Any, ...]] = []

    def record(*call: Any) -> bool:
        seen.append(call)
        return answer

    monkeypatch.setattr(installation, "initiate_shutdown", record)
    assert CBProcess().shutdown_system(*arguments) is answer
    assert seen == [asked]
    assert list(map(type, seen[0])) == [bytes, int, bool, bool]


def test_the_call_that_shuts_down_passes_everything_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a library put in its place: the real one would do it."""

    class Library:
        seen: tuple[Any, ...] = ()

        def cbp_system_shutdown(self, *arguments: Any) -> None:
            Library.seen = arguments[:4]
            arguments[4]._obj.value = 1

    monkeypatch.setattr(cbprocess._binding.library, "load", Library)
    assert INITIATE(b"bye", 60, True, False) is True
    assert Library.seen == (b"bye", 60, True, False)


# ---- Properties ----


def setter_of(process: CBProcess, name: str, entry: Property) -> Callable[[], object]:
    return lambda: setattr(process, name, entry.value)


@pytest.mark.parametrize("name", PROPERTIES)
def test_defaults_of_properties(process: CBProcess, name: str) -> None:
    default = PROPERTIES[name].default
    for value in (getattr(process, name), getattr(process, f"get_{name}")()):
        assert value == default
        assert type(value) is type(default)


@pytest.mark.parametrize("name", PROPERTIES)
def test_properties_can_be_set_or_cannot(process: CBProcess, name: str) -> None:
    entry = PROPERTIES[name]
    if entry.value is None:
        assert not hasattr(process, f"set_{name}")
        with pytest.raises(AttributeError):
            setattr(process, name, entry.default)
        return
    setattr(process, name, entry.value)
    assert getattr(process, name) == getattr(process, f"get_{name}")() == entry.value
    getattr(process, f"set_{name}")(entry.default)
    assert getattr(process, name) == entry.default
    assert getattr(CBProcess(), name) == entry.default


@pytest.mark.parametrize("name", CHANGEABLE)
def test_properties_while_active(active: CBProcess, name: str) -> None:
    entry = PROPERTIES[name]
    assert code_of(setattr, active, name, entry.value) == entry.active
    assert getattr(active, name) == (entry.default if entry.active else entry.value)


def test_properties_in_a_handler(process: CBProcess) -> None:
    calls = {name: setter_of(process, name, PROPERTIES[name]) for name in CHANGEABLE}
    assert codes_in_a_handler(calls) == {name: PROPERTIES[name].inside for name in CHANGEABLE}


@pytest.mark.parametrize("name", CHANGEABLE)
def test_wrong_values_of_properties(process: CBProcess, name: str) -> None:
    for value in PROPERTIES[name].wrong:
        assert_code(87, setattr, process, name, value)
        assert_code(87, getattr(process, f"set_{name}"), value)
    assert getattr(process, name) == PROPERTIES[name].default


# ---- Settings ----


@pytest.mark.parametrize("name", SETTINGS)
def test_settings(process: CBProcess, name: str) -> None:
    entry = SETTINGS[name]
    text = process.config(name)
    assert text and (entry.default is None or text == entry.default)
    assert process.config(name.upper()) == process.config(name.lower()) == text
    if entry.value is None:
        assert_code(87, process.config, f"{name}={text}")
    else:
        assert process.config(f"{name}={entry.value}") == entry.value == process.config(name)
        for wrong in entry.wrong:
            assert_code(87, process.config, f"{name}={wrong}")
        assert process.config(name) == entry.value


@pytest.mark.parametrize("name", SETTABLE)
def test_settings_while_active(active: CBProcess, name: str) -> None:
    assert code_of(active.config, f"{name}={SETTINGS[name].value}") == SETTINGS[name].active


def test_settings_in_a_handler(process: CBProcess) -> None:
    calls: dict[str, Callable[[], object]] = {}
    for name in SETTABLE:
        calls[name] = lambda name=name: process.config(f"{name}={SETTINGS[name].value}")
    assert codes_in_a_handler(calls) == {name: SETTINGS[name].inside for name in SETTABLE}


def test_license_information(process: CBProcess) -> None:
    lines = process.config("LicenseInfo").splitlines()
    assert [line.partition(": ")[0] for line in lines] == [
        "Product",
        "Product Key",
        "License Source",
        "License Type",
    ]


def test_logging_is_kept_for_other_instances_and_programs(
    process: CBProcess, settings_of_its_own: Path
) -> None:
    process.config("LoggingEnabled=Yes")
    assert CBProcess().config("LoggingEnabled") == "True"
    program = f"""
import cbprocess
process = cbprocess.CBProcess()
process.initialize({GUID!r})
print(process.config("LoggingEnabled"))
"""
    assert subprocess.check_output([sys.executable, "-c", program], timeout=60) == b"True\n"
    assert [entry.name for entry in settings_of_its_own.iterdir()] == ["logging"]
    process.config("LoggingEnabled=0")
    assert CBProcess().config("LoggingEnabled") == "False"


LOGGING_WITHOUT_RIGHTS = """
import os, sys
import cbprocess
process = cbprocess.CBProcess()
process.initialize(sys.argv[1])
if os.geteuid() == 0:
    os.setresuid(65534, 65534, 65534)
try:
    process.config("LoggingEnabled=True")
except cbprocess.CBProcessError as error:
    print(error.code, process.config("LoggingEnabled"))
"""


def test_logging_needs_rights(settings_of_its_own: Path) -> None:
    settings_of_its_own.mkdir(mode=0o555)
    line = [sys.executable, "-c", LOGGING_WITHOUT_RIGHTS, GUID]
    assert subprocess.check_output(line, timeout=60) == b"1314 False\n"


def test_worker_counts_by_default(active: CBProcess) -> None:
    processors = len(os.sched_getaffinity(0))
    least = min(max(processors, 4), 4 * processors)
    ready = threading.Event()
    for _ in range(200):
        if active.statistics().workers == least:
            break
        ready.wait(0.05)
    assert active.statistics().workers == least


# ---- Events ----


def snapshot_of(event: Any, kind: type) -> dict[str, Any]:
    names = [
        name for base in kind.__mro__ for name, value in vars(base).items() if isinstance(value, property)
    ]
    return {name: getattr(event, name) for name in names}


@pytest.fixture(scope="module")
def fired() -> dict[str, dict[str, Any]]:
    """The first event of each kind, as its properties were in the handler, with its class as "class"."""
    seen: dict[str, dict[str, Any]] = {}

    def recorder(name: str) -> Callable[[Any], None]:
        def record(event: Any) -> None:
            seen.setdefault(name, {**snapshot_of(event, type(event)), "class": type(event).__name__})
            if name == "on_process_termination":
                raise LookupError("on purpose")

        return record

    with CBProcess() as process:
        process.initialize(GUID)
        process.config("EventsToFire=-1")
        for name in EVENTS:
            assert getattr(process, name) is None
            setattr(process, name, recorder(name))
        process.start_filter(0)
        process.popen([sys.executable, "-c", BUSY]).wait()
    return seen


@pytest.mark.parametrize("name", EVENTS)
def test_what_events_say(fired: dict[str, dict[str, Any]], name: str) -> None:
    event = fired[name]
    stem = name[len("on_") :].title().replace("_", "")
    assert event["class"] == f"CBProcess{stem}EventParams"
    assert isinstance(getattr(cbprocess, event["class"]), type)
    for attribute, wanted in EVENTS[name].items():
        if isinstance(wanted, type):
            assert type(event[attribute]) is wanted, attribute
        else:
            assert event[attribute] == wanted, attribute
            assert type(event[attribute]) is type(wanted), attribute
    if "desired_access" in event:
        assert event["desired_access"] == event["original_desired_access"] != 0


@pytest.mark.parametrize("name", EVENTS)
def test_which_of_it_can_be_set(fired: dict[str, dict[str, Any]], name: str) -> None:
    kind = getattr(cbprocess, fired[name]["class"])
    for attribute in EVENTS[name]:
        descriptor = inspect.getattr_static(kind, attribute)
        assert (descriptor.fset is not None) == (attribute in WRITABLE), attribute


@pytest.mark.parametrize("name", EVENTS)
def test_handlers_are_none_or_callable(process: CBProcess, name: str) -> None:
    assert getattr(process, name) is None
    setattr(process, name, print)
    for value in (5, "print", ()):
        assert_code(87, setattr, process, name, value)
    assert getattr(process, name) is print


# ---- Constants and errors ----


@pytest.mark.parametrize("name", CONSTANTS)
def test_constants(name: str) -> None:
    assert getattr(cbprocess, name) == CONSTANTS[name]
    assert name in vars(cbprocess)["__all__"]


def test_a_first_worker_that_fails_is_error_575(process: CBProcess) -> None:
    def refuse(event: cbprocess.CBProcessWorkerThreadCreationEventParams) -> None:
        event.result_code = 8

    process.on_worker_thread_creation = refuse
    process.on_error = lambda event: None
    assert_code(cbprocess.ERROR_APP_INIT_FAILURE, process.start_filter, 0)
    assert process.active is False


def test_a_driver_that_is_missing_is_error_588(tmp_path: Path) -> None:
    program = f"""
import cbprocess
try:
    cbprocess.CBProcess().initialize({GUID!r})
except cbprocess.CBFSFilterError as error:
    print(error.code)
"""
    environment = dict(os.environ, CBPROCESS_NATIVE_DIR=str(tmp_path))
    line = [sys.executable, "-c", program]
    assert subprocess.check_output(line, env=environment, timeout=60) == b"588\n"


@pytest.mark.parametrize("name", MEMBERS)
def test_every_member_is_documented(name: str) -> None:
    member: Any = inspect.getattr_static(CBProcess, name)
    assert (inspect.getdoc(member) or "").strip()
