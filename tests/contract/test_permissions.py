"""What permits something, on each driver: ignoring does not, an allow rule does where all is denied."""

from __future__ import annotations

from contract.stages import Stage, wait_for
from contract.test_contract import needs, settle, watch_all

from cbprocess import constants


def test_ignoring_permits_nothing(stage: Stage) -> None:
    """Neither to whom it silences, nor what is done to it: the refusal is counted, and told to nobody."""
    log = watch_all(stage)
    stage.process.add_rule(name="beta", action="deny")
    stage.process.add_rule(name="gamma", action="deny")
    stage.process.add_ignored_process_by_name("gamma", False)
    gamma = stage.run("gamma")
    assert gamma.refused()
    # Whoever asks for it is not ignored yet. What was forked for it ends as what it was, unless it is killed.
    last = "process_termination" if stage.forks and not stage.kills else "process_creation"
    wait_for(lambda: last in log.names(gamma))
    assert log.names(gamma).count("process_creation") == 1
    before = settle(stage)
    stage.process.add_ignored_process_by_id(stage.actor_id, True)
    seen = len(log.seen)
    assert stage.run("beta").refused()
    assert stage.run("gamma").refused()
    assert not stage.run("alpha").refused()
    after = settle(stage)
    assert log.seen[seen:] == []
    assert after.refused - before.refused == 2
    assert after.decided_by_rule - before.decided_by_rule == 2


def test_an_ignored_process_is_protected_and_so_is_what_it_aims_at(stage: Stage) -> None:
    needs(stage, constants.CAP_STRIP_PROCESS_HANDLE)
    log = watch_all(stage)
    stage.process.add_rule(name="lasting-*", action="strip", access=constants.PROCESS_TERMINATE)
    stage.process.add_ignored_process_by_name("lasting-ignored", False)
    stage.process.add_ignored_process_by_id(stage.actor_id, False)
    ignored, other = stage.begin_lasting("lasting-ignored"), stage.begin_lasting("lasting-other")
    assert not stage.signal(ignored.process_id)
    assert not stage.signal(other.process_id)
    assert settle(stage).refused == 2
    assert not [name for name, _ in log.seen if "handle" in name]
    stage.process.remove_rule(name="lasting-*", action="strip")
    for run in (ignored, other):
        assert stage.signal(run.process_id)


def test_a_list_of_what_may_run(stage: Stage) -> None:
    """What is denied to all may be allowed by name or by id; what is denied otherwise may not."""
    log = watch_all(stage)
    stage.process.add_rule(process_id=-1, action="deny", code=constants.ERROR_FILE_NOT_FOUND)
    stage.process.add_rule(process_id=-1, action="allow")
    assert stage.run("alpha").refused()
    stage.process.add_rule(name="beta*", action="allow")
    run = stage.run("beta")
    assert not run.refused()
    wait_for(lambda: "process_creation" in log.names(run))
    assert log.of(run).decided_by_rule
    assert log.of(run).result_code == 0
    assert stage.run("alpha").refused()
    stage.process.add_rule(name="beta-not", action="deny")
    assert stage.run("beta-not").refused()
    assert not stage.run("beta-2").refused()
    # Whoever may run may not let others run.
    stage.process.add_rule(process_id=stage.actor_id, action="allow")
    assert stage.run("alpha").refused()
    stage.process.add_rule(process_id=stage.actor_id, action="allow", include_children=True)
    assert not stage.run("alpha").refused()
    stage.process.remove_rule(process_id=stage.actor_id, action="allow")
    assert stage.run("alpha").refused()
    assert not stage.run("beta").refused()
    stage.process.remove_rule(process_id=-1, action="deny")
    assert not stage.run("alpha").refused()
    assert stage.run("beta-not").refused()


def test_an_allowed_originator_loses_rights_to_an_ignored_process(stage: Stage) -> None:
    """It is told of that: who asks is not ignored, and allowing gives no rights."""
    needs(stage, constants.CAP_STRIP_PROCESS_HANDLE)
    log = watch_all(stage)
    stage.process.add_rule(name="lasting", action="strip", access=constants.PROCESS_TERMINATE)
    stage.process.add_ignored_process_by_name("lasting", False)
    stage.process.add_rule(process_id=stage.actor_id, action="allow")
    target = stage.begin_lasting("lasting")
    assert not stage.signal(target.process_id)
    wait_for(lambda: "process_handle_operation" in log.names(target))
    event = log.of(target, "process_handle_operation")
    assert event.decided_by_rule
    assert event.desired_access == 0
    stage.process.remove_rule(name="lasting", action="strip")
    assert stage.signal(target.process_id)


