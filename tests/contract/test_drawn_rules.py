"""Rules that are drawn, come and go while a process runs programs: each driver against the model of the
property tests. It draws less than those do, and is all that a driver without forks can be asked."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Optional

import pytest
from contract.stages import Stage, wait_for
from contract.test_contract import settle
from property.rule_model import (
    ASK,
    CREATION,
    SILENT,
    TERMINATION,
    THREAD_CREATION,
    THREAD_TERMINATION,
    Answer,
    Image,
    Model,
    Outcome,
    Process,
)

from cbprocess import constants

NAMES = ["alpha", "alps", "beta", "gamma"]
# None matches an ancestor of the tests by chance, whose descendants a rule with children would reach.
PATTERNS = ["alpha", "al*", "????a", "b?ta", "gam*", "nothing"]
ACTIONS = ["ask", "ask", "ignore", "allow", "deny"]
LIVES = [CREATION, TERMINATION, THREAD_CREATION, THREAD_TERMINATION]  # what every driver sees
RUNS = 25
Told = tuple[str, bool, int]  # the event, whether a rule has decided it, with which code


class Player:
    def __init__(self, stage: Stage, seed: int) -> None:
        self.stage = stage
        self.random = random.Random(seed)
        self.model = Model()
        self.answer = Answer()
        self.told: list[tuple[int, int, Told]] = []  # by number and process id
        self.errors: list[int] = []
        for kind in LIVES:
            setattr(stage.process, f"on_{kind}", self.make_handler(kind))
        stage.process.on_error = lambda params: self.errors.append(params.error_code)
        stage.start()
        self.actor = self.model.add_process(stage.actor_id, Image("/actor", "/actor"))
        self.actor.executed = True

    def make_handler(self, kind: str) -> Callable[[Any], None]:
        def handle(event: Any) -> None:
            """Answers also where nobody has asked: that changes nothing."""
            told = (kind, event.decided_by_rule, event.result_code)
            self.told.append((event.sequence, event.process_id, told))
            if kind == CREATION:
                event.result_code = self.answer.code

        return handle

    # ---- Rules ----

    def add_rule(self) -> None:
        whom, action = self.random.choice(["name", "name", "actor", "all"]), self.random.choice(ACTIONS)
        subject: Optional[Process | str] = None
        keywords: dict[str, Any] = {"process_id": -1}
        if whom == "name":
            subject = self.random.choice(PATTERNS)
            keywords = {"name": subject}
        elif whom == "actor":
            subject, keywords = self.actor, {"process_id": self.actor.process_id}
        elif action == "ignore":
            action = "ask"  # no rule ignores all
        children, code = self.random.random() < 0.5, self.random.randint(2, 9) if action == "deny" else 0
        if code:
            keywords["code"] = code
        self.stage.process.add_rule(action=action, include_children=children, **keywords)
        self.model.add_rule(subject, action, code, children)

    def remove_rule(self) -> None:
        if not self.model.rules:
            return
        chosen = self.random.choice(self.model.rules)
        keywords: dict[str, Any] = {"process_id": -1 if chosen.subject is None else self.actor.process_id}
        if isinstance(chosen.subject, str):
            keywords = {"name": chosen.subject}
        self.stage.process.remove_rule(action=chosen.action, **keywords)
        self.model.drop_rule(chosen)

    def choose_events(self) -> None:
        self.model.wanted = set(LIVES if self.random.random() < 0.7 else self.random.sample(LIVES, 2))
        events = sum(getattr(constants, f"PROC_EVT_{kind.upper()}") for kind in self.model.wanted)
        self.stage.process.config(f"EventsToFire={events}")

    # ---- Operations ----

    def run(self) -> None:
        """What is told of it is compared. Where processes do not fork, threads come and go with what the
        driver does to refuse: there it is the process's creation, and its end if it ran."""
        name = self.random.choice(NAMES)
        self.answer = Answer(self.random.choice([0, 5]))
        run = self.stage.begin(name)
        child = self.model.fork(self.actor, run.process_id)
        operations = [(THREAD_CREATION, self.model.first_thread(child))]
        outcome = self.model.execution(child, Image(f"/{name}", f"/{name}"))
        operations.append((CREATION, outcome))
        verdict = self.model.settle(CREATION, outcome, self.answer)
        assert run.refused() == (verdict.code != 0), (name, outcome, self.model.rules)
        if not verdict.code or self.stage.kills:
            self.model.execute(child, Image(f"/{name}", f"/{name}"))
        for kind in (THREAD_TERMINATION, TERMINATION):
            operations.append((kind, self.model.termination(child, kind)))
        self.model.end(child)
        kinds = {CREATION} if verdict.code else {CREATION, TERMINATION}
        self.compare(run.process_id, operations, set(LIVES) if self.stage.forks else kinds)

    def compare(self, process_id: int, operations: list[tuple[str, Outcome]], kinds: set[str]) -> None:
        expected = [
            (kind, outcome.kind != ASK, outcome.code)
            for kind, outcome in operations
            if kind in kinds and outcome.kind != SILENT and outcome.told
        ]

        def told() -> list[Told]:
            own = sorted(told for told in self.told if told[1] == process_id)
            return [what for _, _, what in own if what[0] in kinds]

        wait_for(lambda: len(told()) >= len(expected))
        assert told() == expected, self.model.rules


@pytest.mark.limit(300)
@pytest.mark.parametrize("seed", range(6))
def test_rules_come_and_go(stage: Stage, seed: int) -> None:
    player = Player(stage, seed)
    for _ in range(RUNS):
        for _ in range(player.random.randint(0, 2)):
            player.random.choice(
                [player.add_rule, player.add_rule, player.remove_rule, player.choose_events]
            )()
        player.run()
    counts = settle(stage)
    assert counts.refused == player.model.counts["refused"]
    assert not player.errors
