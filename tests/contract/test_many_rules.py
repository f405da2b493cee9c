"""Rules among many others, so that a driver has them in two parts: each driver that can run here."""

from __future__ import annotations

from typing import Any

import pytest
from contract.stages import Stage, wait_for
from contract.test_contract import Log, watch_all

from cbprocess import CBProcessError, constants


def refusal(stage: Stage, log: Log) -> int:
    run = stage.run("beta")
    assert run.refused()
    wait_for(lambda: "process_creation" in log.names(run))
    return int(log.of(run).result_code)


@pytest.mark.parametrize("others", [0, 1100])
def test_of_rules_that_deny_the_oldest_counts(stage: Stage, others: int) -> None:
    """However many there are; one that is added again is the newest."""
    for number in range(others):
        stage.process.add_rule(name=f"no-program-{number}", action="deny")
    stage.process.add_rule(name="beta", action="deny", code=13)
    log = watch_all(stage)
    stage.process.add_rule(name="b*", action="deny", code=8)
    stage.process.add_rule(name="*a", action="deny", code=5)
    assert refusal(stage, log) == 13
    stage.process.add_rule(name="beta", action="deny", code=2)
    assert refusal(stage, log) == 8
    stage.process.remove_rule(name="b*", action="deny")
    assert refusal(stage, log) == 5
    stage.process.remove_rule(name="*a", action="deny")
    assert refusal(stage, log) == 2
    stage.process.remove_rule(name="beta", action="deny")
    assert not stage.run("beta").refused()


def test_the_oldest_counts_whoever_it_is_about(stage: Stage) -> None:
    """A rule about what is executed, one about who executes it, and one about everybody."""
    log = watch_all(stage)
    rules: dict[str, dict[str, Any]] = {
        "beta": {"name": "beta"},
        "actor": {"process_id": stage.actor_id},
        "all": {"process_id": -1},
    }
    codes = {"beta": 13, "actor": 8, "all": 5}
    for first in rules:
        order = [first, *(other for other in rules if other != first)]
        for name in order:
            stage.process.add_rule(action="deny", code=codes[name], **rules[name])
        for name in order:
            assert refusal(stage, log) == codes[name]
            stage.process.remove_rule(action="deny", **rules[name])
    assert not stage.run("beta").refused()


@pytest.mark.parametrize("others", [0, 1100])
def test_rules_go_one_by_one_and_all_at_once(stage: Stage, others: int) -> None:
    names = [f"no-program-{number}" for number in range(others)]
    for name in [*names, "beta", "b*", "*a", "gamma"]:
        stage.process.add_rule(name=name, action="deny")
    watch_all(stage)
    stage.process.add_rule(name="newer", action="deny")
    for name in "beta", "b*":
        stage.process.remove_rule(name=name, action="deny")
        assert stage.run("beta").refused()
    stage.process.remove_rule(name="*a", action="deny")
    assert not stage.run("beta").refused()
    assert stage.run("gamma").refused()
    with pytest.raises(CBProcessError) as raised:
        stage.process.remove_rules(names=[*names, "gamma", "beta"], action="deny")
    assert raised.value.code == constants.ERROR_NOT_FOUND
    assert stage.run("gamma").refused()
    stage.process.add_rule(process_id=stage.actor_id, action="deny")
    stage.process.remove_rules(names=iter([*names, "gamma"]), process_ids=[stage.actor_id], action="deny")
    assert not stage.run("gamma").refused()
    assert stage.run("newer").refused()
