"""What a driver cannot do is an error, on each driver: settings and actions, by its capability bits."""

from __future__ import annotations

from typing import Any, Callable

import pytest
from contract.stages import Stage

from cbprocess import CBProcessError, constants

REFUSES = constants.CAP_REFUSE_PROCESS_CREATION | constants.CAP_KILL_PROCESS_CREATION
STRIPS = constants.CAP_STRIP_PROCESS_HANDLE | constants.CAP_STRIP_THREAD_HANDLE
# A setting with a value, what it was before, and the capabilities of which it takes one.
SETTINGS = [
    ("EventsToFire", str(getattr(constants, f"PROC_EVT_{name}")), "-1", getattr(constants, f"CAP_SEE_{bit}"))
    for name, bit in [
        ("PROCESS_CREATION", "PROCESS_CREATION"),
        ("PROCESS_TERMINATION", "PROCESS_TERMINATION"),
        ("THREAD_CREATION", "THREAD_CREATION"),
        ("THREAD_TERMINATION", "THREAD_TERMINATION"),
        ("PROCESS_HANDLE_OPERATION", "PROCESS_HANDLE"),
        ("THREAD_HANDLE_OPERATION", "THREAD_HANDLE"),
    ]
] + [
    ("TimeoutAction", "deny", "allow", REFUSES),
    ("RefuseWith", "errno", None, constants.CAP_REFUSE_PROCESS_CREATION),
    ("RefuseWith", "kill", None, constants.CAP_KILL_PROCESS_CREATION),
    ("FilterOwnRequests", "True", "False", constants.CAP_OWN_REQUESTS),
]
RULES = [("deny", {}, REFUSES), ("strip", {"access": 1}, STRIPS)]


def check(stage: Stage, needed: int, call: Callable[..., object], *arguments: Any, **keywords: Any) -> bool:
    """Makes the call: whether the driver can do it; otherwise it is error 50, with a sentence."""
    if stage.process.driver_capabilities() & needed:
        call(*arguments, **keywords)
        return True
    with pytest.raises(CBProcessError) as raised:
        call(*arguments, **keywords)
    assert raised.value.code == constants.ERROR_NOT_SUPPORTED
    assert stage.driver in str(raised.value)
    return False


@pytest.mark.parametrize(("name", "value", "before", "needed"), SETTINGS)
def test_a_setting_that_the_driver_cannot_fulfil(
    stage: Stage, name: str, value: str, before: str | None, needed: int
) -> None:
    process = stage.process
    process.config(f"{name}={value}")
    check(stage, needed, process.start_filter, 0)
    assert process.active == bool(process.driver_capabilities() & needed)
    process.stop_filter()
    if before is None:
        return
    process.config(f"{name}={before}")
    process.start_filter(0)
    done = check(stage, needed, process.config, f"{name}={value}")
    assert process.config(name) == (value if done else before)
    assert process.active


@pytest.mark.parametrize(("action", "keywords", "needed"), RULES)
def test_a_rule_that_the_driver_cannot_fulfil(
    stage: Stage, action: str, keywords: dict[str, int], needed: int
) -> None:
    process = stage.process
    process.add_rule(name="alpha", action=action, **keywords)
    check(stage, needed, process.start_filter, 0)
    process.stop_filter()
    process.remove_rule(name="alpha", action=action)
    process.start_filter(0)
    if not check(stage, needed, process.add_rule, name="alpha", action=action, **keywords):
        with pytest.raises(CBProcessError) as raised:
            process.remove_rule(name="alpha", action=action)
        assert raised.value.code == constants.ERROR_NOT_FOUND


def test_what_is_not_asked_for_is_no_error(stage: Stage) -> None:
    """The defaults, and all events that there are."""
    assert stage.process.config("EventsToFire") == "-1"
    assert stage.process.config("RefuseWith") == ("kill" if stage.kills else "errno")
    stage.process.start_filter(0)
    stage.process.config("EventsToFire=0")
    stage.process.config("EventsToFire=-1")


@pytest.mark.parametrize("setting", ["Script=/no/file", "ReplaySpeed=recorded", "ReplayVerdicts=recorded"])
def test_only_the_simulated_driver_plays(stage: Stage, setting: str) -> None:
    if stage.driver == "simulated":
        pytest.skip("it plays")
    stage.process.config(setting)
    with pytest.raises(CBProcessError) as raised:
        stage.process.start_filter(0)
    assert raised.value.code == constants.ERROR_NOT_SUPPORTED
    assert setting.split("=")[0] in str(raised.value)
