#!/usr/bin/env python3
"""Lines and branches of the rule engine that the property tests alone do not reach: ends with status 1 if
there is one.

    python tools/ruleset_coverage.py [PYTEST ARGUMENT]...

Run it with a Python that has cbprocess and its test tools installed; needs gcc and its gcov.
"""

from __future__ import annotations

import collections
import gzip
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
ENGINE = ("cbp_wtf8.c", "cbp_case.c", "cbp_pattern.c", "cbp_ruleset.c", "cbp_ruleset_check.c", "cbp_rules.c")
BUILDER = ("ruleset_build.c",)
MEASURED = {
    "cbp_case.c",
    "cbp_pattern.c",
    "cbp_pattern.h",
    "cbp_ruleset.c",
    "cbp_ruleset_check.c",
    "cbp_ruleset_layout.h",
}


def build(folder: Path) -> Path:
    target = folder / "ruleset.so"
    sources = [ROOT / "driver/rules" / name for name in ENGINE]
    sources += [ROOT / "native/src/core" / name for name in BUILDER]
    includes = [
        f"-I{ROOT / part}"
        for part in (
            "driver/protocol",
            "driver/rules",
            "native/src/core",
            "native/src/seams",
            "native/include",
        )
    ]
    options = ["-std=c11", "-O0", "--coverage", "-shared", "-fPIC", "-o", str(target)]
    subprocess.run(["gcc", *options, *includes, *map(str, sources)], check=True, cwd=folder)
    return target


def run_tests(library: Path, arguments: list[str]) -> None:
    environment = {**os.environ, "CBPROCESS_RULESET_BUILD": str(library)}
    pytest = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--hypothesis-seed=1"]
    tests = [str(ROOT / "tests/property" / name) for name in ("test_ruleset.py", "test_ruleset_blocks.py")]
    # The checkout's own package folder would hide the installed one, so they do not run there.
    subprocess.run([*pytest, *arguments, *tests], check=True, cwd=library.parent, env=environment)


def read_coverage(folder: Path) -> list[dict[str, Any]]:
    notes = [path.name for path in folder.glob("*.gcda")]
    command = ["gcov", "--json-format", "--branch-probabilities", *notes]
    subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL)
    files = []
    for path in folder.glob("*.gcov.json.gz"):
        files += json.loads(gzip.decompress(path.read_bytes()))["files"]
    return files


def missed(files: list[dict[str, Any]]) -> list[tuple[str, int, str]]:
    """The missed places: file, line, and the kind. A header's lines count as reached if any file's copy
    is."""
    lines: dict[tuple[str, int], int] = collections.Counter()
    branches: dict[tuple[str, int], list[int]] = {}
    for file in files:
        name = Path(file["file"]).name
        if name not in MEASURED:
            continue
        for line in file["lines"]:
            place = name, line["line_number"]
            lines[place] += line["count"]
            counts = [branch["count"] for branch in line["branches"]]
            before = branches.get(place, [0] * len(counts))
            branches[place] = [a + b for a, b in zip(before, counts)]
    found = [(name, number, "the line") for (name, number), count in lines.items() if count == 0]
    for (name, number), counts in branches.items():
        unused = [str(i) for i, count in enumerate(counts) if count == 0]
        if unused and lines[name, number]:
            found.append((name, number, f"branch {', '.join(unused)} of {len(counts)}"))
    return sorted(found)


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="cbprocess-coverage-") as name:
        folder = Path(name)
        run_tests(build(folder), sys.argv[1:])
        files = read_coverage(folder)
    line_count = sum(len(file["lines"]) for file in files if Path(file["file"]).name in MEASURED)
    places = missed(files)
    for file_name, number, what in places:
        text = (ROOT / "driver/rules" / file_name).read_text(encoding="utf-8").splitlines()[number - 1]
        print(f"{file_name}:{number}: {what}: {text.strip()}")
    print(f"{line_count} lines measured, {len(places)} places missed")
    return 1 if places or not line_count else 0


if __name__ == "__main__":
    sys.exit(main())