# ---- Rights of creators (decision 5) ----


def protect(stage: Stage, whom: str | int, access: int = constants.PROCESS_TERMINATE) -> None:
    if isinstance(whom, str):
        stage.process.add_rule(name=whom, action="strip", access=access)
    else:
        stage.process.add_rule(process_id=whom, action="strip", access=access)


def test_a_protected_creator_keeps_its_rights(stage: Stage) -> None:
    """What is protected has its rights to what it has created, which is protected, too."""
    needs(stage, constants.CAP_STRIP_PROCESS_HANDLE)
    watch_all(stage)
    protect(stage, "lasting")
    protect(stage, stage.actor_id)
    target = stage.begin_lasting("lasting")
    assert stage.signal(target.process_id)
    assert settle(stage).refused == 0


def test_rules_of_today_count_for_a_creator(stage: Stage) -> None:
    """A rule that came after the creation is as good, while the creator has not executed anything since; and
    without one it has no rights any more."""
    needs(stage, constants.CAP_STRIP_PROCESS_HANDLE)
    watch_all(stage)
    target = stage.begin_lasting("lasting")
    protect(stage, "lasting")
    assert not stage.signal(target.process_id)
    protect(stage, stage.actor_id)
    stage.process.remove_rule(process_id=stage.actor_id, action="strip")
    assert not stage.signal(target.process_id)
    protect(stage, stage.actor_id)
    assert stage.signal(target.process_id)


def test_a_creator_has_no_more_rights_than_it_is_protected_with(stage: Stage) -> None:
    needs(stage, constants.CAP_STRIP_PROCESS_HANDLE)
    watch_all(stage)
    protect(stage, "lasting", constants.PROCESS_TERMINATE | constants.PROCESS_VM_READ)
    protect(stage, stage.actor_id, constants.PROCESS_VM_READ)
    target = stage.begin_lasting("lasting")
    assert not stage.signal(target.process_id)
    protect(stage, stage.actor_id, constants.PROCESS_TERMINATE)
    assert stage.signal(target.process_id)


def test_a_creator_that_executes_itself_anew_keeps_its_rights(stage: Stage) -> None:
    """As long as it is as protected as before: any other execution ends them for good."""
    needs(stage, constants.CAP_STRIP_PROCESS_HANDLE)
    watch_all(stage)
    protect(stage, "lasting*")
    protect(stage, "server")
    stage.become("server")
    first, second = stage.begin_lasting("lasting-1"), stage.begin_lasting("lasting-2")
    stage.become("server")
    assert stage.signal(first.process_id)
    stage.become("shell")
    assert not stage.signal(second.process_id)
    stage.become("server")
    assert not stage.signal(second.process_id)
    stage.process.remove_rule(name="lasting*", action="strip")
    assert stage.signal(second.process_id)


def test_nobody_becomes_a_creator_by_a_name_that_it_takes(stage: Stage) -> None:
    needs(stage, constants.CAP_STRIP_PROCESS_HANDLE)
    watch_all(stage)
    protect(stage, "lasting*")
    protect(stage, "server")
    before = stage.begin_lasting("lasting-before")
    stage.become("server")
    after = stage.begin_lasting("lasting-after")
    assert not stage.signal(before.process_id)
    assert stage.signal(after.process_id)
    stage.process.remove_rule(name="lasting*", action="strip")
    assert stage.signal(before.process_id)


def test_an_execution_as_unprotected_as_before_ends_them(stage: Stage) -> None:
    """Rules of today count only for whoever is what it was: who was never protected has stayed nothing."""
    needs(stage, constants.CAP_STRIP_PROCESS_HANDLE)
    watch_all(stage)
    target = stage.begin_lasting("lasting")
    stage.become("server")
    protect(stage, "lasting")
    protect(stage, "server")
    assert not stage.signal(target.process_id)
    stage.process.remove_rule(name="lasting", action="strip")
    assert stage.signal(target.process_id)


def test_an_execution_that_is_protected_otherwise_ends_them(stage: Stage) -> None:
    """Also where what is left of the protection would be enough."""
    needs(stage, constants.CAP_STRIP_PROCESS_HANDLE)
    watch_all(stage)
    protect(stage, "lasting")
    protect(stage, "server", constants.PROCESS_TERMINATE | constants.PROCESS_VM_READ)
    protect(stage, "other")
    stage.become("server")
    target = stage.begin_lasting("lasting")
    stage.become("other")
    assert not stage.signal(target.process_id)
    stage.process.remove_rule(name="lasting", action="strip")
    assert stage.signal(target.process_id)
