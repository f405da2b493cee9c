"""What the start of a command imports: only what its options ask for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import json, sys
before = set(sys.modules)
from cbprocess.cli import main
status = main(sys.argv[1:])
print(json.dumps([status, sorted(set(sys.modules) - before)]))
"""
OPTIONAL = (
    "fleet",
    "rule_files",
    "rules",
    "spool",
    "sinks",
    "formats",
    "records",
    "frames",
    "metrics",
    "sigma",
)
DEAR = {"dataclasses", "inspect", "pathlib", "hashlib", "json", "socket", "tomllib", "tempfile", "asyncio"}


def loaded(*arguments: str | Path) -> set[str]:
    line = [sys.executable, "-c", PROGRAM, *map(str, arguments)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    status, names = json.loads(done.stdout)
    assert status == 0
    return set(names)


def parts(names: set[str]) -> set[str]:
    """The parts of the package that are not for every command."""
    found = {name.split(".")[1].lstrip("_") for name in names if name.startswith("cbprocess.")}
    return found & set(OPTIONAL)


def test_a_command_without_options_loads_what_it_needs() -> None:
    names = loaded("run", "--", "true")
    assert parts(names) == set()
    # json is loaded by this test's own program.
    assert names & (DEAR - {"json"}) == set()
    own = {name for name in names if name.startswith("cbprocess.cli.")}
    assert (
        own & {f"cbprocess.cli.{name}" for name in ("tree_lines", "record_lines", "live", "fleet")} == set()
    )


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--json"], {"records"}),
        (["--format", "ecs"], {"records", "formats"}),
        (["--deny", "/no/such"], {"rules"}),
        (["--spool", "{}/spool"], {"records", "rules", "spool", "fleet", "rule_files"}),
    ],
)
def test_an_option_loads_its_part_alone(tmp_path: Path, options: list[str], expected: set[str]) -> None:
    words = [word.format(tmp_path) for word in options]
    assert parts(loaded("run", *words, "-o", tmp_path / "lines", "--", "true")) == expected
