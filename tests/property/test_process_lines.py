"""What new rules, and a launch's rule that is forgotten, mean for those who live: the policy
(driver/policy), without a driver around it, against the model, which asks every ancestor of each process. The
work is counted in basic blocks of that code, for lines of different lengths."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from ctypes import POINTER, c_bool, c_char_p, c_size_t, c_uint32, c_uint64, c_void_p
from pathlib import Path
from typing import Any, Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from property import rule_engines
from property.rule_engines import MATCH_ALL, MATCH_NAME, MATCH_PROCESS, Builder, SourceRule
from property.rule_model import Image, Model, Process, Rule
from property.rule_oracles import LINUX

from cbprocess import constants

ACTIONS = ["ask", "ignore", "allow", "deny", "strip"]
CHILDREN = constants.RULE_FLAG_CHILDREN
UNKNOWN = 0xFFFFFFFF
CAPACITY = 256
FIRST_LAUNCH = 10_000  # ids of launches' rules, in the tests
IMAGES = [
    Image("/bin/alpha", "/bin/alpha"),
    Image("/bin/alps", "alps"),
    Image("/usr/bin/beta", "./link"),
]
PATTERNS = ["alpha", "al*", "*a", "/bin/*", "link", "nothing"]


class Ref(ctypes.Structure):
    _fields_ = [
        ("place", c_uint32),
        ("session_serial", c_uint32),
        ("rule_id", c_uint32),
        ("is_launch", c_bool),
    ]


class Helper:
    """The code under test. One tree at a time."""

    def __init__(self, path: Path) -> None:
        self.builder = Builder(path)
        self.library: Any = self.builder.library
        for name, result, arguments in (
            ("lines_begin", None, ()),
            ("lines_add", c_void_p, (c_uint32, c_void_p)),
            ("lines_execute", c_bool, (c_void_p, c_char_p, c_char_p)),
            ("lines_install", c_uint32, (c_void_p, c_size_t)),
            ("lines_end_session", None, ()),
            ("lines_inherited", c_uint32, (c_void_p, POINTER(Ref), c_uint32)),
            ("lines_bequest", c_uint32, (c_void_p, POINTER(Ref), c_uint32)),
            ("lines_is_refused", c_bool, (c_void_p,)),
            ("lines_end", None, (c_void_p,)),
            ("lines_add_launch", None, (c_uint32, c_void_p)),
            ("lines_forget_launch", c_uint32, (c_uint32,)),
            ("lines_begin_search", None, (c_void_p,)),
            ("lines_branch_of", c_void_p, (c_void_p,)),
        ):
            function = getattr(self.library, name)
            function.restype, function.argtypes = result, arguments

    def variable(self, name: str) -> c_uint64:
        return c_uint64.in_dll(self.library, f"lines_{name}")

    def install(self, rules: list[SourceRule]) -> None:
        error, block = self.builder.build(LINUX.comparison, rules)
        assert error == 0 and block is not None
        assert self.library.lines_install(block.address, block.size) == 0

    def list_of(self, function: str, process: int) -> set[tuple[int, bool]] | None:
        """Rules by id and whether they are a launch's, each once; None: unknown."""
        refs = (Ref * CAPACITY)()
        count = getattr(self.library, function)(process, refs, CAPACITY)
        if count == UNKNOWN:
            return None
        found = [(ref.rule_id, ref.is_launch) for ref in refs[:count]]
        assert count <= CAPACITY and len(set(found)) == len(found)
        return set(found)

    def steps(self, work: Callable[[], object]) -> int:
        before = self.variable("steps").value
        work()
        return self.variable("steps").value - before


# As a driver in a kernel is made: no C library, and no registers that a kernel does not save.
IN_A_KERNEL = ("-ffreestanding", "-fno-builtin", "-mgeneral-regs-only")


@pytest.fixture(scope="module", params=["hosted", "in a kernel"])
def helper(checkout: Path, compile_c: Callable[..., Path], request: pytest.FixtureRequest) -> Helper:
    policy, rules, core = (checkout / name for name in ("driver/policy", "driver/rules", "native/src/core"))
    sources = sorted(policy.glob("*.c"))
    sources += [rules / name for name in rule_engines.RULES_SOURCES]
    sources += [core / name for name in rule_engines.CORE_SOURCES]
    own = checkout / "tests/property/process_lines"
    others = ("driver/protocol", "native/src/seams", "native/include")
    included = (policy, rules, core, *(checkout / name for name in others))
    folders = [f"-I{folder}" for folder in included]
    counter = compile_c(own / "steps.c", "-c", "-fPIC")
    options = [
        "-shared",
        "-fPIC",
        "-Wl,-Bsymbolic",
        "-D_GNU_SOURCE",
        "-fsanitize-coverage=trace-pc",
        *(IN_A_KERNEL if request.param == "in a kernel" else ()),
        *folders,
    ]
    return Helper(compile_c(own / "process_lines.c", *map(str, sources), str(counter), *options))


