"""Several instances over one tree, on each driver that has one: the rules of each hold, each that is asked
has to answer, and nothing stays of an instance that has stopped."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from contract.stages import Stage, wait_for
from contract.test_contract import settle, watch_all

from cbprocess import CBProcess


@contextlib.contextmanager
def another(stage: Stage) -> Iterator[CBProcess]:
    """A second instance, active, which has no rules yet."""
    if stage.driver == "simulated":
        pytest.skip("each of its instances has a script of its own")
    with CBProcess() as process:
        stage.configure(process)
        process.start_filter(0)
        yield process


def test_one_rule_refuses_whoever_else_is_asked(stage: Stage) -> None:
    """What is refused waits for nobody: the others are told, and cannot permit it."""
    log = watch_all(stage)
    with another(stage) as other:
        other.add_rule(name="beta", action="deny", code=13)
        run = stage.run("beta")
        assert run.refused()
        wait_for(lambda: "process_creation" in log.names(run))
        assert not log.of(run).held
        assert not log.of(run).decided_by_rule
        assert other.statistics().refused == 1
        assert settle(stage).refused == 0
        assert not stage.run("alpha").refused()


@pytest.mark.parametrize("first", [0, 1])
def test_an_operation_waits_for_everybody(stage: Stage, first: int) -> None:
    """In whichever order they answer; one refusal is enough."""
    watch_all(stage)
    entered, gates = [threading.Event(), threading.Event()], [threading.Event(), threading.Event()]

    def make_handler(number: int) -> Any:
        def handle(event: Any) -> None:
            entered[number].set()
            assert gates[number].wait(60)
            event.result_code = 5 * (1 - number)

        return handle

    with another(stage) as other:
        other.add_filtered_process_by_name("alpha", False)
        stage.process.on_process_creation = make_handler(0)
        other.on_process_creation = make_handler(1)
        run = stage.begin("alpha")
        assert all(event.wait(60) for event in entered)
        gates[first].set()
        assert not run.has_ended
        gates[1 - first].set()
        assert run.refused()
        assert settle(stage).refused == 1
        assert other.statistics().refused == 0


def test_rules_end_with_their_filter(stage: Stage) -> None:
    watch_all(stage)
    with another(stage) as other:
        other.add_rule(process_id=stage.actor_id, action="deny", include_children=True)
        assert stage.run("alpha").refused()
        other.stop_filter()
        assert not stage.run("alpha").refused()
    assert settle(stage).refused == 0


def test_an_instance_ignores_for_itself(stage: Stage) -> None:
    log = watch_all(stage)
    with another(stage) as other:
        other.add_ignored_process_by_id(stage.actor_id, True)
        other.add_rule(name="beta", action="deny")
        run = stage.run("alpha")
        wait_for(lambda: "process_termination" in log.names(run))
        assert log.of(run).held
        assert stage.run("beta").refused()
        counts = other.statistics()
        assert (counts.delivered, counts.refused) == (0, 1)
