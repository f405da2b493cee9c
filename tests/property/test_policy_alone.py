"""The policy in the build of a driver in a kernel without a C library: rules, answers and deadlines against
the model, like the simulated driver; and the sessions of several controllers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test
from property import policy_machine, test_rule_model
from property.policy_machine import ACTIONS, Policy, PolicyFilter
from property.rule_engines import SourceRule
from property.rule_model import Answer, Image

from cbprocess import constants, script

CREATION = script.TYPES["process_creation"]
CONTROLLERS, IDS = (0, 1, 2**63), (0, 1, 2, 3, 4, 5, 6)  # more sessions than there are places


@pytest.fixture(scope="module")
def policy(checkout: Path, compile_c: Callable[..., Path]) -> Policy:
    return policy_machine.build(checkout, compile_c)


# ---- Rules, answers and deadlines ----


class Alone:
    """Puts the policy in the place of the simulated driver, in a machine of test_rule_model.py."""

    filter: Any

    def connect(self) -> Any:
        return self.filter


class Machine(Alone, test_rule_model.Machine):
    pass


class ProtectingMachine(Alone, test_rule_model.ProtectingMachine):
    pass


@pytest.mark.limit(300)
@pytest.mark.parametrize("kind", [Machine, ProtectingMachine])
def test_rules_come_and_go(policy: Policy, kind: type[Any]) -> None:
    run_state_machine_as_test(
        lambda: kind(PolicyFilter(policy, test_rule_model.TIMEOUT_MS)),
        settings=settings(max_examples=250, stateful_step_count=50, deadline=None),
    )


@pytest.mark.parametrize("refuses", [False, True])
@pytest.mark.parametrize("answer", [Answer(5), Answer(5, is_late=True), Answer(0, 1)])
def test_each_answer(policy: Policy, answer: Answer, refuses: bool) -> None:
    """What machines draw only now and then: a creation and a request that wait, and each kind of answer."""
    machine = Machine(PolicyFilter(policy, test_rule_model.TIMEOUT_MS))
    alpha, alps = Image("/bin/alpha", "/bin/alpha"), Image("/bin/alps", "alps")
    try:
        machine.prepare(alpha)
        machine.filter.add_rule(include_children=True)
        machine.model.add_rule(None, "ask", 0, True)
        machine.filter.config(f"TimeoutAction={'deny' if refuses else 'allow'}")
        machine.model.deadlines_refuse = refuses
        root = machine.model.living()[0]
        child = machine.do_fork(root, 2)
        machine.answer = answer
        machine.do_execute(child, alps)
        machine.answer = answer
        machine.do_request(child, root, constants.PROCESS_TERMINATE, False)
        assert machine.model.counts["timed_out"] == 2 * answer.is_late
        machine.everything_is_counted()
    finally:
        machine.teardown()


# ---- Several controllers ----

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["open", "open", "rules", "rules", "close"]),
        st.sampled_from(CONTROLLERS),
        st.sampled_from(IDS),
        st.integers(2, 9),
    ),
    max_size=60,
)


def code_of(policy: Policy, controller: int, session: int, process: int) -> int:
    """The code with which the session's rules refuse what the process executes."""
    who = {"controller": controller, "session_id": session}
    operands = {"originator": process, "subject": process, "path": b"/bin/alpha", "given": b"alpha"}
    return int(policy.ask(type=CREATION, answered_ns=0, **who, **operands).code)


@settings(max_examples=200, deadline=None)
@given(steps=STEPS)
def test_controllers_have_sessions_of_their_own(
    policy: Policy, steps: list[tuple[str, int, int, int]]
) -> None:
    """A session is known by its controller and its id: rules are its own, and its end leaves all others."""
    policy.start()
    process = policy.add(1, 1, None)
    assert policy.execute(process, b"/bin/alpha", b"alpha")
    known: dict[tuple[int, int], int] = {}  # the code with which a session refuses
    try:
        for number, (what, controller, session, code) in enumerate(steps, 1):
            whose = controller, session
            missing = 0 if whose in known else constants.ERROR_NOT_FOUND
            if what == "open":
                is_full = bool(missing) and len(known) == constants.SESSION_MAX
                wanted = constants.ERROR_NO_SYSTEM_RESOURCES if is_full else 0
                assert policy.session(*whose, 0xFFFFFFFF, 0, 0) == wanted
                if not is_full:
                    known.setdefault(whose, 0)
            elif what == "close":
                assert policy.close(*whose) == missing
                known.pop(whose, None)
            else:
                rule = SourceRule(number, action=ACTIONS.index("deny"), action_value=code, pattern=b"alpha")
                assert policy.install_rules(*whose, [rule]) == missing
                if not missing:
                    known[whose] = code
            assert {whose: code_of(policy, *whose, process) for whose in known} == known
    finally:
        policy.end(process)
        policy.free()