class Tree:
    """Processes and rules of one example, in the helper's code and in the model alike."""

    def __init__(self, helper: Helper) -> None:
        self.helper, self.model = helper, Model()
        self.pointers: dict[Process, int] = {}
        self.rule_ids: dict[Rule, int] = {}
        self.launches: dict[Process, set[int]] = {}
        self.count = 0
        helper.library.lines_begin()

    def number(self) -> int:
        self.count += 1
        return self.count

    def add(self, parent: Process | None, image: Image = IMAGES[0]) -> Process:
        number = self.number()
        if parent is None:
            process = self.model.add_process(number, image)
        else:
            self.model.fork(parent, number)
            process = self.model.processes[-1]
        above = self.pointers[parent] if parent is not None else None
        self.pointers[process] = self.helper.library.lines_add(number, above)
        assert self.pointers[process]
        self.launches[process] = set(self.launches[parent]) if parent is not None else set()
        if parent is None:
            self.execute(process, image)
        return process

    def execute(self, process: Process, image: Image) -> None:
        assert self.helper.library.lines_execute(self.pointers[process], *(name.encode() for name in image))
        self.model.execute(process, image)

    def end(self, process: Process) -> None:
        self.helper.library.lines_end(self.pointers[process])
        self.model.end(process)

    def add_rule(self, subject: Process | str | None, action: str, children: bool) -> None:
        self.model.add_rule(subject, action, 5, children)
        self.rule_ids[self.model.rules[-1]] = self.number()
        self.install()

    def drop_rule(self, rule: Rule) -> None:
        self.model.drop_rule(rule)
        self.install()

    def install(self) -> None:
        self.helper.install([self.source(rule) for rule in self.model.rules])

    def source(self, rule: Rule) -> SourceRule:
        action, flags = ACTIONS.index(rule.action), CHILDREN if rule.children else 0
        number, subject = self.rule_ids[rule], rule.subject
        value = 5 if rule.action in ("deny", "strip") else 0
        if subject is None:
            return SourceRule(number, MATCH_ALL, flags, action, value)
        if isinstance(subject, Process):
            ident = subject.process_id
            return SourceRule(number, MATCH_PROCESS, flags, action, value, ident, ident)
        return SourceRule(number, MATCH_NAME, flags, action, value, pattern=subject.encode())

    def launch(self, process: Process) -> int:
        rule_id = FIRST_LAUNCH + self.number()
        self.helper.library.lines_add_launch(rule_id, self.pointers[process])
        self.launches[process] = {*self.launches[process], rule_id}
        return rule_id

    def forget_launch(self, rule_id: int) -> None:
        known = {above for process in self.model.living() for above in (process, *process.ancestors())}
        had_it = [process for process in known if rule_id in self.launches[process]]
        error = self.helper.library.lines_forget_launch(rule_id)
        assert error == (0 if had_it else constants.ERROR_NOT_FOUND)
        for process in had_it:
            self.launches[process].discard(rule_id)

    def branch(self, ancestor: Process, process: Process) -> int | None:
        """The ancestor's child on the line to the process, as an address; None: there is no such line."""
        known = [process, *process.ancestors()]
        return self.pointers[known[known.index(ancestor) - 1]] if ancestor in known[1:] else None

    def wanted_bequest(self, process: Process) -> set[tuple[int, bool]]:
        covering = self.model.rules_for(process, process.image)
        rules = {rule for rule in covering if rule.children or rule in process.inherited}
        own = {(self.rule_ids[rule], False) for rule in rules}
        return own | {(rule_id, True) for rule_id in self.launches[process]}

    def wanted_inheritance(self, process: Process) -> set[int]:
        return {self.rule_ids[rule] for rule in process.inherited if rule in self.model.rules}

    def check(self, may_be_unknown: bool = False) -> int:
        """How many are refused everything, for want of memory; the others have what the model says."""
        in_force = {self.rule_ids[rule] for rule in self.model.rules}
        unknown = 0
        for process in self.model.living():
            pointer = self.pointers[process]
            inherited = self.helper.list_of("lines_inherited", pointer)
            if inherited is None and may_be_unknown:
                assert self.helper.library.lines_is_refused(pointer)
                unknown += 1
                continue
            assert inherited is not None
            rules = {rule_id for rule_id, is_launch in inherited if not is_launch}
            assert rules & in_force == self.wanted_inheritance(process)
            assert self.helper.list_of("lines_bequest", pointer) == self.wanted_bequest(process)
        return unknown

    def close(self) -> None:
        for process in self.model.living():
            self.end(process)
        self.helper.library.lines_end_session()


