"""H8: what `import cbprocess` costs over a bare Python, in time and in resident memory.

Every figure comes from a process of its own. Knows nothing of the package but its name."""

from __future__ import annotations

import statistics
import sys

from harness import progress, run
from table import Row

TIME_TARGET_MS = 8.0
MEMORY_TARGET_MIB = 1.5

PROBE = """
import sys, time
start = time.perf_counter()
{statement}
spent = time.perf_counter() - start
for line in open("/proc/self/status"):
    if line.startswith("VmRSS"):
        print(spent * 1e3, int(line.split()[1]) / 1024)
"""

BARE = "bare"
PACKAGE = "import cbprocess"
CLASS = "from cbprocess import CBProcess"
CTYPES = "import ctypes"
INITIALIZED = (
    "from cbprocess import CBProcess; CBProcess().initialize('{6F0C2B1E-93A5-4D5B-8A77-1F2E3D4C5B6A}')"
)
STATEMENTS = {BARE: "pass", PACKAGE: PACKAGE, CLASS: CLASS, INITIALIZED: INITIALIZED, CTYPES: CTYPES}


def probe(statement: str) -> tuple[float, float]:
    spent_ms, resident_mib = run([sys.executable, "-I", "-c", PROBE.format(statement=statement)]).split()
    return float(spent_ms), float(resident_mib)


def describe(values: dict[str, float], unit: str) -> str:
    names = ((CLASS, f"`{CLASS}`"), (INITIALIZED, "with `initialize()`"), (CTYPES, f"`{CTYPES}`"))
    return "; ".join(f"{shown} {values[name]:.2f} {unit}" for name, shown in names)


def startup_rows(repetitions: int) -> list[Row]:
    progress(f"import: {repetitions} repetitions")
    for statement in STATEMENTS.values():
        probe(statement)  # compiled and in the page cache from here on
    samples: dict[str, list[tuple[float, float]]] = {name: [] for name in STATEMENTS}
    for _ in range(repetitions):
        for name, statement in STATEMENTS.items():
            samples[name].append(probe(statement))
    spent = {name: statistics.median(ms for ms, _ in values) for name, values in samples.items()}
    resident = {name: statistics.median(mib for _, mib in values) for name, values in samples.items()}
    added = {name: value - resident[BARE] for name, value in resident.items()}
    return [
        Row(
            "H8",
            "`import cbprocess` over bare Python: time",
            f"<= {TIME_TARGET_MS:.0f} ms",
            f"{spent[PACKAGE]:.2f} ms",
            spent[PACKAGE] <= TIME_TARGET_MS,
            describe(spent, "ms"),
        ),
        Row(
            "H8",
            "`import cbprocess` over bare Python: memory",
            f"<= {MEMORY_TARGET_MIB} MiB",
            f"{added[PACKAGE]:.2f} MiB",
            added[PACKAGE] <= MEMORY_TARGET_MIB,
            describe(added, "MiB"),
        ),
    ]
