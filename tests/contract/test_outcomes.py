"""What rules add up to, on each driver: on which side of an operation they match, which of them decides, and
whom a new one reaches. Each test is of something that a mistake in a policy engine would change."""

from __future__ import annotations

from typing import Any

import pytest
from contract.stages import Stage, wait_for
from contract.test_contract import Log, life, needs, settle, watch_all
from contract.test_permissions import protect

from cbprocess import constants

TERMINATE, READ = constants.PROCESS_TERMINATE, constants.PROCESS_VM_READ


def refuse_creations(stage: Stage) -> None:
    def refuse(event: Any) -> None:
        event.result_code = 5

    stage.process.on_process_creation = refuse


# ---- Which side ----


def test_who_is_asked_about_its_requests_is_so_whatever_it_runs(stage: Stage) -> None:
    """A rule for the creator alone lets its handlers refuse; what the program itself does is not told."""
    log = Log(stage)
    stage.start()
    stage.process.add_filtered_process_by_id(stage.actor_id, False)
    refuse_creations(stage)
    assert stage.run("alpha").refused()
    assert settle(stage).refused == 1
    assert not [name for name, _ in log.seen if "termination" in name]


def test_who_is_asked_about_is_so_whoever_runs_it(stage: Stage) -> None:
    Log(stage)
    stage.start()
    stage.process.add_filtered_process_by_name("beta", False)
    refuse_creations(stage)
    assert not stage.run("alpha").refused()
    assert stage.run("beta").refused()
    assert settle(stage).refused == 1


def test_an_allowed_creator_is_not_asked_for_what_it_runs(stage: Stage) -> None:
    log = watch_all(stage)
    stage.process.add_rule(process_id=stage.actor_id, action="allow")
    run = stage.run("alpha")
    assert not run.refused()
    wait_for(lambda: "process_termination" in log.names(run))
    creation = log.of(run)
    assert creation.decided_by_rule
    assert not creation.held


def test_rules_for_what_is_ignored_tell_nothing(stage: Stage) -> None:
    """Whoever asks for it matches no rule: so there is nobody to tell."""
    log = Log(stage)
    stage.process.add_filtered_process_by_name("*a", False)
    stage.process.add_ignored_process_by_name("beta", False)
    stage.start()
    ignored, told = stage.run("beta"), stage.run("alpha")
    wait_for(lambda: "process_termination" in log.names(told))
    assert log.names(ignored) == []
    assert log.names(told) == life(stage)[1 if stage.forks else 0 :]


# ---- What a rule that decides nothing does ----


@pytest.mark.parametrize(
    "rule",
    [
        {"name": "lasting", "action": "deny"},
        {"process_id": -1, "action": "deny"},
        {"name": "lasting", "action": "strip", "access": READ},
        {"name": "lasting", "action": "allow"},
    ],
    ids=["deny", "deny for all", "strip", "allow"],
)
def test_whoever_a_rule_matches_is_filtered(stage: Stage, rule: dict[str, Any]) -> None:
    """Operations that the rule does not refuse are told, as allowed by it."""
    needs(stage, constants.CAP_STRIP_PROCESS_HANDLE)
    log = Log(stage)
    stage.start()
    target = stage.begin_lasting("lasting")
    stage.process.add_rule(**rule)
    assert stage.signal(target.process_id)
    wait_for(lambda: "process_handle_operation" in log.names(target))
    event = log.of(target, "process_handle_operation")
    assert event.decided_by_rule
    assert not event.held
    assert event.desired_access == event.original_desired_access == TERMINATE
    assert settle(stage).refused == 0


def test_a_deny_rule_refuses_no_request(stage: Stage) -> None:
    """Nor an end: it is about what is created."""
    needs(stage, constants.CAP_STRIP_PROCESS_HANDLE)
    watch_all(stage)
    target = stage.begin_lasting("lasting")
    stage.process.add_rule(process_id=stage.actor_id, action="deny", include_children=True)
    stage.process.add_rule(name="lasting", action="deny")
    assert stage.signal(target.process_id)
    assert settle(stage).refused == 0


# ---- Protection ----


@pytest.mark.parametrize("rights", [[TERMINATE, READ], [READ, TERMINATE]], ids=["first", "last"])
def test_protections_add_up(stage: Stage, rights: list[int]) -> None:
    needs(stage, constants.CAP_STRIP_PROCESS_HANDLE)
    watch_all(stage)
    protect(stage, "lasting", rights[0])
    protect(stage, "last*", rights[1])
    target = stage.begin_lasting("lasting")
    assert not stage.signal(target.process_id)
    for name in ("lasting", "last*"):
        stage.process.remove_rule(name=name, action="strip")
    assert stage.signal(target.process_id)