# ---- Against the model ----

OPERATIONS = [
    *["fork"] * 4,
    *["end"] * 3,
    *["add rule"] * 4,
    "root",
    "execute",
    "remove rule",
    "launch",
    "forget",
]
NUMBERS = st.integers(0, 1 << 16)
STEPS = st.lists(st.tuples(st.sampled_from(OPERATIONS), NUMBERS, NUMBERS, st.booleans()), max_size=60)


def choose(some: list[Any], number: int) -> Any:
    return some[number % len(some)]


def examples(count: int) -> settings:
    return settings(max_examples=count, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def do(tree: Tree, operation: str, one: int, other: int, flag: bool) -> None:
    living, rules = tree.model.living(), tree.model.rules
    launched = sorted(rule_id for some in tree.launches.values() for rule_id in some)
    if operation == "root" or not living:
        tree.add(None, choose(IMAGES, one))
    elif operation == "fork":
        # Mostly from the newest, so that lines become long.
        tree.add(living[-1] if flag else choose(living, one))
    elif operation == "end":
        tree.end(choose(living, one))
    elif operation == "execute":
        tree.execute(choose(living, one), choose(IMAGES, other))
    elif operation == "add rule":
        known = [*living, *[above for process in living for above in process.ancestors()]]
        subject = choose([*PATTERNS, choose(known, other), choose(known, one), None], one)
        tree.add_rule(subject, choose(ACTIONS, other // 7), flag or other % 3 > 0)
    elif operation == "remove rule" and rules:
        tree.drop_rule(choose(rules, one))
    elif operation == "launch" and not any(tree.launches[choose(living, one)]):
        tree.launch(choose(living, one))
    elif operation == "forget" and launched:
        tree.forget_launch(choose(launched, one))


@examples(400)
@given(steps=STEPS)
def test_lines_of_any_shape(helper: Helper, steps: list[tuple[str, int, int, bool]]) -> None:
    """Whoever lives has the rules of all ancestors, also of those that have ended; nothing is left behind."""
    tree = Tree(helper)
    try:
        for step in steps:
            do(tree, *step)
            tree.check()
    finally:
        tree.close()
    assert helper.variable("blocks").value == 0


@examples(100)
@given(steps=STEPS)
def test_who_descends_from_whom(helper: Helper, steps: list[tuple[str, int, int, bool]]) -> None:
    tree = Tree(helper)
    try:
        for step in steps:
            do(tree, *step)
        living = tree.model.living()
        for ancestor in living:
            helper.library.lines_begin_search(tree.pointers[ancestor])
            for process in living:
                found = helper.library.lines_branch_of(tree.pointers[process])
                assert found == tree.branch(ancestor, process)
    finally:
        tree.close()


# ---- Without memory ----


def make_family(tree: Tree) -> int:
    """Three generations, some of whom have ended, and a launch's rule, which is returned."""
    root = tree.add(None)
    launch = tree.launch(root)
    tree.add_rule("alps", "ask", True)
    parents = [tree.add(root) for _ in range(3)]
    tree.execute(parents[1], IMAGES[1])
    children = [tree.add(parent) for parent in parents for _ in range(2)]
    tree.execute(children[0], IMAGES[2])
    grandchildren = [tree.add(child) for child in children]
    tree.end(parents[0])
    tree.end(children[3])
    tree.execute(grandchildren[1], IMAGES[1])
    return launch


@pytest.mark.parametrize("change", ["new rules", "forgotten launch"])
@pytest.mark.parametrize("width", [1, UNKNOWN], ids=["one allocation", "all from there on"])
def test_whoever_lacks_memory_is_refused_everything(helper: Helper, change: str, width: int) -> None:
    """Each allocation of a change fails in turn: nobody has fewer rules than he should."""
    refused, number, used = [], 0, 1
    while number < used:
        tree = Tree(helper)
        try:
            launch = make_family(tree)
            tree.check()
            for name in ("alpha", "beta", "*"):
                tree.model.add_rule(name, "deny", 5, True)
                tree.rule_ids[tree.model.rules[-1]] = tree.number()
            before = helper.variable("allocations").value
            helper.variable("failing_from").value = before + number
            helper.variable("failing_to").value = before + number + width
            if change == "new rules":
                tree.install()
            else:
                tree.model.rules[-3:] = []
                tree.forget_launch(launch)
            used = helper.variable("allocations").value - before
            helper.variable("failing_from").value = helper.variable("failing_to").value = 0
            refused.append(tree.check(may_be_unknown=True))
        finally:
            helper.variable("failing_from").value = helper.variable("failing_to").value = 0
            tree.close()
        assert helper.variable("blocks").value == 0
        number += 1
    assert any(refused)


# ---- What it costs ----

SHAPES: dict[str, Callable[[int], list[tuple[int, bool]]]] = {
    # For each process but the first: its parent's number, and whether it ends when all have been made.
    "a line": lambda count: [(i, False) for i in range(count)],
    "a line of which half have ended": lambda count: [(i, i % 2 == 0) for i in range(count)],
    "a line that has ended, each with a child": lambda count: [(i - i % 2, i % 2 == 1) for i in range(count)],
    "a crowd": lambda count: [(0, False) for i in range(count)],
}
RULES = [
    SourceRule(1, MATCH_NAME, CHILDREN, ACTIONS.index("deny"), 5, pattern=b"alpha"),
    SourceRule(2, MATCH_PROCESS, CHILDREN, ACTIONS.index("ask"), 0, 1, 1),
]


class Costly:
    """A tree of a shape, all with the rule of one launch."""

    def __init__(self, helper: Helper, shape: str, count: int) -> None:
        self.helper, library = helper, helper.library
        library.lines_begin()
        helper.install([])
        self.processes = [library.lines_add(1, None)]
        library.lines_execute(self.processes[0], b"/bin/alpha", b"alpha")
        library.lines_add_launch(FIRST_LAUNCH, self.processes[0])
        made = SHAPES[shape](count)
        for number, (parent, _) in enumerate(made, 2):
            self.processes.append(library.lines_add(number, self.processes[parent]))
        self.living = [self.processes[0]]
        for process, (_, ends) in zip(self.processes[1:], made):
            if ends:
                library.lines_end(process)
            else:
                self.living.append(process)

    def forget(self) -> None:
        assert self.helper.library.lines_forget_launch(FIRST_LAUNCH) == 0

    def search(self) -> None:
        """Which of them descend from the last one: nobody does."""
        self.helper.library.lines_begin_search(self.living[-1])
        for process in self.living:
            assert self.helper.library.lines_branch_of(process) is None

    def close(self) -> None:
        for process in self.living:
            self.helper.library.lines_end(process)
        self.helper.library.lines_end_session()


@pytest.mark.parametrize("shape", SHAPES)
def test_twice_as_many_cost_twice_as_much(helper: Helper, shape: str) -> None:
    """Whether they lie deep or flat; if each asked all above it, it would be four times as much."""
    costs = []
    for count in (400, 800):
        tree = Costly(helper, shape, count)
        try:
            changes = [lambda: helper.install(RULES), tree.forget, tree.search]
            costs.append([helper.steps(change) for change in changes])
        finally:
            tree.close()
    for small, large in zip(*costs):
        assert small >= 400 and large < 2.5 * small


@pytest.mark.parametrize("shape", SHAPES)
def test_those_who_have_the_same_rules_share_them(helper: Helper, shape: str) -> None:
    """A change takes no memory for each of them."""
    tree = Costly(helper, shape, 200)
    try:
        before = helper.variable("blocks").value
        for i in range(10):
            rules = [
                SourceRule(j + 1, flags=CHILDREN, action=3, action_value=5, pattern=b"alpha")
                for j in range(i + 1)
            ]
            helper.install(rules)
        tree.forget()
        grown = helper.variable("blocks").value - before
        assert helper.list_of("lines_inherited", tree.living[-1]) == {(i + 1, False) for i in range(10)}
    finally:
        tree.close()
    assert grown < 20


@pytest.mark.skipif(shutil.which("nm") is None, reason="this machine has no nm")
def test_the_policy_needs_no_c_library(checkout: Path, compile_c: Callable[..., Path]) -> None:
    """But for the four functions of memory that compilers themselves call, which every kernel has."""
    folders = [checkout / "driver" / name for name in ("policy", "rules", "protocol")]
    sources = [str(path) for folder in folders[:2] for path in sorted(folder.glob("*.c"))]
    options = ["-r", "-nostdlib", "-O2", *IN_A_KERNEL, *(f"-I{folder}" for folder in folders)]
    library = compile_c(Path(sources[0]), *sources[1:], *options)
    symbols = subprocess.run(["nm", "-u", library], capture_output=True, text=True, check=True).stdout.split()
    assert set(symbols) - {"U"} <= {"memcmp", "memcpy", "memmove", "memset"}
