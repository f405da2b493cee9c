"""The policy as a driver in a kernel has it, linked with no C library, in the place of a filter and of its
simulator: the machines of test_rule_model.py drive it as they drive the simulated driver."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, byref, c_bool, c_char_p, c_size_t, c_uint32, c_uint64, c_void_p
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable

from property import rule_engines
from property.rule_engines import MATCH_ALL, MATCH_NAME, MATCH_PROCESS, Builder, SourceRule
from property.rule_oracles import LINUX

from cbprocess import constants, script
from cbprocess._binding import layouts

IN_A_KERNEL = ("-ffreestanding", "-fno-builtin", "-fno-stack-protector", "-mgeneral-regs-only")
ACTIONS = ["ask", "ignore", "allow", "deny", "strip"]
SINCE_NS, NS_PER_MS = 5_000_000_000, 1_000_000
# Another controller has opened its session first: the places of this one's are not its ids.
CONTROLLER, SESSION = 7, 0
NAMES = {operation.type: operation.name for operation in script.OPERATIONS}


class Question(ctypes.Structure):
    _fields_ = [
        ("controller", c_uint64),
        ("originator", c_void_p),
        ("subject", c_void_p),
        ("path", c_char_p),
        ("given", c_char_p),
        ("since_ns", c_uint64),
        ("answered_ns", c_uint64),
        *((name, c_uint32) for name in ("session_id", "type", "access", "answer_code", "answer_access")),
    ]


class Outcome(ctypes.Structure):
    _fields_ = [
        (name, c_uint32)
        for name in (
            "is_told",
            "is_asked",
            "is_decided",
            "is_answered",
            "is_timed_out",
            "is_stripped",
            "code",
            "access",
            "refused_count",
        )
    ]


class Policy:
    """The build under test, and the core's builder of rule sets beside it."""

    def __init__(self, path: Path, builder: Path) -> None:
        self.builder = Builder(builder)
        library, process = ctypes.CDLL(str(path)), c_void_p
        for name, result, arguments in (
            ("begin", None, (c_void_p, c_void_p)),
            ("session", c_uint32, (c_uint64, c_uint32, c_uint32, c_uint32, c_uint32)),
            ("close", c_uint32, (c_uint64, c_uint32)),
            ("install", c_uint32, (c_uint64, c_uint32, c_void_p, c_size_t)),
            ("free", None, ()),
            ("add", process, (c_uint32, c_uint64, process)),
            ("execute", c_bool, (process, c_char_p, c_char_p)),
            ("end", None, (process,)),
            ("operate", c_uint32, (POINTER(Question), POINTER(Outcome))),
        ):
            function = getattr(library, f"alone_{name}")
            function.restype, function.argtypes = result, arguments
            setattr(self, name, function)

    def __getattr__(self, name: str) -> Any:
        """The functions of host.c, by their names without the prefix, are attributes."""
        raise AttributeError(name)

    def start(self) -> None:
        libc = ctypes.CDLL(None)
        self.begin(ctypes.cast(libc.calloc, c_void_p), ctypes.cast(libc.free, c_void_p))

    def install_rules(self, controller: int, session: int, rules: list[SourceRule]) -> int:
        error, block = self.builder.build(LINUX.comparison, rules)
        assert error == 0 and block is not None
        return int(self.install(controller, session, block.address, block.size))

    def ask(self, **fields: Any) -> Outcome:
        outcome = Outcome()
        assert self.operate(byref(Question(since_ns=SINCE_NS, **fields)), byref(outcome)) == 0
        return outcome


def build(checkout: Path, compile_c: Callable[..., Path]) -> Policy:
    policy, rules, core = (checkout / name for name in ("driver/policy", "driver/rules", "native/src/core"))
    others = ("driver/protocol", "native/src/seams", "native/src/base", "native/include")
    folders = [f"-I{folder}" for folder in (policy, rules, core, *(checkout / name for name in others))]
    engine = [str(rules / name) for name in rule_engines.RULES_SOURCES]
    first, *more = [core / name for name in rule_engines.CORE_SOURCES]
    shared = ["-shared", "-fPIC", *folders]
    builder = compile_c(first, *map(str, more), *engine, *shared)
    sources = [str(path) for path in sorted(policy.glob("*.c"))] + engine
    alone = ["-nostdlib", "-Wl,-z,defs", *IN_A_KERNEL]
    host = checkout / "tests/property/policy_alone/host.c"
    return Policy(compile_c(host, *sources, *shared, *alone), builder)