@pytest.mark.parametrize(
    ("rights", "keeps"),
    [(constants.PROCESS_SET_INFORMATION, False), (constants.THREAD_SET_INFORMATION, True)],
    ids=["of a process", "of a thread"],
)
def test_threads_have_their_own_rights(stage: Stage, rights: int, keeps: bool) -> None:
    """A rule names rights to a process; from a request to a thread it takes those that go with them, and not
    those that have their numbers."""
    needs(stage, constants.CAP_STRIP_THREAD_HANDLE)
    watch_all(stage)
    protect(stage, "lasting", rights)
    target = stage.begin_lasting("lasting")
    assert stage.bind_thread(target.process_id) == keeps
    assert settle(stage).refused == (not keeps)
    assert stage.signal(target.process_id)


def test_requests_to_oneself_are_not_told(stage: Stage) -> None:
    """Nor does a protection take from its own process."""
    needs(stage, constants.CAP_STRIP_THREAD_HANDLE)
    log = watch_all(stage)
    protect(stage, stage.actor_id, constants.PROCESS_SET_INFORMATION)
    assert stage.bind_thread(stage.actor_id)
    assert settle(stage).refused == 0
    assert not [name for name, _ in log.seen if "handle" in name]


def test_an_answer_takes_no_right_that_was_not_asked_for(stage: Stage) -> None:
    needs(stage, constants.CAP_STRIP_PROCESS_HANDLE)
    watch_all(stage)
    target = stage.begin_lasting("lasting")

    def take(event: Any) -> None:
        event.desired_access &= ~READ

    stage.process.on_process_handle_operation = take
    assert stage.signal(target.process_id)
    assert settle(stage).refused == 0


def test_requests_that_do_not_fire_lose_rights(stage: Stage) -> None:
    needs(stage, constants.CAP_STRIP_PROCESS_HANDLE)
    log = watch_all(stage)
    protect(stage, "lasting")
    target = stage.begin_lasting("lasting")
    stage.process.config("EventsToFire=0")
    assert not stage.signal(target.process_id)
    assert settle(stage).refused == 1
    assert not [name for name, _ in log.seen if "handle" in name]
    stage.process.remove_rule(name="lasting", action="strip")
    assert stage.signal(target.process_id)


# ---- Whom a new rule reaches ----


def test_a_rule_with_children_reaches_who_lives(stage: Stage) -> None:
    """And stays theirs when their creator has become something else."""
    needs(stage, constants.CAP_STRIP_PROCESS_HANDLE)
    watch_all(stage)
    stage.become("server")
    target, other = stage.begin_lasting("lasting-1"), stage.begin_lasting("lasting-2")
    stage.process.add_rule(name="server", action="strip", access=TERMINATE, include_children=True)
    stage.become("shell")
    assert not stage.signal(target.process_id)
    stage.process.remove_rule(name="server", action="strip")
    assert stage.signal(target.process_id)
    # It would have to be added anew while there is a server.
    stage.process.add_rule(name="server", action="strip", access=TERMINATE, include_children=True)
    assert stage.signal(other.process_id)


def test_a_rule_without_children_reaches_nobody_else(stage: Stage) -> None:
    needs(stage, constants.CAP_STRIP_PROCESS_HANDLE)
    watch_all(stage)
    protect(stage, "server")
    stage.become("server")
    target = stage.begin_lasting("lasting")
    stage.become("shell")
    assert stage.signal(target.process_id)
    assert settle(stage).refused == 0


def test_another_rule_does_not_repeat_an_older_ones_reach(stage: Stage) -> None:
    """Whoever was created by something else does not inherit when its creator comes to match, whatever rules
    are added then."""
    needs(stage, constants.CAP_STRIP_PROCESS_HANDLE)
    watch_all(stage)
    stage.process.add_rule(name="server", action="strip", access=TERMINATE, include_children=True)
    target = stage.begin_lasting("lasting")
    stage.become("server")
    stage.process.add_rule(name="nothing", action="strip", access=TERMINATE, include_children=True)
    stage.become("shell")
    assert stage.signal(target.process_id)


def test_rules_follow_a_new_name_at_once(stage: Stage) -> None:
    """A rule for what somebody was is not for what it has become."""
    needs(stage, constants.CAP_STRIP_PROCESS_HANDLE)  # an actor that can become another
    log = watch_all(stage)
    stage.become("server")
    stage.process.add_rule(name="server", action="deny", code=13)
    run = stage.run("alpha")
    assert run.refused()
    wait_for(lambda: "process_creation" in log.names(run))
    assert log.of(run).result_code == 13
    stage.process.remove_rule(name="server", action="deny")
    stage.become("shell")
    stage.process.add_rule(name="server", action="deny", code=13)
    assert not stage.run("alpha").refused()
