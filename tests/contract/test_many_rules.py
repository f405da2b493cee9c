"""Rules among many others, so that a driver has them in two parts: each driver that can run here."""

from __future__ import annotations

import pytest
from contract.stages import Stage, wait_for
from contract.test_contract import Log, watch_all


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
