"""H7: what it costs to look a program's name up in a set of rules, beside a loop of fnmatch(3) and RE2::Set.

Times programs that are built from the engine's own sources, so that nothing but the engine is measured: each
is started anew for each repetition, and its first lookup is timed like all others. What is quoted is CPU
time."""

from __future__ import annotations

import random
import statistics
import string
from collections.abc import Sequence
from itertools import islice, product
from pathlib import Path
from typing import NamedTuple, Optional

from harness import REPOSITORY, BenchmarkError, Missing, compile_program, progress, run
from rule_patterns import Maker
from table import Row, format_columns

RULE_COUNT = 10_000
LOOKUP_TARGET_NS = 600
FNMATCH_TARGET = 250
BUILD_TARGET_MS = 5
SIZE_TARGET_MIB = 2
TABLE_COUNTS = (0, 10, 100, 1000, RULE_COUNT)
SUBJECT_SIZE = 4096
STEP_NS = 2  # what a step of the engine's bound may cost; the rest of a lookup, LOOKUP_TARGET_NS

Measured = dict[str, float]


class Peers(NamedTuple):
    """How many names each program looks up: the slow ones fewer."""

    engine_names: int
    fnmatch_names: int
    re2_names: int


NAMES = Peers(20_000, 200, 50)


class Programs:
    """The compiled programs, and the files that they read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        rules, core = REPOSITORY / "driver/rules", REPOSITORY / "native/src/core"
        sources = [*sorted(rules.glob("*.c")), core / "ruleset_build.c"]
        options = [
            "-DNDEBUG",
            "-D_GNU_SOURCE",
            f"-I{rules}",
            f"-I{core}",
            f"-I{core.parent / 'seams'}",
            *map(str, sources),
        ]
        self._ruleset = compile_program(folder, "ruleset.c", "ruleset", *options)
        self._re2: Optional[Path] = None
        try:
            self._re2 = compile_program(folder, "re2_set.cc", "re2_set", "-std=c++17", "-lre2", "-lpthread")
        except (Missing, BenchmarkError):
            progress("RE2: not here, or no C++ compiler")

    def _file(self, name: str, lines: Sequence[str]) -> str:
        path = self._folder / name
        path.write_text("".join(f"{line}\n" for line in lines))
        return str(path)

    def measure(self, mode: str, patterns: Sequence[str], names: Sequence[str]) -> Measured:
        files = [self._file("patterns", patterns), self._file("names", names)]
        output = run([str(self._re2), *files] if mode == "re2" else [str(self._ruleset), *files, mode])
        return {name: float(value) for name, value in (line.split() for line in output.splitlines())}

    @property
    def has_re2(self) -> bool:
        return self._re2 is not None


def medians(results: Sequence[Measured]) -> Measured:
    return {name: statistics.median(result[name] for result in results) for name in results[0]}


def same_matches(programs: Programs, patterns: Sequence[str], names: Sequence[str]) -> None:
    """What is compared in speed has to give the same answers."""
    modes = ["engine", "fnmatch", *(["re2"] if programs.has_re2 else [])]
    counts = {mode: programs.measure(mode, patterns, names)["matches"] for mode in modes}
    if len(set(counts.values())) != 1:
        raise BenchmarkError(f"H7: numbers of matches differ: {counts}")


def peers_text(programs: Programs, patterns: Sequence[str], names: Sequence[str], fnmatch_ns: float) -> str:
    text = f"loop of fnmatch(3) {fnmatch_ns / 1000:.0f} us"
    if not programs.has_re2:
        return f"{text}; no RE2 here"
    re2 = programs.measure("re2", patterns, names[: NAMES.re2_names])
    return f"{text}; RE2::Set {re2['lookup_ns'] / 1000:.0f} us, built in {re2['build_ns'] / 1e6:.0f} ms"


def lookup_rows(programs: Programs, repetitions: int) -> list[Row]:
    patterns = Maker(1).patterns(RULE_COUNT)
    names = Maker(2).names(patterns, NAMES.engine_names)
    few = names[: NAMES.fnmatch_names]
    same_matches(programs, patterns, few[: NAMES.re2_names])
    engine, ratios, loop_ns = [], [], []
    for repetition in range(repetitions):
        progress(f"rules: repetition {repetition + 1} of {repetitions}")
        loop_ns.append(programs.measure("fnmatch", patterns, few)["lookup_ns"])
        engine.append(programs.measure("engine", patterns, names))
        ratios.append(loop_ns[-1] / engine[-1]["lookup_ns"])
    cold_ns = programs.measure("cold", patterns, names)["lookup_ns"]
    middle, ratio = medians(engine), statistics.median(ratios)
    spread = [result["lookup_ns"] for result in engine]
    build_ms, size_mib = middle["build_ns"] / 1e6, middle["size"] / 2**20
    return [
        Row(
            "H7",
            f"{RULE_COUNT} name rules: one lookup, each name once, without warm-up",
            f"<= {LOOKUP_TARGET_NS} ns",
            f"{middle['lookup_ns']:.0f} ({min(spread):.0f}-{max(spread):.0f}) ns",
            middle["lookup_ns"] <= LOOKUP_TARGET_NS,
            f"after all caches were overwritten {cold_ns / 1000:.1f} us",
        ),
        Row(
            "H7",
            "a loop of fnmatch(3) to that",
            f">= {FNMATCH_TARGET}x",
            f"{ratio:.0f}x",
            ratio >= FNMATCH_TARGET,
            peers_text(programs, patterns, few, statistics.median(loop_ns)),
        ),
        Row(
            "H7",
            "built, and the size of the block",
            f"<= {BUILD_TARGET_MS} ms, <= {SIZE_TARGET_MIB} MiB",
            f"{build_ms:.1f} ms, {size_mib:.2f} MiB",
            build_ms <= BUILD_TARGET_MS and size_mib <= SIZE_TARGET_MIB,
            f"validated in {middle['validate_ns'] / 1e6:.1f} ms",
        ),
    ]


class Adversary(NamedTuple):
    """Patterns and a name that are meant to take long, and the steps that the engine's bound allows."""

    what: str
    patterns: list[str]
    name: str
    step_count: int


