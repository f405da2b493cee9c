"""Before initialize(): methods are error 21, and all else is an attribute that stays what it was set to."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from unit.instances import GUID, assert_code
from unit.reference import EVENTS, METHODS, PROPERTIES, SETTINGS

import cbprocess
from cbprocess import CBProcess
from cbprocess._api import installation


@pytest.fixture
def uninitialized(monkeypatch: pytest.MonkeyPatch) -> CBProcess:
    monkeypatch.setattr(cbprocess._api.process, "_product_guid", None)
    return CBProcess()


@pytest.fixture(autouse=True)
def nothing_happens_to_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr(installation, "initiate_shutdown", lambda *arguments: True)
    monkeypatch.setenv("CBPROCESS_CONFIG_DIR", str(tmp_path / "settings"))


@pytest.mark.parametrize("name", METHODS)
def test_methods_before_initialize(uninitialized: CBProcess, name: str) -> None:
    entry = METHODS[name]
    call = partial(getattr(uninitialized, name), **entry.parameters)
    if entry.before:
        assert_code(entry.before, call)
    else:
        call()


@pytest.mark.parametrize("name", PROPERTIES)
def test_properties_before_initialize(uninitialized: CBProcess, name: str) -> None:
    """They are what a constructor sets, and stay so."""
    entry = PROPERTIES[name]
    assert getattr(uninitialized, name) == getattr(uninitialized, f"get_{name}")() == entry.default
    if entry.value is None:
        return
    for value in entry.wrong:
        assert_code(87, setattr, uninitialized, name, value)
    setattr(uninitialized, name, entry.value)
    assert getattr(uninitialized, name) == getattr(uninitialized, f"get_{name}")() == entry.value
    assert_code(21, uninitialized.start_filter, 0)
    uninitialized.initialize(GUID)
    assert getattr(uninitialized, name) == entry.value
    with uninitialized:
        uninitialized.start_filter(0)
        assert getattr(uninitialized, name) == entry.value


@pytest.mark.parametrize("name", EVENTS)
def test_event_hooks_before_initialize(uninitialized: CBProcess, name: str) -> None:
    assert getattr(uninitialized, name) is None
    setattr(uninitialized, name, print)
    uninitialized.initialize(GUID)
    assert getattr(uninitialized, name) is print


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_before_initialize(uninitialized: CBProcess, name: str) -> None:
    entry = SETTINGS[name]
    text = uninitialized.config(name)
    assert text and (entry.default is None or text == entry.default)
    if entry.value is None:
        return
    assert_code(87, uninitialized.config, f"{name}={entry.wrong[0]}")
    assert uninitialized.config(f"{name}={entry.value}") == entry.value
    uninitialized.initialize(GUID)
    assert uninitialized.config(name) == entry.value


def test_what_was_set_before_initialize_is_in_force_after_it(uninitialized: CBProcess) -> None:
    """Another instance's initialize() counts, too."""
    seen: list[str] = []
    uninitialized.on_process_creation = lambda event: seen.append(event.command_line)
    uninitialized.serialize_events = cbprocess.seOnOneWorkerThread
    uninitialized.config("EventsToFire=1")
    with uninitialized:  # nothing to stop
        pass
    CBProcess().initialize(GUID)
    with uninitialized:
        uninitialized.start_filter(0)
        assert uninitialized.statistics().workers == 1
        uninitialized.popen(["true", "once"]).wait()
    assert seen == ["true once"]