class PolicyFilter:
    """What the machines use of a CBProcess, and of the Simulator that plays operations for it."""

    def __init__(self, policy: Policy, timeout_ms: int) -> None:
        self._policy, self._timeout_ms = policy, timeout_ms
        self._events, self._timeout_action = 0, 0
        # By subject and action, the oldest first: a process may have the id of one whose rule stays.
        self._rules: dict[tuple[object, str], list[SourceRule]] = {}
        self._processes: dict[int, tuple[int, int]] = {}  # by id: address and start time
        self._last_id = self._lives = 0
        self._has_moved = False
        self._counts = dict.fromkeys(("refused", "decided_by_rule", "timed_out", "late", "delivered"), 0)
        policy.start()
        assert policy.session(CONTROLLER + 1, SESSION, 0xFFFFFFFF, 0, 0) == 0
        self._set()

    def _set(self) -> None:
        settings = (self._events, self._timeout_ms, self._timeout_action)
        assert self._policy.session(CONTROLLER, SESSION, *settings) == 0

    def start(self) -> None:
        """Has begun with the object: there is no driver to start."""

    def close(self) -> None:
        for address, _ in self._processes.values():
            self._policy.end(address)
        self._policy.free()

    def config(self, text: str) -> None:
        name, value = text.split("=")
        if name == "EventsToFire":
            self._events = int(value) & 0xFFFFFFFF
        else:
            assert name == "TimeoutAction"
            self._timeout_action = getattr(constants, f"TIMEOUT_ACTION_{value.upper()}")
        self._set()

    def statistics(self) -> SimpleNamespace:
        return SimpleNamespace(**self._counts)

    def reset_timeout(self, timeout: int) -> None:
        assert timeout == 0
        self._has_moved = True

    # ---- Rules ----

    def add_rule(
        self,
        *,
        action: str = "ask",
        include_children: bool = False,
        name: str | None = None,
        process_id: int = -1,
        code: int = 0,
        access: int = 0,
    ) -> None:
        self._last_id += 1
        flag = constants.RULE_FLAG_CHILDREN
        rest = (flag if include_children else 0, ACTIONS.index(action), code or access)
        if name is not None:
            rule = SourceRule(self._last_id, MATCH_NAME, *rest, pattern=name.encode())
        elif process_id == -1:
            rule = SourceRule(self._last_id, MATCH_ALL, *rest)
        else:
            start_time = self._processes[process_id][1]
            rule = SourceRule(self._last_id, MATCH_PROCESS, *rest, process_id, start_time)
        alike = self._rules.setdefault((process_id if name is None else name, action), [])
        is_replaced = alike and (alike[-1].start_time == rule.start_time or not alike[-1].flags & flag)
        alike[-1 if is_replaced else len(alike) :] = [rule]
        self._install()

    def remove_rule(self, *, action: str, name: str | None = None, process_id: int = -1) -> None:
        self._rules[process_id if name is None else name, action].pop()
        self._install()

    def _install(self) -> None:
        rules = sorted(rule for alike in self._rules.values() for rule in alike)
        assert self._policy.install_rules(CONTROLLER, SESSION, rules) == 0

    # ---- Operations ----

    def _address(self, process_id: int, parent_id: int) -> int:
        """Of the process; one that does not live yet is its creator's child."""
        if process_id not in self._processes:
            self._lives += 1
            parent = self._processes.get(parent_id, (None, 0))[0]
            self._processes[process_id] = self._policy.add(process_id, self._lives, parent), self._lives
        return self._processes[process_id][0]

    def _answer(self, kind: int, access: int) -> SimpleNamespace:
        event = SimpleNamespace(result_code=0, desired_access=access)
        self._has_moved = False
        getattr(self, f"on_{NAMES[kind]}")(event)
        return event

    def fire(self, operation: script.Operation) -> list[SimpleNamespace]:
        fields, kind = operation.fields, operation.items[0][0]
        process_id, originator_id = operation.process_id, fields["originator_process_id"]
        access, is_creation = (
            fields.get("original_desired_access", 0),
            kind == script.TYPES["process_creation"],
        )
        steps = {step.kind: step.value for step in operation.steps}
        subject = self._address(process_id, originator_id)
        answer = self._answer(kind, access)
        delay_ns = 0 if self._has_moved else steps.get(layouts.SCRIPT_SLOW_ANSWER, 0) * NS_PER_MS
        path, given = operation.texts[:2] if is_creation else (None, None)
        outcome = Outcome()
        # Nothing fires on oneself.
        if is_creation or originator_id != process_id or "original_desired_access" not in fields:
            outcome = self._policy.ask(
                controller=CONTROLLER,
                session_id=SESSION,
                originator=self._address(originator_id, 0),
                subject=subject,
                path=path,
                given=given,
                answered_ns=SINCE_NS + delay_ns,
                type=kind,
                access=access,
                answer_code=answer.result_code,
                answer_access=answer.desired_access,
            )
        else:
            outcome.access = access
        if is_creation and not outcome.code and layouts.SCRIPT_FAILED_AFTER not in steps:
            assert self._policy.execute(subject, path, given)
        if kind == script.TYPES["process_termination"]:
            self._policy.end(self._processes.pop(process_id)[0])
        return [self._verdict(outcome, access)]

    def _verdict(self, outcome: Outcome, access: int) -> SimpleNamespace:
        lost = access & ~outcome.access
        assert bool(outcome.is_stripped) == (lost != 0 and outcome.code == 0)
        assert outcome.is_asked == (outcome.is_answered or outcome.is_timed_out)
        self._counts["refused"] += outcome.refused_count
        self._counts["decided_by_rule"] += outcome.is_decided
        self._counts["timed_out"] += outcome.is_timed_out
        self._counts["late"] += outcome.is_timed_out
        self._counts["delivered"] += outcome.is_told
        return SimpleNamespace(
            fired=bool(outcome.is_told),
            decided_by_rule=bool(outcome.is_decided),
            answered=bool(outcome.is_answered),
            timed_out=bool(outcome.is_timed_out),
            result_code=outcome.code,
            desired_access=outcome.access,
        )
