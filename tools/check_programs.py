#!/usr/bin/env python3
"""Type-checks the Python programs of README.md and docs/ as they stand there, with mypy and pyright.

A program whose functions all have annotations is checked with everything that --strict asks for, the others
with none of that. Needs mypy and pyright on PATH; runs no program."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
# A page leaves these lines out where it shows a few lines of a program.
BEFORE_LINES = "from cbprocess import CBProcess\n\nprocess = CBProcess()\n"
MYPY = ("mypy", "--strict", "--no-error-summary", "--scripts-are-modules")
UNANNOTATED = (
    "--allow-untyped-defs",
    "--allow-untyped-calls",
    "--allow-untyped-decorators",
    "--allow-incomplete-defs",
)


def programs() -> list[tuple[str, str]]:
    """The programs, each with a file name that tells its page and line."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for block in re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            line = text.count("\n", 0, block.start()) + 2
            program = block[1]
            if not re.search(r"^\s*(from|import) ", program, re.MULTILINE):
                program = BEFORE_LINES + program
            name = f"{page.relative_to(ROOT).with_suffix('')}_line_{line}.py".replace("/", "_")
            found.append((name.replace("-", "_"), program))
    return found


def is_annotated(program: str) -> bool:
    functions = [
        node
        for node in ast.walk(ast.parse(program))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]
    return all(
        function.returns is not None and all(argument.annotation for argument in function.args.args)
        for function in functions
    )


def run(folder: str, command: list[str]) -> bool:
    environment = {**os.environ, "MYPYPATH": str(ROOT), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        print(done.stdout + done.stderr, file=sys.stderr)
    return done.returncode == 0


def main() -> int:
    strict, plain = [], []
    with tempfile.TemporaryDirectory(prefix="cbprocess-programs-") as folder:
        # The reference is no part of the check. For the program that takes either, this package is both.
        stub = "from cbprocess import CBFSFilterError as CBFSFilterError, CBProcess as CBProcess\n"
        Path(folder, "cbfsfilter.pyi").write_text(stub, encoding="utf-8")
        for name, program in programs():
            Path(folder, name).write_text(program, encoding="utf-8")
            (strict if is_annotated(program) else plain).append(name)
        passed = [
            run(folder, [*MYPY, *strict]),
            run(folder, [*MYPY, *UNANNOTATED, *plain]),
            run(folder, ["pyright", *strict, *plain]),
        ]
    print(f"{len(strict)} programs type-checked strictly, {len(plain)} without annotations")
    return 0 if all(passed) else 1


if __name__ == "__main__":
    raise SystemExit(main())
