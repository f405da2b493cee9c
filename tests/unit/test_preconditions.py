"""Several reasons to refuse a call at once: the code is that of the first, in one order for all members. The
members and the codes are those of the table in reference.py."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator
from typing import Any, Callable, NamedTuple

import pytest
from unit.instances import GUID
from unit.reference import ACTIVE, IN_HANDLER, METHODS, NO_HANDLER, OWN, PROPERTIES, SETTINGS, Method

import cbprocess
from cbprocess import CBProcess, CBProcessError
from cbprocess._api import installation

WRONG = 87

# What the package has beside the reference.
MORE_METHODS = {
    "add_rule": Method({"name": "no-such-program"}, wrong={"action": ("no",)}),
    "driver_capabilities": Method(),
    "remove_rule": Method({"name": "no-such-program"}, wrong={"action": ("no",)}),
    "remove_rules": Method({"names": ["no-such-program"]}, wrong={"action": ("no",)}),
    "statistics": Method(),
}
MORE_SETTINGS = {
    "Altitude": ("7.5", "x", 0),
    "Driver": ("simulated", "no", ACTIVE),
    "RecordTo": ("/no/such/folder/file", "x" * 5000, ACTIVE),
    "ReplaySpeed": ("recorded", "no", ACTIVE),
    "RefuseWith": ("errno", "no", 0),
    "Script": ("/no/such/file", "x" * 5000, ACTIVE),
    "TimeoutAction": ("allow", "no", 0),
}


class Case(NamedTuple):
    """A call that is right or wrong, and the codes of its preconditions; 0: it has none."""

    call: Callable[[CBProcess, bool], object]
    before: int
    inside: int
    active: int
    is_refusable: bool  # there is a wrong argument
    outside: int = 0
    is_removal: bool = False

    def code(self, is_ready: bool, is_right: bool, is_inside: bool, is_active: bool) -> int:
        if not is_ready and self.before:
            return self.before
        if not is_right:
            return WRONG
        if is_inside:
            return self.inside or (self.active if is_active else 0)
        return (self.active if is_active else 0) or self.outside


def case_of_method(name: str, entry: Method) -> Case:
    wrong = {parameter: values[-1] for parameter, values in list(entry.wrong.items())[:1]}

    def call(process: CBProcess, is_right: bool) -> object:
        result = getattr(process, name)(**{**entry.parameters, **({} if is_right else wrong)})
        if name == "get_originator_token":
            os.close(result)
        if name == "start_filter":
            process.stop_filter()
        return result

    active = 0 if entry.active == NO_HANDLER else entry.active  # it is outside that this speaks of
    return Case(call, entry.before, entry.inside, active, bool(wrong), entry.outside, "remove" in name)


def case_of_property(name: str, value: object, wrong: object, inside: int, active: int) -> Case:
    return Case(
        lambda process, is_right: setattr(process, name, value if is_right else wrong),
        *(0, inside, active, True),
    )


def case_of_setting(name: str, value: str, wrong: str, active: int) -> Case:
    return Case(
        lambda process, is_right: process.config(f"{name}={value if is_right else wrong}"),
        *(0, IN_HANDLER if active == ACTIVE else 0, active, True),
    )


# Snapshots' getters have a condition of their own; an instance that has stopped is no longer active.
LAST = ("stop_filter",)
CASES = {
    name: case_of_method(name, entry)
    for name, entry in {**METHODS, **MORE_METHODS}.items()
    if not name.startswith("get_running") and name not in LAST
}
CASES.update(
    (name, case_of_property(name, entry.value, entry.wrong[0], entry.inside, entry.active))
    for name, entry in PROPERTIES.items()
    if entry.value is not None
)
CASES.update(
    (name, case_of_setting(name, entry.value, entry.wrong[0], entry.active))
    for name, entry in SETTINGS.items()
    if entry.value is not None
)
CASES.update((name, case_of_setting(name, *entry)) for name, entry in MORE_SETTINGS.items())
CASES.update((name, case_of_method(name, METHODS[name])) for name in LAST)


@pytest.fixture(autouse=True)
def nothing_happens_to_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr(installation, "initiate_shutdown", lambda *arguments: True)
    monkeypatch.setenv("CBPROCESS_CONFIG_DIR", str(tmp_path / "settings"))


# While active it looks at every process of the machine, of which there may be too many to be quick.
WALK = "add_filtered_process_by_name, right"


def code_of(case: Case, process: CBProcess, is_right: bool) -> int:
    if case.is_removal and is_right and process._owns_session():
        process.add_filtered_process_by_id(OWN, False)
        process.add_ignored_process_by_id(OWN, False)
        process.add_rule(name="no-such-program")
        process.add_ignored_process_by_name("no-such-program", False)
    try:
        case.call(process, is_right)
    except CBProcessError as error:
        return error.code
    return 0


def codes(instance: Callable[[], CBProcess], **state: bool) -> tuple[dict[str, int], dict[str, int]]:
    """What all calls, right and wrong, gave on an instance in that state, and what they should have."""
    found, wanted = {}, {}
    for (name, case), is_right in itertools.product(CASES.items(), (False, True)):
        if is_right or case.is_refusable:
            key = f"{name}, {'right' if is_right else 'wrong'}"
            if key == WALK and state["is_active"]:
                continue
            found[key] = code_of(case, instance(), is_right)
            wanted[key] = case.code(is_right=is_right, **state)
    return found, wanted


def in_a_handler(controller: CBProcess, call: Callable[[], Any]) -> Any:
    """The call's result in a handler of the controller, which is active then."""
    results: list[Any] = []
    controller.config("EventsToFire=1")
    controller.on_process_creation = lambda event: results.append(call())
    with controller:
        controller.start_filter(0)
        with contextlib.suppress(CBProcessError):  # the call may be the end of the filter
            controller.popen(["true"]).wait()
    return results[0]