def adversaries() -> list[Adversary]:
    letters = random.Random(3)
    noise = "".join(letters.choices(string.ascii_lowercase, k=SUBJECT_SIZE - 1))
    needles = {"".join(letters.choices(string.ascii_lowercase, k=6)): None for _ in range(RULE_COUNT)}
    runs = [f"*{'a' * (1500 + i)}b*" for i in range(10)]
    letters_apart = ("*".join(some) for some in product(string.ascii_lowercase[1:], repeat=3))
    some_a = "/" + "a" * (SUBJECT_SIZE - 1)
    return [
        Adversary("`*a*a*a*a*b`", ["*a*a*a*a*b"], some_a, SUBJECT_SIZE),
        Adversary(
            f"{RULE_COUNT} of `*a*a*a*a*b*b*b*`, `*a*a*a*a*b*b*c*`, ...",
            [f"*a*a*a*a*{apart}*" for apart in islice(letters_apart, RULE_COUNT)],
            some_a,
            RULE_COUNT * SUBJECT_SIZE,
        ),
        Adversary(f"{RULE_COUNT} times `*x*`", ["*x*"] * RULE_COUNT, some_a, SUBJECT_SIZE + RULE_COUNT),
        Adversary(
            f"{len(needles)} different `*abcdef*`",
            [f"*{needle}*" for needle in needles],
            "/" + noise,
            len(needles) * SUBJECT_SIZE * 6,
        ),
        Adversary("10 of `*aa...ab*`, 1,500 units,", runs, "/ab" + some_a[3:], 10 * SUBJECT_SIZE * 1511),
    ]


def adversary_rows(programs: Programs, repetitions: int) -> list[Row]:
    rows = []
    for case in adversaries():
        results = [programs.measure("engine", case.patterns, [case.name]) for _ in range(repetitions)]
        spent_ns = medians(results)["lookup_ns"]
        bound_ns = case.step_count * STEP_NS + LOOKUP_TARGET_NS
        loop_ns = programs.measure("fnmatch", case.patterns, [case.name])["lookup_ns"]
        rows.append(
            Row(
                "H7",
                f"{case.what} against {SUBJECT_SIZE} characters",
                f"<= {bound_ns / 1000:.0f} us: {STEP_NS} ns for each step of the bound",
                f"{spent_ns / 1000:.0f} us",
                spent_ns <= bound_ns,
                f"loop of fnmatch(3) {loop_ns / 1000:.0f} us",
            )
        )
    return rows


def rule_rows(folder: Path, repetitions: int) -> list[Row]:
    programs = Programs(folder)
    return lookup_rows(programs, repetitions) + adversary_rows(programs, repetitions)


def rule_count_table(folder: Path, repetitions: int) -> str:
    """What the number of rules costs: the second table."""
    programs = Programs(folder)
    lines = []
    for count in TABLE_COUNTS:
        patterns = Maker(1).patterns(count)
        names = Maker(2).names(patterns, NAMES.engine_names)
        results = [programs.measure("engine", patterns, names) for _ in range(repetitions)]
        loop_ns = programs.measure("fnmatch", patterns, names[: NAMES.fnmatch_names])["lookup_ns"]
        middle = medians(results)
        lines.append(
            (
                str(count),
                f"{middle['lookup_ns']:.0f} ns",
                f"{loop_ns:.0f} ns",
                f"{middle['build_ns'] / 1000:.0f} us",
                f"{middle['validate_ns'] / 1000:.0f} us",
                f"{middle['size'] / 1024:.1f} KiB",
            )
        )
    return format_columns(("rules", "lookup", "loop of fnmatch(3)", "built", "validated", "block"), lines)