@pytest.fixture
def controller() -> Iterator[CBProcess]:
    instance = CBProcess()
    instance.initialize(GUID)
    with instance:
        yield instance


@pytest.fixture
def nobody_initialized(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cbprocess._api.process, "_product_guid", None)


def fresh(is_initialized: bool) -> CBProcess:
    cbprocess._api.process._product_guid = None
    instance = CBProcess()
    if is_initialized:
        instance.initialize(GUID)
    return instance


@pytest.mark.usefixtures("nobody_initialized")
@pytest.mark.filterwarnings("ignore::cbprocess.CBProcessWarning")
@pytest.mark.parametrize("is_ready", [False, True])
def test_of_an_inactive_instance(is_ready: bool) -> None:
    def instance() -> CBProcess:
        return fresh(is_ready)

    found, wanted = codes(instance, is_ready=is_ready, is_inside=False, is_active=False)
    assert found == wanted


@pytest.mark.usefixtures("nobody_initialized")
@pytest.mark.parametrize("is_ready", [False, True])
def test_of_an_inactive_instance_in_a_handler(controller: CBProcess, is_ready: bool) -> None:
    found, wanted = in_a_handler(
        controller, lambda: codes(lambda: fresh(is_ready), is_ready=is_ready, is_inside=True, is_active=False)
    )
    assert found == wanted


@pytest.mark.filterwarnings("ignore::cbprocess.CBProcessWarning")
def test_of_an_active_instance(controller: CBProcess) -> None:
    controller.start_filter(0)
    found, wanted = codes(lambda: controller, is_ready=True, is_inside=False, is_active=True)
    assert found == wanted


def test_of_an_active_instance_in_a_handler(controller: CBProcess) -> None:
    found, wanted = in_a_handler(
        controller, lambda: codes(lambda: controller, is_ready=True, is_inside=True, is_active=True)
    )
    assert found == wanted
